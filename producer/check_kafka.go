package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/schema"
)

const (
	checkDial   = 5 * time.Second  // for one broker
	checkState  = 10 * time.Second // for reading the state
	newestTaken = 300              // offsets looked at from the end of each partition of the events
)

// brokers looks at Kafka: brokers, topics, rights, state; then at what a changed set-up means for the state.
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
	stands := false
	cluster.Preflight(ctx, host, c.kafka.Poll.FreshStart, func(f kafka.Finding) {
		stands = stands || f.Check == "state" && f.Result != kafka.Failed && f.Result != kafka.NotCheckable
		c.f.add(f.Result, f.Check, f.Subject, f.Sentence, f.Do)
	})
	switch {
	case c.cfg == nil:
		c.f.blind("setup", "", mistaken)
	case !stands:
		c.f.blind("setup", "", "the state is not one that run would go on from")
	default:
		c.compare(ctx, cluster)
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

// used is the set-up under which something of a tenant was read: empty where nothing tells.
type used struct {
	source  string // Graph's root with the version
	privacy *string
	at      time.Time
}

// compare says, of each tenant, whether it was read under another set-up so far. Scans in progress and the newest events tell.
func (c *checker) compare(ctx context.Context, cluster *kafka.Cluster) {
	const check = "setup"
	ctx, cancel := context.WithTimeoutCause(ctx, checkState, fmt.Errorf("it takes longer than %v", checkState))
	defer cancel()
	view, err := cluster.ReadState(ctx)
	if kafka.IsMissingTopic(err) {
		c.f.add(kafka.Fine, check, "", "there is no state yet", "")
		return
	}
	var newest map[string]used
	if err == nil {
		newest, err = newestEvents(ctx, cluster)
	}
	privacy, wrong := privacyOf(c.cfg)
	if err == nil {
		err = wrong
	}
	if err != nil {
		c.f.blind(check, "", "the state could not be read: "+kafka.Explain(err))
		return
	}
	byTenant := map[string]map[string][]byte{}
	for key, value := range view.State {
		if id, ok := state.TenantOf(key); ok {
			if byTenant[id] == nil {
				byTenant[id] = map[string][]byte{}
			}
			byTenant[id][key] = value
		}
	}
	for _, id := range slices.Sorted(slices.Values(c.cfg.Graph.Tenants)) {
		t, ok, err := state.Load(id, byTenant[id])
		delete(byTenant, id)
		switch {
		case err != nil:
			c.f.add(kafka.Failed, check, id, err.Error(), "restore the state topic, or start anew with one of another name and POLL_FRESH_START=true")
		case !ok:
			c.f.add(kafka.Fine, check, id, "new: its calls since POLL_START are published", "")
		default:
			c.judgeTenant(id, t, newest[id], privacy)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byTenant)) {
		c.f.add(kafka.Warning, check, id, "the state knows the tenant, and it is not among those to poll: its calls are not read any more", "add it to GRAPH_TENANTS, unless that is meant")
	}
}

func (c *checker) judgeTenant(id string, t *state.Tenant, was used, privacy *row.Privacy) {
	const check = "setup"
	for _, s := range t.Scans() {
		if s.Begun.After(was.at) {
			was.source, was.at = s.Endpoint, s.Begun
		}
		if was.privacy == nil || s.Privacy != privacy.ID() {
			was.privacy = &s.Privacy
		}
	}
	now := c.src.endpoint()
	var changed, back []string
	if was.source != "" && path.Base(was.source) != path.Base(now) {
		changed = append(changed, fmt.Sprintf("API version %s instead of %s", path.Base(now), path.Base(was.source)))
		back = append(back, "GRAPH_API_VERSION="+path.Base(was.source))
	}
	if root := strings.TrimSuffix(was.source, "/"+path.Base(was.source)); was.source != "" && root != strings.TrimSuffix(now, "/"+path.Base(now)) {
		changed = append(changed, "another endpoint than "+root)
		back = append(back, "GRAPH_ENDPOINT or GRAPH_CLOUD")
	}
	if was.privacy != nil && *was.privacy != privacy.ID() {
		changed = append(changed, "other privacy rules")
		back = append(back, "PRIVACY_FIELDS and PRIVACY_HASH_KEY")
	}
	days, rows := 0, int64(0)
	for _, day := range t.Windows() {
		if w := t.Window(day); w.Settled == nil && w.Rows > 0 {
			days, rows = days+1, rows+w.Rows
		}
	}
	known := "; under which privacy rules they were published nothing tells"
	if was.privacy != nil {
		known = ""
	}
	switch {
	case len(changed) > 0:
		c.f.add(kafka.Warning, check, id, fmt.Sprintf("%s: of the %d rows of the %d days that have not settled, those whose published content differs are published once more, as revisions",
			strings.Join(changed, ", "), rows, days), "nothing if that is meant; otherwise set "+strings.Join(back, ", ")+" back")
	case was.source == "":
		c.f.add(kafka.NotCheckable, check, id, fmt.Sprintf("no scan is in progress, and none of its events is among the newest %d of a partition", newestTaken), "")
	default:
		c.f.add(kafka.Fine, check, id, "endpoint and API version are those of its newest events or scan"+known, "")
	}
}

// newestEvents returns what the newest events tell of the set-up that each tenant was read under.
func newestEvents(ctx context.Context, cluster *kafka.Cluster) (map[string]used, error) {
	out := map[string]used{}
	topic := cluster.Topics().Events
	r, err := cluster.NewReader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ends, err := r.StableEnds(ctx, topic)
	if kafka.IsMissingTopic(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for p, end := range ends {
		for rec, err := range r.Partition(ctx, topic, p, max(0, end-newestTaken), end) {
			if err != nil {
				return nil, err
			}
			h, err := schema.ParseHeaders(rec.Headers)
			if err != nil {
				continue // no event of ours
			}
			if h.Time.After(out[h.TenantID].at) {
				out[h.TenantID] = used{source: h.Source, at: h.Time}
			}
		}
	}
	return out, nil
}
