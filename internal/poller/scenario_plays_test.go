//go:build synctests

package poller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
)

// addRow adds a row that is visible from now on.
func (s *scene) addRow(start time.Time, more map[string]any) string {
	s.Helper()
	id := newID()
	row := map[string]any{"id": id, "callId": "call-" + id, "startDateTime": stamp(start), "duration": 5, "charge": json.Number("0.25"), "currency": "EUR"}
	for k, v := range more {
		row[k] = v
	}
	if err := s.graph.AddRow(tenant, row, time.Now()); err != nil {
		s.Fatal(err)
	}
	return id
}

// restart ends the process in order and starts another.
func (s *scene) restart(tune func(*poller.Config)) {
	s.tune = tune
	s.pause(op{kind: opStop, dur: time.Second})
}

func playUnanswered(s *scene, name string) {
	script := s.refuse(-2, 500)
	s.begins(name, 12*time.Hour)
	script.Off()
	s.ends(name, 7*time.Hour)
}

func playClockOff(s *scene, name string) {
	s.offs.Store(int64(time.Hour))
	s.begins(name, 2*quiet.interval)
	s.offs.Store(0)
	s.ends(name, 2*quiet.interval)
}

func playClockJumped(s *scene, name string) {
	script := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 503, Count: -1})
	s.offs.Store(int64(time.Hour))
	s.begins(name, 3*time.Minute)
	s.offs.Store(0)
	time.Sleep(2 * time.Minute) // that is a jump as well
	script.Off()
	s.ends(name, 2*quiet.interval)
}

// playNoNewRows lets the calls end on the ninth day. Graph was away for two days before: that is no time without calls.
func playNoNewRows(s *scene, name string) {
	time.Sleep(3 * dayLong)
	script := s.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 500, Count: -1})
	time.Sleep(2 * dayLong)
	script.Off()
	s.until("it is readable again", time.Minute, time.Hour, func(t *state.Tenant) bool { return len(t.Header.Conditions) == 0 })
	time.Sleep(time.Until(s.day(9).Start()))
	a := s.state().Header.Arrivals
	if a == nil || a.Longest() < time.Hour || a.Longest() > dayLong || len(s.state().Header.Conditions) > 0 {
		s.Fatalf("arrivals %+v, conditions %+v", a, s.state().Header.Conditions)
	}
	c := s.begins(name, 4*a.Longest()+3*time.Hour)
	if quiet := c.Since.Sub(a.Last); quiet < 3*a.Longest() {
		s.Errorf("it begins after %v, and the longest time was %v", quiet, a.Longest())
	}
	s.addRow(time.Now(), nil)
	s.ends(name, 2*s.h.interval)
	if now := s.state().Header.Arrivals; now.Longest() <= 3*a.Longest() {
		s.Errorf("the longest time is %v now", now.Longest())
	}
}

func playBudget(s *scene, name string) {
	s.begins(name, 12*time.Hour)
	s.h.perMinute = 45
	s.restart(nil)
	s.ends(name, 5*time.Minute)
}

func playLookback(s *scene, name string) {
	time.Sleep(time.Until(s.day(-1).End().Add(40 * time.Hour)))
	for range 2 {
		s.addRow(s.day(-1).Start(), nil)
		time.Sleep(30 * time.Minute)
	}
	if holds(s.state(), name) {
		s.Error("two rows are enough")
	}
	s.addRow(s.day(-1).Start(), nil)
	s.begins(name, 2*quiet.interval)
	s.ends(name, dayLong+time.Hour)
}

func playVanished(s *scene, name string) {
	if err := s.graph.RemoveRow(tenant, s.graph.Truth(tenant)[0].ID, time.Now()); err != nil {
		s.Fatal(err)
	}
	if c := s.begins(name, 2*quiet.interval); !strings.Contains(c.Sentence, " 1 rows") {
		s.Errorf("it says %q", c.Sentence)
	}
	s.ends(name, dayLong+time.Hour)
}

func playRejected(s *scene, name string) {
	id := s.addRow(time.Now(), map[string]any{"charge": true})
	if c := s.begins(name, 2*quiet.interval); !strings.Contains(c.Sentence, id) || !strings.Contains(c.Sentence, "not an amount") {
		s.Errorf("it says %q", c.Sentence)
	}
	s.ends(name, dayLong+time.Hour)
}

func playFlapping(s *scene, name string) {
	id := s.addRow(time.Now(), nil)
	for i := range 11 {
		time.Sleep(20 * time.Minute)
		if err := s.graph.CorrectRow(tenant, id, func(r map[string]any) { r["duration"] = i % 2 }, time.Now()); err != nil {
			s.Fatal(err)
		}
	}
	s.begins(name, 2*quiet.interval)
	s.ends(name, dayLong+time.Hour)
}

