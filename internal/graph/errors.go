package graph

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Class says what an error asks of the caller.
type Class int

const (
	OK        Class = iota // no error; only in an Outcome
	Retry                  // transient: ask again, after a pause
	Wait                   // throttled: ask again after RetryAfter; 0: Graph did not say
	NewToken               // the token was refused once; only in an Outcome, the client sees to it
	Human                  // needs a human; asking again is of use only in case somebody has acted
	Permanent              // this range or link will never be answered
)

// String returns the class as one lower-case word, fit for a metric's label.
func (c Class) String() string {
	switch c {
	case OK:
		return "ok"
	case Retry:
		return "retry"
	case Wait:
		return "wait"
	case NewToken:
		return "new-token"
	case Human:
		return "human"
	case Permanent:
		return "permanent"
	}
	return "class-" + strconv.Itoa(int(c))
}

// Error is why there is no page, or no token to ask for one with.
type Error struct {
	Class           Class
	Status          int           // of the answer; 0: there was none
	Code, Message   string        // from the answer's body, bounded, without markup, addresses and numbers
	RetryAfter      time.Duration // 0: none given; at most 24 h
	RequestID       string        // Graph's
	ClientRequestID string        // ours
	Diagnostic      string        // x-ms-ags-diagnostic: datacentre and ring, for Microsoft's support
	Op              string        // what was asked: tenant and range
	Err             error         // a cause on this side of the network, or what is wrong with the answer

	authority bool // the authority answered, not Graph
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// Throttled reports whether Graph says that it was asked too often; a 503 may have other reasons.
func (e *Error) Throttled() bool { return e.Status == http.StatusTooManyRequests }

// Error returns one sentence: what was asked, what came back, what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	who := "Graph"
	if e.authority {
		who = "the token authority"
	}
	fmt.Fprintf(&b, "%s: ", e.Op)
	switch {
	case e.Err != nil:
		b.WriteString(clean(e.Err.Error(), maxMessage))
	case e.Status == 0:
		fmt.Fprintf(&b, "no answer from %s", who)
	default:
		fmt.Fprintf(&b, "%s answered %d", who, e.Status)
	}
	if said := strings.Trim(e.Code+": "+e.Message, ": "); said != "" {
		fmt.Fprintf(&b, " (%s)", said)
	}
	fmt.Fprintf(&b, "; %s", e.advice())
	var ids []string
	if e.RequestID != "" {
		ids = append(ids, "request-id "+e.RequestID)
	}
	if e.ClientRequestID != "" {
		ids = append(ids, "client-request-id "+e.ClientRequestID)
	}
	if len(ids) > 0 {
		fmt.Fprintf(&b, " [%s]", strings.Join(ids, ", "))
	}
	return b.String()
}

const permission = "the application permission CallRecords.Read.All (not a delegated one) with admin consent in this tenant"

func (e *Error) advice() string {
	switch e.Class {
	case Wait:
		if e.RetryAfter > 0 {
			return fmt.Sprintf("nothing is asked for this tenant for %v", e.RetryAfter)
		}
		return "it will be asked again later"
	case Permanent:
		return "asking the same again is of no use; if no day is answered, check endpoint and API version"
	case Human:
		switch {
		case e.authority:
			return "check the tenant, client id and credential of the application"
		case e.Status == http.StatusNotFound:
			return "check endpoint, cloud and API version, and grant " + permission
		case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
			return "grant " + permission
		}
		return "check endpoint, proxy and cloud"
	}
	again := "it will be asked again; if this lasts, "
	switch {
	case e.authority:
		return again + "check the token authority, network and proxy"
	case e.Status == 0:
		return again + "check endpoint, network and proxy"
	case e.Status < 300:
		return again + "check endpoint and proxy, or show Microsoft's support these ids"
	}
	return again + "look at Microsoft's service health, or show its support these ids"
}

// classify returns what an answer without a page asks for.
func classify(status int, retryAfter time.Duration) Class {
	switch status {
	case http.StatusUnauthorized:
		return NewToken
	case http.StatusTooManyRequests, 509: // 509: Graph's bandwidth cap
		return Wait
	case http.StatusBadRequest, http.StatusNotAcceptable, // 406: a range of more than 90 days
		http.StatusGone: // a link that has expired
		return Permanent
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly:
		return Retry
	}
	switch {
	case status >= 500 && retryAfter > 0:
		return Wait
	case status >= 500, status < 300: // a 204 is no page either
		return Retry
	}
	return Human // 403, 404, redirects, and what nobody foresaw
}

// MaxRetryAfter is the longest Retry-After that is taken for one: a longer one is asked about again after it.
const MaxRetryAfter = 24 * time.Hour

// parseRetryAfter returns how long a Retry-After header asks to wait, counted from now: what is past or makes no sense is 0,
// what is longer than 24 h is 24 h.
func parseRetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header != "" && strings.Trim(header, "0123456789") == "" {
		n, err := strconv.ParseInt(header, 10, 64)
		if err != nil || n > int64(MaxRetryAfter/time.Second) { // digits alone fail by their number only
			return MaxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), MaxRetryAfter)
}

// parseErrorBody reads code and message of Graph's error body. The codes of nested inner errors are appended: the deepest says most.
func parseErrorBody(body []byte, secrets ...string) (code, message string) {
	type inner struct {
		Code       string          `json:"code"`
		Message    string          `json:"message"`
		InnerError json.RawMessage `json:"innerError"` // matched in any case
	}
	var doc struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return "", ""
	}
	raw := doc.Error
	for range 5 {
		var e inner
		if len(raw) == 0 || json.Unmarshal(raw, &e) != nil {
			break
		}
		if e.Code != "" && e.Code != code {
			code = strings.TrimPrefix(code+"/"+e.Code, "/")
		}
		if message == "" {
			message = e.Message
		}
		raw = e.InnerError
	}
	return clean(code, 100, secrets...), clean(message, maxMessage, secrets...)
}

const maxMessage = 300 // characters

// private matches what must not be seen: tokens, mail addresses and URLs with a password, phone numbers.
var private = regexp.MustCompile(`eyJ[\w.~+/=-]{8,}|\S+@\S+|\+\d[\d ()-]{5,}\d`)

var markup = regexp.MustCompile(`(?i)<(!doctype|/?[a-z][^>]*>)`)

// clean returns foreign text as one line of at most limit characters, without secrets, private data and markup.
func clean(s string, limit int, secrets ...string) string {
	s = markup.ReplaceAllString(s, " ")
	for _, secret := range secrets {
		if secret != "" {
			s = strings.NewReplacer(secret, "…", url.QueryEscape(secret), "…").Replace(s)
		}
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '<' || r == '>' {
			return ' '
		}
		return r
	}, s)
	s = private.ReplaceAllString(strings.Join(strings.Fields(s), " "), "…")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}
