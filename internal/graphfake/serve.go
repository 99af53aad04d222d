package graphfake

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"pstncalls/internal/graphfake/calllog"
)

// call is one request to Graph's own paths, and its answer's state.
type call struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	id       string // request-id
	clientID string // client-request-id: the client's, or id
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(s.cfg.Seed), s.requests)
	s.mu.Unlock()
	c := &call{s, w, r, id, id}
	if own := r.Header.Get("client-request-id"); own != "" && len(own) <= 128 {
		c.clientID = own
	}
	w.Header().Set("Date", s.cfg.Now().UTC().Format(http.TimeFormat))
	switch tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
	case r.URL.Path == "/_truth":
		c.truth()
	case r.URL.Path == "/_status":
		c.status()
	case rest == "oauth2/v2.0/token":
		c.token(tenant)
	case rest == "v2.0/.well-known/openid-configuration":
		c.openID(tenant)
	default:
		c.graph()
	}
}

// graph answers everything else: getPstnCalls, or an error in Graph's shape.
func (c *call) graph() {
	h := c.w.Header()
	h.Set("request-id", c.id)
	h.Set("client-request-id", c.clientID)
	h.Set("x-ms-ags-diagnostic", `{"ServerInfo":{"DataCenter":"Simulated","Slice":"E","Ring":"5","ScaleUnit":"001","RoleInstance":"SIM0"}}`)
	tenant, ok := c.authorize()
	if !ok {
		c.fail(http.StatusUnauthorized)
		return
	}
	now := c.s.cfg.Now()
	if wait, over := c.s.budgetOf(tenant, now); over {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		c.fail(http.StatusTooManyRequests)
		return
	}
	q, err := parseQuery(c.r.URL.Path, c.r.URL.RawQuery)
	switch {
	case errors.Is(err, errNotFound):
		c.s.misused("tenant %s: token sent to a path that is not getPstnCalls", tenant)
		c.fail(http.StatusNotFound)
		return
	case c.r.Method != http.MethodGet:
		c.s.misused("tenant %s: %s instead of GET", tenant, c.r.Method)
		h.Set("Allow", http.MethodGet)
		c.fail(http.StatusMethodNotAllowed)
		return
	case err != nil:
		c.s.misused("tenant %s: malformed request: %v", tenant, err)
		c.failWith(http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	if q.undeclared != "" {
		c.s.misused("tenant %s: query option %.40q is not documented for getPstnCalls", tenant, q.undeclared)
	}
	if !q.link && c.r.URL.Query().Has("$skip") {
		c.s.misused("tenant %s: nextLink rebuilt: $skip beside fromDateTime", tenant)
	}
	if f, t := (Reading{}).span(q.from, q.to); !t.After(f) {
		c.s.misused("tenant %s: the range %s to %s is empty where only days count and the end is exclusive", tenant, q.fromText, q.toText)
	}
	from, to := c.s.reading().span(q.from, q.to)
	switch {
	case !to.After(from):
		c.failWith(http.StatusBadRequest, "BadRequest", "toDateTime must be greater than fromDateTime.")
	case q.to.Sub(q.from) > c.s.cfg.MaxSpan:
		c.failWith(c.s.cfg.SpanStatus, "BadRequest", "The date range is too long.")
	default:
		req := Request{Tenant: tenant, V1: q.v1, From: from, To: to, Skip: q.skip, Page: q.skip/c.s.cfg.PageSize + 1}
		f, err := c.s.faultsFor(c.r.Context(), req, false)
		if err != nil {
			c.abort() // the client has gone
			return
		}
		c.answer(req, q, f)
	}
}

// budgetOf counts a request of the tenant; over says that it was one too many.
func (s *Server) budgetOf(tenant string, now time.Time) (wait time.Duration, over bool) {
	s.mu.Lock()
	b := s.budgets[tenant]
	wait, ignored := b.take(now)
	if wait > 0 {
		b.told(now, now.Add(wait))
	}
	s.mu.Unlock()
	if ignored {
		s.misused("tenant %s: went on asking although told to wait by Retry-After", tenant)
	}
	return wait, wait > 0
}

// answer sends the page, or what the fault makes of it.
func (c *call) answer(req Request, q query, f *Fault) {
	if f == nil {
		f = &Fault{}
	}
	switch f.Kind {
	case Status:
		c.failAs(req.Tenant, f)
		return
	case Reset:
		c.abort()
		return
	case Answer:
		c.s.count(http.StatusOK)
		f.Answer(c.w, c.r)
		return
	case Redirect:
		c.w.Header().Set("Location", f.foreign(c.r.URL.RequestURI()))
		c.fail(http.StatusFound)
		return
	case HTML:
		c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
		c.send(http.StatusOK, []byte("<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please wait</body></html>"), f)
		return
	case ErrorIn200:
		c.w.Header().Set("Content-Type", "application/json")
		c.send(http.StatusOK, c.errorBody("InternalServerError", ""), f)
		return
	case HugeHeader:
		n := f.Bytes
		setDefault(&n, 2<<20)
		c.w.Header().Set("X-Filler", strings.Repeat("x", max(n, 0)))
	}
	p := c.s.page(req, q, c.base())
	f.alter(&p)
	c.w.Header().Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	c.w.Header().Set("Vary", "Accept-Encoding")
	c.send(http.StatusOK, p.body(), f)
}

// base returns the scheme and host that the client used.
func (c *call) base() string {
	if c.r.TLS != nil {
		return "https://" + c.r.Host
	}
	return "http://" + c.r.Host
}

// failAs answers with the status, headers and texts of a fault.
func (c *call) failAs(tenant string, f *Fault) {
	if f.RetryAfter != "" {
		c.w.Header().Set("Retry-After", f.RetryAfter)
		if seconds, err := strconv.Atoi(f.RetryAfter); err == nil {
			now := c.s.cfg.Now()
			c.s.mu.Lock()
			c.s.budgets[tenant].told(now, now.Add(time.Duration(seconds)*time.Second))
			c.s.mu.Unlock()
		}
	}
	code, message := errorCode(f.Status)
	if f.Code != "" {
		code = f.Code
	}
	if f.Message != "" {
		message = f.Message
	}
	c.failWith(f.Status, code, message)
}

func (c *call) fail(status int) {
	code, message := errorCode(status)
	c.failWith(status, code, message)
}

func (c *call) failWith(status int, code, message string) {
	c.w.Header().Set("Content-Type", "application/json")
	c.send(status, c.errorBody(code, message), &Fault{})
}

// errorBody returns an error in the shape that users have reported: innerError in camel case, a date without zone.
func (c *call) errorBody(code, message string) []byte {
	return mustJSON(map[string]any{"error": map[string]any{
		"code": code, "message": message,
		"innerError": map[string]string{
			"request-id": c.id, "client-request-id": c.clientID, "date": c.s.cfg.Now().UTC().Format("2006-01-02T15:04:05"),
		},
	}})
}

// mustJSON marshals maps and strings, which cannot fail.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// zippers take 1.2 MB each: too much to make one for every page.
var zippers = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is one
	}
	return z
}}

