//go:build long

package state

import "testing"

func TestWriteAmplificationOfAMillionRowsADay(t *testing.T) {
	if got := writeAmplification(t, 1_000_000, 7); got > 3 {
		t.Errorf("written %.3f times, want at most 3", got)
	}
}
