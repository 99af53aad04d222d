package state

import (
	"maps"
	"sync"
	"testing"
	"unsafe"

	"pstncalls/internal/window"
)

const million = 1_000_000

// benchLedger returns the records of a ledger of a million rows, committed a page at a time.
var benchLedger = sync.OnceValue(func() map[string][]byte {
	tenant, topic := New(testTenant, day0), map[string][]byte{}
	p := Page{Busy: idle}
	p.Range.From, p.Range.To = day0, day0+10
	for i := range million {
		d := tenant.Observe(Seen{ID: guidOf(i), HasID: true, Fingerprint: 1, Day: day0 + window.Day(i/(million/10))}, p)
		tenant.Published(d.Owner, Digest{}, d.Owner.End())
		if i%1000 == 999 {
			recs, _, _ := tenant.Records()
			for _, r := range recs {
				if topic[r.Key] = r.Value; r.Value == nil {
					delete(topic, r.Key)
				}
			}
		}
	}
	return maps.Clone(topic)
})

func BenchmarkObserve(b *testing.B) {
	tenant, _, err := Load(testTenant, benchLedger())
	if err != nil {
		b.Fatal(err)
	}
	p := Page{Busy: idle}
	p.Range.From, p.Range.To = day0, day0+10
	page := make([]Seen, 1000)
	next := 0
	for b.Loop() {
		b.StopTimer()
		for i := range page { // far apart in memory
			next = (next + 7919) % million
			page[i] = Seen{ID: guidOf(next), HasID: true, Fingerprint: 1, Day: day0 + window.Day(next/(million/10))}
		}
		b.StartTimer()
		for _, s := range page {
			if d := tenant.Observe(s, p); d.Action != Nothing {
				b.Fatal(d.Action)
			}
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(len(tenant.rows.slots))*float64(unsafe.Sizeof(entry{}))/million, "bytes/row")
}

func BenchmarkLoad(b *testing.B) {
	topic := benchLedger()
	ledger := 0
	for _, v := range topic {
		ledger += len(v)
	}
	var tenant *Tenant
	for b.Loop() {
		var err error
		if tenant, _, err = Load(testTenant, topic); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*million/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(ledger)/million, "topic-bytes/row")
	kept := 0
	for _, w := range tenant.windows {
		for _, s := range w.segments {
			kept += cap(s.data)
		}
	}
	b.ReportMetric(float64(len(tenant.rows.slots))*float64(unsafe.Sizeof(entry{}))/million+float64(kept)/million, "memory-bytes/row")
}
