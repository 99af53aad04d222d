package verify_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pstncalls/internal/row"
	"pstncalls/internal/verify"
	"pstncalls/internal/window"
)

// BenchmarkTopics proves 20 days of events of the size that real ones have, the older of them without ledgers: a million, or as many
// as PSTNCALLS_TEST_EVENTS says, in topics that are written once. The processor's time is that of this process; without
// PSTNCALLS_TEST_KAFKA the broker's is part of it.
func BenchmarkTopics(b *testing.B) {
	const days, ledgers = 20, 8
	w := newWorld(b)
	each := countOf(b, 1_000_000) / days
	for d := today - days + 1; d <= today; d++ {
		w.scan(d, real(d, each))
	}
	w.settle(today - ledgers)
	var best, cpu time.Duration
	var heap uint64
	b.ResetTimer()
	for b.Loop() {
		began, used := time.Now(), processor()
		peak := watchHeap()
		r := w.verify(verify.Options{})
		heap = max(heap, peak())
		if took := time.Since(began); best == 0 || took < best {
			best, cpu = took, processor()-used
		}
		if v := r.Verdict; v.Rows != int64(days*each) || v.Proved != v.Days {
			b.Fatal(v)
		}
	}
	n := float64(days * each)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(n/best.Seconds(), "events/s")
	b.ReportMetric(cpu.Seconds()*1e6/n, "cpu-µs/event")
	b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
}

// countOf is how many events a benchmark has.
func countOf(t testing.TB, usual int) int {
	s := os.Getenv("PSTNCALLS_TEST_EVENTS")
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// example is a row with every property that Graph documents, and %s where calls differ.
const example = `{"id":"9c4984c7-6c3c-427d-a30c-bd0b2eacee90","callId":"1835317186_112562680@61.221.3.176","userId":"db03c14b-06eb-4189-939b-7cbf3a20ba27",
"userPrincipalName":"richard.malk@contoso.com","userDisplayName":"Richard Malk","startDateTime":"2019-11-01T00:00:08.2589935Z",
"endDateTime":"2019-11-01T00:03:47.2589935Z","duration":219,"charge":0.00,"callType":"user_in","currency":"USD","calleeNumber":"+1234567890",
"usageCountryCode":"US","tenantCountryCode":"US","connectionCharge":0.00,"callerNumber":"+0123456789","destinationContext":null,
"destinationName":"United States","conferenceId":null,"licenseCapability":"MCOPSTNU","inventoryType":"Subscriber","operator":"Microsoft",
"callDurationSource":"microsoft","otherPartyCountryCode":"US","clientPublicIpV4Address":"99.76.33.16",
"clientPublicIpV6Address":"1234:fd2:5621:1:89::4500","clientLocalIpV4Address":"192.168.1.165","clientLocalIpV6Address":"2600:1700:1dca:8110::40",
"administrativeUnitInfos":[{"id":"639b616c-f164-4a6f-a933-24936b8eb210"},{"id":"cc6ea167-4e92-4c2d-9391-85791e978006"}]}`

// real returns n rows of a day that have all properties, and differ where calls do.
func real(day window.Day, n int) []call {
	like := row.NewConverter(nil).Convert([]byte(example)).Call
	out := calls(day, n)
	random := uint64(day)
	next := func() uint64 { random = random*6364136223846793005 + 1442695040888963407; return random }
	uuid := func() string {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], next())
		binary.BigEndian.PutUint64(b[8:], next())
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	for i := range out {
		e := *like
		start := day.Start().Add(time.Duration(next() % uint64(24*time.Hour))).Truncate(time.Millisecond)
		end := start.Add(time.Duration(next() % uint64(time.Hour))).Truncate(time.Millisecond)
		duration := int32(end.Sub(start) / time.Second)
		callID, user := fmt.Sprintf("%d_%d@61.221.3.176", next()%1e10, next()%1e9), uuid()
		caller, callee := fmt.Sprintf("+%d", next()%1e11), fmt.Sprintf("+%d", next()%1e11)
		e.StartDateTime, e.EndDateTime, e.Duration, e.CallID, e.UserID, e.CallerNumber, e.CalleeNumber = &start, &end, &duration, &callID, &user, &caller, &callee
		out[i].id, out[i].fingerprint, out[i].event = uuid(), next(), &e
	}
	return out
}

// processor is the time that this process has had.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchHeap watches how large the heap becomes until the returned function is called.
func watchHeap() (peak func() uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	var most atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			most.Store(max(most.Load(), sample[0].Value.Uint64()))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-ended
		return most.Load()
	}
}

// resident is the most memory that this process has held, by the kernel; 0 where it does not say.
func resident() (kib int) {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return kib
}
