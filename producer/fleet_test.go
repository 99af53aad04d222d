//go:build long

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/schema"
)

const (
	shardsInUse = 6
	rowEvery    = 400 * time.Millisecond
	// staticMembers, in a fleet's environment, gives every replica a name of its own that outlives it.
	staticMembers = "TEST_STATIC_MEMBERS=true"
)

// fleet is several replicas and several tenants, each on a shard of its own, seen from outside: at the simulator's door, and by a
// read_committed reader. Calls of every tenant appear all the time, so that each poll of the open window is a commit.
type fleet struct {
	*world
	tenants  []string
	shards   []int32 // of the tenants
	replicas []*process
	rows     int    // added to each tenant
	end      func() // of the rows and of what watches

	mu      sync.Mutex
	asked   map[string][]time.Time // by tenant: the requests for its open window
	claims  []claimSeen
	owner   map[int32]int        // by shard: whose the newest claim is, as a process id
	by      map[commit]int       // whose a commit is
	shown   map[commit]time.Time // when its first event could be read
	lag     time.Duration        // what this process was kept waiting, at most
	changed chan struct{}        // closed and replaced at each change
}

type commit struct {
	shard int32
	n     int64
}

type claimSeen struct {
	shard    int32
	pid      int
	released bool
	at       time.Time
}

// newFleet starts replicas, all at once on a new state.
func newFleet(t *testing.T, replicas int, more ...string) *fleet {
	t.Helper()
	f := &fleet{asked: map[string][]time.Time{}, owner: map[int32]int{}, by: map[commit]int{}, shown: map[commit]time.Time{},
		changed: make(chan struct{})}
	var cfg graphfake.Config
	for i := 0; len(f.tenants) < shardsInUse; i++ {
		name := fmt.Sprint("tenant-", i)
		if shard := kafka.ShardOf(name, 12); !slices.Contains(f.shards, shard) {
			f.tenants, f.shards = append(f.tenants, name), append(f.shards, shard)
			cfg.Tenants = append(cfg.Tenants, graphfake.TenantConfig{ID: name})
		}
	}
	f.world = newWorld(t, cfg)
	door := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(door.Close)
	f.environ = append(f.environ, "GRAPH_ENDPOINT="+door.URL, "POLL_START=24h")
	f.environ = append(f.environ, more...)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { f.watch(ctx) })
	all.Go(func() { f.feed(ctx) })
	all.Go(func() { f.watchMachine(ctx) })
	f.end = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(f.end)
	for i := range replicas {
		f.replicas = append(f.replicas, f.begin(i))
	}
	return f
}

// begin starts the i-th replica.
func (f *fleet) begin(i int) *process {
	f.t.Helper()
	if slices.Contains(f.environ, staticMembers) {
		return f.start("none", fmt.Sprint("KAFKA_GROUP_INSTANCE_ID=replica-", i))
	}
	return f.start("none")
}

// stop ends a replica in order.
func (f *fleet) stop(p *process) {
	f.t.Helper()
	if code := p.stop(); code != exitDone {
		f.t.Errorf("exit code %d:\n%.4000s", code, p.log.String())
	}
}

var rangeEnd = regexp.MustCompile(`toDateTime=(\d{4}-\d\d-\d\d)`)

// serve is the simulator's door: it notes when which tenant was asked for its open window.
func (f *fleet) serve(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	m := rangeEnd.FindStringSubmatch(r.URL.Path + "?" + r.URL.RawQuery)
	if m != nil && m[1] > now.UTC().Format(time.DateOnly) && !strings.Contains(r.URL.RawQuery, "skip") {
		tenant := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") // GRAPH_AUTH=none
		f.note(func() { f.asked[tenant] = append(f.asked[tenant], now) })
	}
	f.graph.ServeHTTP(w, r)
}

