package verify_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

const source = "https://graph.example/beta"

// log is a call log that shows rows by the day of their start.
type log struct {
	days  map[window.Day][]string
	fails []error            // of the next requests; nil: it is answered
	hide  map[window.Day]int // how many rows of a day the next answer leaves out
	asked []graph.Request
}

func (l *log) Pages(_ context.Context, r graph.Request) iter.Seq2[*graph.Page, error] {
	return func(yield func(*graph.Page, error) bool) {
		l.asked = append(l.asked, r)
		if len(l.fails) > 0 {
			err := l.fails[0]
			if l.fails = l.fails[1:]; err != nil {
				yield(nil, err)
				return
			}
		}
		p := &graph.Page{Count: -1}
		for d := window.Of(r.From); d < window.Of(r.To); d++ {
			for _, raw := range l.days[d][l.hide[d]:] {
				p.Rows = append(p.Rows, []byte(raw))
			}
			delete(l.hide, d)
		}
		yield(p, nil)
	}
}

func raw(id string, day window.Day, duration int) string {
	return fmt.Sprintf(`{"id":%q,"callId":"c-%s","startDateTime":"%sT08:00:00Z","duration":%d,"charge":0.25}`, id, id, day, duration)
}

func withoutID(day window.Day, duration int) string {
	return fmt.Sprintf(`{"callId":"c","startDateTime":"%sT08:00:00Z","duration":%d}`, day, duration)
}

// converted are the rows as the producer reads them.
func converted(day window.Day, raws ...string) (out []call) {
	c := row.NewConverter(nil)
	for _, s := range raws {
		r := c.Convert([]byte(s))
		out = append(out, call{id: r.ID, noID: !r.HasID, day: day, fingerprint: r.Fingerprint, rejected: r.Reject != nil, event: r.Call})
	}
	return out
}

func (w *world) graph(l *log, change func(*verify.GraphOptions)) (*verify.Report, error) {
	w.Helper()
	r := w.verify(verify.Options{})
	g := verify.GraphOptions{Pager: func(string) (verify.Pager, error) { return l, nil }, Source: source, Clock: clock.System}
	if change != nil {
		change(&g)
	}
	return r, verify.Graph(w.ctx(), w.cluster, w.read(), g, r)
}

// told returns the notes of a report, those that wait for the next scan in brackets.
func told(r *verify.Report) (out []string) {
	for _, d := range r.Tenants[0].Days {
		for _, n := range d.Rows {
			out = append(out, fmt.Sprintf("%s %s/%d %s", d.Day, n.RowID, n.Revision, n.What))
		}
		if d.Graph == nil {
			continue
		}
		for _, n := range d.Graph.Recent {
			out = append(out, fmt.Sprintf("(%s %s/%d %s)", d.Day, n.RowID, n.Revision, n.What))
		}
	}
	return out
}

