package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pstncalls/internal/config"
)

// registrySteps are the requests of a first registration.
var registrySteps = []struct{ method, path string }{
	{"GET", "/config/"}, {"GET", "/subjects/"}, {"PUT", "/config/"}, {"POST", "/subjects/"}, {"GET", "/schemas/ids/"},
}

// What will pass is waited for, before each request and after it, when the registry has done what it was asked; all is done once.
func TestRegistryFaultsThatPass(t *testing.T) {
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	faults := map[string]func(http.ResponseWriter){
		"503":                status(503, "<html>be back soon</html>"),
		"500":                status(500, `{"error_code":500,"message":"oops"}`),
		"429":                status(429, ""),
		"408":                status(408, ""),
		"connection cut":     func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"answer lost":        nil, // the registry has done it
		"answer half":        func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); io.WriteString(w, `{"id":`) },
		"id not heard of":    status(404, `{"error_code":40403,"message":"Schema 1 not found."}`),
		"conflict of starts": status(409, `{"error_code":409,"message":"An artifact with ID 'x' already exists."}`),
	}
	eachRegistry(t, func(t *testing.T, reg testRegistry) {
		for name, fault := range faults {
			for _, step := range registrySteps {
				if name == "id not heard of" && step.path != "/schemas/ids/" {
					continue // anywhere else that says that there is nothing
				}
				t.Run(name+" at "+step.method+step.path, func(t *testing.T) {
					t.Parallel()
					reg := reg
					reg.t = t
					back, topic, fired := reg, reg.topic(), 0
					reg.url = reg.newFront("", func(w http.ResponseWriter, r *http.Request) bool {
						if fired > 0 || r.Method != step.method || !strings.HasPrefix(r.URL.Path, step.path) {
							return true
						}
						fired++
						if fault == nil {
							body, _ := io.ReadAll(r.Body)
							if req, err := http.NewRequest(r.Method, back.url+r.URL.Path, bytes.NewReader(body)); err == nil {
								req.Header = r.Header
								if resp, err := http.DefaultClient.Do(req); err == nil {
									resp.Body.Close()
								}
							}
							panic(http.ErrAbortHandler)
						}
						fault(w)
						return false
					}).URL
					id, log, err := reg.register(topic)
					if id == 0 || err != nil || fired != 1 {
						t.Fatalf("id %d, %v, fired %d\n%s", id, err, fired, log)
					}
					if waits := strings.Contains(log, "waiting for the schema registry"); waits == (name == "conflict of starts") {
						t.Errorf("logged\n%s", log)
					}
					if back.level(topic) != "FULL" || back.newest(topic)["version"] != 1.0 {
						t.Errorf("level %v, version %v", back.level(topic), back.newest(topic)["version"])
					}
				})
			}
		}
	})
}

