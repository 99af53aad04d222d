//go:build synctests

package kafka_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// TestCommitEndsWithoutBrokers cuts the network with a produce request under way, for good: the commit gives up at its deadline,
// so that a session can end.
func TestCommitEndsWithoutBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network kfake.VirtualNetwork
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		var cut atomic.Bool
		c, err := kafka.New(kafka.Config{Brokers: []string{"localhost:9092"}, Compression: "none", Group: "g", GroupProtocol: "classic",
			SessionTimeout: 6 * time.Second, Host: "host", Instance: "a", Topics: kafka.Topics{Events: "e", State: "s", DLQ: "d", Watermark: "w"},
			Dialer: func(ctx context.Context, n, address string) (net.Conn, error) {
				if cut.Load() {
					return nil, &net.OpError{Op: "dial", Net: n, Err: syscall.ECONNREFUSED}
				}
				return network.DialContext(ctx, n, address)
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		layout, err := c.Prepare(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := c.Open(ctx, 3, layout)
		if err != nil {
			t.Fatal(err)
		}
		fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			cut.Store(true)
			return nil, errors.New("cut"), true
		})
		began := time.Now()
		done := make(chan error, 1)
		go func() {
			done <- s.Commit(kafka.Batch{At: began, State: []kafka.Record{{Key: []byte("t/pstn/tenant"), Value: []byte("{}")}}})
		}()
		select {
		case err = <-done:
		case <-time.After(time.Hour):
			t.Error("the commit has no end")
			cut.Store(false)
			err = <-done
		}
		if !cut.Load() || err == nil || time.Since(began) > time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		t.Logf("after %v: %v", time.Since(began), err)
		s.Close()
		fake.Close()
	})
}