// feed adds a call to every tenant, again and again.
func (f *fleet) feed(ctx context.Context) {
	for tick := time.Tick(rowEvery); ctx.Err() == nil; f.rows++ {
		for _, tenant := range f.tenants {
			row := map[string]any{"id": fmt.Sprintf("%s-%06d", tenant, f.rows), "callId": fmt.Sprint("call-", f.rows),
				"startDateTime": time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"), "duration": f.rows, "charge": 0.25, "currency": "EUR"}
			if err := f.graph.AddRow(tenant, row, time.Now()); err != nil {
				f.t.Error(err)
			}
		}
		select {
		case <-tick:
		case <-ctx.Done():
		}
	}
}

// watchMachine measures how late this process is woken.
func (f *fleet) watchMachine(ctx context.Context) {
	const nap = 10 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		time.Sleep(nap)
		f.mu.Lock()
		f.lag = max(f.lag, time.Since(began)-nap)
		f.mu.Unlock()
	}
}

// watch notes what can be read: claims, whose commit is whose, and events.
func (f *fleet) watch(ctx context.Context) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.ConsumeTopics(f.name, f.name+".state"), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(time.Second), // the topics are yet to be created
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		f.t.Error(err)
		return
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fs := cl.PollFetches(ctx)
		now := time.Now()
		f.note(func() { fs.EachRecord(func(r *kgo.Record) { f.see(r, now) }) })
	}
}

func (f *fleet) see(r *kgo.Record, now time.Time) {
	switch key := string(r.Key); {
	case r.Topic == f.name:
		if c, ok := commitHeader(r); ok && f.shown[c].IsZero() {
			f.shown[c] = now
		}
	case strings.HasPrefix(key, "claim/"):
		var c kafka.Claim
		if err := json.Unmarshal(r.Value, &c); err != nil {
			f.t.Error(err)
			return
		}
		parts := strings.Split(c.Instance, "-") // host, process id, a random number
		pid, err := strconv.Atoi(parts[max(0, len(parts)-2)])
		if err != nil {
			f.t.Errorf("claim of %q: %v", c.Instance, err)
		}
		f.owner[r.Partition] = pid
		f.claims = append(f.claims, claimSeen{r.Partition, pid, c.Released != nil, now})
	case key == "commit":
		var m kafka.Mark
		if err := json.Unmarshal(r.Value, &m); err != nil {
			f.t.Error(err)
			return
		}
		f.by[commit{r.Partition, m.N}] = f.owner[r.Partition]
	}
}

func commitHeader(r *kgo.Record) (commit, bool) {
	hs := make([]schema.Header, len(r.Headers))
	for i, h := range r.Headers {
		hs[i] = schema.Header{Key: h.Key, Value: h.Value}
	}
	shard, n, ok := schema.CommitOf(hs)
	return commit{shard, n}, ok
}

func (f *fleet) note(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	close(f.changed)
	f.changed = make(chan struct{})
}

