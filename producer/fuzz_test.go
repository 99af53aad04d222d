package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// FuzzReadsAlike: whether two schemas read alike does not depend on which is first, nor on white space and documentation; what
// cannot be read is like nothing, not even itself.
func FuzzReadsAlike(f *testing.F) {
	f.Add(schema.PstnCallSchema(), schema.PstnCallSchema())
	const record = `{"type":"record","name":"R","namespace":"a.b","fields":[{"name":"x","type":["null","string"]},{"name":"y","type":{"type":"enum","name":"E","symbols":["A"]}}]}`
	for _, s := range []string{`"string"`, `{"type":"string"}`, `{"type":{"type":"map","values":"int"}}`, `{"type":"fixed","name":"F","size":1}`, `[]`, `[["null"]]`, `{"type":"array","items":"a.b.R"}`, `{}`, `7`, `<html>`,
		`{"type":"record","name":"R"}`, `{"type":{"name":"a"},"name":".","namespace":7}`, strings.Replace(record, `"string"`, `"R"`, 1), strings.Repeat(`[`, 20000)} {
		f.Add(record, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		_, err := reading(a)
		if readsAlike(a, a) != (err == nil) {
			t.Fatalf("%q is like itself: %t, and is read: %v", a, err != nil, err)
		}
		if readsAlike(a, b) != readsAlike(b, a) {
			t.Fatalf("%q is like %q, but not the other way round", a, b)
		}
		if name := recordName(a); (name == "no Avro schema") != (err != nil) && name != "no Avro schema" {
			t.Fatalf("%q: record %q, and it is read: %v", a, name, err)
		}
		if err != nil {
			return
		}
		var spaced bytes.Buffer
		if json.Indent(&spaced, []byte(a), "\n", "\t") == nil && !readsAlike(a, spaced.String()) {
			t.Fatalf("%q is not like itself with white space", a)
		}
		var members map[string]any
		if json.Unmarshal([]byte(a), &members) == nil && members != nil {
			members["doc"] = "a doc"
			if documented, err := json.Marshal(members); err != nil || !readsAlike(a, string(documented)) {
				t.Fatalf("%q is not like itself with documentation: %v", a, err)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

// FuzzRegistryAnswers gives the registry's client any answers: it has an id that its own schema was proved for, or an error of one
// line that shows no secret. A refusal says what to do.
func FuzzRegistryAnswers(f *testing.F) {
	const secret = "hunter2-hunter2"
	ours, _ := json.Marshal(map[string]string{"schema": schema.PstnCallSchema()})
	f.Add(404, `{"error_code":40401}`, 404, `{"error_code":40401}`, 200, `{"id":7}`, 200, string(ours))
	f.Add(200, `{"compatibilityLevel":"FULL"}`, 200, `{"version":3,"schema":"\"string\""}`, 409, `{"error_code":409,"message":"x"}`, 200, `{}`)
	f.Add(200, `{"compatibilityLevel":"NONE"}`, 404, `{"error_code":40401}`, 200, `{"id":-1}`, 200, `{"schema":"\"string\""}`)
	f.Add(200, `{"compatibilityLevel":"FULL"}`, 404, `{"error_code":40401}`, 200, `{"id":4294967296}`, 500, secret)
	f.Add(200, `<html>`, 401, secret, 503, ``, 302, ``)
	f.Add(409, `{"error_code":409,"message":"x"}`, 404, `{"error_code":40401}`, 200, `{"id":7}`, 200, `{}`)
	f.Add(200, `{"compatibilityLevel":"FULL"}`, 404, `{"error_code":40401}`, 200, `{"id":7}`, 200, `{"schema":"{\"type\":\"record\",\"name\":\"a\\n`+strings.Repeat("b", 4000)+`\",\"fields\":[]}"}`)
	f.Add(404, `not found`, 422, `{"error_code":42205,"message":"read only\nmode"}`, 200, `{"id":1e3}`, 200, `null`)
	f.Fuzz(func(t *testing.T, configStatus int, configBody string, latestStatus int, latestBody string, postStatus int, postBody string, idStatus int, idBody string) {
		registered := false
		answer := func(req *http.Request) (status int, body string) {
			switch path := req.URL.Path; {
			case req.Method == http.MethodPost:
				registered = true
				return postStatus, postBody
			case strings.HasPrefix(path, "/config"):
				return configStatus, configBody
			case strings.HasPrefix(path, "/schemas/ids/"):
				return idStatus, idBody
			}
			return latestStatus, latestBody
		}
		for _, status := range []int{configStatus, latestStatus, postStatus, idStatus} {
			if status < 200 || status > 599 {
				return // no server of net/http's
			}
		}
		r, err := newRegistryOver(roundTrip(func(req *http.Request) (*http.Response, error) {
			status, body := answer(req)
			return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Location": {"http://else.test/?" + secret}},
				Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req, ProtoMajor: 1}, nil
		}), config.Registry{URL: &url.URL{Scheme: "http", Host: "registry.test"}})
		if err != nil {
			t.Fatal(err)
		}
		r.hide = strings.NewReplacer(secret, "***")
		done, err := r.register(t.Context(), "calls-value")
		if err == nil {
			var got struct{ Schema string }
			if json.Unmarshal([]byte(idBody), &got) != nil || !readsAlike(got.Schema, schema.PstnCallSchema()) || !registered || done.ID < 1 || done.ID > 1<<32-1 {
				t.Fatalf("id %d is proved by %q", done.ID, idBody)
			}
			return
		}
		text := err.Error()
		if refused := (*refusedSchema)(nil); errors.As(err, &refused) && refused.mend == "" {
			t.Fatalf("it does not say what to do: %q", text)
		}
		if strings.ContainsAny(text, "\n\r") || len(text) > 3000 || strings.Contains(text, secret) || !strings.HasPrefix(text, "schema registry") {
			t.Fatalf("error %q", text)
		}
	})
}

// FuzzDays: --from and --to give a range that is not empty and begins today at the latest, or an error that names the flag.
func FuzzDays(f *testing.F) {
	for _, s := range []string{"2026-11-01", "2026-11-24", "2026-11-25", "2026-11-01T00:00:00Z", "2026-11-01T02:00:00+02:00", "2026-11-01T01:00:00Z", "1969-12-31", "0000-01-01T00:00:00+23:59", "9999-12-31", "soon", ""} {
		f.Add(s, "")
		f.Add("", s)
		f.Add("2026-11-01", s)
	}
	now := time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, from, to string) {
		r, err := daysBetween("verify", from, to, now)
		if err != nil {
			text := err.Error()
			if r != nil || strings.ContainsAny(text, "\n\x00") || !strings.Contains(text, "--from: ") && !strings.Contains(text, "--to: ") || !strings.Contains(text, "want a UTC day") {
				t.Fatalf("%v, error %q", r, text)
			}
			return
		}
		if (r == nil) != (from == "" && to == "") {
			t.Fatalf("%q to %q is %v", from, to, r)
		}
		if r == nil {
			return
		}
		if r.From >= r.To || r.From > window.Of(now) {
			t.Fatalf("%q to %q is %s", from, to, r)
		}
		if again, err := daysBetween("verify", r.From.String(), r.To.String(), now); err != nil || *again != *r {
			t.Fatalf("%s is read back as %v: %v", r, again, err)
		}
	})
}

// FuzzLine: every record is one line of valid JSON, whatever is in it, and the judge of simulate --compare reads what tail prints.
func FuzzLine(f *testing.F) {
	start := time.UnixMilli(1_700_000_000_001)
	call := schema.PstnCall{TenantID: "contoso", RowID: "a", StartDateTime: &start, ObservedAt: start, Extra: map[string]string{"x": `{"a":1}`}}
	avro, err := schema.AppendPstnCall(nil, &call)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("k"), schema.AppendSingleObject(nil, avro), "ce_id", []byte("a/0"), false)
	f.Add([]byte("k"), schema.AppendConfluent(nil, 1, nil), "", []byte(nil), false)
	f.Add([]byte("\xff<"), []byte("{\n\"a\": 1}\n"), schema.HeaderTenant, []byte("contoso"), true)
	f.Add([]byte(nil), []byte(`"\ud800"`), "\xff", []byte("\xff"), true)
	f.Add([]byte(nil), []byte(`{"a":`), "a\n", []byte("\u2028"), true)
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte, dlq bool) {
		rec := kafka.Record{Key: key, Value: value, Headers: []schema.Header{{Key: name, Value: header}}, Timestamp: start, Partition: 2, Offset: 9}
		l := newLine(rec, dlq)
		if (l.Error == "") != (l.Value != nil) {
			t.Fatalf("%+v", l)
		}
		text, err := json.Marshal(l)
		if err != nil || bytes.ContainsAny(text, "\n\r") || !utf8.Valid(text) && !dlq {
			t.Fatalf("%q: %v", text, err)
		}
		c := graphfake.NewComparer(func(func(graphfake.TrueRow) bool) {}, graphfake.CompareOptions{})
		tenants := []string{"contoso"}
		switch {
		case dlq:
			err = readRejects(bytes.NewReader(text), tenants, c)
		default:
			err = readEvents(bytes.NewReader(text), tenants, c)
		}
		if err != nil {
			t.Fatalf("%s is not read back: %v", text, err)
		}
		// An event of a tenant that was asked for, and one that cannot be read, count; nothing of it is in the truth.
		decoded, _ := schema.Decode(value)
		if counts := !dlq && (decoded == nil || decoded.TenantID == "contoso"); counts != (c.Verdict().Events == 1) {
			t.Fatalf("%s: %s", text, c.Verdict())
		}
	})
}

// FuzzPrinted gives the judge any text in place of tail's lines: it takes it, or says which line is none.
func FuzzPrinted(f *testing.F) {
	for _, s := range []string{`{"partition":1,"offset":2,"value":{"tenantId":"contoso","rowId":"a","revision":0}}` + "\n", `{"value":null}`, `{"value":7}`, `{"value":{"tenantId":7}}`, `{}`, `[]`, `{"headers":{"tenant":"contoso","row-id":"a"}}{}`, "{", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := graphfake.NewComparer(func(func(graphfake.TrueRow) bool) {}, graphfake.CompareOptions{})
		for _, err := range []error{readEvents(bytes.NewReader(text), []string{"contoso"}, c), readRejects(bytes.NewReader(text), []string{"contoso"}, c)} {
			if err != nil && !strings.HasPrefix(err.Error(), "line ") {
				t.Fatalf("error %q", err)
			}
		}
		if n := c.Verdict().Events + c.Verdict().Rejects; n > len(text) {
			t.Fatalf("%d records out of %d bytes", n, len(text))
		}
	})
}
