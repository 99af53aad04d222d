package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Keys of the records that belong to the partition itself. All other keys begin with a tenant and a slash.
const (
	metaKey     = "meta"
	commitKey   = "commit"
	claimPrefix = "claim/"
	shardKey    = "shard" // its content is state's
)

// formatVersion is the newest version of the state's records that this program reads and writes.
const formatVersion = 1

// Meta says whose state a partition is and to which topics it belongs. Every partition of the state topic holds one.
type Meta struct {
	V                int              `json:"v"`
	Group            string           `json:"group"`
	ClusterID        string           `json:"clusterId"`
	StatePartitions  int32            `json:"statePartitions"`
	EventsPartitions int32            `json:"eventsPartitions"`
	TopicIDs         TopicIDs         `json:"topicIds"`
	EventsEnd        map[string]int64 `json:"eventsEnd"` // by partition: where the events topic ended at the first start
	At               time.Time        `json:"at"`
}

// Begun returns, by partition of the events topic, where the state's events begin.
func (m *Meta) Begun() (map[int32]int64, error) {
	out := map[int32]int64{}
	for p, o := range m.EventsEnd {
		n, err := strconv.ParseInt(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("meta: partition %q of the events topic: %w", p, err)
		}
		out[int32(n)] = o
	}
	return out, nil
}

// Claim says who owned a shard from when. It is the first record of a session, and the last one of a session that ended in order.
type Claim struct {
	V        int        `json:"v"`
	Instance string     `json:"instance"`
	Host     string     `json:"host"`
	At       time.Time  `json:"at"`
	Released *time.Time `json:"released,omitempty"` // set by a hand-over in order
}

// Mark is the commit number a shard has reached, and when.
type Mark struct {
	V  int       `json:"v"`
	N  int64     `json:"n"`
	At time.Time `json:"at"`
}

// decode reads a state value that is JSON, refusing a newer format than this program knows.
func decode(topic, key string, value []byte, into any) error {
	refuse := func(reason, mend string) error {
		return &RefusedError{Subject: fmt.Sprintf("state topic %s, record %q", topic, key), Reason: reason, Mend: mend}
	}
	const mend = "restore the topic from a backup, or start anew with a state topic of another name and POLL_FRESH_START=true"
	var v struct {
		V int `json:"v"`
	}
	err := json.Unmarshal(value, &v)
	switch {
	case err != nil: // as below
	case v.V < 1:
		err = errors.New("it has no format version")
	case v.V > formatVersion:
		return refuse(fmt.Sprintf("it has format %d, and this version reads up to %d: it was written by a newer version of this program", v.V, formatVersion), newerMend)
	default:
		err = json.Unmarshal(value, into)
	}
	if err != nil {
		return refuse("it is damaged: "+err.Error(), mend)
	}
	return nil
}

// newerMend is said of a record of package state as well.
const newerMend = "run that version, which goes on where it was; to stay with this one, start anew with a state topic of another name and POLL_FRESH_START=true, which publishes all calls since POLL_START once more"

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("kafka: encode %T: %v", v, err)) // unreachable: plain structs
	}
	return b
}

// check compares a partition's meta with the set-up of today.
func (m *Meta) check(c *Cluster, l Layout) error {
	topic := "state topic " + c.cfg.Topics.State
	switch {
	case m.Group != c.cfg.Group:
		return &ForeignGroupError{Topic: c.cfg.Topics.State, Owner: m.Group, Ours: c.cfg.Group}
	case m.StatePartitions != l.StatePartitions:
		return &RefusedError{Subject: topic, Reason: fmt.Sprintf("it has %d partitions and was started with %d: tenants would change their shard", l.StatePartitions, m.StatePartitions),
			Mend: fmt.Sprintf("partitions cannot be taken back: copy it into a new topic with %d partitions and name that in KAFKA_STATE_TOPIC", m.StatePartitions)}
	case m.TopicIDs.Events != l.TopicIDs.Events:
		reason := "it was re-created since the state was written, and what had been published is gone; or it is not the topic that the state was written for"
		if l.EventsPartitions == 0 {
			reason = "it does not exist, and the state topic " + c.cfg.Topics.State + " says what has been published to it"
		}
		return &RefusedError{Subject: "events topic " + c.cfg.Topics.Events, Reason: reason,
			Mend: "put KAFKA_EVENTS_TOPIC right if it names the wrong one; " + freshStartMend}
	}
	return nil
}

const freshStartMend = "to publish again all calls since POLL_START, name a new state topic in KAFKA_STATE_TOPIC (or delete the old one: kafka-topics.sh --bootstrap-server … --delete --topic …) and start once with POLL_FRESH_START=true"