// wait waits until ok, which is called under the lock.
func (f *fleet) wait(what string, d time.Duration, ok func() bool) {
	f.t.Helper()
	for deadline := time.After(d); ; {
		f.mu.Lock()
		done, changed := ok(), f.changed
		f.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			f.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

// calm waits until every tenant's shard has a live owner that has published after since, and no claim has been seen for a while.
func (f *fleet) calm(since time.Time) {
	f.t.Helper()
	const quiet = 2500 * time.Millisecond // each of a rebalance's two rounds takes less
	f.wait("every shard has an owner that publishes", 2*time.Minute, func() bool {
		if n := len(f.claims); n > 0 && time.Since(f.claims[n-1].at) < quiet {
			return false
		}
		return !slices.ContainsFunc(f.shards, func(shard int32) bool {
			pid := f.owner[shard]
			return !f.alive(pid) || f.first(shard, since, func(by int) bool { return by == pid }).IsZero()
		})
	})
}

func (f *fleet) alive(pid int) bool {
	return slices.ContainsFunc(f.replicas, func(p *process) bool {
		select {
		case <-p.done:
			return false
		default:
			return p.cmd.Process.Pid == pid
		}
	})
}

// first returns when the first event of a shard could be read, after since, that an owner who is wanted published; zero: none yet.
func (f *fleet) first(shard int32, since time.Time, wanted func(pid int) bool) (first time.Time) {
	for c, at := range f.shown {
		if pid, known := f.by[c]; c.shard == shard && at.After(since) && known && wanted(pid) && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// owned returns the tenants' shards that a replica owns. Called under the lock.
func (f *fleet) owned(p *process) (out []int32) {
	for _, shard := range f.shards {
		if f.owner[shard] == p.cmd.Process.Pid {
			out = append(out, shard)
		}
	}
	return out
}

// anOwner returns a replica that owns something.
func (f *fleet) anOwner() (int, *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if i := rand.IntN(len(f.replicas)); len(f.owned(f.replicas[i])) > 0 {
			return i, f.replicas[i]
		}
	}
}

// absence is how long the shards of a replica were away that has ended, each the longest of them, from the word to end: until the
// claim of another owner could be read, and until one of its events could. A successor polls when that is due, not at once: late is
// how much more than an interval passed between two polls.
type absence struct{ claim, event, late time.Duration }

// away ends a replica and waits for its successors.
func (f *fleet) away(p *process, interval time.Duration, end func()) (a absence) {
	f.t.Helper()
	f.mu.Lock()
	shards := f.owned(p)
	f.lag = 0
	f.mu.Unlock()
	began := time.Now()
	end()
	f.wait("the successors publish", 2*time.Minute, func() bool {
		a = absence{}
		for _, shard := range shards {
			at := f.first(shard, began, func(by int) bool { return by != p.cmd.Process.Pid })
			if at.IsZero() {
				return false
			}
			a.event = max(a.event, at.Sub(began))
			i := slices.IndexFunc(f.claims, func(c claimSeen) bool {
				return c.shard == shard && c.pid != p.cmd.Process.Pid && c.at.After(began)
			})
			a.claim = max(a.claim, f.claims[i].at.Sub(began))
		}
		return true
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, tenant := range f.tenants {
		if slices.Contains(shards, f.shards[i]) {
			a.late = max(a.late, longest(f.asked[tenant], began)-interval)
		}
	}
	f.t.Logf("%d shards away: claimed after %v, an event after %v, polls late by %v; this process waited for the machine up to %v", len(shards),
		a.claim.Round(time.Millisecond), a.event.Round(time.Millisecond), a.late.Round(time.Millisecond), f.lag.Round(time.Millisecond))
	return a
}

// longest returns the longest time between two of the requests, of those that ended after since.
func longest(asked []time.Time, since time.Time) (d time.Duration) {
	for i, at := range asked {
		if i > 0 && at.After(since) {
			d = max(d, at.Sub(asked[i-1]))
		}
	}
	return d
}

// gaps returns for each tenant the longest time without a request for its open window, from since to now.
func (f *fleet) gaps(since time.Time) (out []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tenant := range f.tenants {
		out = append(out, longest(append(slices.Clone(f.asked[tenant]), time.Now()), since))
	}
	return out
}

// abandoned counts the claims since an instant that were made over one that nobody had released.
func (f *fleet) abandoned(since time.Time) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	standing := map[int32]bool{}
	for _, c := range f.claims {
		if !c.released && standing[c.shard] && c.at.After(since) {
			n++
		}
		standing[c.shard] = !c.released
	}
	return n
}

// finish ends the rows, waits until all of them are published, and judges.
func (f *fleet) finish() {
	f.t.Helper()
	f.end()
	deadline := time.Now().Add(time.Minute)
	for len(f.read(f.name)) < f.rows*len(f.tenants) && time.Now().Before(deadline) {
		time.Sleep(200 * time.Millisecond)
	}
	v := f.verdict()
	check(f.t, v)
	if want := f.rows * len(f.tenants); v.Events < want {
		f.t.Errorf("%d events of %d rows", v.Events, want)
	}
}
