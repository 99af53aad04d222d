package status

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"pstncalls/internal/state"
)

// A condition that two parts of the program hold begins with the first and ends with the last.
func TestBoard(t *testing.T) {
	r := prometheus.NewRegistry()
	b := NewMetrics(r).Conditions
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	first, second := b.Part(), b.Part()
	on := Subject{Tenant: "contoso", Shard: 3}
	c := state.Condition{Name: GraphDenied, Sentence: "why"}
	gauge := func(want string) {
		t.Helper()
		head := "# HELP pstncalls_condition 1 while a condition holds, of a tenant, or of a shard where the tenant is empty; see the status command.\n# TYPE pstncalls_condition gauge\n"
		if want == "" {
			head = ""
		}
		if err := testutil.GatherAndCompare(r, strings.NewReader(head+want), "pstncalls_condition"); err != nil {
			t.Error(err)
		}
	}
	lines := func(begun, ended int) {
		t.Helper()
		if b, e := strings.Count(text.String(), "condition begins"), strings.Count(text.String(), "condition ended"); b != begun || e != ended {
			t.Errorf("%d beginnings and %d ends in the log, want %d and %d", b, e, begun, ended)
		}
	}
	holds, over := `pstncalls_condition{name="graph-denied",shard="3",tenant="contoso"} 1`+"\n", `pstncalls_condition{name="graph-denied",shard="3",tenant="contoso"} 0`+"\n"

	first.Begin(log, on, c)
	first.Begin(log, on, c)
	second.Begin(log, on, c)
	gauge(holds)
	lines(1, 0)
	first.End(log, on, c.Name)
	first.End(log, on, c.Name)
	gauge(holds)
	lines(1, 0)
	second.End(log, on, c.Name)
	gauge(over)
	lines(1, 1)

	second.Begin(log, on, c)
	lines(2, 1)
	first.Forget() // what ended is forgotten, what another holds is not
	gauge(holds)
	second.Forget()
	gauge("")
	lines(2, 1)
	first.Show(on, c.Name) // it began before, and somebody has said so
	gauge(holds)
	lines(2, 1)
}
