// Package graphfake is a simulator of Microsoft Graph's PSTN call log: getPstnCalls for any number of seeded tenants, with late,
// corrected and moved rows, Graph's request budget, its token endpoint, and every fault that we could think of.
//
// It is written from Graph's documents, not from the client, so that the two can disagree. A Server is an http.Handler: tests mount
// it, the commands simulate and demo serve it. It answers
//
//	GET  /{beta|v1.0}/communications/callRecords/getPstnCalls(fromDateTime=…,toDateTime=…)
//	POST /{tenant}/oauth2/v2.0/token, GET /{tenant}/v2.0/.well-known/openid-configuration
//	GET  /_truth?tenant=…   every version of every row, as JSON lines
//	GET  /_status           tenants, requests by status, faults fired, misuse
//
// and keeps a list of what a polite client would not have done (Misuse).
//
// Invariants: what a tenant's log holds at an instant depends only on the seed, its configuration and the mutations made; a page is
// cut from the rows visible at the instant of its own request, so that $skip shifts when a late row lands, as Graph's does; no
// fault changes the truth. Package calllog owns the rows, package verdict compares them with what was published.
package graphfake

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graphfake/calllog"
	"pstncalls/internal/graphfake/verdict"
)

// The words of the packages below, for those who use the simulator.
type (
	TenantConfig   = calllog.Config
	TrueRow        = calllog.TrueRow
	TrueVersion    = calllog.TrueVersion
	Event          = verdict.Event
	Reject         = verdict.Reject
	Verdict        = verdict.Verdict
	CompareOptions = verdict.Options
	Comparer       = verdict.Comparer
)

// Compare judges what was published; see verdict.Compare.
func Compare(truth []TrueRow, events iter.Seq2[Event, error], rejects []Reject, opt CompareOptions) (Verdict, error) {
	return verdict.Compare(truth, events, rejects, opt)
}

// NewComparer is for truths and events that do not fit in memory; see verdict.NewComparer.
func NewComparer(truth iter.Seq[TrueRow], opt CompareOptions) *Comparer {
	return verdict.NewComparer(truth, opt)
}

// Order is the order of a range's rows over its pages; Graph's is undocumented.
type Order uint8

const (
	ByStart Order = iota // ascending start
	ByID
	Random  // the same for all pages of a scan, another one in the next
	Visible // by the instant at which a row first became visible: late rows at the end
	Newest  // descending start
)

// String returns the order as ParseOrder takes it.
func (o Order) String() string { return []string{"start", "id", "random", "visible", "newest"}[o] }

// ParseOrder reads start, id, random, visible or newest.
func ParseOrder(s string) (Order, error) {
	for o := ByStart; o <= Newest; o++ {
		if s == o.String() {
			return o, nil
		}
	}
	return 0, fmt.Errorf("order %q: want start, id, random, visible or newest", s)
}

// Config describes a simulator. The zero value of a field is Graph's behaviour as documented, or as given there.
type Config struct {
	Seed    uint64
	Tenants []TenantConfig

	Now  func() time.Time                                 // nil: the machine's clock
	Wait func(ctx context.Context, d time.Duration) error // in the same time as Now; nil: the machine's clock

	RequestsPerMinute int           // per tenant, 429 beyond it; 0: 50; < 0: no limit
	PageSize          int           // 0: 1000
	MaxSpan           time.Duration // of a range, an error beyond it; 0: 90 days
	SpanStatus        int           // of that error; 0: 406
	Reading           Reading
	Order             Order

	ClientSecret  string        // that the token endpoint accepts; "": any
	TokenLifetime time.Duration // 0: 1 h
	RequireToken  bool          // refuse a tenant's id in place of a token
}

// Server is the simulator. It is safe for concurrent use.
type Server struct {
	cfg   Config
	logs  map[string]*calllog.Log // by tenant; not changed after New
	order []string                // the tenants as configured

	mu       sync.Mutex
	budgets  map[string]*budget
	tokens   map[string]token
	scans    map[string]uint64 // first pages asked for, by tenant and range: the seed of Random
	scripts  []*Script
	requests uint64 // ever: the source of request ids and tokens
	statuses map[int]int
	misuse   []string
}

