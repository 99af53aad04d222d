package poller

import (
	"fmt"
	"strconv"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/row"
	"pstncalls/internal/state"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// batch is one commit in the making: events, rejects and, at the end, the state that goes with them. Its instant is the
// publish time of all its records: the machine's time, as all that Kafka does, for the client counts a record's delivery
// timeout from its timestamp.
type batch struct {
	s      *session
	now    time.Time
	out    kafka.Batch
	counts map[*tenant]*counts
	avro   []byte
	err    error
}

type counts struct{ events, revisions, rejects int }

func newBatch(s *session) *batch {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &batch{s: s, now: now, out: kafka.Batch{At: now}, counts: map[*tenant]*counts{}}
}

// empty reports whether nothing was published: an empty scan costs no transaction.
func (b *batch) empty() bool { return len(b.out.Events) == 0 && len(b.out.Rejects) == 0 }

// page compares the rows of one page.
func (b *batch) page(f fetched) {
	sc, t := f.scan, f.scan.tenant
	if b.s.p.cfg.Observer != nil {
		b.s.p.cfg.Observer.Reached(b.s.kafka.Shard(), AtPage)
	}
	c := b.counts[t]
	if c == nil {
		c = &counts{}
		b.counts[t] = c
	}
	b.s.p.cfg.Metrics.Rows.WithLabelValues(t.ID).Add(float64(len(f.rows)))
	now := b.s.p.cfg.Clock.Now()
	page := state.Page{Range: sc.rng, Asked: f.asked, Received: f.received, Busy: func(d window.Day) bool { return t.busy(d, sc) }}
	refused, fresh := "", false
	for i := range f.rows {
		r := &f.rows[i]
		seen := state.Seen{ID: r.ID, HasID: r.HasID, Fingerprint: r.Fingerprint, Rejected: r.Reject != nil, Day: sc.rng.To - 1, NoStart: r.Start.IsZero()}
		if !seen.NoStart {
			seen.Day = window.Of(r.Start)
			sc.learned.note(sc, r.Start)
		}
		d := t.Observe(seen, page)
		b.s.remark(t, d)
		switch d.Action {
		case state.Nothing:
		case state.Leave:
			sc.stale = sc.stale || d.Stale
		case state.Publish:
			b.event(t, r, d)
			t.late(&r.Row, seen.Day, now)
			sc.note(seen.Day)
			b.s.credit(t, seen.Day, d.Revision)
			c.events++
			if d.Revision > 0 {
				c.revisions++
			} else {
				fresh = true
				b.s.atEdge(t, seen.Day, now)
			}
		case state.Refuse:
			b.reject(t, &r.Row, d, f.page.RequestID)
			sc.note(seen.Day)
			c.rejects++
			refused = fmt.Sprintf("row %s of %s: %s", d.RowID, d.Owner, r.Reject.Reason)
		default:
			b.err = unknownAction(d.Action)
		}
	}
	if fresh {
		b.s.arrived(sc, now)
	}
	if refused != "" {
		b.s.rejected(t, refused)
	}
}

func (b *batch) event(t *tenant, r *converted, d state.Decision) {
	cfg := &b.s.p.cfg
	avro, err := schema.AppendPstnCallHead(b.avro[:0], &schema.PstnCall{TenantID: t.ID, RowID: d.RowID, Revision: d.Revision, ObservedAt: b.now})
	if err != nil { // the fetcher has tried the same row
		b.err = subject(err, t.ID)
		return
	}
	avro = append(avro, r.body...)
	b.avro = avro
	t.Published(d.Owner, state.HashEvent(d.RowID, d.Revision, r.Fingerprint, avro), b.now)
	key := r.Key
	if key == "" {
		key = d.RowID
	}
	headers := schema.Headers{RowID: d.RowID, Revision: d.Revision, TenantID: t.ID, Source: cfg.Endpoint, Time: b.now, Subject: key,
		DataSchema: cfg.Framer.DataSchema(), Fingerprint: r.Fingerprint, Owner: d.Owner.String(), Shard: b.s.kafka.Shard(), Commit: b.s.kafka.Next()}
	b.out.Events = append(b.out.Events, kafka.Record{Key: []byte(key), Value: cfg.Framer.Frame(avro), Headers: headers.Append(nil), Timestamp: b.now})
}

// reject makes the dead-letter record of a row; JSON that is too large for the topic is cut, and says so.
func (b *batch) reject(t *tenant, r *row.Row, d state.Decision, requestID string) {
	key := r.Key
	if key == "" {
		key = d.RowID
	}
	rec := kafka.Record{Key: []byte(key), Value: r.JSON, Timestamp: b.now}
	add := func(name, value string) {
		rec.Headers = append(rec.Headers, schema.Header{Key: name, Value: []byte(value)})
	}
	add(schema.HeaderReason, r.Reject.Reason)
	add(schema.HeaderProperty, r.Reject.Property)
	add(schema.HeaderTenant, t.ID)
	add(schema.HeaderWindow, d.Owner.String())
	add(schema.HeaderRowID, d.RowID)
	add(schema.HeaderRequestID, requestID)
	limit := b.s.layout.MaxRecordBytes - rejectOverhead
	if rec.Size() > limit && len(rec.Key) > maxRejectKey {
		rec.Key = []byte(d.RowID)
	}
	if over := rec.Size() - limit; over > 0 {
		add(schema.HeaderTruncated, strconv.Itoa(len(r.JSON)))
		rec.Value = r.JSON[:max(0, len(r.JSON)-over)]
	}
	b.out.Rejects = append(b.out.Rejects, rec)
}

const (
	rejectOverhead = 64   // the header that says that the JSON was cut
	maxRejectKey   = 4096 // a longer key would leave no room for the JSON
)

// commit makes the batch and the state that goes with it durable.
func (b *batch) commit() error {
	if b.err != nil {
		return b.err
	}
	recs, marks, err := b.s.records()
	if err != nil {
		return err
	}
	b.out.State, b.out.Watermarks = recs, marks
	w := b.s.p.workOf(b.s.kafka.Shard())
	w.asks()
	if err := w.committed(b.s.kafka.Commit(b.out)); err != nil {
		return err
	}
	m := b.s.p.cfg.Metrics
	m.Commits.Inc()
	for t, c := range b.counts {
		m.Committed(t.ID, c.events, c.revisions, c.rejects)
	}
	if len(b.out.Events)+len(b.out.Rejects) > 0 {
		b.s.log.Info("committed", "commit", b.s.kafka.Next()-1, "events", len(b.out.Events), "rejects", len(b.out.Rejects), "state", len(recs))
	}
	return nil
}
