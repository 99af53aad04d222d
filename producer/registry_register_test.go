package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"pstncalls/internal/config"
	configenv "pstncalls/internal/config/env"
	"pstncalls/schema"
)

// Other schemas of our record, and of another.
var (
	olderSchema = regexp.MustCompile(`(?s),\s*\{"name": "clientLocalIpV6Address".*?\}(,\s*\{"name": "extra")`).ReplaceAllString(schema.PstnCallSchema(), "$1")
	// A reader of one cannot read the other's.
	oddSchema     = strings.Replace(schema.PstnCallSchema(), `{"name": "tenantId", "type": "string"`, `{"name": "tenantId", "type": "long"`, 1)
	foreignSchema = `{"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "item", "type": "string"}]}`
)

func TestOtherSchemas(t *testing.T) {
	if olderSchema == schema.PstnCallSchema() || oddSchema == schema.PstnCallSchema() {
		t.Fatal("the tests' other schemas are our own")
	}
}

// A new subject gets FULL before it gets a schema; whoever comes again changes nothing and says nothing.
func TestRegisterNew(t *testing.T) {
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		topic := reg.topic()
		id, log, err := reg.register(topic)
		if err != nil || id == 0 || !strings.Contains(log, "level=INFO") || !strings.Contains(log, "FULL") || strings.Contains(log, "WARN") {
			t.Fatalf("id %d, %v\n%s", id, err, log)
		}
		if got := reg.level(topic); got != "FULL" {
			t.Errorf("level %v", got)
		}
		newest := reg.newest(topic)
		if text := newest["schema"].(string); !readsAlike(text, schema.PstnCallSchema()) || (text == schema.PstnCallSchema()) == reg.minifies {
			t.Errorf("the registry gives back %.80q…", text)
		}
		again, log, err := reg.register(topic)
		if again != id || err != nil || log != "" || reg.newest(topic)["version"] != newest["version"] {
			t.Errorf("again: id %d after %d, %v, newest %v\n%s", again, id, err, reg.newest(topic)["version"], log)
		}
	})
}

// Whatever request a start dies after, the next start ends with our level, our schema and one version.
func TestRegisterCrash(t *testing.T) {
	const requests = 5 // GET level, GET newest, PUT level, POST schema, GET schema
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		for n := range requests {
			topic := reg.topic()
			ctx, die := context.WithCancel(t.Context())
			left := n
			front := reg
			front.url = reg.newFront("", func(http.ResponseWriter, *http.Request) bool {
				if left--; left < 0 {
					die()
					return false
				}
				return true
			}).URL
			if _, err := register(ctx, front.client(http.DefaultTransport), topic, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
				t.Fatalf("dead after %d requests: %v", n, err)
			}
			_, log, err := reg.register(topic)
			if err != nil || strings.Contains(log, "WARN") || reg.level(topic) != "FULL" || reg.newest(topic)["version"] != 1.0 {
				t.Errorf("after %d requests: %v, level %v, newest version %v\n%s", n, err, reg.level(topic), reg.newest(topic)["version"], log)
			}
		}
	})
}

// A level that somebody has set stays, and so does a subject that somebody else has made.
func TestRegisterRespects(t *testing.T) {
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		tests := []struct {
			name    string
			level   string // "": not set
			schemas []string
			want    any    // level afterwards; nil: as before
			log     string // level of what is said, "": nothing
		}{
			{"level on an empty subject", "BACKWARD", nil, "BACKWARD", ""},
			{"transitive", "FULL_TRANSITIVE", nil, "FULL_TRANSITIVE", ""},
			{"level with a schema", "FORWARD", []string{olderSchema}, "FORWARD", ""},
			{"NONE with a schema", none, []string{olderSchema}, none, "WARN"},
			{"NONE lets pass what does not fit", none, []string{oddSchema}, none, "WARN"},
			{"our schema, no level", "", []string{schema.PstnCallSchema()}, nil, map[bool]string{true: "WARN", false: "INFO"}[reg.global == none]},
			{"older schema, no level", "", []string{olderSchema}, nil, map[bool]string{true: "WARN", false: "INFO"}[reg.global == none]},
		}
		if !reg.noneIsGone {
			tests = append(tests, tests[0])
			last := &tests[len(tests)-1]
			last.name, last.level, last.want, last.log = "NONE on an empty subject", none, none, "WARN"
		}
		for _, tt := range tests {
			topic := reg.topic()
			for _, s := range tt.schemas {
				reg.add(topic, s)
			}
			if tt.level != "" {
				reg.setLevel(topic, tt.level)
			}
			_, log, err := reg.register(topic)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if lines := strings.Count(log, "\n"); tt.log == "" && lines > 0 || tt.log != "" && (lines != 1 || !strings.Contains(log, "level="+tt.log)) {
				t.Errorf("%s: logged %q", tt.name, log)
			}
			switch {
			case tt.want != nil:
				if got := reg.level(topic); got != tt.want {
					t.Errorf("%s: level %v", tt.name, got)
				}
			case !reg.unsetIsNot: // the other answers 404, which is for ask to refuse
				if got := reg.level(topic); got != none {
					t.Errorf("%s: level %v", tt.name, got)
				}
			}
			if got := reg.newest(topic)["schema"].(string); !readsAlike(got, schema.PstnCallSchema()) {
				t.Errorf("%s: the newest is %.80q…", tt.name, got)
			}
		}
	})
}