func TestGraph(t *testing.T) {
	const day = today - 1
	rows := []string{raw("a", day, 1), raw("b", day, 2), raw("c", day, 3), withoutID(day, 4), withoutID(day, 5)}
	tests := []struct {
		name    string
		shown   []string
		again   []string // what a second scan saw, before
		tamper  func(*kafka.Batch)
		options func(*verify.GraphOptions)
		hide    map[window.Day]int
		fails   []error
		want    []string // of a day that has settled; of one that has not, "recent" ones stand in brackets
		proof   verify.Proof
	}{
		{name: "as it is", shown: rows, proof: verify.Proved},
		{name: "in another order, spelt differently", shown: []string{rows[4], rows[2], rows[3], strings.Replace(rows[1], "0.25", "0.250", 1), rows[0]}, proof: verify.Proved},
		{name: "a row more", shown: append([]string{raw("z", day, 9)}, rows...), want: []string{"z/0 missing"}, proof: verify.Differs},
		{name: "a row changed", shown: []string{rows[0], raw("b", day, 99), rows[2], rows[3], rows[4]}, want: []string{"b/0 stale"}, proof: verify.Differs},
		{name: "a row gone", shown: rows[1:], want: []string{"a/0 extra"}, proof: verify.Differs},
		{name: "a row gone, as the state knows", shown: rows[1:], again: rows[1:], proof: verify.Proved},
		{name: "a correction that was published", shown: []string{raw("a", day, 50), rows[1], rows[2], rows[3], rows[4]},
			again: []string{raw("a", day, 50), rows[1], rows[2], rows[3], rows[4]}, proof: verify.Proved},
		{name: "one without an id more", shown: append([]string{withoutID(day, 6)}, rows...), want: []string{"~ missing"}, proof: verify.Differs},
		{name: "a reject more", shown: append([]string{raw("r", day, 1)[:20] + `,"duration":"x"` + raw("r", day, 1)[8:]}, rows...), proof: verify.Proved},
		{name: "another endpoint", shown: []string{raw("a", day, 70), rows[1], rows[2], rows[3], rows[4]},
			options: func(g *verify.GraphOptions) { g.Source = "https://graph.example/v1.0" }, proof: verify.Proved},
		{name: "pages that shift while they are read", shown: rows, hide: map[window.Day]int{day: 2}, proof: verify.Proved},
		{name: "no answer for the day", shown: rows, fails: []error{&graph.Error{Class: graph.Permanent, Status: http.StatusBadRequest}}, proof: verify.Unproven},
	}
	for _, tt := range tests {
		for _, settled := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, settled %t", tt.name, settled), func(t *testing.T) {
				w := newWorld(t)
				w.scan(day, converted(day, rows...))
				if tt.again != nil {
					w.scan(day, converted(day, tt.again...))
				}
				if settled {
					w.settle(day)
				}
				l := &log{days: map[window.Day][]string{day: tt.shown}, hide: tt.hide, fails: tt.fails}
				r, err := w.graph(l, tt.options)
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				for _, s := range tt.want {
					s = day.String() + " " + s
					if !settled {
						s = "(" + s + ")"
					}
					want = append(want, s)
				}
				got := told(r)
				for i := range got { // the id of a row without one is a hash
					if j := strings.Index(got[i], "~"); j > 0 {
						got[i] = got[i][:j+1] + got[i][strings.LastIndexByte(got[i], ' '):]
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				proof := tt.proof
				if !settled && proof == verify.Differs {
					proof = verify.Proved
				}
				for _, d := range r.Tenants[0].Days {
					if d.Day == day && d.Proof != proof {
						t.Errorf("%s: %s, want %s", d.Proof, d.Why, proof)
					}
				}
				if r.Verdict.OK() != (proof != verify.Differs) {
					t.Errorf("%s", r.Verdict)
				}
			})
		}
	}
}

