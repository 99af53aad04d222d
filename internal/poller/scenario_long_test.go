//go:build synctests && long

package poller_test

import "testing"

func TestBackfillOf30DenseDays(t *testing.T) { backfillOfDenseDays(t, 30, 50_000) }
