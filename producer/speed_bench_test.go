package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"pstncalls/internal/clock"
	"pstncalls/internal/graph"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/window"
	"pstncalls/schema"
)

// BenchmarkBackfill reads ten days of 20,000 rows by three: the graph client alone, which throws the pages away (what the simulator
// yields at most: its answers come from memory); the program, in a process of its own, wired as run wires it; and the Kafka client
// alone, which publishes what the program published, in transactions of the same events and one state record. The program's rate is
// that between its first request and its last commit; what lies before is start-s. cpu-us/row and kgo-us/row are processor time, which
// others' load on the machine changes least. Without PSTNCALLS_TEST_KAFKA Kafka is a fake, in this process: kgo-us/row is its too.
func BenchmarkBackfill(b *testing.B) {
	const days, perDay = 10, 20_000
	w := newSpeedWorld(b, window.Of(time.Now())-days-1, days, perDay)
	w.ceiling(b) // the pages are made now
	w.program(b)
	var ceiling, program, alone, start, cpu, kgoCPU, memory, size []float64
	for b.Loop() {
		c := w.ceiling(b)
		p := w.program(b)
		k := w.alone(b)
		ceiling, program, alone = append(ceiling, c), append(program, p.rate), append(alone, k.rate)
		cpu, kgoCPU = append(cpu, p.cpu/(days*perDay)*1e6), append(kgoCPU, k.cpu*1e6)
		start, memory, size = append(start, p.start.Seconds()), append(memory, p.memory), append(size, k.size)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(middle(ceiling), "graph-rows/s")
	b.ReportMetric(middle(program), "rows/s")
	b.ReportMetric(middle(alone), "kgo-rows/s")
	b.ReportMetric(middle(program)/middle(alone), "rows/kgo")
	b.ReportMetric(middle(size), "rows/commit")
	b.ReportMetric(middle(start), "start-s")
	b.ReportMetric(middle(cpu), "cpu-us/row")
	b.ReportMetric(middle(kgoCPU), "kgo-us/row")
	b.ReportMetric(middle(memory), "rss-MB")
}

// BenchmarkVisible sends the program one page of 1,000 rows a second, and takes the time from when the answer begins to when a plain
// read_committed consumer has all of its events. One round is 65 pages, and so long in seconds.
func BenchmarkVisible(b *testing.B) {
	const pages = 65
	w := newSpeedWorld(b, window.Of(time.Now())-3, 1, pages*1000, "GRAPH_CONCURRENCY=1")
	var took []time.Duration
	var cpu, memory float64
	for b.Loop() {
		sent := make(chan time.Time, pages)
		ticks := time.NewTicker(time.Second)
		w.before = func(ctx context.Context) {
			select {
			case <-ticks.C:
				select {
				case sent <- time.Now(): // later than the tick, where the program asked later
				default: // the days are read a second time to settle
				}
			case <-ctx.Done(): // the program has ended
			}
		}
		var seen []time.Time
		var reader errgroup.Group
		began := time.Now()
		begun := make(chan struct{})
		p := w.start(b, func() {
			defer close(begun)
			reader.Go(func() (err error) {
				seen, err = visible(b.Context(), w.brokers, w.name, 1000, pages)
				return err
			})
		})
		<-begun
		if err := reader.Wait(); err != nil {
			b.Fatal(err)
		}
		elapsed := time.Since(began)
		p.stop(b)
		ticks.Stop()
		for _, at := range seen {
			took = append(took, at.Sub(<-sent))
		}
		cpu, memory = p.cpu()/elapsed.Seconds(), p.memory
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[min(len(took)-1, int(share*float64(len(took))))]) / float64(time.Millisecond)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(100*cpu, "cpu-%")
	b.ReportMetric(memory, "rss-MB")
}

func middle(fs []float64) float64 {
	slices.Sort(fs)
	return fs[len(fs)/2]
}

// visible returns when the n-th, 2n-th, … record of a topic came to a consumer with no other setting than read_committed.
func visible(ctx context.Context, brokers []string, topic string, n, times int) ([]time.Time, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var out []time.Time
	for have := 0; len(out) < times; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return nil, err
		}
		now := time.Now()
		have += fs.NumRecords()
		for have >= n*(len(out)+1) {
			out = append(out, now)
		}
	}
	return out, nil
}