// TestGraphNames has a value that was altered on the topic, of a day without a ledger: only Graph can say which row.
func TestGraphNames(t *testing.T) {
	const day = today - 1
	rows := []string{raw("a", day, 1), raw("b", day, 2)}
	w := newWorld(t)
	other := converted(day, raw("b", day, 3))[0]
	w.tamper = func(b *kafka.Batch) { // the headers stay
		b.Events[1].Value, _ = w.value(other, "b", 0, b.At)
	}
	w.scan(day, converted(day, rows...))
	w.settle(day)
	r, err := w.graph(&log{days: map[window.Day][]string{day: rows}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{day.String() + " b/0 altered"}, told(r)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if v := r.Verdict; v.Differs != 1 || v.Stale != 1 || v.Missing+v.Extra != 0 {
		t.Errorf("%s", v)
	}
}

// TestGraphOfAnOpenDay has events that were lost, and one that somebody else wrote, on a day that is still scanned: the ledger says that no
// scan will mend it, so it does not stand among what waits for the next one.
func TestGraphOfAnOpenDay(t *testing.T) {
	const day = today - 1
	rows := []string{raw("a", day, 1), raw("b", day, 2), withoutID(day, 3)}
	corrected := []string{rows[0], raw("b", day, 20), rows[2]}
	lost := func(n int) func(*kafka.Batch) {
		return func(b *kafka.Batch) { b.Events = append(b.Events[:n:n], b.Events[n+1:]...) }
	}
	for _, tt := range []struct {
		name   string
		tamper [2]func(*kafka.Batch) // of the first scan, and of that which finds a correction
		want   []string
	}{
		{"a row", [2]func(*kafka.Batch){lost(0)}, []string{"a/0 missing"}},
		{"a row without an id", [2]func(*kafka.Batch){lost(2)}, []string{"~/0 missing"}},
		{"a correction", [2]func(*kafka.Batch){1: lost(0)}, []string{"b/1 missing", "b/0 stale"}},
		{"somebody else's", [2]func(*kafka.Batch){func(b *kafka.Batch) {
			e := b.Events[0]
			e.Headers = with(with(e.Headers, "ce_id", "z/0"), "ce_subject", string(e.Key))
			b.Events = append(b.Events, e)
		}}, []string{"z/0 extra"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.tamper = tt.tamper[0]
			w.scan(day, converted(day, rows...))
			w.tamper = tt.tamper[1]
			w.scan(day, converted(day, corrected...))
			r, err := w.graph(&log{days: map[window.Day][]string{day: append(corrected, raw("late", day, 4))}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, s := range append(tt.want, "(late/0 missing)") {
				want = append(want, strings.Replace(day.String()+" "+s, day.String()+" (", "("+day.String()+" ", 1))
			}
			got := told(r)
			for i := range got {
				if j := strings.Index(got[i], "~"); j > 0 {
					got[i] = got[i][:j+1] + got[i][strings.IndexByte(got[i], '/'):]
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestGraphInterrupted ends between two requests: the days that were compared are told, and all as partial.
func TestGraphInterrupted(t *testing.T) {
	w := newWorld(t)
	const old = today - 40 // two days that one request does not span
	for _, d := range []window.Day{old, today} {
		w.scan(d, converted(d, raw(fmt.Sprint("row", d), d, 1)))
	}
	l := &log{days: map[window.Day][]string{old: {raw(fmt.Sprint("row", old), old, 1)}}}
	ctx, cancel := context.WithCancel(w.ctx())
	r := w.verify(verify.Options{})
	err := verify.Graph(ctx, w.cluster, w.read(), verify.GraphOptions{Pager: func(string) (verify.Pager, error) { return l, nil }, Source: source, Clock: clock.System,
		Progress: func(string, window.Range, int, int) {
			l.fails = []error{context.Canceled}
			cancel()
		}}, r)
	if !errors.Is(err, context.Canceled) || !strings.Contains(r.Partial, "after 1 of 2 days were compared with Graph") {
		t.Errorf("error %v: %s", err, r.Partial)
	}
	if v := r.Verdict; !v.Partial || v.OK() || v.Proved != 2 || r.Tenants[0].Days[0].Graph == nil || r.Tenants[0].Days[1].Graph != nil {
		t.Errorf("%s: %+v", v, r.Tenants[0].Days)
	}
}

// TestGraphErrors waits for what passes, and gives up on what a human has to mend.
func TestGraphErrors(t *testing.T) {
	w := newWorld(t)
	rows := []string{raw("a", today, 1)}
	w.scan(today, converted(today, rows...))
	pass := &graph.Error{Class: graph.Retry, Status: http.StatusBadGateway}
	human := &graph.Error{Class: graph.Human, Status: http.StatusForbidden}
	for _, tt := range []struct {
		fails []error
		err   error
		proof verify.Proof
		said  int
	}{
		{fails: []error{pass, pass, pass}, proof: verify.Proved, said: 3},
		{fails: []error{pass, pass, pass, pass, pass, pass, pass}, proof: verify.Unproven, said: 5},
		{fails: []error{human}, err: human, proof: verify.Proved},
	} {
		said := 0
		r, err := w.graph(&log{days: map[window.Day][]string{today: rows}, fails: tt.fails}, func(g *verify.GraphOptions) {
			g.Clock = clock.NewScaled(time.Now(), 1e6) // the waits are seconds
			g.Said = func(string, error, time.Duration) { said++ }
		})
		if !errors.Is(err, tt.err) || said != tt.said || r.Tenants[0].Days[0].Proof != tt.proof {
			t.Errorf("error %v, said %d times, %+v", err, said, r.Tenants[0].Days[0])
		}
	}
}