// found is what find saw in one state partition.
type found struct {
	meta *Meta
	more bool // something beside meta, claims and the mark of a shard without a commit
}

// Prepare makes the topics ready for work: it creates and checks them, and completes the first start. It writes nothing when
// it refuses. The order matters: no shard may work before every partition has its meta, and an empty state beside events
// that it knows nothing of is refused before anything is written, for that is how a lost state topic would turn into a second
// copy of everything.
func (c *Cluster) Prepare(ctx context.Context, freshStart bool) (Layout, error) {
	r, err := c.NewReader()
	if err != nil {
		return Layout{}, err
	}
	defer r.Close()
	l, err := c.ensureTopics(ctx, r, freshStart)
	if err != nil {
		return l, err
	}
	st, err := c.beginning(ctx, r, l, freshStart)
	if err != nil || !st.virgin || st.complete && !st.beyond {
		return l, err
	}
	return l, c.writeMetas(ctx, r, l)
}

// mayCreate refuses what beginning refuses where one of events and state topic is there and the other is about to be created: its name
// may be misspelt, and the topic would stay.
func (c *Cluster) mayCreate(ctx context.Context, adm *kadm.Client, r *Reader, md kadm.Metadata, missing []wantedTopic, freshStart bool) error {
	events, state := md.Topics[c.cfg.Topics.Events], md.Topics[c.cfg.Topics.State]
	if (events.Err == nil) == (state.Err == nil) {
		return nil
	}
	w := missing[slices.IndexFunc(missing, func(w wantedTopic) bool { return w.name == c.cfg.Topics.Events || w.name == c.cfg.Topics.State })]
	// A broker that has just started may not know of a topic yet: the controller has to say so too. And one that cannot be created does
	// not come to be.
	if _, err := w.validate(ctx, adm, len(md.Brokers)); err != nil {
		return nil
	}
	l := Layout{EventsPartitions: int32(len(events.Partitions)), StatePartitions: int32(len(state.Partitions)), TopicIDs: TopicIDs{Events: events.ID.String()}}
	_, err := c.beginning(ctx, r, l, freshStart)
	return err
}

// beginning looks at the state as one that is about to begin work on it, and writes nothing. An empty state is refused beside events
// that it does not know of, unless the start is to be a fresh one: they are events of a lost state. A topic that is missing has no
// partitions in l.
func (c *Cluster) beginning(ctx context.Context, r *Reader, l Layout, freshStart bool) (survey, error) {
	ends := map[int32]int64{}
	if l.EventsPartitions > 0 {
		var err error
		// Before the state is read: what another replica commits meanwhile is not held against it.
		if ends, err = r.StableEnds(ctx, c.cfg.Topics.Events); err != nil {
			return survey{}, err
		}
	}
	for last := false; ; last = true {
		st, err := c.survey(ctx, r, l)
		if err != nil || !st.virgin {
			return st, err
		}
		acknowledged := map[string]int64{}
		if st.complete && st.first != nil {
			acknowledged = st.first.EventsEnd
		}
		partition, err := c.firstEvent(ctx, r, ends, acknowledged)
		st.beyond = partition >= 0
		switch {
		case err != nil || !st.beyond || freshStart:
			return st, err
		case last || l.StatePartitions == 0:
			return st, &RefusedError{Subject: "state topic " + c.cfg.Topics.State,
				Reason: fmt.Sprintf("it is empty or missing, but %s/%d holds events: the state was lost, and everything would be published a second time", c.cfg.Topics.Events, partition),
				Mend:   "put KAFKA_STATE_TOPIC right if it names the wrong one, restore the state topic, or accept second copies of all since POLL_START and start once with POLL_FRESH_START=true"}
		}
		// Brokers answer a commit before every partition has its marker: the events may be readable, and their state not yet.
		if err := r.Decided(ctx, c.cfg.Topics.State); err != nil {
			return st, err
		}
	}
}

// survey is what Prepare sees of the state.
type survey struct {
	first    *Meta
	complete bool // every partition has its meta
	virgin   bool // no shard has a commit
	beyond   bool // of a virgin one: there are events that it does not know of
}

