package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"pstncalls/schema"
)

// The time limits of a transaction. A frozen producer holds every read_committed reader for transactionTimeout plus up to
// 10 s, so it is short; a record that could not be delivered must fail before it, so that this session learns of it first.
const (
	transactionTimeout = 20 * time.Second
	deliveryTimeout    = 12 * time.Second
	commitDeadline     = 18 * time.Second
	abortDeadline      = 3 * time.Second
	openGrace          = 2 * time.Second  // an owner that is told to stop while it reads its state may read on for so long
	topicsAge          = 10 * time.Second // a session that commits learns within it that a topic was re-created
)

// limits are the time limits that a Cluster's sessions go by.
type limits struct {
	transaction, delivery, commit time.Duration
}

// Session is the ownership of one shard: one producer with one transactional id, bound one to one to one state partition.
// A Session is used by one goroutine. After an error it is dead: Close it and open another, which reads the state again.
type Session struct {
	c     *Cluster
	cl    *kgo.Client
	shard int32
	claim Claim
	mark  Mark
	// layout is what the topics were just before the fence.
	layout Layout
	dead   error
}

// Snapshot is a shard's state as its new owner found it.
type Snapshot struct {
	State map[string][]byte // by key; tombstones applied; without meta, claims and commit mark
	Mark  Mark              // the last commit
	Meta  *Meta
	// Layout is what the topics are now: not what they were when the process began.
	Layout Layout
	// Next is the offset behind our claim: what signals have been written since.
	Next int64
	// Previous is the claim before ours; nil on the first start, and where compaction has removed it already.
	Previous *Claim
}

// Open makes this process the owner of a shard and returns the shard's state. The order is the proof (design section 4):
//
//  1. fence: from here on no predecessor can commit, and what it had open is aborted (topics that the program may not work on
//     are refused before);
//  2. claim: a committed record behind everything that any predecessor committed;
//  3. read up to the claim: thus everything committed before, and nothing can be added but by us.
//
// Reading first and fencing then would let a predecessor commit in between: its events would be published twice.
func (c *Cluster) Open(ctx context.Context, shard int32) (*Session, *Snapshot, error) {
	defer c.sayOpening(shard)()
	s, err := c.fence(ctx, shard)
	if err != nil {
		return nil, nil, err
	}
	// A claim that is left behind is a crash to the next owner, who then asks Graph for little or nothing for a minute. So who is told
	// to stop from here on becomes the owner for a moment, and releases.
	opening, cancel := outlive(ctx, openGrace)
	defer cancel()
	snap, err := s.claimAndRead(opening)
	if err == nil {
		err = s.accept(opening, snap)
	}
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("shard %d: %w", shard, err)
	}
	c.cfg.Observer.Reached(shard, AtReady)
	return s, snap, nil
}

// outlive returns a context that ends d after ctx does.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, func() { stop(); cancel() }
}

// TransactionalID returns the transactional id of a shard. It names group and state topic, so that two set-ups that share a
// cluster do not fence each other.
func (c *Cluster) TransactionalID(shard int32) string {
	return c.cfg.Group + "." + c.cfg.Topics.State + "." + strconv.Itoa(int(shard))
}

// fence is step 1. Durable afterwards: the new producer epoch. A crash here costs nothing.
func (c *Cluster) fence(ctx context.Context, shard int32) (_ *Session, err error) {
	compression, err := codec(c.cfg.Compression)
	if err != nil {
		return nil, err
	}
	s := &Session{c: c, shard: shard, claim: Claim{V: formatVersion, Instance: c.cfg.Instance, Host: c.cfg.Host, At: time.Now().UTC()}}
	s.cl, err = c.client(
		kgo.TransactionalID(c.TransactionalID(shard)),
		kgo.TransactionTimeout(c.limits.transaction),
		kgo.RecordDeliveryTimeout(c.limits.delivery),
		kgo.ProducerLinger(0), // a transaction's records are all there when the first is sent
		// A topic may take less than the default. The client asks when it first hears of the topic: then the layout is known.
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 { return cmp.Or(s.layout.batchBytes[topic], maxBatchBytes) }),
		kgo.ProducerBatchCompression(compression, kgo.NoCompression()),
		kgo.MaxBufferedRecords(1<<20), // a commit is bounded by the poller, not by blocking inside a transaction
		kgo.RecordPartitioner(partitioner{state: c.cfg.Topics.State}),
		// A topic that is gone is not waited for: the session ends, and the next one looks at the topics again.
		kgo.UnknownTopicRetries(4),
	)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.layout, err = c.layout(ctx, kadm.NewClient(s.cl)); err != nil {
		return nil, fmt.Errorf("shard %d: %w", shard, err)
	}
	// Neither NewClient nor BeginTransaction sends InitProducerID: this does, and waits for it.
	// Guard: fence. Taken out: TestOpenOrder, TestOpenFencesThePredecessor, TestFaces.
	if _, _, err := s.cl.ProducerID(ctx); err != nil {
		return nil, fmt.Errorf("shard %d: fence the predecessor of %s: %w", shard, c.TransactionalID(shard), err)
	}
	c.cfg.Observer.Reached(shard, AtFenced)
	return s, nil
}

