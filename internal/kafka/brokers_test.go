package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/internal/kafka"
)

// What differs between kfake and Apache Kafka
//
// The tests run on kfake, or on the brokers that PSTNCALLS_TEST_KAFKA names (newCluster). Tests that inject a fault into the brokers
// themselves (newFake) are kfake's alone. Where both can do a thing and do it differently, the test says what is expected of
// which; everything of that kind stands here:
//
//   - Cleaner: kfake's takes no notice of open transactions and would remove the committed value that an open one overwrites. There
//     the test compacts between transactions, on Kafka under them (process.cleaned).
//   - A transaction that timed out: kfake aborts it at once, Kafka up to ten seconds later. kfake keeps the timeout that a
//     transactional id was first used with (TestFaces prepares its cluster with the short one).
//   - Transaction version: 2 on kfake; Kafka's is the brokers' feature, and which face a deposed owner sees follows from it.
//   - Rights: kfake has ACLs always, Kafka where it was started with an authorizer (newDeniable).
//   - Neither dies here: a broker is killed in TestBrokerIsKilled of the long run, which kfake, part of the test's process, cannot take.

// process is this package as one process on a cluster has it.
type process struct {
	*kafka.Cluster
	cfg  kafka.Config
	fake *kfake.Cluster // nil: a real one
}

// newCluster returns a cluster with topics of its own: on the brokers that PSTNCALLS_TEST_KAFKA names, else on a fake one.
func newCluster(t testing.TB) *process {
	t.Helper()
	if brokers := os.Getenv("PSTNCALLS_TEST_KAFKA"); brokers != "" {
		return newAt(t, nil, strings.Split(brokers, ","), ownName())
	}
	_, c := newFake(t)
	return c
}

func ownName() string { return "t" + strings.ToLower(rand.Text()[:10]) }

// newFake returns a fake cluster, for the tests that inject faults.
func newFake(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, *process) {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return fake, newAt(t, fake, fake.ListenAddrs(), "pstn")
}

// transactionVersion returns the brokers' feature of that name: 2 where a produce request begins a transaction by itself (KIP-890).
func transactionVersion(t testing.TB, c *process) int {
	t.Helper()
	version := 1 // brokers that do not know the feature
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.ApiVersions(ctx)
		for _, b := range all {
			for _, f := range b.Raw().FinalizedFeatures {
				if f.Name == "transaction.version" {
					version = int(f.MaxVersionLevel)
				}
			}
		}
		return err
	})
	return version
}

// restrictedHost is where the process comes from whose rights are taken away: brokers without users know it by nothing else.
const restrictedHost = "127.0.0.9"

// newDeniable returns a cluster whose brokers check rights: those of PSTNCALLS_TEST_KAFKA, if they have an authorizer that allows
// what no ACL speaks of, else fake ones. restricted is a process on it that can be denied something.
func newDeniable(t *testing.T) (c, restricted *process) {
	t.Helper()
	c = newCluster(t)
	if c.fake == nil {
		admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
			rs, err := adm.DescribeACLs(ctx, kadm.NewACLs().AnyResource().Operations().Allow().AllowHosts().Deny().DenyHosts())
			for _, r := range rs {
				if errors.Is(r.Err, kerr.SecurityDisabled) {
					c = nil
				}
			}
			return err
		})
	} else {
		c = nil
	}
	if c == nil {
		all := []kfake.ACL{}
		for resource, name := range map[kmsg.ACLResourceType]string{kmsg.ACLResourceTypeTopic: "*", kmsg.ACLResourceTypeGroup: "*",
			kmsg.ACLResourceTypeTransactionalId: "*", kmsg.ACLResourceTypeCluster: "kafka-cluster"} {
			all = append(all, kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationAll, Allow: true})
		}
		_, c = newFake(t, kfake.EnableACLs(), kfake.User("PLAIN", "ANONYMOUS", "", all...))
	}
	return c, with(t, c, func(cfg *kafka.Config) {
		cfg.Instance = "restricted"
		cfg.Dialer = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(restrictedHost)}}).DialContext
	})
}

// deny takes a right from the restricted process, until the function that it returns is called.
func deny(t *testing.T, c *process, op kadm.ACLOperation, on func(*kadm.ACLBuilder) *kadm.ACLBuilder) (grant func()) {
	t.Helper()
	described := func(want bool) *kadm.ACLBuilder {
		b := on(kadm.NewACLs()).ResourcePatternType(kadm.ACLPatternLiteral)
		if want {
			return b.Operations(op).Deny("User:*").DenyHosts(restrictedHost)
		}
		return b.Operations(kadm.OpAll).Allow("User:*").AllowHosts("*") // what an ACL speaks of is allowed to nobody else otherwise
	}
	await := func(ctx context.Context, adm *kadm.Client, there bool) error {
		for {
			rs, err := adm.DescribeACLs(ctx, described(true))
			if err != nil {
				return err
			}
			n := 0
			for _, r := range rs {
				n += len(r.Described)
			}
			if there == (n > 0) {
				return nil
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
		for _, b := range []*kadm.ACLBuilder{described(false), described(true)} {
			rs, err := adm.CreateACLs(ctx, b)
			for _, r := range rs {
				err = errors.Join(err, r.Err)
			}
			if err != nil {
				return err
			}
		}
		return await(ctx, adm, true)
	})
	grant = sync.OnceFunc(func() {
		admin(t, c, func(ctx context.Context, adm *kadm.Client) error {
			rs, err := adm.DeleteACLs(ctx, described(true))
			for _, r := range rs {
				err = errors.Join(err, r.Err)
			}
			return errors.Join(err, await(ctx, adm, false))
		})
	})
	t.Cleanup(grant)
	return grant
}
