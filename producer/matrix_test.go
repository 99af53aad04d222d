package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
)

// fault is a child's observer: when a point is reached for the n-th time it says so, and then kills the process, stops it (SIGSTOP),
// or holds it there. Who is stopped or held goes on when the parent tells it to. Where since is set, the count begins at that point.
type fault struct {
	point, kind, since string

	mu   sync.Mutex
	left int
}

// parseFault reads "<point> <n> <kill|stop|hold> <since>"; the last two may be missing: kill, from the beginning.
func parseFault(s string) (*fault, error) {
	f := &fault{kind: "kill"}
	if n, err := fmt.Sscan(s, &f.point, &f.left, &f.kind, &f.since); n < 2 {
		return nil, fmt.Errorf("fault %q: %w", s, err)
	}
	return f, nil
}

// Reached implements kafka.Observer.
func (f *fault) Reached(_ int32, p kafka.Point) {
	if string(p) != f.point && string(p) != f.since {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock() // while one is held at the point, nobody passes it
	if string(p) == f.since {
		f.since = ""
	}
	if f.since != "" || string(p) != f.point {
		return
	}
	if f.left--; f.left != 0 {
		return
	}
	fmt.Println("hit", p)
	switch f.kind {
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
	<-onward
}

// onward takes one for each line that the parent writes.
var onward = make(chan struct{}, 1)

// goOn reads the parent's orders until it closes them.
func goOn(orders io.Reader) {
	for s := bufio.NewScanner(orders); s.Scan(); {
		onward <- struct{}{}
	}
}

// onward tells a child that is held at a point to go on.
func (p *process) onward(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(p.in, "on\n"); err != nil {
		t.Fatal(err)
	}
}

// transactionTimeout is package kafka's: who is frozen for longer finds its transaction aborted.
const transactionTimeout = 20 * time.Second

// stage says when in a child's life a point is.
type stage string

const (
	first    stage = "first"   // the topics are new: every shard gets its meta record
	starting stage = "restart" // somebody has worked on the shard before, and died in the middle of a transaction of rows
	working  stage = "rows"    // pages have come
	ending   stage = "end"     // the child is told to end
)

type cell struct {
	stage stage
	at    kafka.Point
	n     int
	fault string
}

// graph has many small pages, or enough rows for a ledger to be merged on the way.
func (c cell) graph() (cfg graphfake.Config, rows int) {
	rows, page := 240, 4
	if c.at == poller.AtMerge {
		rows, page = 4200, 100
	}
	cfg = crashGraph(rows)
	cfg.PageSize = page
	cfg.Tenants[0].From = cfg.Tenants[0].To.Add(-24 * time.Hour)
	return cfg, rows
}

// matrix returns the cells: every point with every fault. Killed; cut off from the brokers; frozen beyond the transaction timeout;
// frozen until a successor has claimed the shard. Those that wait are left to PSTNCALLS_TEST_MATRIX=full.
func matrix() (cells []cell) {
	faults := []string{"kill", "cut"}
	if os.Getenv("PSTNCALLS_TEST_MATRIX") == "full" {
		faults = []string{"stop", "usurp", "kill", "cut"}
	}
	for _, c := range []cell{
		{first, kafka.AtProduced, 5, ""}, {first, kafka.AtEnd, 5, ""},
		{starting, kafka.AtFenced, 1, ""}, {starting, kafka.AtClaimed, 1, ""}, {starting, kafka.AtState, 9, ""}, {starting, kafka.AtReady, 1, ""},
		{working, poller.AtPage, 7, ""}, {working, kafka.AtBegin, 4, ""}, {working, kafka.AtProduced, 1, ""}, {working, kafka.AtProduced, 9, ""},
		{working, kafka.AtEnd, 5, ""}, {working, kafka.AtCommitted, 5, ""}, {working, poller.AtMerge, 1, ""},
		{ending, kafka.AtRelease, 1, ""}, {ending, kafka.AtReleased, 1, ""},
	} {
		for _, c.fault = range faults {
			cells = append(cells, c)
		}
	}
	return cells
}

// TestMatrix brings every fault about at every named point of the commit path, the start, the merge of a ledger and the hand-over,
// each in a world of its own. The frozen cost no time of the machine, so all cells begin together; few of them are busy at once.
func TestMatrix(t *testing.T) {
	t.Parallel()
	busy := make(chan struct{}, 4)
	var all sync.WaitGroup
	var mu sync.Mutex
	var sum graphfake.Verdict
	cells, fired := matrix(), 0
	for _, c := range cells {
		all.Go(func() {
			t.Run(fmt.Sprintf("%s/%s%d/%s", c.stage, c.at, c.n, c.fault), func(t *testing.T) {
				busy <- struct{}{}
				defer func() { <-busy }()
				p := &play{t: t, cell: c, idle: func(wait func()) {
					<-busy
					wait()
					busy <- struct{}{}
				}}
				began := time.Now()
				v := p.run()
				mu.Lock()
				defer mu.Unlock()
				sum.Lost, sum.Doubled, sum.Wrong = sum.Lost+v.Lost, sum.Doubled+v.Doubled, sum.Wrong+v.Wrong
				fired += p.fired
				t.Logf("cell %-7s %-9s %d %-5s fired=%d: %s; %s; %s", c.stage, c.at, c.n, c.fault, p.fired, p.proof, v, time.Since(began).Round(100*time.Millisecond))
			})
		})
	}
	all.Wait()
	t.Logf("matrix: cells=%d fired=%d lost=%d doubled=%d wrong=%d", len(cells), fired, sum.Lost, sum.Doubled, sum.Wrong)
	if fired != len(cells) {
		t.Fail()
	}
}

// play is one cell being played.
type play struct {
	t     *testing.T
	cell  cell
	w     *world
	child *process
	fired int
	proof string            // of that
	idle  func(wait func()) // wait takes no time of the machine
}

func (p *play) run() graphfake.Verdict {
	t, c := p.t, p.cell
	graph, rows := c.graph()
	p.w = newWorld(t, graph, static, "GRAPH_CONCURRENCY=1")
	if c.stage == starting {
		before := p.w.start("produced 9 kill page")
		p.reach(before)
		<-before.done
	}
	kind := map[string]string{"kill": "kill", "cut": "hold"}[c.fault]
	if kind == "" {
		kind = "stop"
	}
	since := ""
	if c.stage == working {
		since = string(poller.AtPage)
	}
	p.child = p.w.start(fmt.Sprintf("%s %d %s %s", c.at, c.n, kind, since))
	if c.stage == ending {
		p.until("something is published", 2*time.Minute, func() bool { return len(p.w.read(p.w.name)) > 0 })
		p.signal(syscall.SIGTERM)
	}
	p.reach(p.child)
	var last *process // who works on
	switch c.fault {
	case "kill":
		<-p.child.done
		if ws := p.child.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
			t.Fatalf("it was not killed: %s", p.child.cmd.ProcessState)
		}
		p.proof = "killed"
	case "stop":
		p.freeze()
		last = p.child
	case "usurp":
		last = p.usurp()
	case "cut":
		p.cut()
		last = p.child
	}
	p.fired++
	if v := p.w.verdict(); v.Doubled+v.Wrong > 0 {
		check(t, v)
	}
	if c.stage == ending && c.fault != "kill" {
		p.ends()
		if last == p.child {
			last = nil
		}
	}
	if last == nil {
		last = p.w.start("none")
	}
	v := p.settles(rows * 95 / 100)
	if c.fault == "usurp" && c.stage != ending {
		// The one that was deposed is a replica like any other: it takes the shard when its successor leaves.
		p.stops(last)
		last = p.child
	}
	p.w.addRow(1)
	v = p.settles(v.Events + 1)
	p.stops(last)
	return v
}

func (p *play) settles(events int) graphfake.Verdict {
	p.t.Helper()
	v := p.w.settle(events, time.Minute)
	check(p.t, v)
	if v.Events < events {
		p.t.Errorf("%d events, want %d: nothing was published for a minute", v.Events, events)
	}
	return v
}

func (p *play) stops(child *process) {
	p.t.Helper()
	if code := child.stop(); code != exitDone {
		p.t.Errorf("exit code %d", code)
	}
}

// ends waits until the child that was told to end has done so.
func (p *play) ends() {
	p.t.Helper()
	select {
	case <-p.child.done:
		if code := p.child.cmd.ProcessState.ExitCode(); code != exitDone {
			p.t.Errorf("exit code %d", code)
		}
	case <-time.After(time.Minute):
		p.t.Error("told to end, it lives a minute later")
	}
}

func (p *play) reach(child *process) {
	p.t.Helper()
	select {
	case <-child.at:
	case <-child.done:
		p.t.Fatalf("it ended before its point: %s", child.cmd.ProcessState)
	case <-time.After(time.Minute):
		p.t.Fatal("the point was never reached")
	}
}

// until waits for a condition.
func (p *play) until(what string, most time.Duration, met func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(most); !met(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited %s in vain until %s", most, what)
		}
	}
}

