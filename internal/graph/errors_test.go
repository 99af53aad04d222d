package graph

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		status int
		after  time.Duration
		want   Class
	}{
		{204, 0, Retry}, {206, 0, Retry},
		{301, 0, Human}, {302, 0, Human},
		{400, 0, Permanent}, {406, 0, Permanent}, {410, 0, Permanent},
		{401, 0, NewToken}, {401, time.Second, NewToken},
		{403, 0, Human}, {404, 0, Human}, {407, 0, Human}, {418, 0, Human},
		{408, 0, Retry}, {409, 0, Retry}, {425, 0, Retry},
		{429, 0, Wait}, {429, time.Second, Wait}, {509, 0, Wait},
		{500, 0, Retry}, {502, 0, Retry}, {503, 0, Retry}, {503, time.Second, Wait}, {504, 0, Retry},
	} {
		if got := classify(tt.status, tt.after); got != tt.want {
			t.Errorf("classify(%d, %v) = %v, want %v", tt.status, tt.after, got, tt.want)
		}
	}
}

var retryAfterNow = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"0", 0}, {"1", time.Second}, {"315", 315 * time.Second}, {" 41 ", 41 * time.Second}, {"007", 7 * time.Second},
		{"86400", 24 * time.Hour}, {"86401", 24 * time.Hour}, {"1000000000", 24 * time.Hour},
		{"99999999999999999999999", 24 * time.Hour},
		{"-5", 0}, {"+5", 0}, {"1.5", 0}, {"1e3", 0}, {"soon", 0}, {"0x10", 0}, {"5, 6", 0},
		{"Mon, 23 Nov 2026 10:01:30 GMT", 90 * time.Second},
		{"Monday, 23-Nov-26 10:01:30 GMT", 90 * time.Second},
		{"Mon Nov 23 10:01:30 2026", 90 * time.Second},
		{"Mon, 23 Nov 2026 09:00:00 GMT", 0},
		{"Mon, 23 Nov 2099 09:00:00 GMT", 24 * time.Hour},
		{"2026-11-23T10:01:30Z", 0},
	} {
		if got := parseRetryAfter(tt.header, retryAfterNow); got != tt.want {
			t.Errorf("parseRetryAfter(%q) = %v, want %v", tt.header, got, tt.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("5")
	f.Add("Mon, 23 Nov 2026 10:01:30 GMT")
	f.Add("99999999999999999999999")
	f.Fuzz(func(t *testing.T, header string) {
		if d := parseRetryAfter(header, retryAfterNow); d < 0 || d > 24*time.Hour || d%time.Second != 0 {
			t.Fatalf("%q gave %v", header, d)
		}
	})
}

func TestParseErrorBody(t *testing.T) {
	for _, tt := range []struct{ name, body, code, message string }{
		{"empty message", `{"error":{"code":"Forbidden","message":"","innerError":{"request-id":"r","date":"2020-10-07T18:18:56"}}}`, "Forbidden", ""},
		{"inner", `{"error":{"code":"activityLimitReached","message":"slow","innererror":{"code":"throttledRequest","innerError":{"code":"deep"}}}}`, "activityLimitReached/throttledRequest/deep", "slow"},
		{"html", `<html><body>down</body></html>`, "", ""},
		{"nothing", ``, "", ""},
		{"text error", `{"error":"invalid"}`, "", ""},
		{"number code", `{"error":{"code":5}}`, "", ""},
		{"markup in it", `{"error":{"code":"X","message":"<p>go <b>away</b></p><script"}}`, "X", "go away script"},
		{"lines", `{"error":{"code":"X","message":"a\n\tb\u0000\u202ec"}}`, "X", "a b c"},
		{"private", `{"error":{"code":"X","message":"call of joe@contoso.com to +49 151 1234567 by t0ken-t0ken, eyJhbGciOiJub25lIn0.eyJ4Ijox.sig"}}`, "X", "call of … to … by …, …"},
		{"long", `{"error":{"code":"X","message":"` + strings.Repeat("ä", 1000) + `"}}`, "X", strings.Repeat("ä", maxMessage-1) + "…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, message := parseErrorBody([]byte(tt.body), "t0ken-t0ken")
			if code != tt.code || message != tt.message {
				t.Errorf("got %q, %q; want %q, %q", code, message, tt.code, tt.message)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	for _, tt := range []struct {
		err  Error
		want []string
	}{
		{Error{Class: Human, Status: 403, Code: "Forbidden", Op: "tenant t, calls [a, b)", RequestID: "r1", ClientRequestID: "c1"},
			[]string{"tenant t, calls [a, b): Graph answered 403 (Forbidden); grant", "application permission CallRecords.Read.All", "admin consent", "request-id r1", "client-request-id c1"}},
		{Error{Class: Human, Status: 404}, []string{"CallRecords.Read.All", "endpoint"}},
		{Error{Class: Human, Status: 401, authority: true}, []string{"the token authority answered 401", "credential"}},
		{Error{Class: Wait, Status: 429, RetryAfter: 41 * time.Second}, []string{"answered 429", "41s"}},
		{Error{Class: Wait, Status: 429, RequestID: "r1"}, []string{"asked again later [request-id r1]"}},
		{Error{Class: Retry, Err: cause, ClientRequestID: "c1"}, []string{"dial tcp: refused", "asked again; if this lasts, check endpoint, network and proxy [client-request-id c1]"}},
		{Error{Class: Retry, Err: cause, authority: true}, []string{"dial tcp: refused", "asked again; if this lasts, check the token authority"}},
		{Error{Class: Retry, Status: 200}, []string{"if this lasts, check endpoint and proxy"}},
		{Error{Class: Retry, Status: 500}, []string{"if this lasts, look at Microsoft's service health"}},
		{Error{Class: Permanent, Status: 400}, []string{"of no use; if no day is answered, check"}},
	} {
		for _, want := range tt.want {
			if got := tt.err.Error(); !strings.Contains(got, want) || strings.ContainsAny(got, "\n") {
				t.Errorf("%q lacks %q", got, want)
			}
		}
	}
	if err := error(&Error{Err: cause}); !errors.Is(err, cause) {
		t.Error("the cause is not unwrapped")
	}
}

func TestCloudByName(t *testing.T) {
	for name, want := range map[string]string{
		"global":   "https://graph.microsoft.com https://login.microsoftonline.com https://graph.microsoft.com/.default",
		"usgov":    "https://graph.microsoft.us https://login.microsoftonline.us https://graph.microsoft.us/.default",
		"usgovdod": "https://dod-graph.microsoft.us https://login.microsoftonline.us https://dod-graph.microsoft.us/.default",
	} {
		c, err := CloudByName(name)
		if err != nil || c.Name != name || c.Graph.String()+" "+c.Authority.String()+" "+c.Scope != want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for _, name := range []string{"china", "", "Global"} {
		if _, err := CloudByName(name); err == nil {
			t.Errorf("cloud %q was accepted", name)
		}
	}
}
