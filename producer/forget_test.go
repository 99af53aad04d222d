package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/window"
)

// TestForget forgets a tenant through a running producer, polls it again, and forgets another where nobody runs.
func TestForget(t *testing.T) {
	t.Parallel()
	today := window.Of(time.Now())
	tenants := []graphfake.TenantConfig{}
	for _, id := range []string{worldTenant, "fabrikam"} {
		tenants = append(tenants, graphfake.TenantConfig{ID: id, From: (today - 5).Start(), To: today.Start(), RowsPerDay: 20, Flat: true})
	}
	w := newWorld(t, graphfake.Config{Seed: 9, PageSize: 1000, Tenants: tenants}, "POLL_START=120h", "POLL_LOOKBACK=1s")
	forget := func(stdin string, args ...string) (int, string, string) {
		return invoke(t.Context(), w.environ, stdin, append([]string{"forget"}, args...)...)
	}
	proved := func(days int, more ...string) {
		t.Helper()
		code, out, said := invoke(t.Context(), w.environ, "", "verify")
		for _, want := range append(more, fmt.Sprintf(" proved=%d differs=0 ", days)) {
			if code != exitDone || !strings.Contains(out, want) {
				t.Errorf("verify: exit %d, %s%s; want %q", code, out, said, want)
			}
		}
	}
	published := func(n int) {
		t.Helper()
		w.await(fmt.Sprintf("%d events", n), func() bool { return len(w.read(w.name)) >= n })
	}
	status := func() string {
		code, out, said := invoke(t.Context(), w.environ, "", "status", "--json")
		if code != exitDone {
			t.Fatalf("status: exit %d, %s", code, said)
		}
		return out
	}

	p := w.start("none")
	published(2 * 5 * 20)
	if code, out, said := forget("", "--tenant", "fabrikam", "--yes"); code != exitFailed || !strings.Contains(out, "refused: the running producer polls this tenant") {
		t.Errorf("while it is polled: exit %d, %s%s", code, out, said)
	}
	p.stop()
	p = w.start("none", "GRAPH_TENANTS="+worldTenant)
	w.await("the condition", func() bool { return strings.Contains(status(), `"tenant-unconfigured"`) })
	if code, out, said := forget("contoso\n", "--tenant", "fabrikam"); code != exitFailed || !strings.Contains(said, "nothing was changed") {
		t.Errorf("another name as the answer: exit %d, %s%s", code, out, said)
	}
	if code, out, said := forget("fabrikam\n", "--tenant", "fabrikam"); code != exitDone || !strings.Contains(out, "tenant fabrikam: done") || strings.Contains(said, "does it itself") {
		t.Errorf("forget: exit %d, %s%s", code, out, said)
	}
	if out := status(); strings.Contains(out, "fabrikam") || strings.Contains(out, `"tenant-unconfigured"`) {
		t.Errorf("status still knows it: %s", out)
	}
	if marks := w.read(w.name + ".watermark"); len(marks) == 0 || lastOf(marks, "fabrikam") != "" {
		t.Errorf("the watermark of the forgotten tenant: %q", lastOf(marks, "fabrikam"))
	}
	proved(6, "100 events are of tenants that have been forgotten since")
	for _, tenant := range []string{"fabrikam", "nobody"} {
		if code, out, said := forget("", "--tenant", tenant, "--yes"); code != exitUsage || !strings.Contains(said, `knows ["contoso"]`) {
			t.Errorf("forget %s: exit %d, %s%s", tenant, code, out, said)
		}
	}

	// Polled again it is a new tenant, and its ledgers can be rebuilt: from the new events alone.
	if code := p.stop(); code != exitDone {
		t.Errorf("the producer ended with %d", code)
	}
	p = w.start("none")
	published(3 * 5 * 20)
	w.await("the days to be proved", func() bool {
		_, out, _ := invoke(t.Context(), w.environ, "", "verify")
		return strings.Contains(out, " proved=12 differs=0 ")
	})
	proved(12, "100 events are of tenants that have been forgotten since")
	code, out, said := invoke(t.Context(), w.environ, "", "scan", "--tenant", "fabrikam", "--from", (today - 5).String(), "--to", (today - 1).String(), "--wait")
	if code != exitDone || !strings.Contains(out, "events=0 revisions=0") {
		t.Errorf("scan: exit %d, %s%s", code, out, said)
	}

	p.kill() // the group misses it only after its session
	if code, out, said := forget("", "--tenant", worldTenant, "--yes"); code != exitDone || !strings.Contains(said, "does it itself") || !strings.Contains(out, "tenant contoso: done") {
		t.Errorf("forget without a producer: exit %d, %s%s", code, out, said)
	}
	proved(6, "200 events are of tenants that have been forgotten since")
	if code, _, said := forget("", "--tenant", "fabrikam"); code != exitUsage || !strings.Contains(said, "nobody is there to ask: --yes") {
		t.Errorf("without an answer: exit %d, %s", code, said)
	}
	if code, _, said := forget("", "--yes"); code != exitUsage || !strings.Contains(said, "--tenant: want the tenant") {
		t.Errorf("without a tenant: exit %d, %s", code, said)
	}
}

// lastOf returns the newest value of a key; "" where that is a tombstone.
func lastOf(recs []*kgo.Record, key string) (value string) {
	for _, rec := range recs {
		if string(rec.Key) == key {
			value = string(rec.Value)
		}
	}
	return value
}
