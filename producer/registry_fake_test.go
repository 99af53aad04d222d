package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"pstncalls/internal/config"
)

// registryVariable names a real registry for the tests: http://127.0.0.1:18081/apis/ccompat/v7. Unset, each of them runs against
// an in-process registry of every dialect.
const registryVariable = "PSTNCALLS_TEST_REGISTRY"

// dialect is all that differs between registries, as measured. The tests expect it of the real ones, and the in-process one speaks it.
type dialect struct {
	name       string
	global     string // level, as shipped
	unsetIsNot bool   // a subject without level of its own: 404; otherwise 200 and NONE, whatever the global level is
	minifies   bool   // gives a schema back without white space; docs, defaults and aliases make no other id
	noneIsGone bool   // NONE removes the subject's level: 404 where there is no subject
	reasons    string // the check's answer says why not, in this property
}

var (
	// 3.3.3's check compares BACKWARD where neither subject nor registry ever had a level set; its registration does not.
	apicurio3 = dialect{name: "Apicurio 3.3.3", global: none, minifies: true}
	// 2.6 also answers 409 to one of two that set a subject's first level at once.
	apicurio2 = dialect{name: "Apicurio 2.6.13", global: none, noneIsGone: true, reasons: "reason"}
	confluent = dialect{name: "Confluent", global: "BACKWARD", unsetIsNot: true, reasons: "messages"} // by its documentation
)

// testRegistry is a registry that a test asks by hand.
type testRegistry struct {
	dialect
	t   *testing.T
	url string
}

// eachRegistry runs a test against the real registry that the environment names, or every dialect of the in-process one.
func eachRegistry(t *testing.T, test func(t *testing.T, reg testRegistry)) {
	if u := os.Getenv(registryVariable); u != "" {
		d := dialectOf(t, u)
		t.Run(d.name+" (real)", func(t *testing.T) { test(t, testRegistry{d, t, u}) })
		return
	}
	for _, d := range []dialect{apicurio3, apicurio2, confluent} {
		t.Run(d.name, func(t *testing.T) { test(t, newTestRegistry(t, d)) })
	}
}

func newTestRegistry(t *testing.T, d dialect) testRegistry {
	srv := httptest.NewServer(newFakeRegistry(d))
	t.Cleanup(srv.Close)
	return testRegistry{d, t, srv.URL}
}

func dialectOf(t *testing.T, u string) dialect {
	root, _, apicurio := strings.Cut(u, "/apis/ccompat/")
	if !apicurio {
		return confluent
	}
	resp, err := http.Get(root + "/apis/registry/v2/system/info")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info struct{ Version string }
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(info.Version, "2.") {
		return apicurio2
	}
	return apicurio3
}

// topic returns the name of a topic that no other test has.
func (reg testRegistry) topic() string { return fmt.Sprintf("calls-%x", rand.Uint64()) }

// ask makes one request, which must be answered with 200, and returns the answer.
func (reg testRegistry) ask(method, path string, body any) map[string]any {
	reg.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		reg.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(reg.t.Context(), method, reg.url+path, strings.NewReader(string(b)))
	if err != nil {
		reg.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		reg.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	b, err = io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, &out) != nil {
		reg.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, b, err)
	}
	return out
}

func (reg testRegistry) level(topic string) any {
	reg.t.Helper()
	return reg.ask("GET", configPath(subjectOf(topic)), nil)["compatibilityLevel"]
}

func (reg testRegistry) setLevel(topic, level string) {
	reg.t.Helper()
	reg.ask("PUT", configPath(subjectOf(topic)), map[string]string{"compatibility": level})
}

func (reg testRegistry) add(topic, avsc string) {
	reg.t.Helper()
	reg.ask("POST", versionsPath(subjectOf(topic)), map[string]string{"schema": avsc})
}

func (reg testRegistry) newest(topic string) map[string]any {
	reg.t.Helper()
	return reg.ask("GET", versionsPath(subjectOf(topic))+"/latest", nil)
}