// claimAndRead is steps 2 and 3. Durable afterwards: the claim. A crash here costs the successor a fence and a read.
func (s *Session) claimAndRead(ctx context.Context) (*Snapshot, error) {
	topic := s.c.cfg.Topics.State
	claimKey := claimPrefix + s.c.cfg.Group
	offset, err := s.transactAt(toWrite{topic: topic, partition: s.shard, rec: Record{Key: []byte(claimKey), Value: encode(s.claim)}})
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	s.c.cfg.Observer.Reached(s.shard, AtClaimed)

	r, err := s.c.NewReader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	snap := &Snapshot{State: map[string][]byte{}, Layout: s.layout, Next: offset + 1}
	// The claim is the barrier: it is a record, so it is delivered, where control records and aborted ones never are. A newer
	// claim under the same key may have compacted it away: then something at a higher offset ends the read.
	// Guard: claim barrier. Taken out: TestOpenReadsBehindAnOpenTransaction, TestOpenReadsUpToItsFence.
	for rec, err := range r.Partition(ctx, topic, s.shard, 0, offset+1) {
		if err != nil {
			return nil, err
		}
		s.c.cfg.Observer.Reached(s.shard, AtState)
		if err := s.apply(snap, rec, offset); err != nil {
			return nil, err
		}
	}
	s.mark = snap.Mark
	return snap, nil
}

func (s *Session) apply(snap *Snapshot, rec Record, own int64) error {
	topic := s.c.cfg.Topics.State
	switch key := string(rec.Key); {
	case key == metaKey:
		var m Meta
		if err := decode(topic, key, rec.Value, &m); err != nil {
			return err
		}
		snap.Meta = &m
	case key == commitKey:
		if err := decode(topic, key, rec.Value, &snap.Mark); err != nil {
			return err
		}
	case strings.HasPrefix(key, claimPrefix):
		if rec.Offset == own || rec.Value == nil {
			return nil
		}
		var c Claim
		if err := decode(topic, key, rec.Value, &c); err != nil {
			return err
		}
		snap.Previous = &c
	case rec.Value == nil:
		delete(snap.State, key)
	default:
		snap.State[key] = rec.Value
	}
	return nil
}

// accept checks that what was read is this group's state, whole.
// Guard: meta check. Taken out: TestOpenRefusesChangedTopics, TestPrepareRefuses.
func (s *Session) accept(ctx context.Context, snap *Snapshot) error {
	if snap.Meta == nil {
		return &RefusedError{Subject: fmt.Sprintf("state topic %s, partition %d", s.c.cfg.Topics.State, s.shard),
			Reason: "its meta record is missing: the partition was emptied or damaged", Mend: freshStartMend}
	}
	if err := snap.Meta.check(s.c, s.layout); err != nil {
		return err
	}
	if err := s.refuseCut(ctx, snap); err != nil {
		return err
	}
	if !snap.Mark.At.IsZero() {
		return nil
	}
	// A shard without a commit, whose check has just read all events since the first start. Durable afterwards: that none of
	// them was the shard's, so that the next Open need not read them again. A crash here costs that read once more.
	mark := Mark{V: formatVersion, At: s.claim.At}
	if err := s.transact([]toWrite{{topic: s.c.cfg.Topics.State, partition: s.shard, rec: Record{Key: []byte(commitKey), Value: encode(mark)}}}); err != nil {
		return fmt.Errorf("first mark: %w", err)
	}
	s.mark, snap.Mark = mark, mark
	return nil
}

// clockSlack is how far the clocks of two owners of a shard may be apart for refuseCut to find what it looks for.
const clockSlack = 5 * time.Minute

