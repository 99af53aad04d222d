package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pstncalls/internal/graphfake"
)

// soakSize is how many strikes a soak has where PSTNCALLS_TEST_KILLS does not say.
const soakSize = 10

// seedOf returns the seed of a random test: PSTNCALLS_TEST_SEED repeats one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PSTNCALLS_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d: PSTNCALLS_TEST_SEED repeats it", seed)
	return seed
}

// countOf returns the number in a variable, or n.
func countOf(t *testing.T, variable string, n int) int {
	t.Helper()
	if s := os.Getenv(variable); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// stall is how long a call of today may wait for a reader to be shown it. What may come together before: a frozen owner holds the
// readers for up to 30 s, a replica that died while it joined holds the others up for 20 s, and it was a member for 6 s; all of it
// on a machine that has other work.
const stall = 3 * time.Minute

// TestSoak strikes at three replicas, one to all three at a time, while Graph throttles, fails, and changes what it said.
func TestSoak(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	strikes := countOf(t, "PSTNCALLS_TEST_KILLS", soakSize)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	// Calls are added all the time. A scan of today shall not have more pages, and take longer, the longer the soak.
	cfg := graphfake.Config{Seed: seed, PageSize: 20 * max(1, strikes/200), Order: graphfake.Order(seed % 5)}
	for _, tenant := range []string{worldTenant, "fabrikam", "northwind"} {
		cfg.Tenants = append(cfg.Tenants, graphfake.TenantConfig{ID: tenant, RowsPerDay: 300, Flat: true, From: today.Add(-72 * time.Hour),
			To: today.Add(-24 * time.Hour), NoIDShare: 0.02, NullCallIDShare: 0.02, RejectShare: 0.01})
	}
	s := &soak{t: t, w: newWorld(t, cfg), seed: seed, strikes: strikes, rng: rand.New(rand.NewPCG(seed, 0))}
	for i := range s.slots {
		s.slots[i].n, s.slots[i].static = i, true
		s.slots[i].start(s)
	}
	for len(s.w.read(s.w.name+".state")) == 0 { // the events topic exists before
		time.Sleep(50 * time.Millisecond)
	}
	f := follow(t, s.w)
	s.source = newSource(t, s.w, f, seed)
	for i := range strikes {
		s.strike()
		if i%25 == 24 {
			s.judge(fmt.Sprintf("after %d strikes", i+1))
		}
	}
	s.recover()
	v := s.w.settle(s.source.added, stall)
	check(t, v)
	s.end()
	undecided := s.w.undecided(t)
	for deadline := time.Now().Add(2 * transactionTimeout); undecided > 0 && time.Now().Before(deadline); undecided = s.w.undecided(t) {
		time.Sleep(time.Second)
	}
	if undecided > 0 {
		t.Errorf("%d records lie behind a transaction that the brokers do not decide: no reader sees them", undecided)
	}
	s.verify()

	all := s.w.read(s.w.name)
	for deadline := time.Now().Add(2 * time.Minute); f.differs(all) != "" && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if d := f.differs(all); d != "" {
		t.Error(d)
	}
	if strikes >= soakSize && (s.kills == 0 || s.stops == 0 || s.terms == 0 || v.Revisions == 0) {
		t.Error("some fault never came, or no correction was published: the soak shows less than it says")
	}
	t.Logf("%d strikes; a call of today waited %s at most; Graph misbehaved %d times; impolite: %q", strikes, s.source.longest.Round(100*time.Millisecond),
		s.misbehaved(), s.w.graph.Misuse())
	t.Logf("soak: seed=%d kills=%d stops=%d terms=%d rows=%d events=%d revisions=%d lost=%d doubled=%d wrong=%d",
		seed, s.kills, s.stops, s.terms, v.Rows, v.Events, v.Revisions, v.Lost, v.Doubled, v.Wrong)
}

type soak struct {
	t       *testing.T
	w       *world
	seed    uint64
	strikes int
	rng     *rand.Rand
	source  *source
	slots   [3]slot
	scripts []*graphfake.Script
	signals []syscall.Signal // of the next strikes

	kills, stops, terms int
	events              int  // that had been published at the last strike
	late                bool // a stall was reported
}

// slot is a place for a replica.
type slot struct {
	n       int
	proc    *process
	state   slotState
	next    time.Time     // when it goes on: thawed, started again
	restart time.Duration // what it will wait for, once it has ended
	static  bool          // it has a name in the group
	aim     string        // where the next one is struck in the middle of a transaction, by itself; "none" is nowhere
	armed   bool          // this one has an aim
	thawed  bool          // what stopped itself there goes on
}

type slotState uint8

const (
	up slotState = iota
	frozen
	leaving
	down
)

func (p *slot) start(s *soak) {
	id := "KAFKA_GROUP_INSTANCE_ID="
	if p.static {
		id += fmt.Sprintf("soak-%d", p.n)
	}
	p.proc, p.state, p.thawed = s.w.start(cmp.Or(p.aim, "none"), id), up, false
	p.armed = p.aim != "" && p.aim != "none"
}

// held reports whether the replica has stopped itself at its point.
func (p *slot) held(s *soak) bool { return p.proc.hit.Load() && !p.thawed && p.proc.stopped(s.t) }

func (p *slot) thaw(s *soak) {
	s.t.Helper()
	itself := p.held(s)
	s.send(p, syscall.SIGCONT)
	if itself {
		p.proc.onward(s.t)
		p.thawed = true
	}
}

// aimed returns where a replica is struck in the middle of a transaction: chance alone seldom hits one. Every second is not.
func aimed(r uint64) string {
	kind := []string{"kill", "stop"}[r&1]
	switch n := 1 + r>>4%8; r >> 1 & 7 {
	case 0, 1, 2:
		return fmt.Sprintf("produced %d %s page", n, kind)
	case 3:
		return fmt.Sprintf("end %d %s page", n, kind)
	}
	return "none"
}

// strike draws what happens next, all of it from the seed, lets the world live for a while, and strikes.
func (s *soak) strike() {
	if len(s.signals) == 0 { // dealt, not diced: ten strikes have all three
		s.signals = []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGKILL, syscall.SIGKILL,
			syscall.SIGSTOP, syscall.SIGSTOP, syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGTERM}
		s.rng.Shuffle(len(s.signals), func(i, j int) { s.signals[i], s.signals[j] = s.signals[j], s.signals[i] })
	}
	signal := s.signals[0]
	s.signals = s.signals[1:]
	victims := []int{1, 1, 1, 1, 1, 1, 2, 2, 3, 3}[s.rng.IntN(10)]
	order := s.rng.Perm(len(s.slots))
	pause := 300*time.Millisecond + time.Duration(s.rng.Int64N(int64(2200*time.Millisecond)))
	freeze := 100*time.Millisecond + time.Duration(s.rng.Int64N(int64(2*time.Second)))
	switch long := s.rng.IntN(10); {
	case long < 3: // longer than a member may be silent
		freeze += 6500 * time.Millisecond
	case long == 3 && s.strikes >= 50: // longer than a transaction may last
		freeze += transactionTimeout + time.Second
		victims = 1
	}
	restart, names := time.Duration(s.rng.Int64N(int64(1500*time.Millisecond))), s.rng.Uint64()
	for range s.rng.IntN(3) {
		s.scripts = append(s.scripts, s.w.graph.Script(misbehaviour(s.rng)))
	}
	// What has not recovered from the last strike shows little in the next.
	s.live(pause, func() bool { return s.late || s.count(up) > 0 && s.source.follower.events() > s.events })
	s.live(0, func() bool { return s.count(up) > 0 })
	for _, n := range order {
		p := &s.slots[n]
		if p.state != up || victims == 0 {
			continue
		}
		victims--
		p.static, p.restart, p.aim = names>>(3*n)&7 != 0, restart, aimed(names>>(16+8*n))
		switch signal {
		case syscall.SIGKILL:
			s.kills++
			p.proc.kill()
			p.state, p.next = down, time.Now().Add(restart)
		case syscall.SIGSTOP:
			s.stops++
			s.send(p, syscall.SIGSTOP)
			p.state, p.next = frozen, time.Now().Add(freeze)
		case syscall.SIGTERM:
			s.terms++
			s.send(p, syscall.SIGTERM)
			p.state, p.next = leaving, time.Now().Add(stall)
		}
	}
	s.events = s.source.follower.events()
}

