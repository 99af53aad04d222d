package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pstncalls/internal/kafka"
)

// An opening that takes long is in the log twice a minute, and no longer than it takes.
func TestSlowOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c, err := kafka.New(kafka.Config{Brokers: []string{"localhost:9092"}, Group: "g", Topics: kafka.Topics{Events: "e", State: "s", DLQ: "d", Watermark: "w"},
			Log: slog.New(slog.NewTextHandler(&log, nil)), Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done() // nobody answers
				return nil, ctx.Err()
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Second)
		defer cancel()
		if _, _, err := c.Open(ctx, 7); err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("it opened, or gave up early: %v", err)
		}
		time.Sleep(time.Hour)
		if got := log.String(); strings.Count(got, "cannot be opened yet") != 2 || !strings.Contains(got, "shard=7 for=1m0s") {
			t.Errorf("got %s", got)
		}
	})
}
