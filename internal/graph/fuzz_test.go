package graph

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pstncalls/internal/clock"
)

// checkText fails unless an error says in one clean line what to do next, and holds no secret.
func checkText(t *testing.T, e *Error, secret string) {
	t.Helper()
	text := e.Error()
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '<' || r == '>' }
	if !utf8.ValidString(text) || strings.ContainsFunc(text, odd) || len(text) > 4000 || !told.MatchString(text) {
		t.Fatalf("text: %q", text)
	}
	if strings.Contains(text+e.Code+e.Message+e.RequestID+e.Diagnostic, secret) {
		t.Fatalf("the secret shows in %q", text)
	}
}

// FuzzAnswer gives the client any answer to every request: it yields pages that end, or an error.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", "", "", []byte(`{"value":[{}]}`))
	f.Add(200, "gzip", "", "", []byte(zipped(`{"value":[1],"@odata.nextLink":"?a"}`)))
	f.Add(200, "gzip", "", "", []byte(zipped(`{"value":[]}`)[:15]))
	f.Add(403, "", "", testToken, []byte(`{"error":{"code":"`+testToken+`","message":"a@b.c","innerError":{"code":"deep"}}}`))
	f.Add(429, "gzip", "-1", "Mon, 23 Nov 2026 10:00:00 GMT", []byte(`{"error":`))
	f.Add(302, "br", "Mon, 23 Nov 2026 10:00:00 GMT", "http://[::1", []byte(nil))
	f.Fuzz(func(t *testing.T, status int, encoding, retryAfter, other string, body []byte) {
		if status < 200 || status > 599 || status == 401 {
			return // no server of net/http's, and a 401 is asked twice
		}
		requests := 0
		c, err := New(Config{Tenant: "contoso", Endpoint: mustURL(t, "http://graph.test"), APIVersion: "beta", Tokens: &fixedTokens{},
			Budget: NewBudget(clock.System, 1_000_000), Log: slog.New(slog.DiscardHandler),
			Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				requests++
				resp := answer(status, "", "Content-Encoding", encoding, "Retry-After", retryAfter, "Date", other, "Location", other, "request-id", other, "x-ms-ags-diagnostic", other)
				resp.Body, resp.ContentLength, resp.Request = io.NopCloser(bytes.NewReader(body)), int64(len(other)), req
				return resp, nil
			})})
		if err != nil {
			t.Fatal(err)
		}
		for page, err := range c.Pages(t.Context(), testDay) {
			if err == nil {
				if status != 200 || len(page.Rows) > maxRows || len(page.Link) > 2*maxLink {
					t.Fatalf("%d, and a page %+v", status, page)
				}
				continue
			}
			var e *Error
			if !errors.As(err, &e) || e.Class == OK || e.Class == NewToken || e.RetryAfter < 0 || e.RetryAfter > MaxRetryAfter {
				t.Fatalf("%v", err)
			}
			checkText(t, e, testToken)
		}
		if requests == 0 || requests > maxEmptyPages+1 { // the same page again and again is a loop
			t.Fatalf("%d requests", requests)
		}
	})
}

// FuzzTokenAnswer gives the token source any answer: it hands out a token, or an error.
func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, "application/json", "", []byte(`{"access_token":"tok","token_type":"Bearer","expires_in":3600}`))
	f.Add(200, "text/plain", "", []byte(`access_token=tok&expires_in=-1`))
	f.Add(200, "application/json", "", []byte(`{"access_token":"tok","expires_in":"0"}`))
	f.Add(400, "application/json", "1", []byte(`{"error":"invalid_client","error_description":"AADSTS7000215: `+testSecret+` Trace ID: 1"}`))
	f.Add(500, "text/html", "1e9", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter string, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		source, err := NewTokens(secretConfig(t, "https://login.test", roundTrip(func(req *http.Request) (*http.Response, error) {
			resp := answer(status, string(body), "Content-Type", contentType, "Retry-After", retryAfter)
			resp.Request = req
			return resp, nil
		})))
		if err != nil {
			t.Fatal(err)
		}
		token, err := source.Token(t.Context())
		var e *Error
		switch {
		case err == nil:
			if again, err := source.Token(t.Context()); token == "" || again != token || err != nil {
				t.Fatalf("%q, then %q, %v", token, again, err)
			}
		case !errors.As(err, &e) || token != "" || e.Class == OK || e.Class == NewToken || e.Class == Permanent:
			t.Fatalf("%q, %v", token, err)
		default:
			checkText(t, e, testSecret)
		}
	})
}

// FuzzErrorBody reads what Graph says of an error: it is bounded, and holds neither secret nor markup.
func FuzzErrorBody(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"X","message":"<p>go <b>away</b> joe@contoso.com +49 151 1234567","innerError":{"code":"` + testToken + `"}}}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := parseErrorBody(body, testToken)
		if n, m := utf8.RuneCountInString(code), utf8.RuneCountInString(message); n > 100 || m > maxMessage {
			t.Fatalf("%d and %d characters", n, m)
		}
		if all := code + message; strings.ContainsAny(all, "<>\n\r\x00") || strings.Contains(all, testToken) {
			t.Fatalf("%q, %q", code, message)
		}
	})
}
