package graphfake

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"pstncalls/internal/window"
)

// Kind is what a fault does to the answer.
type Kind string

const (
	Status        Kind = "status"         // an error answer with Fault.Status, in Graph's shape
	Hook          Kind = "hook"           // calls Fault.Hook, then answers as if it were not there
	Slow          Kind = "slow"           // waits for Fault.Delay before it answers
	Stall         Kind = "stall"          // waits for Fault.Delay in the middle of the body
	Reset         Kind = "reset"          // closes the connection before any header
	ResetBody     Kind = "reset-body"     // closes it in the middle of the body
	Truncate      Kind = "truncate"       // half of the body, as if it were all
	TruncateGzip  Kind = "truncate-gzip"  // half of the gzip stream; as Truncate where the client does not ask for gzip
	HTML          Kind = "html"           // 200 with a web page
	NoValue       Kind = "no-value"       // 200 without value
	NullValue     Kind = "null-value"     // 200 with "value": null
	ObjectValue   Kind = "object-value"   // 200 with "value": {}
	ErrorIn200    Kind = "error-200"      // 200 with an error object
	EmptyPage     Kind = "empty-page"     // no rows and a link to the same rows; with Count < 0 endlessly
	LinkLoop      Kind = "link-loop"      // links that come back after Fault.Loop pages (0: 1)
	ForeignLink   Kind = "foreign-link"   // a link whose scheme, host and port are Fault.URL's
	Redirect      Kind = "redirect"       // 302 to Fault.URL with the request's own path and query
	LyingCount    Kind = "lying-count"    // @odata.count one too high
	DuplicateKeys Kind = "duplicate-keys" // value twice, the first one empty
	InvalidUTF8   Kind = "invalid-utf8"   // a byte in the first row that no UTF-8 has
	HugeHeader    Kind = "huge-header"    // a header of Fault.Bytes (0: 2 MiB)
	Token         Kind = "token"          // the token endpoint refuses, with Fault.Status (0: 401)
	Rows          Kind = "rows"           // the JSON text Fault.Rows as further elements of value; in Go only
	Answer        Kind = "answer"         // Fault.Answer writes the whole answer; in Go only
)

// kinds are those that the command line knows, and Hook.
func kinds() []Kind {
	return []Kind{Status, Hook, Slow, Stall, Reset, ResetBody, Truncate, TruncateGzip, HTML, NoValue, NullValue, ObjectValue, ErrorIn200,
		EmptyPage, LinkLoop, ForeignLink, Redirect, LyingCount, DuplicateKeys, InvalidUTF8, HugeHeader, Token}
}

// Fault changes the answers to the requests that it matches: all of them, unless fields under "matcher" say less.
type Fault struct {
	Kind Kind

	// Matcher.
	Tenant string
	Page   int       // 1-based, by $skip
	Day    time.Time // requests whose range contains this instant
	After  int       // the first so many that match are left alone
	Count  int       // how many are hit; 0: 1; < 0: all
	Match  func(Request) bool

	// Parameters, see the kinds.
	Status     int
	Code       string // of the error; "": Graph's for the status
	Message    string
	RetryAfter string // the header, as it is; "": none
	Delay      time.Duration
	Loop       int
	URL        string // "": https://graph.example.invalid
	Bytes      int
	Hook       func(Request)
	Rows       string
	Answer     http.HandlerFunc
}

// Request is what a fault's matcher and hook see.
type Request struct {
	Tenant   string
	V1       bool
	From, To time.Time // the range, half-open, under the simulator's reading
	Skip     int
	Page     int // 1-based
	Rows     int // on the page that is answered; 0 in Match and Hook
}

// Script is faults that were switched on together.
type Script struct {
	mu     sync.Mutex
	faults []*armed
	off    bool
}

type armed struct {
	Fault
	seen, fired int
}

