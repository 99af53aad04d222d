package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pstncalls/internal/window"
)

// FuzzSignal: what is read as a signal can be written and read back as the same, and is one that its owner can work with.
func FuzzSignal(f *testing.F) {
	r := window.Range{From: day0, To: day0 + 7}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, s := range []Signal{
		{Kind: SignalScan, Tenant: "contoso", Given: now, By: "host", Range: &r},
		{Kind: SignalScan, Tenant: "contoso", Given: now, By: "host", Range: &r, Accepted: &now, Left: &window.Range{From: day0, To: day0 + 3}, Part: &window.Range{From: day0 + 3, To: day0 + 7},
			Refused: []window.Day{day0 + 5}, Events: 3, Revisions: 1, Why: "Graph"},
		{Kind: SignalCancel, Tenant: "contoso", Given: now, Target: "id", Answer: AnswerDone},
		{Kind: SignalForget, Tenant: "contoso", Given: now},
	} {
		f.Add("id", s.Encode())
	}
	f.Add("", []byte(`{"v":2}`))
	f.Add("x", []byte(`{"v":1,"kind":"scan","range":{"from":"2026-11-02","to":"2026-11-01"}}`))
	f.Add("x", []byte(`{"v":1,"kind":"scan","range":{"from":"0001-01-01","to":"9999-12-31"},"accepted":"2026-11-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, id string, value []byte) {
		s, err := DecodeSignal(id, value)
		if err != nil {
			return
		}
		if s.Kind == SignalScan && (s.Range == nil || s.Range.Days() < 1 || s.Accepted != nil && s.Left == nil) {
			t.Fatalf("%+v is no scan", s)
		}
		if n := s.DaysLeft(); n < 0 {
			t.Fatalf("%d days left of %+v", n, s)
		}
		again, err := DecodeSignal(id, s.Encode())
		if err != nil {
			t.Fatalf("%+v is written and not read: %v", s, err)
		}
		if d := cmp.Diff(s, again); d != "" {
			t.Fatal(d)
		}
	})
}
