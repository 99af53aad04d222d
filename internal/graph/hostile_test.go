package graph

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"

	"pstncalls/internal/clock"
)

// hostile is an answer, or several, as a server gives them, and what the client makes of them.
type hostile struct {
	name   string
	h      http.HandlerFunc
	class  Class  // of the error; OK: none
	status int    // of the answer that the error is about
	says   string // part of the error's text
	rows   int    // yielded, before the error if there is one
	pages  int    // the same; 0: one, or none with an error
	most   int    // MiB that client and server may allocate for one request, live or not; 0: 4. A page at the limit takes 256
	memory bool   // without a network: for so many pages that it would take too long
}

// answers writes one answer to each request, whatever it is.
func answers(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// numbered answers the n-th request, from 1 on, with page(n).
func numbered(page func(n int) string) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page(int(n.Add(1)))) }
}

func links(to string) http.HandlerFunc {
	return answers(200, `{"value":[1],"@odata.nextLink":"`+to+`"}`)
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, s)
	z.Close()
	return b.String()
}

// endless writes s for ever.
func endless(status int, s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		for err := error(nil); err == nil; {
			_, err = io.WriteString(w, s)
		}
	}
}

// hostilePages is every answer that is not what Graph's documents promise.
func hostilePages() []hostile {
	const (
		page   = `{"value":[{"n":1}]}`
		lost   = "no answer from Graph"
		broken = "not valid JSON"
		away   = "away from"
		lasts  = 64 << 20 // bytes of a page that are taken
	)
	spaces := strings.Repeat(" ", 1<<20)
	bomb := zipped(`{"value":[`) + strings.Repeat(zipped(strings.Repeat(spaces, 64)), 64) + zipped(`]}`) // 4 GiB
	tiny := `{"value":[` + strings.Repeat("1,", lasts/2-16) + "1]}"
	header := func(name, value string) http.HandlerFunc { return answers(200, page, name, value) }
	return []hostile{
		// Other answers than 200.
		{name: "204", h: answers(204, ``), class: Retry, status: 204, says: "answered 204"},
		{name: "206", h: answers(206, page), class: Retry, status: 206, says: "answered 206"},
		{name: "301", h: answers(301, page, "Location", "https://evil.example/steal?x=1"), class: Human, status: 301, says: `a redirect to host "evil.example", which is not followed`},
		{name: "302", h: answers(302, page, "Location", "/elsewhere"), class: Human, status: 302, says: "which is not followed"},
		{name: "307 to nowhere", h: answers(307, page), class: Human, status: 307, says: "a redirect to nowhere"},
		{name: "308 to nonsense", h: answers(308, page, "Location", "http://[::1"), class: Retry, says: "Location header"},
		{name: "400", h: answers(400, `{"error":{"code":"BadRequest","message":"bad range"}}`), class: Permanent, status: 400, says: "BadRequest: bad range"},
		{name: "403", h: answers(403, `{"error":{"code":"Forbidden","message":""}}`, "x-ms-ags-diagnostic", `{"ServerInfo":{}}`), class: Human, status: 403, says: "grant the application permission CallRecords.Read.All"},
		{name: "403 that echoes the token", h: answers(403, `{"error":{"code":"F","message":"Bearer `+testToken+`"}}`, "request-id", testToken), class: Human, status: 403, says: "Bearer …"},
		{name: "404", h: answers(404, ``), class: Human, status: 404, says: "check endpoint, cloud and API version"},
		{name: "406", h: answers(406, ``), class: Permanent, status: 406, says: "answered 406; asking the same again is of no use"},
		{name: "429", h: answers(429, ``), class: Wait, status: 429, says: "answered 429; it will be asked again later"},
		{name: "500 html", h: answers(500, `<html>boom</html>`), class: Retry, status: 500, says: "answered 500; it will be asked again"},
		{name: "500 without end", h: endless(500, spaces), class: Retry, status: 500, says: "look at Microsoft's service health", most: 8},
		{name: "503", h: answers(503, ``), class: Retry, status: 503, says: "answered 503"},

		// A 200 that is no page.
		{name: "html", h: answers(200, `<html>sign in</html>`), class: Retry, status: 200, says: broken},
		{name: "nothing", h: answers(200, ``), class: Retry, status: 200, says: "cut off at byte 0"},
		{name: "truncated JSON", h: answers(200, page[:12]), class: Retry, status: 200, says: "cut off at byte"},
		{name: "without value", h: answers(200, `{}`), class: Retry, status: 200, says: "without `value`"},
		{name: "value null", h: answers(200, `{"value":null}`), class: Retry, status: 200, says: "without `value`: it is no array"},
		{name: "value an object", h: answers(200, `{"value":{"n":1}}`), class: Retry, status: 200, says: "without `value`: it is no array"},
		{name: "value twice", h: answers(200, `{"value":[],"value":[1]}`), class: Retry, status: 200, says: "two `value`"},
		{name: "an error object", h: answers(200, `{"error":{"code":"x"},"value":[]}`), class: Retry, status: 200, says: "`error`"},
		{name: "a raw NUL", h: answers(200, "{\"value\":[\"a\x00b\"]}"), class: Retry, status: 200, says: broken},
		{name: "NaN", h: answers(200, `{"value":[{"charge":NaN}]}`), class: Retry, status: 200, says: broken},
		{name: "nested too deep", h: answers(200, `{"value":[`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)+`]}`), class: Retry, status: 200, says: broken},
		{name: "a count, and no row", h: answers(200, `{"@odata.count":1000,"value":[]}`), class: Retry, status: 200, says: "@odata.count of 1000, and without a row"},

		// A 200 that does not come whole.
		{name: "not gzip", h: header("Content-Encoding", "gzip"), class: Retry, status: 200, says: "gzip"},
		{name: "br", h: header("Content-Encoding", "br"), class: Retry, status: 200, says: `content encoding "br"`},
		{name: "gzip twice", h: header("Content-Encoding", "gzip, gzip"), class: Retry, status: 200, says: "content encoding"},
		{name: "truncated gzip", h: answers(200, zipped(page)[:20], "Content-Encoding", "gzip"), class: Retry, status: 200, says: "breaks off"},
		{name: "gzip with junk", h: answers(200, zipped(page)+"junk junk junk", "Content-Encoding", "gzip"), class: Retry, status: 200, says: "breaks off"},
		{name: "short of its length", h: header("Content-Length", "100"), class: Retry, status: 200, says: "breaks off"},
		{name: "short of a length without sense", h: header("Content-Length", "4611686018427387904"), class: Retry, status: 200, says: "breaks off", most: 8},
		{name: "chunks cut off", h: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, page) // whole JSON, but the body has no end
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, class: Retry, status: 200, says: "breaks off"},
		{name: "no answer", h: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, class: Retry, says: lost},

		// Too much of something.
		{name: "gzip bomb", h: answers(200, bomb, "Content-Encoding", "gzip"), class: Retry, status: 200, says: "more than 67108864 bytes", most: 640},
		{name: "without end", h: endless(200, spaces), class: Retry, status: 200, says: "more than 67108864 bytes", most: 640},
		{name: "10 MiB row", h: answers(200, `{"value":["`+strings.Repeat("x", 10<<20)+`"]}`), rows: 1, most: 64},
		{name: "100,000 rows", h: answers(200, `{"value":[`+strings.Repeat(`{"id":"0123456789"},`, maxRows-1)+"{}]}"), rows: maxRows, most: 32},
		{name: "100,001 rows", h: answers(200, `{"value":[`+strings.Repeat("1,", maxRows)+"1]}"), class: Retry, status: 200, says: "more than 100000 rows on one page", most: 32},
		{name: "33 million rows", h: answers(200, tiny), class: Retry, status: 200, says: "more than 100000 rows on one page", most: 640},
		{name: "1 MB header", h: header("X", strings.Repeat("x", 1<<20)), class: Retry, says: "response headers exceeded 65536 bytes"},
		{name: "headers before the answer, without end", h: func(w http.ResponseWriter, req *http.Request) {
			for w.Header().Set("X", spaces[:1000]); req.Context().Err() == nil; {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}, class: Retry, says: lost, most: 16},
		{name: "1 MB link", h: links("?" + strings.Repeat("x", 1<<20)), class: Retry, status: 200, says: "nextLink of 1048577 bytes: more than 16384 are refused", most: 16},

		// Links that lead nowhere.
		{name: "link to another scheme", h: links("https://graph.test/x"), class: Retry, status: 200, says: away},
		{name: "link to another host", h: links("http://evil.example/x"), class: Retry, status: 200, says: "leads to http://evil.example, away from"},
		{name: "link to another port", h: func(w http.ResponseWriter, req *http.Request) {
			host, _, _ := strings.Cut(req.Host, ":")
			links("http://"+host+":1/x")(w, req)
		}, class: Retry, status: 200, says: away},
		{name: "link without scheme", h: links("//evil.example/x"), class: Retry, status: 200, says: away},
		{name: "link with a password", h: func(w http.ResponseWriter, req *http.Request) { links("http://u:p@"+req.Host)(w, req) }, class: Retry, status: 200, says: "user or password"},
		{name: "link that is no URL", h: links("http://[::1"), class: Retry, status: 200, says: "nextLink is no URL"},
		{name: "link that is a number", h: answers(200, `{"value":[],"@odata.nextLink":5}`), class: Retry, status: 200, says: "no string"},
		{name: "loop of one", h: links("?a"), class: Retry, status: 200, says: "form a loop of 1 pages", rows: 1, pages: 1},
		{name: "loop to the first page", h: links("getPstnCalls(fromDateTime=2026-11-01,toDateTime=2026-11-02)"), class: Retry, status: 200, says: "form a loop of 1 pages"},
		{name: "loop of three", h: numbered(func(n int) string { return fmt.Sprintf(`{"value":[1],"@odata.nextLink":"?%d"}`, n%3) }),
			class: Retry, status: 200, says: "form a loop of 3 pages", rows: 3, pages: 3},
		{name: "10,000 empty pages", h: numbered(func(n int) string {
			if n > 10_000 {
				return page
			}
			return fmt.Sprintf(`{"value":[],"@odata.nextLink":"?%d"}`, n)
		}), class: Retry, status: 200, says: "101 empty pages in a row", pages: 100},
		{name: "pages without end", memory: true, h: numbered(func(n int) string {
			return fmt.Sprintf(`{"value":[1],"@odata.nextLink":"?%01000d"}`, n)
		}), class: Retry, status: 200, says: "50000 pages, and a link to yet another", rows: 49_999, pages: 49_999},

		// Odd, but a page: what a row has to be is not decided here.
		{name: "a count that lies", h: answers(200, `{"@odata.count":7,"value":[1]}`), rows: 1},
		{name: "a count that is none", h: answers(200, `{"@odata.count":-1e400,"value":[1]}`), rows: 1},
		{name: "a count for all pages", h: numbered(func(n int) string {
			return []string{`{"@odata.count":1,"value":[1],"@odata.nextLink":"?2"}`, `{"@odata.count":1,"value":[]}`}[n-1]
		}), rows: 1, pages: 2},
		{name: "elements that are no objects", h: answers(200, `{"value":[1,null,"x",[2],true]}`), rows: 5},
		{name: "a name twice in a row", h: answers(200, `{"value":[{"id":"a","id":"b"}]}`), rows: 1},
		{name: "NUL", h: answers(200, `{"value":[{"id":"a\u0000b"}]}`), rows: 1},
		{name: "invalid UTF-8", h: answers(200, "{\"value\":[{\"id\":\"\xff\"}]}"), rows: 1},
		{name: "plain text", h: header("Content-Type", "text/plain"), rows: 1},
	}
}