func (s *soak) count(state slotState) (n int) {
	for i := range s.slots {
		if s.slots[i].state == state {
			n++
		}
	}
	return n
}

// send signals a replica. One that has just been struck at its own point is gone before it: revive finds it so.
func (s *soak) send(p *slot, signal syscall.Signal) {
	s.t.Helper()
	if err := p.proc.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
}

// live lets the call log change, and the replicas go on that are due, until d is over and the condition met.
func (s *soak) live(d time.Duration, met func() bool) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end) || !met(); time.Sleep(40 * time.Millisecond) {
		s.source.change()
		s.revive()
		if oldest, id := s.source.wait(); oldest > stall && !s.late {
			s.late = true
			s.t.Errorf("row %s waits for %s: nobody has published it; seed %d", id, oldest.Round(time.Second), s.seed)
		}
	}
}

// revive lets the replicas go on that are due.
func (s *soak) revive() {
	s.t.Helper()
	for i := range s.slots {
		p := &s.slots[i]
		ended := false
		select {
		case <-p.proc.done:
			ended = true
		default:
		}
		due := time.Now().After(p.next)
		switch {
		case p.state != down && ended && p.proc.hit.Load() && !p.thawed, p.state == leaving && ended && !p.proc.ears.Load():
			s.kills++
			// Once a strike: where all three die in every transaction that they begin, nothing is ever published.
			p.aim = ""
			p.state, p.next = down, time.Now().Add(p.restart)
		case p.state == up && p.held(s):
			s.stops++
			p.state, p.next = frozen, time.Now().Add(p.restart)
		case p.state == leaving && p.held(s):
			p.thaw(s)
		case p.state == up && ended, p.state == frozen && ended:
			s.t.Fatalf("replica %d ended by itself: %s; seed %d\n%.4000s", i, p.proc.cmd.ProcessState, s.seed, p.proc.log.String())
		case p.state == frozen && due:
			p.thaw(s)
			p.state = up
		case p.state == leaving && ended:
			if code := p.proc.cmd.ProcessState.ExitCode(); code != exitDone {
				s.t.Errorf("replica %d was told to end: exit code %d; seed %d", i, code, s.seed)
			}
			p.state, p.next = down, time.Now().Add(p.restart)
		case p.state == leaving && due:
			s.t.Fatalf("replica %d was told to end and has not for %s; seed %d", i, stall, s.seed)
		case p.state == down && due:
			p.start(s)
		}
	}
}