// refuseCut looks for events of this shard beyond the state's last commit. Events and state are committed together, so there
// are none unless the state was cut back (an unclean election, a restored backup), or unless a newer owner is at work.
func (s *Session) refuseCut(ctx context.Context, snap *Snapshot) error {
	r, err := s.c.NewReader()
	if err != nil {
		return err
	}
	defer r.Close()
	topic := s.c.cfg.Topics.Events
	from := map[int32]int64{}
	if !snap.Mark.At.IsZero() {
		if from, err = r.Since(ctx, topic, snap.Mark.At.Add(-clockSlack)); err != nil {
			return err
		}
	}
	// Up to the high watermark: what lies behind another shard's open transaction counts too, and is waited for.
	ends, err := r.Ends(ctx, topic)
	if err != nil {
		return err
	}
	for p := range s.layout.EventsPartitions {
		start := max(from[p], snap.Meta.EventsEnd[strconv.Itoa(int(p))])
		for rec, err := range r.Partition(ctx, topic, p, start, ends[p]) {
			if err != nil {
				return err
			}
			shard, n, ok := schema.CommitOf(rec.Headers)
			if !ok || shard != s.shard || n <= snap.Mark.N {
				continue
			}
			newest, err := s.c.look(ctx, r, s.shard, Look{})
			if err != nil {
				return err
			}
			if c := newest.Claim; c.Instance != s.claim.Instance || !c.At.Equal(s.claim.At) {
				return fmt.Errorf("a newer owner is at work: %s on %s", c.Instance, c.Host)
			}
			return &RefusedError{Subject: fmt.Sprintf("state topic %s, partition %d", s.c.cfg.Topics.State, s.shard),
				Reason: fmt.Sprintf("it ends at commit %d, but %s/%d has an event of commit %d at offset %d: the state was cut back, and calls would be published twice",
					snap.Mark.N, topic, p, n, rec.Offset),
				Mend: freshStartMend}
		}
	}
	return nil
}

// Shard returns the shard that the session owns.
func (s *Session) Shard() int32 { return s.shard }

// Next returns the number that the next commit will have: it goes into the header of the commit's events.
func (s *Session) Next() int64 { return s.mark.N + 1 }

// Batch is what one commit makes visible, all or nothing.
type Batch struct {
	Events, Rejects, State, Watermarks []Record
	At                                 time.Time // the publish time, for the commit mark
}

// Commit makes the batch durable and visible in one transaction, together with the commit mark. It does not take a context:
// a commit that was begun is ended or given up within commitDeadline, whatever else is shutting down.
//
// There are three outcomes. nil: all of it is committed. An error before End was sent: none of it is, nor will be. An error
// of End: unknown until the state has been read again. The caller does the same for the last two: it throws its memory away,
// closes the session and opens another.
func (s *Session) Commit(b Batch) error {
	mark := Mark{V: formatVersion, N: s.mark.N + 1, At: b.At.UTC()}
	t := s.c.cfg.Topics
	ws := make([]toWrite, 0, len(b.Events)+len(b.Rejects)+len(b.State)+len(b.Watermarks)+1)
	add := func(topic string, recs []Record) {
		for _, r := range recs {
			ws = append(ws, toWrite{topic: topic, partition: s.shard, rec: r})
		}
	}
	add(t.Events, b.Events)
	add(t.DLQ, b.Rejects)
	add(t.Watermark, b.Watermarks)
	add(t.State, b.State)
	// Every commit carries this record, so none is empty: an empty commit sends nothing and would prove no ownership.
	add(t.State, []Record{{Key: []byte(commitKey), Value: encode(mark)}})
	if err := s.transact(ws); err != nil {
		return fmt.Errorf("shard %d, commit %d: %w", s.shard, mark.N, err)
	}
	s.mark = mark
	return nil
}

// Release is the last commit of a session that ends in order: the successor need not take this one for crashed. A crash before it,
// or in it, costs the successor its politeness; none after it costs anything.
func (s *Session) Release(state, watermarks []Record) error {
	now := time.Now().UTC()
	claim := s.claim
	claim.Released = &now
	state = append(state, Record{Key: []byte(claimPrefix + s.c.cfg.Group), Value: encode(claim)})
	s.c.cfg.Observer.Reached(s.shard, AtRelease)
	if err := s.Commit(Batch{State: state, Watermarks: watermarks, At: now}); err != nil {
		return err
	}
	s.c.cfg.Observer.Reached(s.shard, AtReleased)
	return nil
}

// Close frees the session's connections. It neither commits nor aborts: what is open is aborted by the successor's fence, or
// by the broker after the transaction timeout.
func (s *Session) Close() { s.cl.Close() }

type toWrite struct {
	topic     string
	partition int32 // used for the state topic only: its partition is the shard, the others' follows from the key
	rec       Record
}

func (s *Session) transactAt(w toWrite) (int64, error) {
	rs, err := s.transactRecords([]toWrite{w})
	if err != nil {
		return 0, err
	}
	return rs[0].Offset, nil
}

func (s *Session) transact(ws []toWrite) error {
	_, err := s.transactRecords(ws)
	return err
}

