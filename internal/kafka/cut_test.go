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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/kafka"
)

// inMemory returns a fake cluster in a bubble's virtual time, and a process whose connections can be cut.
func inMemory(t *testing.T, cut *atomic.Bool, opts ...kfake.Opt) (*kfake.Cluster, *kafka.Cluster, func(...kgo.Opt) *kgo.Client) {
	var network kfake.VirtualNetwork
	fake, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen))...)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, n, address string) (net.Conn, error) {
		if cut.Load() {
			return nil, &net.OpError{Op: "dial", Net: n, Err: syscall.ECONNREFUSED}
		}
		return network.DialContext(ctx, n, address)
	}
	c, err := kafka.New(kafka.Config{Brokers: []string{"localhost:9092"}, Compression: "none", Group: "g", GroupProtocol: "classic",
		SessionTimeout: 6 * time.Second, Host: "host", Instance: "a", Topics: kafka.Topics{Events: "e", State: "s", DLQ: "d", Watermark: "w"},
		Dialer: dial})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	return fake, c, func(opts ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers("localhost:9092"), kgo.Dialer(dial))...)
		if err != nil {
			t.Fatal(err)
		}
		return cl
	}
}

// TestCommitEndsWithoutBrokers cuts the network with a produce request under way, for good: the commit gives up at its deadline,
// so that a session can end.
func TestCommitEndsWithoutBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Bool
		fake, c, _ := inMemory(t, &cut)
		s, _, err := c.Open(t.Context(), 3)
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

// TestRecreatedUnderASession deletes a topic and creates it again while a session works: the session ends soon, also where
// brokers take records by the topic's name, and the next one is refused.
func TestRecreatedUnderASession(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"by id": nil, "by name": {kfake.MaxVersions(kversion.V4_0_0())}} {
		for _, topic := range []string{"e", "s"} {
			t.Run(name+"/"+topic, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fake, c, client := inMemory(t, new(atomic.Bool), opts...)
					s, _, err := c.Open(t.Context(), 3)
					if err != nil {
						t.Fatal(err)
					}
					commit(t, s, kafka.Batch{At: time.Now()})
					cl := client()
					adm := kadm.NewClient(cl)
					if rs, err := adm.DeleteTopics(t.Context(), topic); err != nil || rs.Error() != nil {
						t.Fatal(err, rs.Error())
					}
					policy := map[string]string{"e": "delete", "s": "compact"}[topic]
					if rs, err := adm.CreateTopics(t.Context(), 12, 1, map[string]*string{"cleanup.policy": &policy}, topic); err != nil || rs.Error() != nil {
						t.Fatal(err, rs.Error())
					}
					time.Sleep(10 * time.Second)
					if err := s.Commit(kafka.Batch{At: time.Now(), Events: []kafka.Record{rec("k", "event")}}); err == nil {
						t.Error("the session publishes into another topic")
					} else {
						t.Log(err)
					}
					if _, _, err := c.Open(t.Context(), 3); !kafka.IsRefused(err) {
						t.Errorf("the next session: got %v, want a refusal", err)
					}
					s.Close()
					cl.Close()
					fake.Close()
				})
			})
		}
	}
}
