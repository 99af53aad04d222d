// Package status owns what the program says of itself: the view that the command status prints, the metrics, the health and
// the page of the admin server. Conditions are defined here (Definitions). Who polls writes those of tenants into the state; those
// that perhaps nobody can write follow from the state and from what the cluster says (Derive), for whoever looks: the command
// status, and the Watch of each replica. The Board is what a process shows of them, in metric and log.
//
// Invariants: a View is a pure function of the state topic, the schedule's settings and the time, and Derive of these and the
// cluster's facts. The windows of a tenant share
// no day, and their rows add up to the rows published. A healthy tenant has no conditions. The names in the JSON are a contract,
// and so are those of the metrics, whose labels have bounded values.
package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
)

// View is what the command status shows: design section 11, "status --json".
type View struct {
	Tenants []Tenant `json:"tenants"`
	Shards  []Shard  `json:"shards"`
}

// Tenant is one tenant.
type Tenant struct {
	Tenant     string      `json:"tenant"`
	Shard      int32       `json:"shard"`
	Watermark  time.Time   `json:"watermark"` // all calls before it have been read, as far as Graph has shown them
	Conditions []Condition `json:"conditions"`
	Requests   Requests    `json:"requests"`
	Lateness   Lateness    `json:"lateness"`
	Reading    Reading     `json:"reading"`
	Backfill   *Backfill   `json:"backfill,omitempty"` // while there are days that were never read
	Windows    []Window    `json:"windows"`            // newest first
}

// Condition is a condition as it is shown, with what to do.
type Condition struct {
	state.Condition
	Do string `json:"do"`
}

// Lateness is how long after a call's start its row was first seen, or seen changed. The quantiles are upper bounds, and of
// the prior alone where Rows is 0.
type Lateness struct {
	Rows int64  `json:"rows"`
	P50  string `json:"p50"` // as 2h0m0s, rounded up to a minute
	P90  string `json:"p90"`
	P99  string `json:"p99"`
}

// Reading is how Graph reads the ends of a range for this tenant, as far as it is proved.
type Reading struct {
	Times       string     `json:"times"` // honoured, ignored, unknown
	End         string     `json:"end"`   // inclusive, exclusive, unknown
	TimesProved *time.Time `json:"timesProved"`
	EndProved   *time.Time `json:"endProved"`
}

// Backfill is how the first reading of old days goes on.
type Backfill struct {
	DaysRead      int    `json:"daysRead"`
	DaysLeft      int    `json:"daysLeft"`
	Pages         int64  `json:"pages"`
	Rows          int64  `json:"rows"`
	RowsPerSecond int64  `json:"rowsPerSecond"`
	SecondsLeft   *int64 `json:"secondsLeft"` // null: no day is complete yet to tell it by
}

// Requests is how much of the request budget was used in the minute before At, when the owner last noted it: that is rarely
// within the last minute, so a count up to now would nearly always be 0.
type Requests struct {
	LastMinute int        `json:"lastMinute"` // with a limit above Graph's 50, at most 50: its owner notes no more
	Limit      int        `json:"limit"`
	At         *time.Time `json:"at"` // null: never noted
}

// The states of a window.
const (
	Open      = "open"    // it contains now
	BeingRead = "reading" // a scan of it is in progress
	Waiting   = "waiting" // for its next scan
	Settled   = "settled"
)

// Window is one window, [From, To): a day, or neighbouring days of a month that have settled and whose ledgers have been
// dropped: of these the sums are known, but not how they were read.
type Window struct {
	From      window.Day `json:"from"`
	To        window.Day `json:"to"`
	State     string     `json:"state"`
	Rows      int64      `json:"rows"`
	Revisions int64      `json:"revisions"`
	Rejects   int64      `json:"rejects"`
	Vanished  int64      `json:"vanished"`
	Pages     int64      `json:"pages"` // of its last complete scan, which may have read its neighbours, too
	Scans     int64      `json:"scans"`
	LastScan  *time.Time `json:"lastScan"` // null: never, or its ledger has been dropped
	NextScan  *time.Time `json:"nextScan"` // null: settled; in the past: due, or made and not noted yet
}

// Shard is one shard and who owns it. Owner is empty if nobody does; Since is then when it was released, null if never claimed.
type Shard struct {
	Shard      int32       `json:"shard"`
	Owner      string      `json:"owner"`
	Instance   string      `json:"instance"`
	Since      *time.Time  `json:"since"`
	Conditions []Condition `json:"conditions"`
}

// NewView makes the view of a state as it is at now.
func NewView(sv *kafka.StateView, s schedule.Settings, now time.Time) (*View, error) {
	v := &View{Tenants: []Tenant{}, Shards: []Shard{}}
	byTenant := map[string]map[string][]byte{}
	for key, value := range sv.State {
		id, ok := state.TenantOf(key)
		if !ok {
			continue
		}
		if byTenant[id] == nil {
			byTenant[id] = map[string][]byte{}
		}
		byTenant[id][key] = value
	}
	for _, id := range slices.Sorted(maps.Keys(byTenant)) {
		t, ok, err := state.Load(id, byTenant[id])
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", id, err)
		}
		if ok {
			tv := tenantView(t, s, now)
			tv.Shard = kafka.ShardOf(id, sv.Shards)
			v.Tenants = append(v.Tenants, tv)
		}
	}
	for p := range sv.Shards {
		own, err := state.LoadShard(map[string][]byte{state.ShardKey: sv.Own[p]})
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", p, err)
		}
		shard := shardView(p, sv.Claims)
		shard.Conditions = conditionViews(own.Conditions, now)
		v.Shards = append(v.Shards, shard)
	}
	return v, nil
}