// speedWorld is a Kafka and a simulated Graph that keeps its answers.
type speedWorld struct {
	brokers []string
	name    string // of the events topic of the latest program
	more    []string
	first   window.Day
	days    int
	perDay  int
	sim     *graphfake.Server
	url     string
	before  func(context.Context) // called when a page with rows is about to be sent, if set

	mu    sync.Mutex
	kept  map[string]*httptest.ResponseRecorder
	asked time.Time // the first request since start
}

func newSpeedWorld(b *testing.B, first window.Day, days, perDay int, more ...string) *speedWorld {
	w := &speedWorld{first: first, days: days, perDay: perDay, more: more, kept: map[string]*httptest.ResponseRecorder{}}
	if real := os.Getenv("PSTNCALLS_TEST_KAFKA"); real != "" {
		w.brokers = strings.Split(real, ",")
	} else {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(cluster.Close)
		w.brokers = cluster.ListenAddrs()
	}
	w.sim = graphfake.New(graphfake.Config{Seed: 1, RequestsPerMinute: -1, Tenants: []graphfake.TenantConfig{{ID: worldTenant, Flat: true,
		RowsPerDay: perDay, From: first.Start(), To: (first + window.Day(days)).Start()}}})
	web := httptest.NewServer(w)
	b.Cleanup(web.Close)
	w.url = web.URL
	return w
}

// ServeHTTP answers from memory what was asked before: all that the log will ever hold is visible from the start.
func (w *speedWorld) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	if w.asked.IsZero() {
		w.asked = time.Now()
	}
	answer := w.kept[r.RequestURI]
	w.mu.Unlock()
	if answer == nil {
		answer = httptest.NewRecorder()
		w.sim.ServeHTTP(answer, r)
		w.mu.Lock()
		w.kept[r.RequestURI] = answer
		w.mu.Unlock()
	}
	maps.Copy(out.Header(), answer.Header())
	out.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if w.before != nil && answer.Body.Len() > 10_000 { // a page without rows has no such size
		w.before(r.Context())
	}
	out.WriteHeader(answer.Code)
	out.Write(answer.Body.Bytes())
}