// What will not pass is refused at once, and says what to change.
func TestRegistryFaultsThatStay(t *testing.T) {
	page := "<!DOCTYPE html><html><body>Welcome</body></html>"
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		at     string // method of the request; "": any
		want   []string
	}{
		{"web page", answer(200, page), "", []string{"a web page", "SCHEMA_REGISTRY_URL"}},
		{"web page, 404", answer(404, page), "", []string{"a web page", "HTTP 404", "SCHEMA_REGISTRY_URL"}},
		{"nothing", answer(200, ""), "", []string{"nothing", "SCHEMA_REGISTRY_URL"}},
		{"204", answer(204, ""), "", []string{"nothing", "SCHEMA_REGISTRY_URL"}},
		{"a list", answer(200, `["a"]`), "", []string{`["a"]`, "SCHEMA_REGISTRY_URL"}},
		{"other 404", answer(404, `{"detail":"NotFoundException: RESTEASY003210: Could not find resource"}`), "", []string{"RESTEASY003210", "HTTP 404", "/apis/ccompat/v7"}},
		{"404 with code 0", answer(404, `{"error_code":0,"message":"Could not find resource"}`), "", []string{"Could not find resource", "SCHEMA_REGISTRY_URL"}},
		{"405", answer(405, ""), "POST", []string{"HTTP 405", "SCHEMA_REGISTRY_URL"}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://u:hidden@sso.example/login?token=hidden#hidden", http.StatusFound)
		}, "", []string{"redirects to https://sso.example/login;", "SCHEMA_REGISTRY_URL"}},
		{"redirect of the POST", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "POST", []string{"redirects to http://127.0.0.1:", "/elsewhere"}},
		{"redirect to nowhere", answer(304, ""), "", []string{"HTTP 304", "SCHEMA_REGISTRY_URL"}},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for line := bytes.Repeat([]byte("x"), 1<<16); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}, "", []string{"too long", "SCHEMA_REGISTRY_URL"}},
		{"401", answer(401, ""), "", []string{"HTTP 401", "SCHEMA_REGISTRY_USERNAME"}},
		{"403", answer(403, `{"error_code":40301,"message":"User is denied operation Write on Subject"}`), "PUT", []string{"denied operation", "HTTP 403", "compatibility level", "SCHEMA_REGISTRY_USERNAME"}},
		{"422", answer(422, `{"error_code":42201,"message":"Invalid schema: rule VALIDITY"}`), "POST", []string{"rule VALIDITY", "HTTP 422", "KAFKA_EVENTS_TOPIC"}},
		{"read only", answer(422, `{"error_code":42205,"message":"Subject is in read-only mode"}`), "POST", []string{"read-only", "READWRITE"}},
		{"no id", answer(200, `{}`), "POST", []string{"id 0 does not fit", "SCHEMA_REGISTRY_URL"}},
		{"id too large", answer(200, `{"id":4294967296}`), "POST", []string{"id 4294967296 does not fit"}},
		{"id negative", answer(200, `{"id":-1}`), "POST", []string{"id -1 does not fit"}},
		{"protobuf", answer(200, `{"version":3,"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}`), "GET /subjects", []string{"somebody else's: its version 3 is a schema of type PROTOBUF", "KAFKA_EVENTS_TOPIC"}},
		{"another schema's id", answer(200, `{"schema":"{\"type\":\"record\",\"name\":\"Order\",\"namespace\":\"shop\",\"fields\":[]}"}`), "GET /schemas", []string{"another schema (shop.Order)", "/schemas/ids/1"}},
		{"our schema, another version", func(w http.ResponseWriter, _ *http.Request) {
			answerSchema(w, olderSchema)
		}, "GET /schemas", []string{"another schema (pstncalls.PstnCall)"}},
		{"no schema", answer(200, `{}`), "GET /schemas", []string{"another schema (no Avro schema)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reg := newTestRegistry(t, confluent)
			fired := 0
			reg.url = reg.newFront("", func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.Method+" "+r.URL.Path, tt.at) {
					return true
				}
				fired++
				tt.answer(w, r)
				return false
			}).URL
			_, log, err := reg.register(reg.topic())
			refused := new(refusedSchema)
			if !errors.As(err, &refused) || fired != 1 || log != "" {
				t.Fatalf("%v, fired %d\n%s", err, fired, log)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
			if s := err.Error(); len(s) > 1000 || strings.Contains(s, "hidden") || strings.Contains(s, "<") && !strings.Contains(s, "diff <") {
				t.Errorf("message %s", s)
			}
		})
	}
}

// Some 4xx of the global level say nothing of the subject: it is wanted for the log alone.
func TestRegistryHidesItsGlobalLevel(t *testing.T) {
	reg := newTestRegistry(t, confluent)
	topic := reg.topic()
	reg.add(topic, olderSchema)
	reg.url = reg.newFront("", func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/config" {
			w.WriteHeader(http.StatusForbidden)
			return false
		}
		return true
	}).URL
	if _, log, err := reg.register(topic); err != nil || !strings.Contains(log, "level=unknown") {
		t.Errorf("%v\n%s", err, log)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A registry that is away is waited for, without haste, and the log says so once a minute, without what is secret.
func TestRegistryAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		u := &url.URL{Scheme: "http", Host: "registry:8081", Path: "/base"}
		r, err := newRegistryOver(roundTripper(func(*http.Request) (*http.Response, error) {
			asked++
			return nil, errors.New("dial tcp 10.0.0.1:8081: connect: connection refused")
		}), config.Registry{URL: u})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute-time.Second)
		defer cancel()
		_, err = register(ctx, r, "calls", slog.New(slog.NewTextHandler(&log, nil)))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if n := strings.Count(log.String(), "waiting for the schema registry"); n < 8 || n > 10 || n != strings.Count(log.String(), "\n") {
			t.Errorf("said %d times in 10 minutes:\n%s", n, log.String())
		}
		if asked < 40 || asked > 50 {
			t.Errorf("asked %d times", asked)
		}
		if line, _, _ := strings.Cut(log.String(), "\n"); !strings.Contains(line, "http://registry:8081/base") || strings.Count(line, "http://") != 1 || !strings.Contains(line, "connection refused") {
			t.Errorf("%s", line)
		}
	})
}
