package schema_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/schema"
)

func exampleHeaders() schema.Headers {
	return schema.Headers{
		RowID: "9c4984c7-6c3c-427d-a30c-bd0b2eacee90", Revision: 2, TenantID: tenant, Source: "https://graph.microsoft.com/beta",
		Time:        time.Date(2026, 11, 22, 12, 0, 0, 500_999_999, time.FixedZone("", 7200)),
		Subject:     "1835317186_112562680@61.221.3.176",
		DataSchema:  "http://registry.example/schemas/ids/1",
		Fingerprint: 0xabc, Owner: "2019-11-01", Shard: 3, Commit: 1 << 40,
	}
}

func TestHeaders(t *testing.T) {
	h := exampleHeaders()
	got := h.Append([]schema.Header{{Key: "before"}})
	want := []schema.Header{
		{Key: "before"},
		{Key: "ce_specversion", Value: []byte("1.0")},
		{Key: "ce_id", Value: []byte("9c4984c7-6c3c-427d-a30c-bd0b2eacee90/2")},
		{Key: "ce_type", Value: []byte("pstncalls.PstnCall.v1")},
		{Key: "ce_source", Value: []byte("https://graph.microsoft.com/beta/" + tenant + "/getPstnCalls")},
		{Key: "ce_time", Value: []byte("2026-11-22T10:00:00.500Z")},
		{Key: "ce_subject", Value: []byte("1835317186_112562680@61.221.3.176")},
		{Key: "ce_dataschema", Value: []byte("http://registry.example/schemas/ids/1")},
		{Key: "content-type", Value: []byte("application/avro")},
		{Key: "pstn-fingerprint", Value: []byte("0000000000000abc")},
		{Key: "pstn-owner", Value: []byte("2019-11-01")},
		{Key: "pstn-commit", Value: []byte("3/1099511627776")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Append (-want +got):\n%s", diff)
	}

	slices.Reverse(got) // the order does not matter to a reader
	parsed, err := schema.ParseHeaders(got)
	if err != nil {
		t.Fatal(err)
	}
	h.Time = time.Date(2026, 11, 22, 10, 0, 0, 500_000_000, time.UTC)
	if diff := cmp.Diff(h, parsed); diff != "" {
		t.Errorf("ParseHeaders (-want +got):\n%s", diff)
	}
}

func TestHeadersEdges(t *testing.T) {
	for name, change := range map[string]func(h *schema.Headers){
		"no registry":         func(h *schema.Headers) { h.DataSchema = "" },
		"row id with a slash": func(h *schema.Headers) { h.RowID = "/a/7" },
		"least":               func(h *schema.Headers) { h.Revision, h.Fingerprint, h.Shard, h.Commit = 0, 0, 0, 1 },
		"largest": func(h *schema.Headers) {
			h.Revision, h.Fingerprint, h.Shard, h.Commit = 1<<31-1, 1<<64-1, 1<<31-1, 1<<63-1
		},
		"Graph on another port": func(h *schema.Headers) { h.Source = "http://127.0.0.1:8900/v1.0" },
	} {
		h := exampleHeaders()
		h.Time = time.UnixMilli(1_700_000_000_001).UTC()
		change(&h)
		appended := h.Append(nil)
		if got := slices.ContainsFunc(appended, func(x schema.Header) bool { return x.Key == schema.HeaderDataSchema }); got != (h.DataSchema != "") {
			t.Errorf("%s: has ce_dataschema: %v", name, got)
		}
		got, err := schema.ParseHeaders(appended)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(h, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseHeadersErrors(t *testing.T) {
	appended := exampleHeaders().Append(nil)
	for i, h := range appended {
		if h.Key == schema.HeaderDataSchema {
			continue
		}
		_, err := schema.ParseHeaders(slices.Delete(slices.Clone(appended), i, i+1))
		if want := "header " + h.Key + ": missing"; err == nil || err.Error() != want {
			t.Errorf("without %s: error %v, want %q", h.Key, err, want)
		}
	}
	for _, h := range appended {
		_, err := schema.ParseHeaders(append(slices.Clone(appended), h))
		if want := "header " + h.Key + ": comes twice"; err == nil || err.Error() != want {
			t.Errorf("with two of %s: error %v, want %q", h.Key, err, want)
		}
	}

	malformed := map[string][]string{
		schema.HeaderSpecVersion: {"1", "1.1"},
		schema.HeaderType:        {"pstncalls.PstnCall.v2"},
		schema.HeaderContentType: {"application/json"},
		schema.HeaderID:          {"row", "/1", "row/", "row/-1", "row/+1", "row/01", "row/1x", "row/2147483648"},
		schema.HeaderSource:      {"tenant", "tenant/getPstnCalls", "/tenant/getPstnCalls", "root//getPstnCalls", "root/tenant/getSmsLog", "root/tenant/getPstnCalls/"},
		schema.HeaderTime: {"2026-11-22", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00.5Z", "2026-11-22T10:00:00.500000Z", "2026-11-22T10:00:00,500Z",
			"2026-11-22T10:00:00.500+00:00", "2026-13-22T10:00:00.500Z"},
		schema.HeaderFingerprint: {"abc", "0000000000000ABC", "00000000000000abc", "+000000000000abc", "000000000000000g"},
		schema.HeaderOwner:       {"2026-11", "2026-11-31", "2026-11-01T00:00:00Z", "26-11-01"},
		schema.HeaderCommit:      {"3", "3/", "/7", "-1/7", "3/-7", "3/0", "3/07", "2147483648/7", "3/9223372036854775808", "3/7/7"},
	}
	for key, values := range malformed {
		for _, v := range values {
			headers := slices.Clone(appended)
			i := slices.IndexFunc(headers, func(h schema.Header) bool { return h.Key == key })
			headers[i].Value = []byte(v)
			got, err := schema.ParseHeaders(headers)
			if want := "header " + key + ": malformed"; err == nil || err.Error() != want {
				t.Errorf("%s = %s: error %v, want %q", key, v, err, want)
			}
			if got != (schema.Headers{}) {
				t.Errorf("%s = %s: headers beside the error", key, v)
			}
		}
	}
}

func TestParseHeadersIgnoresOthers(t *testing.T) {
	h := exampleHeaders()
	others := []schema.Header{{Key: "traceparent", Value: []byte("00-1")}, {Key: "traceparent"}, {Key: strings.ToUpper(schema.HeaderID)}}
	got, err := schema.ParseHeaders(h.Append(others))
	if err != nil || got.RowID != h.RowID {
		t.Errorf("got %v, error %v", got, err)
	}
}

func BenchmarkHeaders(b *testing.B) {
	h := exampleHeaders()
	b.ReportAllocs()
	for b.Loop() {
		h.Append(nil)
	}
}