// ceiling returns the rows a second of a graph client that does nothing with them, four days at once.
func (w *speedWorld) ceiling(b *testing.B) float64 {
	root, err := url.Parse(w.url)
	if err != nil {
		b.Fatal(err)
	}
	tokens, err := graph.NewTokens(graph.TokenConfig{Auth: "none", Tenant: worldTenant})
	if err != nil {
		b.Fatal(err)
	}
	client, err := graph.New(graph.Config{Tenant: worldTenant, Endpoint: root, APIVersion: "beta", Tokens: tokens,
		Budget: graph.NewBudget(clock.System, 1_000_000)})
	if err != nil {
		b.Fatal(err)
	}
	rows := make([]int, w.days)
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(4)
	began := time.Now()
	for i := range w.days {
		day := w.first + window.Day(i)
		group.Go(func() error {
			for page, err := range client.Pages(ctx, graph.Request{From: day.Start(), To: day.End()}) {
				if err != nil {
					return err
				}
				rows[i] += len(page.Rows)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	sum := 0
	for _, n := range rows {
		sum += n
	}
	return float64(sum) / time.Since(began).Seconds()
}

type measured struct {
	rate, cpu, memory float64
	start             time.Duration
}

// program runs the program until it has committed all rows, and stops it.
func (w *speedWorld) program(b *testing.B) measured {
	rows := w.days * w.perDay
	began := time.Now()
	p := w.start(b, func() {})
	var last time.Time
	for left := rows; left > 0; {
		c, ok := <-p.commits
		if !ok {
			b.Fatalf("the program ended with %d rows to go", left)
		}
		left -= c.events
		last = c.at
	}
	p.stop(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	return measured{rate: float64(rows) / last.Sub(w.asked).Seconds(), cpu: p.cpu(), memory: p.memory, start: w.asked.Sub(began)}
}

// speedProcess is the program, as a child that logs what it commits.
type speedProcess struct {
	cmd     *exec.Cmd
	in      io.Closer
	commits chan committedAt // closed at the end
	memory  float64          // the most that it had, in MB; known when it has ended
}

type committedAt struct {
	events int
	at     time.Time
}

var (
	committedLine = regexp.MustCompile(`msg=committed .*events=(\d+)`)
	peakLine      = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
)

// start starts the program with topics of a new name, and calls ready when they exist.
func (w *speedWorld) start(b *testing.B, ready func()) *speedProcess {
	w.mu.Lock()
	w.name, w.asked = "t"+strings.ToLower(rand.Text()[:10]), time.Time{}
	w.mu.Unlock()
	p := &speedProcess{cmd: exec.Command(os.Args[0], "-test.run=^$"), commits: make(chan committedAt, 1<<16)}
	p.cmd.Env = append([]string{
		childVariable + "=none", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"GRAPH_AUTH=none", "GRAPH_TENANTS=" + worldTenant, "GRAPH_ENDPOINT=" + w.url, "GRAPH_REQUESTS_PER_MINUTE=100000",
		"KAFKA_BROKERS=" + strings.Join(w.brokers, ","), "KAFKA_GROUP=" + w.name + "-group", "KAFKA_EVENTS_TOPIC=" + w.name,
		"KAFKA_STATE_TOPIC=" + w.name + ".state", "KAFKA_DLQ_TOPIC=" + w.name + ".dlq", "KAFKA_WATERMARK_TOPIC=" + w.name + ".watermark",
		"POLL_START=" + w.first.String() + "T00:00:00Z",
	}, w.more...)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	log, err := p.cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		defer close(p.commits)
		for s := bufio.NewScanner(log); s.Scan(); {
			switch m := committedLine.FindStringSubmatch(s.Text()); {
			case m != nil:
				n, _ := strconv.Atoi(m[1])
				p.commits <- committedAt{n, time.Now()}
			case strings.Contains(s.Text(), "joining the group"):
				ready()
			case !strings.Contains(s.Text(), "level=INFO"):
				b.Log(s.Text())
			}
		}
	}()
	return p
}

// stop ends the program in order, and keeps the most memory that it had. Not its rusage's: that begins with the parent's.
func (p *speedProcess) stop(b *testing.B) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		b.Fatal(err)
	}
	if m := peakLine.FindSubmatch(status); m != nil {
		kib, _ := strconv.Atoi(string(m[1]))
		p.memory = float64(kib) * 1024 / 1e6
	}
	p.in.Close()
	for range p.commits { // until it has said everything
	}
	if err := p.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// cpu returns the seconds of processor time that the ended program has taken.
func (p *speedProcess) cpu() float64 {
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

// published is what the Kafka client alone does: rows a second, processor time a row in seconds, and events a transaction.
type published struct{ rate, cpu, size float64 }

// alone publishes again what the program has published.
func (w *speedWorld) alone(b *testing.B) published {
	byCommit := map[int64][]*kgo.Record{}
	rows := 0
	for rec, err := range committed(b.Context(), w.brokers, w.name) {
		if err != nil {
			b.Fatal(err)
		}
		n := commitOf(rec)
		byCommit[n] = append(byCommit[n], &kgo.Record{Topic: w.name, Key: rec.Key, Value: rec.Value, Headers: rec.Headers})
		rows++
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.TransactionalID(w.name+"-alone"), kgo.ProducerLinger(0), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	var elapsed, spent time.Duration
	for i, n := range slices.Sorted(maps.Keys(byCommit)) {
		began, cpu := time.Now(), processorTime(b)
		if err := publish(b.Context(), cl, append(byCommit[n], &kgo.Record{Topic: w.name + ".state", Key: []byte(worldTenant), Value: []byte("{}")})); err != nil {
			b.Fatal(err)
		}
		if i > 0 || len(byCommit) == 1 { // the first one connects
			elapsed += time.Since(began)
			spent += processorTime(b) - cpu
		} else {
			rows -= len(byCommit[n])
		}
	}
	n := float64(rows)
	return published{rate: n / elapsed.Seconds(), cpu: spent.Seconds() / n, size: n / float64(len(byCommit))}
}

// processorTime returns what this process has taken so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func commitOf(rec *kgo.Record) int64 {
	for _, h := range rec.Headers {
		if h.Key == schema.HeaderCommit {
			_, number, _ := strings.Cut(string(h.Value), "/")
			n, _ := strconv.ParseInt(number, 10, 64)
			return n
		}
	}
	return 0
}

func publish(ctx context.Context, cl *kgo.Client, rs []*kgo.Record) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	promise := kgo.AbortingFirstErrPromise(cl)
	for _, r := range rs {
		cl.Produce(ctx, r, promise.Promise())
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := promise.Err(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}