func (p *play) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.child.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) stopped() {
	p.t.Helper()
	p.until("the child is stopped", 2*time.Minute, func() bool { return p.child.stopped(p.t) })
}

// stopped reports whether a process is stopped by a signal.
func (p *process) stopped(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(p.cmd.Process.Pid)).Output()
	if gone := new(exec.ExitError); errors.As(err, &gone) {
		return false // there is no such process any more
	}
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	return strings.HasPrefix(string(out), "T")
}

// freeze lets the stopped child sleep until the brokers have given up its transaction.
func (p *play) freeze() {
	p.t.Helper()
	p.stopped()
	inside := p.cell.at == kafka.AtProduced || p.cell.at == kafka.AtEnd
	if open := p.w.undecided(p.t) > 0; inside && !open {
		p.t.Error("no transaction is open")
	} else if !inside && open { // the brokers answer before they have written the markers of the one before
		p.until("no transaction is open", transactionTimeout/2, func() bool { return p.w.undecided(p.t) == 0 })
	}
	began := time.Now()
	p.idle(func() {
		time.Sleep(transactionTimeout + time.Second)
		p.until("the brokers have aborted its transaction", 2*time.Minute, func() bool { return p.w.undecided(p.t) == 0 })
	})
	p.proof = fmt.Sprintf("frozen for %s, transaction open %t", time.Since(began).Round(100*time.Millisecond), inside)
	p.thaw()
}