// New returns a simulator. It panics if a tenant has no id or two have the same.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = clock.System.Now
	}
	if cfg.Wait == nil {
		cfg.Wait = func(ctx context.Context, d time.Duration) error { return clock.Sleep(ctx, clock.System, d) }
	}
	setDefault(&cfg.RequestsPerMinute, 50)
	setDefault(&cfg.PageSize, 1000)
	setDefault(&cfg.MaxSpan, 90*24*time.Hour)
	setDefault(&cfg.SpanStatus, 406)
	setDefault(&cfg.TokenLifetime, time.Hour)
	s := &Server{
		cfg: cfg, logs: map[string]*calllog.Log{}, budgets: map[string]*budget{}, tokens: map[string]token{},
		scans: map[string]uint64{}, statuses: map[int]int{},
	}
	for _, t := range cfg.Tenants {
		if t.ID == "" || s.logs[t.ID] != nil {
			panic(fmt.Sprintf("graphfake: tenant %q: want an id, once", t.ID))
		}
		s.logs[t.ID] = calllog.New(cfg.Seed, t)
		s.budgets[t.ID] = &budget{limit: cfg.RequestsPerMinute}
		s.order = append(s.order, t.ID)
	}
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Tenants returns the tenants' ids, as configured.
func (s *Server) Tenants() []string { return slices.Clone(s.order) }

// Truth returns every version of every row of a tenant, future ones included. TruthSeq takes less memory.
func (s *Server) Truth(tenant string) []TrueRow { return slices.Collect(s.TruthSeq(tenant)) }

// TruthSeq yields what Truth returns; nothing for an unknown tenant.
func (s *Server) TruthSeq(tenant string) iter.Seq[TrueRow] {
	if l := s.logs[tenant]; l != nil {
		return l.Truth()
	}
	return func(func(TrueRow) bool) {}
}

// AddRow adds a row, by Graph's property names, that is visible from an instant on. A decimal is a json.Number.
func (s *Server) AddRow(tenant string, row map[string]any, visibleFrom time.Time) error {
	return s.with(tenant, func(l *calllog.Log) error { return l.Add(row, visibleFrom) })
}

// CorrectRow applies change to the row's last version visible before at; the result is what the log shows from at on. id is the
// row's id, or its TrueRow.Ident.
func (s *Server) CorrectRow(tenant, id string, change func(map[string]any), at time.Time) error {
	return s.with(tenant, func(l *calllog.Log) error { return l.Correct(id, change, at) })
}

// RemoveRow lets a row vanish at an instant.
func (s *Server) RemoveRow(tenant, id string, at time.Time) error {
	return s.with(tenant, func(l *calllog.Log) error { return l.Remove(id, at) })
}

// RestoreRow lets a vanished row come back at an instant, unchanged. One that comes back changed is CorrectRow's.
func (s *Server) RestoreRow(tenant, id string, at time.Time) error {
	return s.with(tenant, func(l *calllog.Log) error { return l.Restore(id, at) })
}

func (s *Server) with(tenant string, f func(*calllog.Log) error) error {
	l := s.logs[tenant]
	if l == nil {
		return fmt.Errorf("tenant %q: not simulated", tenant)
	}
	if err := f(l); err != nil {
		return fmt.Errorf("tenant %q: %w", tenant, err)
	}
	return nil
}

// SetReading changes how ranges are read, from the next request on.
func (s *Server) SetReading(r Reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Reading = r
}

func (s *Server) reading() Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Reading
}

// Misuse returns what clients did that Graph's documents forbid: the first hundred, without secrets.
func (s *Server) Misuse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.misuse)
}

func (s *Server) misused(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.misuse) < 100 {
		s.misuse = append(s.misuse, fmt.Sprintf(format, args...))
	}
}

// Requests returns how many requests to Graph's own paths were answered with the status; 0 stands for a connection closed in between.
func (s *Server) Requests(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statuses[status]
}

// budget counts a tenant's requests of the last minute, the refused ones as well. Server.mu guards it.
type budget struct {
	limit   int
	recent  []time.Time // the last limit requests
	hold    time.Time   // told to wait until then
	ignored int         // requests since then that came too early
}

// forgiven is how many requests may come too early after a 429: those that were on their way.
const forgiven = 8

// take counts a request. It returns how long the client has to wait if it is one too many, 0 otherwise, and whether the client has
// been ignoring what it was told. The wait is until the oldest request, of those that this one competes with, is a minute old.
func (b *budget) take(now time.Time) (wait time.Duration, ignored bool) {
	if now.Before(b.hold) {
		b.ignored++
		ignored = b.ignored == forgiven+1 // said once
	}
	if b.limit < 0 {
		return 0, ignored
	}
	over := len(b.recent) >= b.limit && now.Sub(b.recent[0]) < time.Minute
	b.recent = append(b.recent, now)
	b.recent = b.recent[max(0, len(b.recent)-b.limit):]
	if over {
		wait = time.Minute - now.Sub(b.recent[0])
	}
	return wait, ignored
}

// told notes that a client was told to wait. A further refusal within the wait does not begin the count of ignored ones anew.
func (b *budget) told(now, until time.Time) {
	if !now.Before(b.hold) {
		b.ignored = 0
	}
	if until.After(b.hold) {
		b.hold = until
	}
}