// send writes the answer, compressed if the client asks for it, and damaged as the fault says. A client that has gone is no error.
func (c *call) send(status int, body []byte, f *Fault) {
	h := c.w.Header()
	if strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") && status == http.StatusOK {
		h.Set("Content-Encoding", "gzip")
		if f.Kind == Truncate { // a whole stream of half a body
			body = body[:len(body)/2]
		}
		var zipped bytes.Buffer
		z := zippers.Get().(*gzip.Writer)
		z.Reset(&zipped)
		z.Write(body) // into memory
		z.Close()
		zippers.Put(z)
		body = zipped.Bytes()
		if f.Kind == TruncateGzip {
			body = body[:len(body)/2]
		}
	} else if f.Kind == Truncate || f.Kind == TruncateGzip {
		body = body[:len(body)/2]
	}
	c.s.count(status)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if f.Kind == ResetBody || f.Kind == Stall {
		half := body[:len(body)/2]
		c.w.Write(half)
		// Without the flush both halves could reach the client together.
		err := http.NewResponseController(c.w).Flush()
		if f.Kind == Stall && err == nil {
			err = c.s.cfg.Wait(c.r.Context(), f.Delay)
		}
		if f.Kind == ResetBody || err != nil {
			c.cut()
			return
		}
		body = body[len(half):]
	}
	c.w.Write(body)
}

func (s *Server) count(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[status]++
}

// abort closes the connection without an answer.
func (c *call) abort() {
	c.s.count(0)
	c.cut()
}

// cut closes the connection as a crash would: with a reset where the transport can.
func (c *call) cut() {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: resets the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // best effort: without it the client sees an end of file
	}
	conn.Close()
}