// recover ends the faults, and waits until all replicas are up.
func (s *soak) recover() {
	s.t.Helper()
	for _, sc := range s.scripts {
		sc.Off()
	}
	for i := range s.slots {
		s.slots[i].aim = ""
	}
	for {
		for s.count(up) < len(s.slots) {
			s.revive()
			time.Sleep(40 * time.Millisecond)
		}
		armed := false
		for i := range s.slots {
			if p := &s.slots[i]; p.armed && !p.thawed {
				p.proc.kill()
				p.state, armed = down, true
			}
		}
		if !armed {
			return
		}
	}
}

func (s *soak) end() {
	s.t.Helper()
	for i := range s.slots {
		if code := s.slots[i].proc.stop(); code != exitDone {
			s.t.Errorf("replica %d: exit code %d", i, code)
		}
	}
}

func (s *soak) misbehaved() (n int) {
	for _, sc := range s.scripts {
		n += sc.Fired()
	}
	return n
}

// verify lets the program prove what is on the topics, from the state alone.
func (s *soak) verify() {
	s.t.Helper()
	var out, errs strings.Builder
	code := dispatch(context.Background(), env{environ: s.w.environ, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}, []string{"verify"})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	s.t.Log(lines[len(lines)-1])
	if code != exitDone {
		s.t.Errorf("verify: exit code %d; seed %d\n%s%s", code, s.seed, out.String(), errs.String())
	}
}

// judge ends the soak where something was published that must not be.
func (s *soak) judge(when string) {
	s.t.Helper()
	v := s.w.verdict()
	if v.Doubled+v.Wrong > 0 {
		check(s.t, v)
		s.t.Fatalf("%s, seed %d", when, s.seed)
	}
	s.t.Logf("%s: kills=%d stops=%d terms=%d events=%d", when, s.kills, s.stops, s.terms, v.Events)
}
