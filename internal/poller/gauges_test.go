package poller_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/graphfake"
	"pstncalls/internal/poller"
)

// ofTenant are the gauges that only the owner of a tenant can keep right.
var ofTenant = []string{"pstncalls_clock_behind_seconds", "pstncalls_condition", "pstncalls_open_window_lag_seconds"}

// shown returns those of them that a replica shows.
func (r *replica) shown() (names []string) {
	r.w.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.w.Fatal(err)
	}
	for _, f := range families { // sorted by name; one without metrics is left out
		if slices.Contains(ofTenant, f.GetName()) {
			names = append(names, f.GetName())
		}
	}
	return names
}

// TestGaugesAfterHandOver ends an owner in the middle of an outage: what it showed of the tenant is the next owner's to show.
func TestGaugesAfterHandOver(t *testing.T) {
	w, _ := quickWorld(t, 20)
	a := w.run("a", setUp{})
	w.clean("before the outage")
	w.graph.Script(graphfake.Fault{Kind: graphfake.Status, Status: 500, Count: -1})
	w.until("the outage is shown", func() bool { return cmp.Equal(ofTenant, a.shown()) })
	a.stop()
	if names := a.shown(); len(names) > 0 {
		t.Errorf("who owns nothing still shows %q", names)
	}
}

// TestSourceFails makes a tenant's source fail for a while, as with a certificate that is just being replaced: no reason to end.
func TestSourceFails(t *testing.T) {
	w, _ := quickWorld(t, 20)
	failures := 2
	w.run("a", setUp{change: func(c *poller.Config) {
		good := c.Source
		c.Source = func(tenant string) (poller.Source, error) {
			if failures--; failures >= 0 {
				return poller.Source{}, errors.New("the certificate is being replaced")
			}
			return good(tenant)
		}
	}})
	w.clean("once the source is there")
}