// What does not fit is refused with the registry's reason, and somebody else's subject at any level; nothing changes.
func TestRegisterRefused(t *testing.T) {
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		tests := []struct {
			name, level, held string
			want              []string
		}{
			{"incompatible", "FULL", oddSchema, []string{"register the schema as ", "ncompatible", "HTTP 409", "/versions/latest/schema' | jq", "KAFKA_EVENTS_TOPIC"}},
			{"somebody else's", "FULL", foreignSchema, []string{"somebody else's", "shop.Order", "pstncalls.PstnCall", "KAFKA_EVENTS_TOPIC"}},
			{"somebody else's at NONE", none, foreignSchema, []string{"somebody else's", "shop.Order"}},
			{"no record", none, `"string"`, []string{"somebody else's", "no record"}},
		}
		for _, tt := range tests {
			topic := reg.topic()
			reg.add(topic, tt.held)
			reg.setLevel(topic, tt.level)
			_, log, err := reg.register(topic)
			refused := new(refusedSchema)
			if !errors.As(err, &refused) || log != "" {
				t.Fatalf("%s: %v\n%s", tt.name, err, log)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: no %q in: %v", tt.name, w, err)
				}
			}
			if got := reg.newest(topic); got["version"] != 1.0 || reg.level(topic) != tt.level {
				t.Errorf("%s: version %v, level %v", tt.name, got["version"], reg.level(topic))
			}
		}
	})
}

// Replicas that start together on a new subject all get one id; none takes another's work for a refusal.
func TestRegisterTogether(t *testing.T) {
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		for range 3 {
			topic := reg.topic()
			var wg sync.WaitGroup
			ids, errs := make([]int, 8), make([]error, 8)
			for i := range ids {
				wg.Go(func() {
					ids[i], errs[i] = register(t.Context(), reg.client(http.DefaultTransport), topic, slog.New(slog.DiscardHandler))
				})
			}
			wg.Wait()
			if slices.Min(ids) == 0 || slices.Min(ids) != slices.Max(ids) || reg.level(topic) != "FULL" {
				t.Errorf("ids %v, level %v, %v", ids, reg.level(topic), errors.Join(errs...))
			}
		}
	})
	// Apicurio 2's answer to the loser.
	reg := newTestRegistry(t, apicurio2)
	won, topic, lost := reg, reg.topic(), 0
	reg.url = reg.newFront("", func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return true
		}
		lost++
		won.setLevel(topic, "FULL")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error_code":0,"message":"A rule named 'COMPATIBILITY' already exists."}`)
		return false
	}).URL
	if id, _, err := reg.register(topic); id != 1 || err != nil || lost != 1 {
		t.Errorf("a lost race: id %d, %v, lost %d", id, err, lost)
	}
}

