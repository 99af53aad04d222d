package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"pstncalls/internal/kafka"
)

const (
	checkDial   = 5 * time.Second  // for one broker
	checkState  = 10 * time.Second // for reading the state
	newestTaken = 300              // offsets looked at from the end of each partition of the events
)

const noState = "the state is not one that run would go on from"

// brokers looks at Kafka: brokers, topics, rights, state.
func (c *checker) brokers(ctx context.Context) {
	if c.kafka == nil {
		for _, check := range []string{"brokers", "versions", "topics", "acls", "state", "setup"} {
			c.f.blind(check, "", mistaken)
		}
		return
	}
	kc, err := kafkaConfig(c.kafka, quiet())
	host := ""
	if err == nil {
		kc.Dialer = c.setup.dialer
		host, err = c.seeds(ctx, kc)
	}
	if err != nil {
		c.f.add(kafka.Failed, "brokers", strings.Join(c.kafka.Kafka.Brokers, ","), err.Error(), "check KAFKA_BROKERS, KAFKA_TLS… and the network")
		for _, check := range []string{"versions", "topics", "acls", "state", "setup"} {
			c.f.blind(check, "", "no broker can be reached")
		}
		return
	}
	cluster, err := kafka.New(kc)
	if err != nil {
		c.f.add(kafka.Failed, "brokers", "", err.Error(), "check KAFKA_…")
		return
	}
	var stands *kafka.Finding // the state, if run would go on from it: unless one of its records is refused
	cluster.Preflight(ctx, host, c.kafka.Poll.FreshStart, func(f kafka.Finding) {
		if f.Check == "state" && f.Result != kafka.Failed && f.Result != kafka.NotCheckable {
			stands = &f
			return
		}
		c.f.add(f.Result, f.Check, f.Subject, f.Sentence, f.Do)
	})
	switch {
	case stands == nil:
		c.f.blind("setup", "", noState)
	case c.cfg == nil:
		c.f.add(stands.Result, stands.Check, stands.Subject, stands.Sentence, stands.Do)
		c.f.blind("setup", "", mistaken)
	default:
		c.left = c.readLeft(ctx, cluster, *stands)
	}
}

// seeds connects to the brokers of the configuration, one by one: Kafka's client would say no more than that none answered in time.
// It is an error only if none can be reached. host is this machine's address on the way there.
func (c *checker) seeds(ctx context.Context, kc kafka.Config) (host string, _ error) {
	hosts, errs := make([]string, len(kc.Brokers)), make([]error, len(kc.Brokers))
	var wg sync.WaitGroup
	for i, seed := range kc.Brokers {
		wg.Go(func() { hosts[i], errs[i] = dialBroker(ctx, kc, seed) })
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err == nil }); i >= 0 {
		host = hosts[i]
	} else {
		return "", fmt.Errorf("none can be reached: %w", errs[0])
	}
	for i, err := range errs {
		if err != nil {
			c.f.add(kafka.Warning, "brokers", kc.Brokers[i], err.Error(), "check this entry of KAFKA_BROKERS; one that answers is enough for the start")
		}
	}
	return host, nil
}

// dialBroker connects, with TLS shakes hands, and returns this machine's address.
func dialBroker(ctx context.Context, kc kafka.Config, seed string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkDial)
	defer cancel()
	dial := kc.Dialer
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", seed)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	local, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	if kc.TLS == nil || kc.Dialer != nil {
		return local, nil
	}
	conf := kc.TLS.Clone()
	conf.ServerName, _, _ = net.SplitHostPort(seed)
	if err := tls.Client(conn, conf).HandshakeContext(ctx); err != nil {
		return "", fmt.Errorf("TLS with %s: %w", seed, err)
	}
	return local, nil
}
