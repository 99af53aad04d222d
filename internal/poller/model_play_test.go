//go:build synctests

package poller_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds     = flag.Int("seeds", 100, "how many histories TestModel plays")
	oneSeed   = flag.Uint64("seed", 0, "the only history TestModel plays")
	onlyOps   = flag.String("ops", "", "the operations of -seed that are played, by number; all by default")
	shrinkFor = flag.Duration("shrink", time.Minute, "how long a smaller history is looked for, in real time")
)

// outcome is what became of one history.
type outcome struct {
	judgement
	findings []finding
	fired    map[kind]int
	log      string
	took     time.Duration
}

// play plays a history in a bubble of its own.
func play(t *testing.T, h *history) (out outcome) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil { // a deadlock of the bubble
			out.findings = append(out.findings, finding{"bubble", fmt.Sprint(p)})
		}
		out.took = time.Since(began)
	}()
	synctest.Test(t, func(*testing.T) {
		m, err := newModel(h)
		if err != nil {
			out.findings = []finding{{"world", err.Error()}}
			return
		}
		m.live()
		out.judgement = m.judge()
		m.close()
		out.findings, out.fired, out.log = m.findings, m.total(), m.log.String()
	})
	return out
}

// TestModel plays random lives of a tenant in virtual time: rows come late, change, move, vanish and come back, Graph and Kafka
// fail, and pollers are stopped, killed, frozen and doubled. In the end the topics must hold what design section 5 says.
func TestModel(t *testing.T) {
	first, n := uint64(1), uint64(*seeds)
	if *oneSeed > 0 {
		first, n = *oneSeed, 1
	}
	total, fired := judgement{}, map[kind]int{}
	digests := "ok"
	var mu sync.Mutex
	one := func(seed uint64) func(*testing.T) {
		return func(t *testing.T) {
			t.Parallel()
			h := newHistory(seed)
			if *onlyOps != "" {
				h = pick(t, h, *onlyOps)
			}
			out := play(t, h)
			t.Logf("%v, %d events, %d operations", out.took.Round(time.Millisecond), out.events, len(h.ops))
			mu.Lock()
			total.events += out.events
			total.lost += out.lost
			total.doubled += out.doubled
			total.wrong += out.wrong
			for k, v := range out.fired {
				fired[k] += v
			}
			for _, f := range out.findings {
				if f.class == "digest" {
					digests = "differ"
				}
			}
			mu.Unlock()
			if len(out.findings) > 0 {
				report(t, h, out)
			}
		}
	}
	t.Run("all", func(t *testing.T) { // returns when the last of the parallel ones has ended
		for seed := first; seed < first+n; seed++ {
			t.Run("seed="+strconv.FormatUint(seed, 10), one(seed))
		}
	})
	line := fmt.Sprintf("model: seeds=%d", n)
	details := "model fired:"
	for _, k := range slices.Sorted(maps.Keys(fired)) {
		if strings.Contains(string(k), " ") {
			details += fmt.Sprintf(" %q=%d", k, fired[k])
			continue
		}
		line += fmt.Sprintf(" %s=%d", k, fired[k])
	}
	line += fmt.Sprintf(" events=%d lost=%d doubled=%d wrong=%d digests=%s", total.events, total.lost, total.doubled, total.wrong, digests)
	fmt.Println(details)
	fmt.Println(line)
	if n >= 100 {
		for _, k := range kinds() {
			if fired[k] == 0 {
				t.Errorf("%q never fired: the test shows nothing of it", k)
			}
		}
	}
}

// pick returns the history with the operations of these numbers.
func pick(t *testing.T, h *history, numbers string) *history {
	var ops []op
	for s := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.Atoi(s)
		i := slices.IndexFunc(h.ops, func(o op) bool { return o.n == n })
		if err != nil || i < 0 {
			t.Fatalf("-ops %q: no operation %q", numbers, s)
		}
		ops = append(ops, h.ops[i])
	}
	slices.SortStableFunc(ops, func(a, b op) int { return cmp.Compare(a.at, b.at) })
	return h.with(ops)
}

// report shrinks a history that fails and prints the smallest one.
func report(t *testing.T, h *history, out outcome) {
	t.Helper()
	small, last := shrink(t, h, out, out.findings[0])
	var numbers []string
	for _, o := range small.ops {
		numbers = append(numbers, strconv.Itoa(o.n))
	}
	var b strings.Builder
	for i, f := range last.findings {
		if i == 5 {
			fmt.Fprintf(&b, "  and %d more\n", len(last.findings)-i)
			break
		}
		fmt.Fprintf(&b, "  %s: %s\n", f.class, strings.TrimRight(f.text, "\n"))
	}
	t.Errorf("%d findings\n%sthe smallest history that fails like this:\n%sgo test -tags synctests ./internal/poller -run TestModel -seed %d -ops %s",
		len(last.findings), &b, small, h.seed, strings.Join(numbers, ","))
	if testing.Verbose() {
		t.Logf("log:\n%s", tail(last.log, 8000))
	}
}

// shrink drops operations as long as a finding of the class remains: first those of other rows than the finding's, then halves
// and ever smaller parts.
func shrink(t *testing.T, h *history, out outcome, f finding) (*history, outcome) {
	began := time.Now()
	try := func(ops []op) bool {
		if len(ops) == len(h.ops) || time.Since(began) >= *shrinkFor {
			return false
		}
		again := play(t, h.with(ops))
		if !slices.ContainsFunc(again.findings, func(g finding) bool { return g.class == f.class }) {
			return false
		}
		h, out = h.with(ops), again
		return true
	}
	var n, i int
	if _, err := fmt.Sscanf(f.text, "r%d.%d:", &n, &i); err == nil {
		others := func(o op) bool { return o.kind == opAdd && o.n != n || o.row != ref{} && o.row != ref{n, i} }
		if !try(slices.DeleteFunc(slices.Clone(h.ops), others)) {
			try(slices.DeleteFunc(slices.Clone(h.ops), func(o op) bool { return o.kind != opAdd && others(o) }))
		}
	}
	for size := (len(h.ops) + 1) / 2; size > 0; {
		dropped := false
		for from := 0; from < len(h.ops) && time.Since(began) < *shrinkFor; {
			if try(slices.Concat(h.ops[:from], h.ops[min(from+size, len(h.ops)):])) {
				dropped = true
			} else {
				from += size
			}
		}
		if time.Since(began) >= *shrinkFor || size == 1 && !dropped {
			break
		}
		if size > 1 {
			size /= 2
		}
	}
	return h, out
}