// Credentials and a base path reach the registry; they come back in no message.
func TestRegisterCredentials(t *testing.T) {
	const user, password = "calls", "s3cret/ä"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		status := http.StatusUnauthorized
		front := reg.newFront("/team/registry", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Authorization") == basic && status == http.StatusUnauthorized {
				return true
			}
			w.WriteHeader(status) // as gateways do that show what they got
			fmt.Fprintf(w, `{"message":"not for Authorization: %s (%s)"}`, r.Header.Get("Authorization"), password)
			return false
		})
		u, err := url.Parse(front.URL + "/team/registry")
		if err != nil {
			t.Fatal(err)
		}
		topic := reg.topic()
		try := func(cfg config.Registry) error {
			r, err := newRegistry(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = register(t.Context(), r, topic, slog.New(slog.DiscardHandler))
			return err
		}
		if err := try(config.Registry{URL: u, Username: user, Password: configenv.NewSecret(password)}); err != nil || reg.level(topic) != "FULL" {
			t.Errorf("with credentials: %v", err)
		}
		asked := front.count("")
		for name, tt := range map[string]struct {
			cfg    config.Registry
			status int
			want   string
		}{
			"none":      {config.Registry{URL: u}, 401, "set SCHEMA_REGISTRY_USERNAME and"},
			"wrong":     {config.Registry{URL: u, Username: user, Password: configenv.NewSecret("guess")}, 401, "check SCHEMA_REGISTRY_USERNAME and"},
			"forbidden": {config.Registry{URL: u, Username: user, Password: configenv.NewSecret(password)}, 403, "let the user of SCHEMA_REGISTRY_USERNAME"},
		} {
			status = tt.status
			err := try(tt.cfg)
			refused := new(refusedSchema)
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), fmt.Sprint("HTTP ", tt.status)) {
				t.Errorf("%s: %v", name, err)
			}
			if tt.cfg.Username != "" && strings.Contains(err.Error(), tt.cfg.Password.Reveal()) || strings.Contains(err.Error(), "Y2FsbHM6") {
				t.Errorf("%s: a secret in %v", name, err)
			}
		}
		if got := front.count("") - asked; got != 3 {
			t.Errorf("%d requests for 3 refusals", got)
		}
	})
}

func TestReadsAlike(t *testing.T) {
	const base = `{"type":"record","name":"R","namespace":"a.b","fields":[
		{"name":"x","type":["null","string"],"default":null,"doc":"d"},
		{"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":6}},
		{"name":"r","type":{"type":"array","items":{"type":"record","name":"In","fields":[{"name":"k","type":"int"}]}}},
		{"name":"again","type":["null","In"]},{"name":"e","type":{"type":"map","values":"string"}}]}`
	change := func(old, new string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(base, old, new, 1)
	}
	tests := []struct {
		name, avsc string
		want       bool
	}{
		{"itself", base, true},
		{"white space", strings.ReplaceAll(base, "\n\t\t", " "), true},
		{"doc", change(`,"doc":"d"`, ``), true},
		{"doc of a type", change(`"type":"bytes",`, `"type":"bytes","doc":"d",`), true},
		{"default", change(`,"default":null`, ``), true},
		{"alias", change(`"name":"x",`, `"name":"x","aliases":["y"],`), true},
		{"primitive in an object", change(`"string"]`, `{"type":"string"}]`), true},
		{"annotation", change(`"string"]`, `{"type":"string","avro.java.string":"String"}]`), true},
		{"full name", change(`"name":"R","namespace":"a.b"`, `"name":"a.b.R"`), true},
		{"full name of a reference", change(`"null","In"`, `"null","a.b.In"`), true},
		{"other namespace", change(`"a.b"`, `"a.c"`), false},
		{"other name", change(`"R"`, `"S"`), false},
		{"other field name", change(`"x"`, `"y"`), false},
		{"type", change(`"string"]`, `"bytes"]`), false},
		{"order of a union", change(`["null","string"]`, `["string","null"]`), false},
		{"scale", change(`"scale":6`, `"scale":4`), false},
		{"precision", change(`18`, `20`), false},
		{"logical type", change(`"logicalType":"decimal",`, ``), false},
		{"field of an inner record", change(`"name":"k","type":"int"`, `"name":"k","type":"long"`), false},
		{"items", change(`"items":{`, `"items":["null"],"was":{`), false},
		{"values", change(`"values":"string"`, `"values":"bytes"`), false},
		{"a field less", change(`,{"name":"e","type":{"type":"map","values":"string"}}`, ``), false},
		{"order", change(`{"name":"again","type":["null","In"]},{"name":"e","type":{"type":"map","values":"string"}}`,
			`{"name":"e","type":{"type":"map","values":"string"}},{"name":"again","type":["null","In"]}`), false},
		{"nothing", ``, false},
		{"half", base[:80], false},
		{"no type", `{}`, false},
		{"a number", `7`, false},
		{"fields of a record missing", `{"type":"record","name":"R"}`, false},
		{"field is no object", `{"type":"record","name":"R","fields":[7]}`, false},
		{"a web page", `<html>`, false},
	}
	for _, tt := range tests {
		if got := readsAlike(base, tt.avsc); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if readsAlike(`{`, `{`) {
		t.Error("what cannot be parsed equals itself")
	}
	for avsc, want := range map[string]string{base: "a.b.R", `"string"`: "an Avro schema of no record", `x`: "no Avro schema", `{"type":"record","name":"R"}`: "no Avro schema"} {
		if got := recordName(avsc); got != want {
			t.Errorf("%s: %s", avsc, got)
		}
	}
}