func (reg testRegistry) client(over http.RoundTripper) *registry {
	reg.t.Helper()
	u, err := url.Parse(reg.url)
	if err != nil {
		reg.t.Fatal(err)
	}
	r, err := newRegistryOver(over, config.Registry{URL: u})
	if err != nil {
		reg.t.Fatal(err)
	}
	r.pause = 10 * time.Millisecond
	return r
}

// register registers as run does, and returns the log too.
func (reg testRegistry) register(topic string) (id int, log string, err error) {
	reg.t.Helper()
	var b strings.Builder
	// On a connection that was used before, Go repeats some requests by itself: a fault would not show.
	transport := &http.Transport{DisableKeepAlives: true}
	id, err = register(reg.t.Context(), reg.client(transport), topic, slog.New(slog.NewTextHandler(&b, nil)))
	return id, b.String(), err
}

// front is a proxy before the registry, at a base path of its own. It counts, and first decides whether a request gets through.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

// newFront: first returns false where it has answered itself.
func (reg testRegistry) newFront(base string, first func(w http.ResponseWriter, r *http.Request) bool) *front {
	target, err := url.Parse(reg.url)
	if err != nil {
		reg.t.Fatal(err)
	}
	f := new(front)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Authorization")
	}, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	f.Server = httptest.NewServer(http.StripPrefix(base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.Path)
		f.mu.Unlock()
		if first(w, r) {
			proxy.ServeHTTP(w, r)
		}
	})))
	reg.t.Cleanup(f.Close)
	return f
}

func (f *front) count(method string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.HasPrefix(a, method) {
			n++
		}
	}
	return n
}

// fakeRegistry is an in-process schema registry that compares for real.
type fakeRegistry struct {
	dialect
	mu       sync.Mutex
	levels   map[string]string
	subjects map[string][]int // ids of the versions
	texts    []string         // by id-1
	global   string
}

func newFakeRegistry(d dialect) http.Handler {
	f := &fakeRegistry{dialect: d, levels: map[string]string{}, subjects: map[string][]int{}, global: d.global}
	mux := http.NewServeMux()
	handle := func(pattern string, h func(r *http.Request, in fakeBody) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			var in fakeBody
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil && r.Method != http.MethodGet {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			status, out := h(r, in)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(out)
		})
	}
	handle("GET /config", func(*http.Request, fakeBody) (int, any) { return 200, fakeAnswer{"compatibilityLevel": f.global} })
	handle("PUT /config", func(_ *http.Request, in fakeBody) (int, any) {
		f.global = in.Compatibility
		return 200, in
	})
	handle("GET /config/{subject}", f.getLevel)
	handle("PUT /config/{subject}", f.setLevel)
	handle("POST /subjects/{subject}/versions", f.post)
	handle("GET /subjects/{subject}/versions/latest", f.latest)
	handle("GET /schemas/ids/{id}", f.byID)
	handle("POST /compatibility/subjects/{subject}/versions/latest", f.check)
	handle("POST /compatibility/subjects/{subject}/versions", f.check)
	return mux
}

type fakeBody struct {
	Schema        string `json:"schema,omitempty"`
	Compatibility string `json:"compatibility,omitempty"`
}

type fakeAnswer map[string]any

func notFound(code int) (int, any) {
	return 404, fakeAnswer{"error_code": code, "message": "not found."}
}

func (f *fakeRegistry) getLevel(r *http.Request, _ fakeBody) (int, any) {
	subject := r.PathValue("subject")
	level, ok := f.levels[subject]
	switch {
	case ok:
	case f.unsetIsNot:
		return notFound(40408)
	case f.subjects[subject] == nil:
		return notFound(40401)
	default:
		level = none
	}
	return 200, fakeAnswer{"compatibilityLevel": level}
}

func (f *fakeRegistry) setLevel(r *http.Request, in fakeBody) (int, any) {
	subject := r.PathValue("subject")
	if in.Compatibility == none && f.noneIsGone {
		if f.subjects[subject] == nil && f.levels[subject] == "" {
			return notFound(40401)
		}
		delete(f.levels, subject)
		return 200, in
	}
	f.levels[subject] = in.Compatibility
	return 200, in
}