func playOutOfRange(s *scene, name string) {
	s.graph.Script(graphfake.Fault{Kind: graphfake.Rows, Count: 1, Rows: `{"id":"stray","callId":"c","startDateTime":"1999-01-01T00:00:00Z"}`})
	s.begins(name, 2*quiet.interval)
	s.ends(name, dayLong+time.Hour)
}

func playTooMany(s *scene, name string) {
	s.restart(func(c *poller.Config) { c.ManyRows = 40 })
	s.begins(name, 2*quiet.interval)
	s.restart(nil)
	s.ends(name, 2*quiet.interval)
}

// playUnconfigured takes the tenant out of the configuration of its shard: once so that none is left, and once for another one.
func playUnconfigured(s *scene, name string) {
	var mu sync.Mutex
	list, changed := []string{tenant}, make(chan struct{})
	configure := func(tenants ...string) {
		mu.Lock()
		defer mu.Unlock()
		list = tenants
		close(changed)
		changed = make(chan struct{})
	}
	shard := kafka.ShardOf(tenant, 12)
	s.restart(func(c *poller.Config) {
		c.Tenants = func() ([]string, <-chan struct{}) {
			mu.Lock()
			defer mu.Unlock()
			return list, changed
		}
	})
	configure()
	s.begins(name, time.Minute)
	configure(tenant)
	s.ends(name, time.Minute)

	other := ""
	for i := 0; other == "" || kafka.ShardOf(other, 12) != shard; i++ {
		other = fmt.Sprintf("fabrikam%d", i)
	}
	configure(other)
	s.until("it begins again", 10*time.Second, time.Minute, func(t *state.Tenant) bool { return holds(t, name) })
	configure(other, tenant)
	s.until("it ends again", 10*time.Second, time.Minute, func(t *state.Tenant) bool { return !holds(t, name) })
}

// shown waits until the metric of a condition is as wanted, and checks the log.
func (s *scene) shown(name string, want float64, most time.Duration) {
	s.Helper()
	for began := time.Now(); s.metric(name) != want; time.Sleep(5 * time.Second) {
		if time.Since(began) > most {
			s.Fatalf("in vain for %s: the metric of %s is to be %v\n%s", most, name, want, tail(s.log.String(), 3000))
		}
	}
	s.shows(name, want)
}

func playNotCommitted(s *scene, name string) {
	fault := s.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	s.addRow(time.Now(), nil)
	began := time.Now()
	s.shown(name, 1, 2*quiet.interval)
	if at := time.Since(began); at < time.Minute {
		s.Errorf("it begins after %v", at)
	}
	fault.Remove()
	s.shown(name, 0, 5*time.Minute)
}

// playFenced fences the owner three times with the transactional id of its shard, as a set-up would that is in another group.
func playFenced(s *scene, name string) {
	c, err := s.cluster(nil)
	if err != nil {
		s.Fatal(err)
	}
	shard := kafka.ShardOf(tenant, 12)
	of := func() []state.Condition {
		v, err := c.ReadState(context.Background())
		if err != nil {
			s.Fatal(err)
		}
		own, err := state.LoadShard(map[string][]byte{state.ShardKey: v.Own[shard]})
		if err != nil {
			s.Fatal(err)
		}
		return own.Conditions
	}
	fence := func() {
		cl, err := kgo.NewClient(kgo.SeedBrokers(kafkaAddr), kgo.Dialer(s.net.DialContext), kgo.TransactionalID(c.TransactionalID(shard)))
		if err != nil {
			s.Fatal(err)
		}
		defer cl.Close()
		if _, _, err := cl.ProducerID(context.Background()); err != nil {
			s.Fatal(err)
		}
		s.addRow(time.Now(), nil)
		time.Sleep(2 * time.Minute)
	}
	fence()
	fence()
	if cs := of(); len(cs) > 0 {
		s.Errorf("twice is enough: %+v", cs)
	}
	fence()
	s.shown(name, 1, 2*time.Minute)
	s.until("it is in the record of the shard", 10*time.Second, time.Minute, func(*state.Tenant) bool { return len(of()) == 1 && of()[0].Name == name })
	s.shown(name, 0, 11*time.Minute)
	s.until("it is in the record no more", 10*time.Second, 2*time.Minute, func(*state.Tenant) bool { return len(of()) == 0 })
}

