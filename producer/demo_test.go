package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

func newTestDemo(t *testing.T) *demonstration {
	t.Helper()
	d, err := newDemo(t.Context(), env{stdout: io.Discard, stderr: io.Discard}, 10, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// within returns what f returns; a demo that hangs fails the test.
func within(t *testing.T, f func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatal("it hangs")
		return nil
	}
}

// A producer that cannot go on ends the demo, which says why.
func TestDemoProducerEndsEarly(t *testing.T) {
	d := newTestDemo(t)
	d.cfg.Kafka.Compression = "bogus" // any refusal will do
	err := within(t, func() error { return d.play(context.Background(), false) })
	if err == nil || !strings.Contains(err.Error(), "ended early") || !strings.Contains(err.Error(), "bogus") {
		t.Errorf("got %v, want that the producer ended early, and why", err)
	}
}

// What the demo learns the windows' state from may fail: it says so instead of waiting on.
func TestDemoStateUnreadable(t *testing.T) {
	d := newTestDemo(t) // nobody has made the topics
	err := within(t, func() error { return d.untilSettled(context.Background(), nil) })
	if err == nil || !strings.Contains(err.Error(), d.cfg.Kafka.StateTopic) {
		t.Errorf("got %v, want what is wrong with %s", err, d.cfg.Kafka.StateTopic)
	}
}
