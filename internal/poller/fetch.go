package poller

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"
	"time"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/row"
	"pstncalls/schema"
)

// fetched is what a scan's goroutine hands over: a page, or an error that it is about to wait for.
type fetched struct {
	scan            *scan
	page            *graph.Page
	rows            []converted
	asked, received uint64
	progress        bool // it ends what had been wrong: it has rows, or is the last, and was not read before by this scan

	err  error
	wait time.Duration
}

// converted is a row and, where it is no reject, its event: all of its Avro value but the head, which the ledger decides on.
type converted struct {
	row.Row // without Call: body stands for it
	body    []byte
}

const (
	transientMax = 60 * time.Second
	humanLeast   = 30 * time.Second
	humanMost    = 2 * time.Minute
)

// fetcher reads the pages of one scan and converts their rows. It owns its goroutine's state; errors are reported and waited
// for, so it ends only with its last page or its context: whether a scan is given up is the session's to say.
type fetcher struct {
	scan    *scan
	pager   Pager
	clock   clock.Clock
	convert *row.Converter
	limit   int // bytes of an event's record
	counter *atomic.Uint64
	out     chan<- fetched
	head    []byte
	most    int // bytes of the events of its largest page

	// known are the links whose pages were read, as hashes. Pages that come round again, or lead back, and empty ones, are no
	// progress: or links in a loop, and pages without end, would neither be waited for longer and longer nor given up.
	known map[uint64]bool
	moved bool // progress since the last error
}

var seed = maphash.MakeSeed()

// sum stands for a link: a long one would cost more than its page is worth remembering.
func sum(link string) uint64 { return maphash.String(seed, link) }

func (f *fetcher) run(ctx context.Context) {
	link, failures := f.scan.link, 0
	f.known = map[uint64]bool{}
	for {
		done, next, err := f.read(ctx, link)
		if done || ctx.Err() != nil {
			return
		}
		if f.moved {
			failures, f.moved = 0, false
		}
		link = next
		failures++
		report := fetched{scan: f.scan, received: f.counter.Add(1), err: err, wait: waitFor(err, failures)}
		if !f.send(ctx, report) || clock.Sleep(ctx, f.clock, report.wait) != nil {
			return
		}
	}
}

// read goes through the pages from link on. It returns where it got to, and why it ended.
func (f *fetcher) read(ctx context.Context, link string) (done bool, next string, err error) {
	req := graph.Request{From: f.scan.rng.From.Start(), To: f.scan.rng.To.Start(), Link: link, Urgent: f.scan.urgent}
	if !f.scan.from.IsZero() {
		req.From = f.scan.from
	}
	asked := f.counter.Add(1)
	for page, err := range f.pager.Pages(ctx, req) {
		if err != nil {
			return false, link, err
		}
		out := fetched{scan: f.scan, page: page, asked: asked, received: f.counter.Add(1), rows: make([]converted, len(page.Rows))}
		bodies := make([]byte, 0, f.most)
		for i, raw := range page.Rows {
			bodies = f.row(raw, &out.rows[i], bodies)
		}
		f.most = max(f.most, len(bodies))
		last := page.Link == ""
		out.progress = !f.known[sum(link)] && (last || len(page.Rows) > 0 && !f.known[sum(page.Link)])
		f.known[sum(link)] = true
		f.moved = f.moved || out.progress
		if !f.send(ctx, out) {
			return true, link, nil
		}
		if last {
			return true, "", nil
		}
		link = page.Link
		asked = f.counter.Add(1)
	}
	return false, link, errors.New("the pages ended without a last one")
}

// row converts one row, and appends its event to bodies. What could not be written as an event becomes a reject here, before
// anything is entered anywhere.
func (f *fetcher) row(raw []byte, out *converted, bodies []byte) []byte {
	r := f.convert.Convert(raw)
	if r.Reject == nil {
		r.Call.TenantID, r.Call.RowID = f.scan.tenant.ID, r.ID
		head, err := schema.AppendPstnCallHead(f.head[:0], r.Call)
		f.head = head
		body := bodies
		if err == nil {
			body, err = schema.AppendPstnCallBody(bodies, r.Call)
		}
		switch from := len(bodies); {
		case err != nil:
			r = f.convert.Refuse(raw, row.Reject{Reason: "it cannot be encoded: " + err.Error()})
		case len(head)+len(body)-from+2*len(r.Key)+2*len(r.ID)+eventOverhead > f.limit:
			r = f.convert.Refuse(raw, row.Reject{Reason: "its event would exceed the topic's message size"})
		default:
			bodies, out.body = body, body[from:len(body):len(body)]
		}
	}
	r.Call = nil
	out.Row = r
	return bodies
}

// eventOverhead bounds headers, framing, marks of the row id, and Kafka's own share of an event's record.
const eventOverhead = 2048

func (f *fetcher) send(ctx context.Context, v fetched) bool {
	select {
	case f.out <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// waitFor returns how long to wait after the n-th failure in a row (design section 11). A Retry-After of Graph is already
// held by the budget, for all scans of the tenant.
func waitFor(err error, n int) time.Duration {
	var ge *graph.Error
	if !errors.As(err, &ge) {
		return backoff(time.Second, transientMax, n)
	}
	switch ge.Class {
	case graph.Human, graph.Permanent:
		return min(humanLeast<<min(n-1, 4), humanMost)
	case graph.Wait:
		if ge.RetryAfter > 0 {
			return ge.RetryAfter
		}
	}
	return max(backoff(time.Second, transientMax, n), ge.RetryAfter)
}
