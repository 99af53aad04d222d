package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// left is what run would go on from.
type left struct {
	tenants map[string]*state.Tenant // those that are polled and known
	gone    []string                 // known, and not polled
	newest  map[string]used
}

// used is the set-up under which something of a tenant was read: empty where nothing tells.
type used struct {
	source    string // Graph's root with the version
	privacy   *string
	confluent bool // its newest event is in Confluent's wire format
	at        time.Time
}

// graphDay are the rows that Graph has shown of a day, as they would be published today.
type graphDay struct {
	day          window.Day
	fingerprints map[string]uint64 // by id; of rows that have one
}

// note keeps what is needed of a page to tell whether its rows are as they were published.
func (c *checker) note(tenant string, day window.Day, rows [][]byte) {
	privacy, err := privacyOf(c.cfg)
	if err != nil {
		return // compare says so
	}
	s := graphDay{day, map[string]uint64{}}
	convert := row.NewConverter(privacy)
	for _, raw := range rows {
		if x := convert.Convert(raw); x.HasID && x.Reject == nil {
			s.fingerprints[x.ID] = x.Fingerprint
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown == nil {
		c.shown = map[string]graphDay{}
	}
	c.shown[tenant] = s
}

// readLeft reads the state, every record of it; one that run would refuse takes the place of what was found of the state before.
func (c *checker) readLeft(ctx context.Context, cluster *kafka.Cluster, found kafka.Finding) *left {
	ctx, cancel := context.WithTimeoutCause(ctx, checkState, fmt.Errorf("it takes longer than %v", checkState))
	defer cancel()
	l, err := c.load(ctx, cluster)
	var refused *refusedState
	var topic *kafka.RefusedError
	switch {
	case errors.As(err, &refused):
		sentence, do := refused.parts()
		c.f.add(kafka.Failed, found.Check, found.Subject, sentence, do)
		c.f.blind("setup", "", noState)
		return nil
	case errors.As(err, &topic):
		c.f.add(kafka.Failed, found.Check, found.Subject, topic.Subject+": "+topic.Reason, topic.Mend)
		c.f.blind("setup", "", noState)
		return nil
	}
	c.f.add(found.Result, found.Check, found.Subject, found.Sentence, found.Do)
	switch {
	case kafka.IsMissingTopic(err):
		c.f.add(kafka.Fine, "setup", "", "there is no state yet", "")
		return nil
	case err != nil:
		c.f.blind("setup", "", "the state could not be read: "+kafka.Explain(err))
		return nil
	}
	return l
}

// refusedState is a record of a tenant that run would refuse.
type refusedState struct{ err error }

func (e *refusedState) Error() string { return e.err.Error() }

// parts are what is wrong and what to do.
func (e *refusedState) parts() (sentence, do string) {
	text := e.err.Error()
	for _, mend := range []string{": run that version", "; restore the state topic"} {
		if at := strings.Index(text, mend); at > 0 {
			return text[:at], text[at+2:]
		}
	}
	return text, "restore the state topic, or start anew with one of another name and POLL_FRESH_START=true"
}

func (c *checker) load(ctx context.Context, cluster *kafka.Cluster) (*left, error) {
	view, err := cluster.ReadState(ctx)
	if err != nil {
		return nil, err
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
	l := &left{tenants: map[string]*state.Tenant{}}
	for _, id := range c.cfg.Graph.Tenants {
		t, ok, err := state.Load(id, byTenant[id])
		if err == nil {
			_, err = state.Forgotten(id, byTenant[id])
		}
		delete(byTenant, id)
		if err != nil {
			return nil, &refusedState{err}
		}
		if ok {
			l.tenants[id] = t
		}
	}
	for shard, own := range view.Own {
		if _, err := state.LoadShard(map[string][]byte{state.ShardKey: own}); err != nil {
			return nil, &refusedState{fmt.Errorf("shard %d: %w", shard, err)}
		}
	}
	l.gone = slices.Sorted(maps.Keys(byTenant))
	l.newest, err = newestEvents(ctx, cluster)
	return l, err
}

// compare says of each tenant what run makes of a set-up that is another than before. Scans in progress, the newest events and the
// ledgers tell.
func (c *checker) compare(now time.Time) {
	const check = "setup"
	privacy, err := privacyOf(c.cfg)
	if err != nil {
		c.f.blind(check, "", err.Error())
		return
	}
	for _, id := range slices.Sorted(slices.Values(c.cfg.Graph.Tenants)) {
		t := c.left.tenants[id]
		if t == nil {
			c.f.add(kafka.Fine, check, id, "new: its calls since POLL_START are published", "")
			continue
		}
		c.judgeTenant(id, t, c.left.newest[id], privacy)
		c.judgeDays(id, t, now)
		c.judgeFraming(id, c.left.newest[id])
	}
	for _, id := range c.left.gone {
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
	day, known, same := c.asPublished(id, t)
	rules := len(changed) == 0 && known > 0 && same*2 < known
	switch {
	case was.privacy != nil && *was.privacy != privacy.ID():
		changed = append(changed, "other privacy rules")
		back = append(back, "PRIVACY_FIELDS and PRIVACY_HASH_KEY")
	case rules:
		changed = append(changed, fmt.Sprintf("other privacy rules, it seems (%d of the %d rows of %s that Graph shows first are not as they were published)", known-same, known, day))
		back = append(back, "PRIVACY_FIELDS and PRIVACY_HASH_KEY")
	}
	days, rows := 0, int64(0)
	for _, day := range t.Windows() {
		if w := t.Window(day); w.Settled == nil && w.Rows > 0 {
			days, rows = days+1, rows+w.Rows
		}
	}
	told := "; under which privacy rules they were published nothing tells"
	switch {
	case known > 0:
		told = fmt.Sprintf("; %d of the %d rows of %s that Graph shows first are as they were published", same, known, day)
	case was.privacy != nil:
		told = ""
	}
	switch {
	case len(changed) > 0:
		c.f.add(kafka.Warning, check, id, fmt.Sprintf("%s: of the %d rows of the %d days that have not settled, those whose published content differs are published once more, as revisions",
			strings.Join(changed, ", "), rows, days), "nothing if that is meant; otherwise set "+strings.Join(back, ", ")+" back")
	case was.source == "":
		c.f.add(kafka.NotCheckable, check, id, fmt.Sprintf("no scan is in progress, and none of its events is among the newest %d of a partition", newestTaken), "")
	default:
		c.f.add(kafka.Fine, check, id, "endpoint and API version are those of its newest events or scan"+told, "")
	}
}

// asPublished returns how many of the rows that Graph has shown are known, and how many of them are what was published last.
func (c *checker) asPublished(id string, t *state.Tenant) (day window.Day, known, same int) {
	c.mu.Lock()
	s := c.shown[id]
	c.mu.Unlock()
	for r := range t.Ledger {
		now, ok := s.fingerprints[r.ID]
		if !ok || r.Rejected {
			continue
		}
		if known++; now == r.Fingerprint {
			same++
		}
	}
	return s.day, known, same
}

// judgeDays says what POLL_START and POLL_LOOKBACK do not do to what is there.
func (c *checker) judgeDays(id string, t *state.Tenant, now time.Time) {
	const check = "setup"
	if start := c.cfg.Poll.Start.Day(now); start < t.Header.Start {
		c.f.add(kafka.Warning, check, id, fmt.Sprintf("POLL_START is for new tenants: it says %s, and the days before %s, with which this one began, are not read for that", start, t.Header.Start),
			fmt.Sprintf("scan --tenant %s --from %s --to %s reads them", id, start, t.Header.Start))
	}
	lookback := c.cfg.Poll.Lookback
	var young []window.Day
	for day := max(t.Header.Start, window.Of(now.Add(-lookback))-1); day < window.Of(now); day++ {
		if t.Settled(day) && now.Sub(day.End()) < lookback {
			young = append(young, day)
		}
	}
	if n := len(young); n > 0 {
		c.f.add(kafka.Warning, check, id, fmt.Sprintf("%d days, %s to %s, settled under a shorter POLL_LOOKBACK than %s: settled they stay, and rows of theirs that come late or change are not looked for",
			n, young[0], young[n-1], lookback), fmt.Sprintf("scan --tenant %s --from %s --to %s reads them once more", id, young[0], young[n-1]+1))
	}
}

func (c *checker) judgeFraming(id string, was used) {
	const check = "setup"
	switch with := c.cfg.Registry.URL != nil; {
	case was.source == "" || with == was.confluent:
	case with:
		c.f.add(kafka.Warning, check, id, "SCHEMA_REGISTRY_URL is set, and its newest events are in Avro's single-object encoding: what run publishes is in Confluent's wire format, and the topic holds both", "see that readers know both, or unset it")
	default:
		c.f.add(kafka.Warning, check, id, "SCHEMA_REGISTRY_URL is not set, and its newest events are in Confluent's wire format: what run publishes is in Avro's single-object encoding, and the topic holds both", "set SCHEMA_REGISTRY_URL as before, or see that readers know both")
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
				out[h.TenantID] = used{source: h.Source, at: h.Time, confluent: len(rec.Value) > 0 && rec.Value[0] == 0}
			}
		}
	}
	return out, nil
}