func (s *Session) transactRecords(ws []toWrite) ([]*kgo.Record, error) {
	if s.dead != nil {
		return nil, fmt.Errorf("the session is dead: %w", s.dead)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.c.limits.commit)
	defer cancel()
	rs := toKgo(ws)
	if err := s.sameTopics(ctx); err != nil {
		return nil, s.die(err)
	}
	// Nothing is durable. A crash here loses nothing: the rows are still at Graph and the state has not moved.
	s.c.cfg.Observer.Reached(s.shard, AtBegin)
	if err := s.cl.BeginTransaction(); err != nil {
		return nil, s.die(fmt.Errorf("begin: %w", err))
	}
	// Every record's own error counts: the client would commit whatever part of the transaction had succeeded.
	// Guard: first error. Taken out: TestCommitProduceError, TestDeniedRights.
	// Guard: abort on error. Taken out: TestCommitProduceError.
	if err := s.produce(ctx, rs); err != nil {
		s.abort()
		return nil, s.die(fmt.Errorf("produce: %w", err))
	}
	// All records are in the log, in an open transaction: no read_committed reader sees them. A crash here leaves it open; the
	// successor's fence aborts it.
	s.c.cfg.Observer.Reached(s.shard, AtProduced)
	if err := s.settle(ctx); err != nil {
		return nil, s.die(err)
	}
	s.c.cfg.Observer.Reached(s.shard, AtEnd)
	// The broker decides in one step: its coordinator's log says commit, and from then on every marker will be written, or it
	// does not. A crash here, or no answer, leaves the outcome unknown to us; the state tells the successor.
	// Guard: unknown outcome. Taken out: TestCommitEndAnswers.
	if err := s.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return nil, s.die(fmt.Errorf("commit, outcome unknown: %w", err))
	}
	// Events, rejects and window offsets are visible together. A crash here repeats nothing.
	s.c.cfg.Observer.Reached(s.shard, AtCommitted)
	return rs, nil
}

// sameTopics is an error if events or state topic is not the one that the session began with: brokers up to 4.0 take records by
// the topic's name, and a session would go on in a topic that was deleted and created again.
func (s *Session) sameTopics(ctx context.Context) error {
	for topic, id := range map[string]string{s.c.cfg.Topics.Events: s.layout.TopicIDs.Events, s.c.cfg.Topics.State: s.layout.TopicIDs.State} {
		req, t := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
		md, err := s.cl.RequestCachedMetadata(ctx, req, topicsAge)
		if err == nil && len(md.Topics) > 0 {
			err = kerr.ErrorForCode(md.Topics[0].ErrorCode)
		}
		if err != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
		if len(md.Topics) != 1 || kadm.TopicID(md.Topics[0].TopicID).String() != id {
			return fmt.Errorf("topic %s was created anew under the session", topic) // the start-up path says what it is now
		}
	}
	return nil
}

// produce produces the records and waits for all answers, no longer than ctx. A client that has lost its brokers while records
// may have been written waits for them to come back, whatever ctx and its delivery timeout say: only closing it ends that. One that
// takes a new epoch by itself (v1.22.2: a broker lost track of it where old records were deleted) has aborted what it had produced.
// Guard: one epoch. Taken out: TestCommitOfAPart.
func (s *Session) produce(ctx context.Context, rs []*kgo.Record) error {
	id, epoch, err := s.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		for _, r := range s.cl.ProduceSync(ctx, rs...) {
			if r.Err != nil {
				done <- fmt.Errorf("topic %s: %w", r.Record.Topic, r.Err) // the client's own error does not name it
				return
			}
			if r.Record.ProducerID != id || r.Record.ProducerEpoch != epoch {
				err = errors.New("the transaction was aborted under the session")
			}
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.cl.Close()
	return fmt.Errorf("%w: %w", context.Cause(ctx), <-done)
}

// settle waits until the client knows of every partition that it has produced to. The first records of a topic are sent and
// answered before the client has stored the topic's partitions (v1.22.2: storePartitionsUpdate). EndTransaction, called in
// between, would see a transaction without partitions, abort it, and return no error. Nothing is buffered any more, so this
// aborts nothing: it only passes the lock under which the partitions are stored.
func (s *Session) settle(ctx context.Context) error {
	if err := s.cl.AbortBufferedRecords(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// abort ends the open transaction so that readers need not wait for its timeout. Best effort: the successor's fence does it
// otherwise, so an error here changes nothing that the caller does.
func (s *Session) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), abortDeadline)
	defer cancel()
	err := s.cl.AbortBufferedRecords(ctx)
	err = errors.Join(err, s.cl.EndTransaction(ctx, kgo.TryAbort))
	if err != nil {
		s.c.cfg.Log.Debug("abort left to the successor's fence", "shard", s.shard, "error", err)
	}
}

func (s *Session) die(err error) error {
	s.dead = err
	return err
}