// truth answers /_truth.
func (c *call) truth() {
	tenant := c.r.URL.Query().Get("tenant")
	if c.s.logs[tenant] == nil {
		http.Error(c.w, "unknown tenant", http.StatusNotFound)
		return
	}
	c.w.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriterSize(c.w, 64<<10)
	enc := json.NewEncoder(out)
	for row := range c.s.TruthSeq(tenant) {
		if enc.Encode(row) != nil {
			panic(http.ErrAbortHandler) // a half that looks like a whole would be a lie
		}
	}
	if out.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// status answers /_status.
func (c *call) status() {
	s := c.s
	s.mu.Lock()
	status := struct {
		Now      time.Time      `json:"now"`
		Tenants  []string       `json:"tenants"`
		Requests map[string]int `json:"requests"` // by status; closed: no answer
		Faults   map[Kind]int   `json:"faults"`
		Misuse   []string       `json:"misuse"`
	}{s.cfg.Now(), s.order, map[string]int{}, map[Kind]int{}, s.misuse}
	for code, n := range s.statuses {
		name := strconv.Itoa(code)
		if code == 0 {
			name = "closed"
		}
		status.Requests[name] = n
	}
	for _, sc := range s.scripts {
		sc.mu.Lock()
		for _, f := range sc.faults {
			status.Faults[f.Kind] += f.fired
		}
		sc.mu.Unlock()
	}
	b := mustJSON(status)
	s.mu.Unlock()
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Write(append(b, '\n'))
}

// page is one answer before it is written.
type page struct {
	query query
	base  string // of links
	meta  string // of @odata.context: the client's own, whatever a fault does to links
	count int
	rows  []byte // JSON values with commas between
	next  string // "": the last page
	salt  uint64 // varies what carries no meaning
	fault Kind
}

func (p *page) clear() { p.count, p.rows = 0, nil }

func (p *page) link(skip int, token string) { p.next = p.query.next(p.base, skip, token) }

// page cuts the page out of the rows that are visible now.
func (s *Server) page(req Request, q query, base string) page {
	now := s.cfg.Now()
	hour := uint64(now.Unix() / 3600)
	p := page{query: q, base: base, meta: base, salt: (hour*0x9e3779b97f4a7c15)>>8 | 2}
	log := s.logs[req.Tenant]
	items, more := s.cut(log, req, now)
	form := calllog.Form{V1: q.v1, Salt: p.salt}
	for i, it := range items {
		if i > 0 {
			p.rows = append(p.rows, ',')
		}
		p.rows = log.Append(p.rows, it, form)
	}
	p.count = len(items)
	if more {
		p.link(req.Skip+len(items), "")
	}
	return p
}

// cut returns the page's rows in the configured order, and whether there are rows after them.
func (s *Server) cut(log *calllog.Log, req Request, now time.Time) (items []calllog.Item, more bool) {
	n, skip, whole := s.cfg.PageSize, req.Skip, s.cfg.Order != ByStart
	for it := range log.Visible(req.From, req.To, now) {
		switch {
		case whole:
		case skip > 0:
			skip--
			continue
		case len(items) == n:
			return items, true
		}
		items = append(items, it)
	}
	if !whole {
		return items, false
	}
	s.sort(log, items, req)
	items = items[min(skip, len(items)):]
	return items[:min(n, len(items))], len(items) > n
}

// body returns the answer's JSON.
func (p *page) body() []byte {
	version := "beta"
	if p.query.v1 {
		version = "v1.0"
	}
	b := make([]byte, 0, len(p.rows)+1024)
	b = append(b, `{"@odata.context":`...)
	b = append(b, mustJSON(p.meta+"/"+version+"/$metadata#Collection(microsoft.graph.callRecords.pstnCallLogRow)")...)
	b = append(append(b, `,"@odata.count":`...), strconv.Itoa(p.count)...)
	var next []byte
	if p.next != "" {
		next = append([]byte(`,"@odata.nextLink":`), mustJSON(p.next)...)
	}
	linkFirst := p.salt&4 == 0
	if linkFirst {
		b = append(b, next...)
	}
	switch p.fault {
	case NoValue:
	case NullValue:
		b = append(b, `,"value":null`...)
	case ObjectValue:
		b = append(b, `,"value":{}`...)
	case DuplicateKeys:
		b = append(b, `,"value":[]`...)
		fallthrough
	default:
		b = append(append(append(b, `,"value":[`...), p.rows...), ']')
	}
	if !linkFirst {
		b = append(b, next...)
	}
	return append(b, '}')
}