func shardView(p int32, claims map[int32]kafka.Claim) Shard {
	c, ok := claims[p]
	switch {
	case !ok:
		return Shard{Shard: p}
	case c.Released != nil:
		return Shard{Shard: p, Since: c.Released}
	}
	return Shard{Shard: p, Owner: c.Host, Instance: c.Instance, Since: &c.At}
}

func tenantView(t *state.Tenant, s schedule.Settings, now time.Time) Tenant {
	return Tenant{Tenant: t.ID, Watermark: t.CompleteUpTo(now), Conditions: conditionViews(t.Header.Conditions, now),
		Requests: requestsView(t.Header.Requests), Lateness: latenessView(t.Header.Lateness), Reading: readingView(t.Header.Reading),
		Backfill: backfillView(t, now), Windows: windowViews(t, s, now)}
}

// conditionViews leaves out what has been shown for long enough: its owner may not be there to end it.
func conditionViews(cs []state.Condition, now time.Time) []Condition {
	out := []Condition{}
	for _, c := range cs {
		if c.Until == nil || c.Until.After(now) {
			out = append(out, Condition{c, strings.ReplaceAll(DefinitionOf(c.Name).Do, "`", "")})
		}
	}
	return out
}

func requestsView(r *state.Requests) Requests {
	if r == nil {
		return Requests{}
	}
	v := Requests{Limit: r.Limit, At: &r.At}
	for _, at := range r.Used {
		if r.At.Sub(at) < time.Minute {
			v.LastMinute++
		}
	}
	return v
}

func latenessView(counts []int64) Lateness {
	l := &schedule.Lateness{}
	copy(l.Counts[:], counts)
	quantile := func(p float64) string { return (l.Quantile(p) + time.Minute - 1).Truncate(time.Minute).String() }
	return Lateness{Rows: l.Total(), P50: quantile(0.5), P90: quantile(0.9), P99: quantile(0.99)}
}

func readingView(r *state.Reading) Reading {
	v := Reading{Times: "unknown", End: "unknown"}
	if r == nil {
		return v
	}
	if r.Times != "" {
		v.Times, v.TimesProved = r.Times, r.TimesProved
	}
	if r.End != "" {
		v.End, v.EndProved = r.End, r.EndProved
	}
	return v
}

func backfillView(t *state.Tenant, now time.Time) *Backfill {
	b, left := t.Header.Backfill, t.Unread(now)
	if b == nil || left == 0 {
		return nil
	}
	v := &Backfill{DaysRead: b.Days, DaysLeft: left, Pages: b.Pages, Rows: b.Rows, RowsPerSecond: b.RowsPerSecond()}
	if b.Days > 0 {
		seconds := int64(b.Left(left).Seconds())
		v.SecondsLeft = &seconds
	}
	return v
}

func windowViews(t *state.Tenant, s schedule.Settings, now time.Time) []Window {
	out := []Window{}
	next := map[window.Day]time.Time{}
	in := schedule.Of(t, now)
	for i, at := range s.Due(in) {
		next[in.Windows[i].Day] = at
	}
	days := t.Windows()
	for _, w := range in.Windows { // those never read have no record
		if i, known := slices.BinarySearch(days, w.Day); !known {
			days = slices.Insert(days, i, w.Day)
		}
	}
	for _, d := range slices.Backward(days) {
		v := windowView(t, d, window.Of(now))
		if at, ok := next[d]; ok && at != schedule.Never {
			v.NextScan = &at
		}
		if n := len(out); n > 0 && t.Dropped(d) && t.Dropped(d+1) && sameMonth(d, d+1) {
			out[n-1].add(v)
			continue
		}
		out = append(out, v)
	}
	return out
}

func sameMonth(a, b window.Day) bool {
	return a.Start().Format("2006-01") == b.Start().Format("2006-01")
}

// add takes in the dropped day before.
func (w *Window) add(o Window) {
	w.From = o.From
	w.Rows += o.Rows
	w.Revisions += o.Revisions
	w.Rejects += o.Rejects
	w.Vanished += o.Vanished
}

func windowView(t *state.Tenant, d, today window.Day) Window {
	w := t.Window(d)
	v := Window{From: d, To: d + 1, State: Waiting, Rows: w.Rows, Revisions: w.Revisions, Rejects: w.Rejects, Vanished: w.Vanished,
		Pages: w.Pages, Scans: w.Scans, LastScan: w.LastScan}
	switch {
	case w.Settled != nil:
		v.State = Settled
	case d == today:
		v.State = Open
	case slices.ContainsFunc(t.Scans(), func(sc *state.Scan) bool { return sc.Range.Contains(d) }):
		v.State = BeingRead
	}
	return v
}
