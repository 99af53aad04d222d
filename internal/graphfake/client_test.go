package graphfake

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestBudget(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestsPerMinute = 3 })
	path := rangePath("2026-11-02", "2026-11-03")
	for i, c := range []struct {
		second int
		want   int
		after  string
	}{
		{0, 200, ""}, {10, 200, ""}, {20, 200, ""},
		{30, 429, "40"}, // the requests of 10, 20 and 30 count: the first of them leaves at 70
		{70, 200, ""},
		{71, 429, "19"}, // those of 30, 70 and 71: throttled requests count
	} {
		w.set(day(20, 0).Add(time.Duration(c.second) * time.Second))
		r := w.get(t, path)
		if r.status != c.want || r.header.Get("Retry-After") != c.after {
			t.Errorf("request %d: %d, Retry-After %q, want %d, %q", i, r.status, r.header.Get("Retry-After"), c.want, c.after)
		}
	}
	if m := w.Misuse(); len(m) > 0 {
		t.Errorf("misuse of a polite client: %q", m)
	}
	for range forgiven + 1 {
		w.get(t, path)
	}
	if m := w.Misuse(); len(m) != 1 || !strings.Contains(m[0], "Retry-After") {
		t.Errorf("misuse: %q", m)
	}
	w.set(day(20, 1)) // forgiven and forgotten: the next hold counts from the start
	for range 4 + forgiven {
		w.get(t, path)
	}
	if m := w.Misuse(); len(m) != 1 {
		t.Errorf("misuse: %q", m)
	}
	w.get(t, path)
	if m := w.Misuse(); len(m) != 2 {
		t.Errorf("misuse: %q, want a second one", m)
	}
}

func TestGraphsOwnLimitIsTheDefault(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestsPerMinute, c.Tenants = 0, append(c.Tenants, TenantConfig{ID: "other"}) })
	for i := range 51 {
		if r := w.get(t, rangePath("2026-11-02", "2026-11-03")); (r.status == http.StatusOK) != (i < 50) {
			t.Errorf("request %d: %d", i, r.status)
		}
	}
	if r := w.do(t, http.MethodGet, rangePath("2026-11-02", "2026-11-03"), "other"); r.status != http.StatusOK {
		t.Errorf("another tenant: %d", r.status)
	}
}

func TestMisuse(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		misuse       string
	}{
		{"GET", rangePath("2026-11-02", "2026-11-03") + "?$top=999", 200, "$top"},
		{"GET", rangePath("2026-11-02", "2026-11-03") + "?$skip=100", 200, "rebuilt"},
		{"GET", "/beta/communications/callRecords/getPstnCalls(from=2026-11-02,to=2026-11-03)", 400, "malformed"},
		{"POST", rangePath("2026-11-02", "2026-11-03"), 405, "POST"},
		{"GET", "/beta/communications/callRecords/getDirectRoutingCalls(fromDateTime=2026-11-02,toDateTime=2026-11-03)", 404, "path"},
		{"GET", rangePath("2026-11-2", "2026-11-03"), 400, "malformed"},
		{"GET", rangePath("2026-11-02", "2026-11-03") + "?$skip=-1", 400, "malformed"},
	} {
		w := newWorld(t, nil)
		r := w.do(t, c.method, c.path, "contoso")
		if m := w.Misuse(); r.status != c.status || len(m) != 1 || !strings.Contains(m[0], c.misuse) {
			t.Errorf("%s %s: %d, misuse %q; want %d, %q", c.method, c.path, r.status, m, c.status, c.misuse)
		}
	}
}

func TestAuthorization(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.ClientSecret, c.TokenLifetime, c.RequireToken = "hush", time.Hour, true })
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {"app"}, "client_secret": {"hush"}, "scope": {w.url + "/.default"}}
	post := func(tenant string, change url.Values) (int, map[string]any) {
		t.Helper()
		form := maps.Clone(good)
		maps.Copy(form, change)
		resp, err := http.PostForm(w.url+"/"+tenant+"/oauth2/v2.0/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body
	}
	for _, c := range []struct {
		tenant string
		change url.Values
		status int
		code   string
		text   string
	}{
		{"contoso", url.Values{"client_secret": {"wrong"}}, 401, "invalid_client", "AADSTS7000215"},
		{"contoso", url.Values{"client_secret": nil}, 401, "invalid_client", "AADSTS7000218"},
		{"contoso", url.Values{"scope": {"user.read"}}, 400, "invalid_scope", "AADSTS1002012"},
		{"contoso", url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type", "AADSTS70003"},
		{"contoso", url.Values{"client_id": nil}, 400, "invalid_request", "AADSTS900144"},
		{"nobody", nil, 400, "invalid_request", "AADSTS90002"},
	} {
		status, body := post(c.tenant, c.change)
		if text, _ := body["error_description"].(string); status != c.status || body["error"] != c.code || !strings.HasPrefix(text, c.text) {
			t.Errorf("%v: %d %v", c.change, status, body)
		}
	}
	status, body := post("contoso", nil)
	bearer, _ := body["access_token"].(string)
	if status != http.StatusOK || body["expires_in"] != 3600.0 || bearer == "" {
		t.Fatalf("token: %d %v", status, body)
	}
	path := rangePath("2026-11-02", "2026-11-03")
	for _, c := range []struct {
		bearer string
		now    time.Time
		want   int
	}{
		{bearer, day(20, 0), 200}, {bearer, day(20, 1).Add(-1), 200}, {bearer, day(20, 1), 401},
		{bearer + "x", day(20, 0), 401}, {"contoso", day(20, 0), 401}, {"", day(20, 0), 401},
	} {
		w.set(c.now)
		if r := w.do(t, http.MethodGet, path, c.bearer); r.status != c.want {
			t.Errorf("bearer %q at %v: %d, want %d", c.bearer, c.now, r.status, c.want)
		}
	}
	refused := w.Script(Fault{Kind: Token})
	if status, body := post("contoso", nil); status != 401 || body["error"] != "invalid_client" || refused.Fired() != 1 {
		t.Errorf("token fault: %d %v, fired %d", status, body, refused.Fired())
	}
}

func TestTenantIDForAToken(t *testing.T) {
	w := newWorld(t, nil)
	for bearer, want := range map[string]int{"contoso": 200, "nobody": 401, "": 401} {
		if r := w.do(t, http.MethodGet, rangePath("2026-11-02", "2026-11-03"), bearer); r.status != want {
			t.Errorf("bearer %q: %d, want %d", bearer, r.status, want)
		}
	}
}