// Script switches faults on, after those already there. Of the faults that match a request the first one answers; hooks and slow
// ones before it take effect as well.
func (s *Server) Script(f ...Fault) *Script {
	sc := &Script{}
	for _, f := range f {
		sc.faults = append(sc.faults, &armed{Fault: f})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts = append(s.scripts, sc)
	return sc
}

// Fired returns how many requests the faults have hit.
func (sc *Script) Fired() int {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	n := 0
	for _, f := range sc.faults {
		n += f.fired
	}
	return n
}

// Off switches the faults off.
func (sc *Script) Off() {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.off = true
}

// take returns the faults that hit this request: hooks and slow ones, and at most one that answers, last; and whether there is one.
func (sc *Script) take(r Request, token bool) (hit []Fault, answers bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.off {
		return nil, false
	}
	for _, f := range sc.faults {
		if !f.matches(r, token) {
			continue
		}
		f.seen++
		if f.seen <= f.After || f.Count >= 0 && f.fired >= max(f.Count, 1) {
			continue
		}
		f.fired++
		hit = append(hit, f.Fault)
		if f.Kind != Hook && f.Kind != Slow {
			return hit, true
		}
	}
	return hit, false
}

func (f *armed) matches(r Request, token bool) bool {
	return (f.Kind == Token) == token && (f.Tenant == "" || f.Tenant == r.Tenant) && (f.Page == 0 || f.Page == r.Page) &&
		(f.Day.IsZero() || !f.Day.Before(r.From) && f.Day.Before(r.To)) && (f.Match == nil || f.Match(r))
}

// faultsFor runs the hooks and waits of the faults that hit a request, and returns the one that answers, if any.
func (s *Server) faultsFor(ctx context.Context, r Request, token bool) (*Fault, error) {
	s.mu.Lock()
	scripts := slices.Clone(s.scripts)
	s.mu.Unlock()
	for _, sc := range scripts {
		hit, answers := sc.take(r, token)
		for i, f := range hit {
			switch {
			case f.Kind == Hook && f.Hook != nil:
				f.Hook(r)
			case f.Kind == Slow:
				if err := s.cfg.Wait(ctx, f.Delay); err != nil {
					return nil, err
				}
			}
			if answers && i == len(hit)-1 {
				return &hit[i], nil
			}
		}
	}
	return nil, nil
}

// foreign returns the link with the fault's scheme, host and port.
func (f *Fault) foreign(path string) string {
	base := f.URL
	if base == "" {
		base = "https://graph.example.invalid"
	}
	return strings.TrimSuffix(base, "/") + path
}

// alter applies a fault to a page before it is written.
func (f *Fault) alter(p *page) {
	switch f.Kind {
	case EmptyPage:
		p.clear()
		p.link(p.query.skip, "empty"+strconv.Itoa(1+number(p.query.token, "empty")))
	case LinkLoop:
		p.link(p.query.skip, "loop"+strconv.Itoa(number(p.query.token, "loop")%max(f.Loop, 1)+1))
	case ForeignLink:
		p.base = f.foreign("")
		p.link(p.query.skip+p.count, "")
	case LyingCount:
		p.count++
	case Rows:
		if p.count > 0 {
			p.rows = append(p.rows, ',')
		}
		p.rows = append(p.rows, f.Rows...)
		p.count++ // a hint, and one that may be wrong
	case InvalidUTF8:
		if i := strings.IndexByte(string(p.rows), '"'); i >= 0 {
			p.rows = slices.Insert(p.rows, i+1, 0xff)
		}
	}
	p.fault = f.Kind
}

// number returns the number after prefix in a $skiptoken, 0 if there is none.
func number(token, prefix string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(token, prefix))
	return max(n, 0)
}

// ParseFault reads a fault as the command line has it: a kind, or a status code for Status, then parameters:
//
//	429:count=3,retry-after=10
//	truncate:page=2
//	slow:delay=45s,count=-1,tenant=contoso
//
// Parameters are count, after, page, tenant, day (2026-11-01), status, code, message, retry-after, delay, loop, url, bytes.
func ParseFault(spec string) (Fault, error) {
	name, params, _ := strings.Cut(spec, ":")
	f := Fault{Kind: Kind(name)}
	if code, err := strconv.Atoi(name); err == nil {
		if code < 300 || code > 599 {
			return f, fmt.Errorf("fault %q: status %d: want 300 to 599", spec, code)
		}
		f.Kind, f.Status = Status, code
	}
	if !slices.Contains(kinds(), f.Kind) || f.Kind == Hook {
		return f, fmt.Errorf("fault %q: unknown kind %q", spec, name)
	}
	for param := range strings.SplitSeq(params, ",") {
		if param == "" {
			continue
		}
		key, value, _ := strings.Cut(param, "=")
		if err := f.set(key, value); err != nil {
			return f, fmt.Errorf("fault %q: %s: %w", spec, key, err)
		}
	}
	if f.Kind == Status && f.Status == 0 {
		return f, fmt.Errorf("fault %q: want status=", spec)
	}
	return f, nil
}

func (f *Fault) set(key, value string) (err error) {
	switch key {
	case "count":
		f.Count, err = strconv.Atoi(value)
	case "after":
		f.After, err = strconv.Atoi(value)
	case "page":
		f.Page, err = strconv.Atoi(value)
	case "loop":
		f.Loop, err = strconv.Atoi(value)
	case "bytes":
		f.Bytes, err = strconv.Atoi(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
		if err == nil && (f.Status < 300 || f.Status > 599) {
			err = fmt.Errorf("%d: want 300 to 599", f.Status)
		}
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	case "day":
		var d window.Day
		d, err = window.Parse(value)
		f.Day = d.Start()
	case "tenant":
		f.Tenant = value
	case "code":
		f.Code = value
	case "message":
		f.Message = value
	case "retry-after":
		f.RetryAfter = value
	case "url":
		f.URL = value
	default:
		err = fmt.Errorf("unknown parameter")
	}
	return err
}

// errorCode returns the code and message that Graph gives with a status: the message is often empty.
func errorCode(status int) (code, message string) {
	switch status {
	case http.StatusBadRequest:
		return "BadRequest", "Invalid request."
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken", "Access token is missing, invalid or has expired."
	case http.StatusForbidden:
		return "Forbidden", ""
	case http.StatusNotFound:
		return "NotFound", ""
	case http.StatusMethodNotAllowed:
		return "MethodNotAllowed", "The function is read with GET."
	case http.StatusNotAcceptable:
		return "NotAcceptable", ""
	case http.StatusTooManyRequests:
		return "TooManyRequests", ""
	case http.StatusServiceUnavailable:
		return "ServiceUnavailable", ""
	case 509:
		return "activityLimitReached", ""
	}
	return "UnknownError", ""
}