func (p *play) thaw() {
	p.t.Helper()
	if !p.child.stopped(p.t) {
		p.t.Fatal("it was not frozen all the time")
	}
	p.signal(syscall.SIGCONT)
	p.child.onward(p.t)
}

// usurp lets another replica take the shard over while the child is stopped, and wakes the child then: it believes that it is the
// owner. It returns the other one.
func (p *play) usurp() *process {
	p.t.Helper()
	p.stopped()
	next := p.w.start("none", "KAFKA_GROUP_INSTANCE_ID=")
	mine := fmt.Sprintf("-%d-", next.cmd.Process.Pid)
	p.idle(func() {
		p.until("the successor claims the shard", 2*time.Minute, func() bool {
			for _, claims := range p.w.claims() {
				if slices.ContainsFunc(claims, func(c kafka.Claim) bool { return strings.Contains(c.Instance, mine) }) {
					return true
				}
			}
			return false
		})
	})
	p.proof = "usurped"
	p.thaw()
	return next
}

// cut ends the child's connections at the point and refuses new ones for a while.
func (p *play) cut() {
	p.t.Helper()
	n, refused := p.w.loss.cut()
	if n == 0 {
		p.t.Error("there was no connection to cut")
	}
	p.child.onward(p.t)
	const attempts = 6
	for i := range attempts {
		select {
		case <-refused:
		case <-p.child.done: // it was ending
			p.w.loss.mend()
			p.proof = fmt.Sprintf("%d connections cut, %d refused", n, i)
			return
		case <-time.After(2 * time.Minute):
			p.t.Fatal("it does not try to reach its brokers")
		}
	}
	p.w.loss.mend()
	p.proof = fmt.Sprintf("%d connections cut, %d refused", n, attempts)
}

// undecided returns how many records of events and state lie behind an open transaction.
func (w *world) undecided(t *testing.T) (n int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	adm := kadm.NewClient(cl)
	topics := []string{w.name, w.name + ".state"}
	stable, err := adm.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if s, ok := stable.Lookup(end.Topic, end.Partition); ok {
			n += end.Offset - s.Offset
		}
	})
	return n
}

// claims returns the claims that were made, in their order, by shard.
func (w *world) claims() map[int32][]kafka.Claim {
	w.t.Helper()
	out := map[int32][]kafka.Claim{}
	for _, rec := range w.read(w.name + ".state") {
		if c, ok := claimOf(rec); ok {
			out[rec.Partition] = append(out[rec.Partition], c)
		}
	}
	return out
}

func claimOf(rec *kgo.Record) (c kafka.Claim, ok bool) {
	ok = strings.HasPrefix(string(rec.Key), "claim/") && json.Unmarshal(rec.Value, &c) == nil
	return c, ok
}