// survey looks at all partitions of the state topic, and refuses one that is damaged.
func (c *Cluster) survey(ctx context.Context, r *Reader, l Layout) (survey, error) {
	s := survey{complete: true, virgin: true}
	missing := int32(-1)
	for p := range l.StatePartitions {
		f, err := c.find(ctx, r, p)
		if err != nil {
			return s, err
		}
		if f.meta == nil {
			s.complete, missing = false, p
		} else if err := f.meta.check(c, l); err != nil {
			return s, err
		} else if s.first == nil {
			s.first = f.meta
		}
		s.virgin = s.virgin && !f.more
	}
	if !s.virgin && !s.complete {
		return s, &RefusedError{Subject: fmt.Sprintf("state topic %s, partition %d", c.cfg.Topics.State, missing),
			Reason: "its meta record is missing although the state is in use: the partition was emptied or damaged", Mend: freshStartMend}
	}
	return s, nil
}

// find reads one state partition only as far as it has to.
func (c *Cluster) find(ctx context.Context, r *Reader, p int32) (found, error) {
	var f found
	topic := c.cfg.Topics.State
	end, err := r.edge(ctx, topic, p, r.adm.ListCommittedOffsets)
	if err != nil {
		return f, err
	}
	for rec, err := range r.Partition(ctx, topic, p, 0, end) {
		if err != nil {
			return f, err
		}
		switch key := string(rec.Key); {
		case key == metaKey && rec.Value != nil:
			var m Meta
			if err := decode(topic, key, rec.Value, &m); err != nil {
				return f, err
			}
			f.meta = &m
		case strings.HasPrefix(key, claimPrefix):
		case key == commitKey:
			var m Mark
			if err := decode(topic, key, rec.Value, &m); err != nil {
				return f, err
			}
			f.more = f.more || m.N > 0
		default:
			f.more = true
		}
		if f.more && f.meta != nil && f.meta.Group == c.cfg.Group {
			break
		}
	}
	return f, nil
}

// firstEvent returns a partition of the events topic that holds an event between the acknowledged offset and its end, or -1.
func (c *Cluster) firstEvent(ctx context.Context, r *Reader, ends map[int32]int64, acknowledged map[string]int64) (int32, error) {
	for p, end := range ends {
		for _, err := range r.Partition(ctx, c.cfg.Topics.Events, p, acknowledged[strconv.Itoa(int(p))], end) {
			if err != nil {
				return -1, err
			}
			return p, nil
		}
	}
	return -1, nil
}

// writeMetas completes the first start: under the fence of each shard in turn, so that two replicas cannot both do it.
func (c *Cluster) writeMetas(ctx context.Context, r *Reader, l Layout) error {
	ends, err := r.Ends(ctx, c.cfg.Topics.Events)
	if err != nil {
		return err
	}
	m := Meta{V: formatVersion, Group: c.cfg.Group, ClusterID: l.ClusterID, StatePartitions: l.StatePartitions,
		EventsPartitions: l.EventsPartitions, TopicIDs: l.TopicIDs, EventsEnd: map[string]int64{}, At: time.Now().UTC()}
	for p, o := range ends {
		m.EventsEnd[strconv.Itoa(int(p))] = o
	}
	for p := range l.StatePartitions {
		// Another replica may be at the same. No shard works before all partitions have their meta, so where one is still missing
		// nobody is at work; where it is there, somebody may be, and a fence would cost them seconds.
		f, err := c.find(ctx, r, p)
		if err != nil {
			return err
		}
		if f.more || f.meta != nil && maps.Equal(f.meta.EventsEnd, m.EventsEnd) {
			continue
		}
		if err := c.writeMeta(ctx, p, m); err != nil {
			return fmt.Errorf("first start of shard %d: %w", p, err)
		}
	}
	c.cfg.Log.Info("first start: state topic prepared", "topic", c.cfg.Topics.State, "partitions", l.StatePartitions)
	return nil
}

func (c *Cluster) writeMeta(ctx context.Context, shard int32, m Meta) error {
	s, err := c.fence(ctx, shard)
	if err != nil {
		return err
	}
	defer s.Close()
	snap, err := s.claimAndRead(ctx)
	if err != nil {
		return err
	}
	topic := c.cfg.Topics.State
	// Nobody works under this claim: left standing, it would look like a crashed owner, and an owner would stand down before it.
	now := time.Now().UTC()
	claim := s.claim
	claim.Released = &now
	ws := []toWrite{{topic: topic, partition: shard, rec: Record{Key: []byte(claimPrefix + c.cfg.Group), Value: encode(claim)}}}
	if len(snap.State) == 0 && snap.Mark.N == 0 { // otherwise another replica was faster and is at work already
		ws = append(ws, toWrite{topic: topic, partition: shard, rec: Record{Key: []byte(metaKey), Value: encode(m)}})
	}
	return s.transact(ws)
}
