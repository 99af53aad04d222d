package graphfake

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Reading is how the simulator reads the range of a request; nobody documents which of the four Graph follows.
type Reading struct {
	TimesHonoured bool // false: only the days of fromDateTime and toDateTime count
	EndInclusive  bool // the instant toDateTime, or its whole day, belongs to the range
}

// String returns the reading as ParseReading takes it.
func (r Reading) String() string {
	s := "days-"
	if r.TimesHonoured {
		s = "times-"
	}
	if r.EndInclusive {
		return s + "inclusive"
	}
	return s + "exclusive"
}

// ParseReading reads days-exclusive, days-inclusive, times-exclusive or times-inclusive.
func ParseReading(s string) (Reading, error) {
	for _, r := range []Reading{{}, {TimesHonoured: true}, {EndInclusive: true}, {true, true}} {
		if s == r.String() {
			return r, nil
		}
	}
	return Reading{}, fmt.Errorf("reading %q: want days-exclusive, days-inclusive, times-exclusive or times-inclusive", s)
}

// span returns the half-open range [from, to) of call starts that a request means. It is empty if to is not after from.
func (r Reading) span(from, to time.Time) (time.Time, time.Time) {
	const day = 24 * time.Hour
	if !r.TimesHonoured {
		from, to = from.Truncate(day), to.Truncate(day)
	}
	switch {
	case !r.EndInclusive || !to.After(from):
	case r.TimesHonoured:
		to = to.Add(1)
	default:
		to = to.Add(day)
	}
	return from, to
}

// query is one request for a page.
type query struct {
	v1         bool
	function   string // as spelt in the request: getPstnCalls or microsoft.graph.callRecords.getPstnCalls
	fromText   string // as in the request
	toText     string
	from, to   time.Time
	link       bool   // the spelling of a nextLink: from=, to=
	skip       int    // rows before the page
	token      string // $skiptoken: the simulator's own mark on links made by faults
	undeclared string // a query option that getPstnCalls does not document, "" if none
}

var (
	// callPath is the path of the function, decoded; its arguments are in the last group.
	callPath = regexp.MustCompile(`^/(beta|v1\.0)/communications/callRecords/((?:microsoft\.graph\.callRecords\.)?getPstnCalls)\(([^()]*)\)$`)
	// instant is an Edm.Date or Edm.DateTimeOffset, each digit in its place.
	instant = regexp.MustCompile(`^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?$`)
)

// errNotFound is returned for a path that is not the function's.
var errNotFound = errors.New("no such resource")

// parseQuery reads a request's URL: a decoded path and the raw query. Its errors name the argument, and are errNotFound where the
// path is another's.
func parseQuery(path, rawQuery string) (query, error) {
	m := callPath.FindStringSubmatch(path)
	if m == nil {
		return query{}, errNotFound
	}
	q := query{v1: m[1] == "v1.0", function: m[2]}
	if err := q.arguments(m[3]); err != nil {
		return q, err
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return q, errors.New("query: malformed")
	}
	for name, v := range values {
		switch name {
		case "$skip":
			q.skip, err = strconv.Atoi(v[0])
			if err != nil || q.skip < 0 || len(v) > 1 {
				return q, errors.New("$skip: want one number, 0 or more")
			}
		case "$skiptoken":
			q.token = v[0]
		default:
			q.undeclared = name
		}
	}
	if q.link && !values.Has("$skip") {
		return q, errors.New("from, to: want fromDateTime and toDateTime")
	}
	return q, nil
}

// arguments reads name=value,name=value in either order: fromDateTime and toDateTime, or a link's from and to.
func (q *query) arguments(s string) error {
	args := map[string]string{}
	for arg := range strings.SplitSeq(s, ",") {
		name, text, ok := strings.Cut(strings.TrimSpace(arg), "=")
		if _, twice := args[name]; !ok || twice {
			return fmt.Errorf("argument %.40q: want name=value, once", name)
		}
		args[name] = text
	}
	from, to := "fromDateTime", "toDateTime"
	if _, q.link = args["from"]; q.link {
		from, to = "from", "to"
	}
	var err error
	q.fromText, q.toText = args[from], args[to]
	if q.from, err = parseInstant(q.fromText); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if q.to, err = parseInstant(q.toText); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	if len(args) != 2 {
		return fmt.Errorf("want %s and %s, and nothing else", from, to)
	}
	return nil
}

// parseInstant reads 2019-11-01 or an RFC 3339 time, as UTC.
func parseInstant(s string) (time.Time, error) {
	if !instant.MatchString(s) {
		return time.Time{}, errors.New("want the form 2019-11-01 or 2019-11-01T00:00:00Z")
	}
	layout := time.RFC3339
	if len(s) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	t, err := time.Parse(layout, s)
	if err != nil || t.UTC().Year() < 2 {
		return time.Time{}, errors.New("no such date or time")
	}
	return t.UTC(), nil
}

// next returns the link to the page that begins after skip rows, in the form of the documents: other argument names than the
// request's. token is left out if empty.
func (q *query) next(base string, skip int, token string) string {
	version := "beta"
	if q.v1 {
		version = "v1.0"
	}
	plus := strings.NewReplacer("+", "%2B")
	link := fmt.Sprintf("%s/%s/communications/callRecords/%s(from=%s,to=%s)?$skip=%d",
		base, version, q.function, plus.Replace(q.fromText), plus.Replace(q.toText), skip)
	if token != "" {
		link += "&$skiptoken=" + url.QueryEscape(token)
	}
	return link
}