// told is what an operator is told to do, in the end of every error.
var told = regexp.MustCompile(`; (grant |check |it will be asked again later|nothing is asked for this tenant for|` +
	`it will be asked again; if this lasts, |asking the same again is of no use; if )`)

// TestHostilePages holds Graph's side against every such answer. None may crash, be taken for read though it is not, go round for
// ever, cost more memory than said, or end in words that tell nobody what to do.
func TestHostilePages(t *testing.T) {
	for _, tt := range hostilePages() {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.h)
			if tt.memory {
				r = newRigAt(t, "http://graph.test", roundTrip(func(req *http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					tt.h(w, req)
					return w.Result(), nil
				}))
				r.Client.log = slog.New(slog.DiscardHandler)
				r.budget = NewBudget(clock.System, 1_000_000)
			}
			requests := 0
			r.observe = func(o Outcome) { requests++; r.seen = []Outcome{o} }
			before := memory(true)
			rows, pages := 0, 0
			var err error
			for page, failed := range r.Pages(t.Context(), testDay) {
				if err = failed; err == nil {
					pages++
					rows += len(page.Rows)
				}
			}
			after := memory(false)
			held := memory(true).HeapAlloc - before.HeapAlloc
			runtime.KeepAlive(r)

			if took := int((after.TotalAlloc - before.TotalAlloc) >> 20); took/requests > max(tt.most, 4) {
				t.Errorf("%d MiB allocated for %d requests, want at most %d for one", took, requests, max(tt.most, 4))
			}
			if int64(held) > 16<<20 {
				t.Errorf("%d bytes are held when all is over", int64(held))
			}
			if want := max(tt.pages, tt.rows, 1); tt.class == OK && tt.pages == 0 && pages != 1 || tt.pages > 0 && pages != tt.pages || rows != tt.rows {
				t.Errorf("%d pages with %d rows, want %d pages at most with %d rows", pages, rows, want, tt.rows)
			}
			if tt.class == OK {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			checkHostile(t, r, err, tt)
		})
	}
}