func (f *fakeRegistry) latest(r *http.Request, _ fakeBody) (int, any) {
	ids := f.subjects[r.PathValue("subject")]
	if len(ids) == 0 {
		return notFound(40401)
	}
	id := ids[len(ids)-1]
	return 200, fakeAnswer{"version": len(ids), "id": id, "schema": f.texts[id-1]}
}

func (f *fakeRegistry) byID(r *http.Request, _ fakeBody) (int, any) {
	var id int
	if _, err := fmt.Sscan(r.PathValue("id"), &id); err != nil || id < 1 || id > len(f.texts) {
		return notFound(40403)
	}
	return 200, fakeAnswer{"schema": f.texts[id-1]}
}

func (f *fakeRegistry) post(r *http.Request, in fakeBody) (int, any) {
	subject := r.PathValue("subject")
	if _, err := avro.ParseWithCache(in.Schema, "", &avro.SchemaCache{}); err != nil {
		return 422, fakeAnswer{"error_code": 42201, "message": err.Error()}
	}
	text := in.Schema
	if f.minifies {
		var v any // the order of keys goes too: a harder test
		json.Unmarshal([]byte(text), &v)
		b, _ := json.Marshal(v)
		text = string(b)
	}
	id := 1 + slices.IndexFunc(f.texts, func(s string) bool { return s == text || f.minifies && readsAlike(s, text) })
	if id == 0 {
		f.texts = append(f.texts, text)
		id = len(f.texts)
	}
	if slices.Contains(f.subjects[subject], id) {
		return 200, fakeAnswer{"id": id}
	}
	if why := f.compare(subject, in.Schema, f.effective(subject)); why != "" {
		return 409, fakeAnswer{"error_code": 409, "message": why}
	}
	f.subjects[subject] = append(f.subjects[subject], id)
	return 200, fakeAnswer{"id": id}
}

func (f *fakeRegistry) effective(subject string) string {
	if level, ok := f.levels[subject]; ok {
		return level
	}
	return f.global
}

func (f *fakeRegistry) check(r *http.Request, in fakeBody) (int, any) {
	subject := r.PathValue("subject")
	if len(f.subjects[subject]) == 0 {
		return notFound(40402)
	}
	level := f.effective(subject)
	if strings.HasSuffix(r.URL.Path, "/latest") {
		level = strings.TrimSuffix(level, "_TRANSITIVE")
	}
	why := f.compare(subject, in.Schema, level)
	answer := fakeAnswer{"is_compatible": why == ""}
	if why != "" && r.URL.Query().Get("verbose") == "true" {
		switch f.reasons {
		case "reason":
			answer["reason"] = why
		case "messages":
			answer["messages"] = []string{why}
		}
	}
	return 200, answer
}

// compare returns why a schema may not follow the subject's newest, or with a _TRANSITIVE level any.
func (f *fakeRegistry) compare(subject, avsc, level string) string {
	ids := f.subjects[subject]
	base, transitive := strings.CutSuffix(level, "_TRANSITIVE")
	if !transitive && len(ids) > 0 {
		ids = ids[len(ids)-1:]
	}
	for _, id := range ids {
		parse := func(text string) avro.Schema {
			s, _ := avro.ParseWithCache(text, "", &avro.SchemaCache{}) // it was parsed when it came
			return s
		}
		c, old, young := avro.NewSchemaCompatibility(), parse(f.texts[id-1]), parse(avsc)
		for _, d := range []struct {
			level          string
			reader, writer avro.Schema
		}{{"BACKWARD", young, old}, {"FORWARD", old, young}} {
			if base != d.level && base != "FULL" {
				continue
			}
			if err := c.Compatible(d.reader, d.writer); err != nil {
				return "Incompatible artifact: " + err.Error()
			}
		}
	}
	return ""
}

// answerSchema answers with a schema.
func answerSchema(w http.ResponseWriter, avsc string) {
	json.NewEncoder(w).Encode(fakeAnswer{"schema": avsc})
}
