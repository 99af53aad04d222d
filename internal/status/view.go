package status

import (
	"fmt"
	"maps"
	"slices"
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
	Tenant     string            `json:"tenant"`
	Watermark  time.Time         `json:"watermark"` // all calls before it have been read, as far as Graph has shown them
	Conditions []state.Condition `json:"conditions"`
	Requests   Requests          `json:"requests"`
	Lateness   struct{}          `json:"lateness"` // nothing is learned yet
	Windows    []Window          `json:"windows"`  // newest first
}

// Requests is how much of the request budget is used.
type Requests struct {
	LastMinute int `json:"lastMinute"`
	Limit      int `json:"limit"`
}

// The states of a window.
const (
	Open    = "open"    // it contains now
	Reading = "reading" // a scan of it is in progress
	Waiting = "waiting" // for its next scan
	Settled = "settled"
)

// Window is one window, [From, To).
type Window struct {
	From      window.Day `json:"from"`
	To        window.Day `json:"to"`
	State     string     `json:"state"`
	Rows      int64      `json:"rows"`
	Revisions int64      `json:"revisions"`
	Rejects   int64      `json:"rejects"`
	Vanished  int64      `json:"vanished"`
	Pages     int64      `json:"pages"`
	Scans     int64      `json:"scans"`
	LastScan  *time.Time `json:"lastScan"` // null: never
	NextScan  *time.Time `json:"nextScan"` // null: settled
}

// Shard is one shard and who owns it. Owner is empty if nobody does; Since is then when it was released, null if never claimed.
type Shard struct {
	Shard    int32      `json:"shard"`
	Owner    string     `json:"owner"`
	Instance string     `json:"instance"`
	Since    *time.Time `json:"since"`
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
			v.Tenants = append(v.Tenants, tenantView(t, s, now))
		}
	}
	for p := range sv.Shards {
		v.Shards = append(v.Shards, shardView(p, sv.Claims))
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
	v := Tenant{Tenant: t.ID, Watermark: t.CompleteUpTo(now), Conditions: t.Header.Conditions, Windows: []Window{}}
	if v.Conditions == nil {
		v.Conditions = []state.Condition{}
	}
	if r := t.Header.Requests; r != nil {
		v.Requests.Limit = r.Limit
		for _, at := range r.Used {
			if now.Sub(at) < time.Minute {
				v.Requests.LastMinute++
			}
		}
	}
	today := window.Of(now)
	days := map[window.Day]bool{}
	for d := t.Header.Start; d <= today; d++ {
		days[d] = true // those never read have no record
	}
	for _, d := range t.Windows() {
		days[d] = true
	}
	for _, d := range slices.Backward(slices.Sorted(maps.Keys(days))) {
		v.Windows = append(v.Windows, windowView(t, d, today, s))
	}
	return v
}

func windowView(t *state.Tenant, d, today window.Day, s schedule.Settings) Window {
	w := t.Window(d)
	v := Window{From: d, To: d + 1, State: Waiting, Rows: w.Rows, Revisions: w.Revisions, Rejects: w.Rejects, Vanished: w.Vanished,
		Pages: w.Pages, Scans: w.Scans, LastScan: w.LastScan}
	due := schedule.Window{Day: d, Settled: w.Settled != nil}
	if w.LastScan != nil {
		due.LastScan = *w.LastScan
	}
	if next := s.Due(due); next != schedule.Never {
		v.NextScan = &next
	}
	switch {
	case w.Settled != nil:
		v.State = Settled
	case d == today:
		v.State = Open
	case slices.ContainsFunc(t.Scans(), func(sc *state.Scan) bool { return sc.Range.Contains(d) }):
		v.State = Reading
	}
	return v
}