// checkHostile checks the error of a hostile answer, and what was observed of it.
func checkHostile(t *testing.T, r *rig, err error, want hostile) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	text := e.Error()
	if e.Class != want.class || e.Status != want.status || !strings.Contains(text, want.says) || e.ClientRequestID == "" {
		t.Errorf("%v, status %d: %s\nwant %v, %d, %q", e.Class, e.Status, text, want.class, want.status, want.says)
	}
	odd := func(c rune) bool { return !unicode.IsPrint(c) || c == '<' || c == '>' }
	if !strings.HasPrefix(text, "tenant contoso, calls [2026-11-01, 2026-11-02): ") || !told.MatchString(text) || len(text) > 1000 || strings.ContainsFunc(text, odd) {
		t.Errorf("text: %s", text)
	}
	if all := text + fmt.Sprintf("%+v", *e) + r.log.String(); strings.Contains(all, testToken) {
		t.Errorf("the token shows in %s", all)
	}
	// An answer that is a page by itself counts as one: that the pages lead nowhere only shows in all of them.
	if o := r.seen[0]; o.Status != want.status || o.Class != want.class && o.Class != OK {
		t.Errorf("observed %+v", o)
	}
	t.Log(text)
}

// memory reads what the process has allocated; live says that what nobody holds is dropped first.
func memory(live bool) (m runtime.MemStats) {
	if live {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}

// TestRedirectIsNotFollowed: above all not with the token.
func TestRedirectIsNotFollowed(t *testing.T) {
	var visits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		newRig(t, answers(status, "", "Location", other.URL)).fails(t, testDay)
	}
	if visits.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestSavedLinkToAnEmptyPage: of the pages before it nothing is known here, so a count for all of them is no contradiction.
func TestSavedLinkToAnEmptyPage(t *testing.T) {
	r := newRig(t, answers(200, `{"@odata.count":1000,"value":[]}`))
	last := testDay
	last.Link = "?$skip=1000"
	if rows, err := r.read(t.Context(), last); err != nil || len(rows) != 0 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
