package kafka

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An opening that takes long is in the log twice a minute, and no longer than it takes.
func TestSayOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &Cluster{cfg: Config{Log: slog.New(slog.NewTextHandler(&log, nil))}}
		done := c.sayOpening(7)
		time.Sleep(70 * time.Second)
		done()
		time.Sleep(time.Hour)
		if got := log.String(); strings.Count(got, "cannot be opened yet") != 2 || !strings.Contains(got, "shard=7 for=1m0s") {
			t.Errorf("got %s", got)
		}
	})
}