// watch looks at the shards as every replica does, until the function that it returns is called.
func (s *scene) watch(l status.Limits) (stop func()) {
	c, err := s.cluster(nil)
	if err != nil {
		s.Fatal(err)
	}
	r := prometheus.NewRegistry()
	s.watches = append(s.watches, r)
	w := &status.Watch{Cluster: c, Schedule: schedule.Settings{Interval: s.h.interval, Lookback: s.h.lookback}, Limits: l,
		Board: status.NewMetrics(r).Conditions, Log: slog.New(slog.NewTextHandler(s.log, nil))}
	return s.background(func(ctx context.Context) { w.Run(ctx) })
}

func (s *scene) background(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// member joins the group, and does nothing with its shards.
func (s *scene) member() (leave func()) {
	c, err := s.cluster(nil)
	if err != nil {
		s.Fatal(err)
	}
	return s.background(func(ctx context.Context) {
		if err := c.RunMembers(ctx, func(ctx context.Context, _ int32) error { <-ctx.Done(); return nil }); err != nil {
			s.Errorf("member: %v", err)
		}
	})
}

// playNoOwner has a process that commits, but nobody in the group: which is what counts.
func playNoOwner(s *scene, name string) {
	defer s.watch(status.StateLimits)()
	s.shown(name, 1, 3*time.Minute)
	defer s.member()()
	s.shown(name, 0, 3*time.Minute)
	time.Sleep(time.Hour)
	for _, d := range status.Definitions {
		if s.metric(d.Name) != 0 {
			s.Errorf("%s holds", d.Name)
		}
	}
}

// TestMemberThatCommitsNothing has a member that the group takes for the shard's owner, while nothing is committed.
func TestMemberThatCommitsNothing(t *testing.T) { on(quiet, silentMember)(t, status.NotCommitted) }

func silentMember(s *scene, name string) {
	defer s.watch(status.StateLimits)()
	defer s.member()()
	time.Sleep(10 * time.Minute)
	s.model.mu.Lock()
	p := s.main
	s.main = nil
	s.model.mu.Unlock()
	p.stop()
	stopped := time.Now()
	s.shown(name, 1, 2*time.Hour)
	if after := time.Since(stopped); after < 2*s.h.interval {
		s.Errorf("it begins after %v", after)
	}
	s.startMain()
	s.shown(name, 0, 5*time.Minute)
}

// playTransactionOpen lets the coordinator tell of a transaction that its timeout has not ended: the embedded one has none such.
func playTransactionOpen(s *scene, name string) {
	var began atomic.Int64
	s.kafka.ControlKey(kmsg.DescribeTransactions.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		s.kafka.KeepControl()
		if began.Load() == 0 {
			return nil, nil, false
		}
		r := req.(*kmsg.DescribeTransactionsRequest)
		resp := r.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		for _, id := range r.TransactionalIDs {
			t := kmsg.NewDescribeTransactionsResponseTransactionState()
			t.TransactionalID, t.State, t.StartTimestamp, t.TimeoutMillis = id, "Empty", -1, 20_000
			if strings.HasSuffix(id, fmt.Sprintf(".%d", kafka.ShardOf(tenant, 12))) {
				t.State, t.StartTimestamp = "Ongoing", began.Load()
			}
			resp.TransactionStates = append(resp.TransactionStates, t)
		}
		return resp, nil, true
	})
	defer s.watch(status.StateLimits)()
	time.Sleep(5 * time.Minute)
	if s.metric(name) != 0 {
		s.Error("it holds before")
	}
	began.Store(time.Now().UnixMilli())
	s.shown(name, 1, 4*time.Minute)
	began.Store(0)
	s.shown(name, 0, 2*time.Minute)
}

// playStateGrowing has a topic that nobody compacts; then the brokers say that it is small.
func playStateGrowing(s *scene, name string) {
	var small atomic.Bool
	s.kafka.ControlKey(kmsg.DescribeLogDirs.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		s.kafka.KeepControl()
		if !small.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		d := kmsg.NewDescribeLogDirsResponseDir()
		d.Dir = "/data"
		for _, t := range req.(*kmsg.DescribeLogDirsRequest).Topics {
			rt := kmsg.NewDescribeLogDirsResponseDirTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
				rp.Partition, rp.Size = p, 1000
				rt.Partitions = append(rt.Partitions, rp)
			}
			d.Topics = append(d.Topics, rt)
		}
		resp.Dirs = append(resp.Dirs, d)
		return resp, nil, true
	})
	defer s.watch(status.Limits{Bytes: 4000, Times: 8})()
	if time.Sleep(5 * time.Minute); s.metric(name) != 0 {
		s.Error("it holds before")
	}
	s.shown(name, 1, 2*dayLong)
	small.Store(true)
	s.shown(name, 0, 3*time.Minute)
}
