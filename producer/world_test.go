package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"pstncalls/internal/config"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
)

const (
	// childVariable makes the test binary a producer that a fault hits: "<point> <n> <fault>" says where (see fault), "none" nowhere.
	childVariable = "PSTNCALLS_TEST_CHILD"
	// networkVariable is the address of the network between the child and its brokers, in the parent's hands: see loss.
	networkVariable = "PSTNCALLS_TEST_NETWORK"
)

func TestMain(m *testing.M) {
	if at, ok := os.LookupEnv(childVariable); ok {
		os.Exit(child(at))
	}
	os.Exit(m.Run())
}

// child is the real producer, with an observer that brings a fault about at a point.
func child(at string) int {
	var observer kafka.Observer
	if at != "none" {
		f, err := parseFault(at)
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			return exitUsage
		}
		observer = f
	}
	cfg, err := config.Load(withoutChild(os.Environ()))
	if err != nil {
		return report(os.Stderr, "run", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("hears")
	go func() { // the parent closes our stdin to end us in order
		goOn(os.Stdin)
		stop()
	}()
	return report(os.Stderr, "run", serve(ctx, cfg, log, setup{observer: observer, dialer: through(os.Getenv(networkVariable)), noAdmin: true}))
}

func withoutChild(environ []string) []string {
	var out []string
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "PSTNCALLS_") {
			out = append(out, kv)
		}
	}
	return out
}

// world is a simulated Graph in this process, and a Kafka: the brokers that PSTNCALLS_TEST_KAFKA names, with topics of a new name,
// else an embedded one. The producers are its children.
type world struct {
	t       *testing.T
	graph   *graphfake.Server
	brokers []string
	name    string // of the events topic; the others', and the group, begin with it
	loss    *loss
	environ []string
}

const worldTenant = "contoso"

// newWorld has one tenant with the calls of the last days, all visible at once, in small pages.
func newWorld(t *testing.T, cfg graphfake.Config, more ...string) *world {
	t.Helper()
	w := &world{t: t, name: "t" + strings.ToLower(rand.Text()[:10])}
	if real := os.Getenv("PSTNCALLS_TEST_KAFKA"); real != "" {
		w.brokers = strings.Split(real, ",")
	} else {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		w.brokers = cluster.ListenAddrs()
	}
	w.loss = newLoss(t)
	cfg.RequestsPerMinute = -1
	w.graph = graphfake.New(cfg)
	web := httptest.NewServer(w.graph)
	t.Cleanup(web.Close)
	w.environ = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"GRAPH_AUTH=none", "GRAPH_TENANTS=" + strings.Join(w.graph.Tenants(), ","), "GRAPH_ENDPOINT=" + web.URL, "GRAPH_REQUESTS_PER_MINUTE=100000",
		"KAFKA_BROKERS=" + strings.Join(w.brokers, ","), "KAFKA_GROUP=" + w.name + "-group", "KAFKA_EVENTS_TOPIC=" + w.name,
		"KAFKA_STATE_TOPIC=" + w.name + ".state", "KAFKA_DLQ_TOPIC=" + w.name + ".dlq", "KAFKA_WATERMARK_TOPIC=" + w.name + ".watermark",
		networkVariable + "=" + w.loss.address,
		"POLL_START=72h", "POLL_INTERVAL=1s", "ADMIN_ADDR=127.0.0.1:0", "KAFKA_COMPRESSION=" + compression,
	}, more...)
	return w
}

// process is a running child.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	hit  atomic.Bool
	ears atomic.Bool   // SIGTERM ends it in order from now on
	at   chan struct{} // closed when it has said that it is at its point
	done chan struct{}
	log  logText
	err  error
}

// start runs a child that a fault hits at a point; "none" is nowhere.
func (w *world) start(at string, more ...string) *process {
	w.t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$"), at: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = append(append([]string{childVariable + "=" + at}, w.environ...), more...)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			switch {
			case s.Text() == "hears":
				p.ears.Store(true)
			case strings.HasPrefix(s.Text(), "hit "):
				p.hit.Store(true)
				close(p.at)
			}
		}
		p.err = p.cmd.Wait()
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			w.t.Logf("the producer with process id %d logged:\n%.8000s", p.cmd.Process.Pid, p.log.String())
		}
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop ends a child in order and returns its exit code.
func (p *process) stop() int {
	p.in.Close()
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// verdict compares the topics with the truth as of now.
func (w *world) verdict() graphfake.Verdict {
	w.t.Helper()
	var rejects []graphfake.Reject
	for _, rec := range w.read(w.name + ".dlq") {
		rejects = append(rejects, rejectOf(rec))
	}
	events := func(yield func(graphfake.Event, error) bool) {
		for _, rec := range w.read(w.name) {
			if !yield(eventOf(rec)) {
				return
			}
		}
	}
	var truth []graphfake.TrueRow
	for _, tenant := range w.graph.Tenants() {
		truth = append(truth, w.graph.Truth(tenant)...)
	}
	v, err := graphfake.Compare(truth, events, rejects, graphfake.CompareOptions{AsOf: time.Now()})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// read returns the committed records of a topic. A broker that has just become its leader may have to find out first where it ends.
func (w *world) read(topic string) []*kgo.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		out, err := w.tryRead(ctx, topic)
		if err == nil {
			return out
		}
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			w.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) tryRead(ctx context.Context, topic string) (out []*kgo.Record, err error) {
	for rec, err := range committed(ctx, w.brokers, topic) {
		if err != nil {
			return nil, err
		}
		out = append(out, rec)
	}
	return out, nil
}

// settle waits until the verdict is clean and complete, with a child running, and returns the last one. As long as something is
// published it waits on, however slow the machine is: for d without.
func (w *world) settle(rows int, d time.Duration) graphfake.Verdict {
	w.t.Helper()
	deadline, published := time.Now().Add(d), 0
	for {
		n := len(w.read(w.name))
		if n > published {
			deadline, published = time.Now().Add(d), n
		}
		if n < rows && time.Now().Before(deadline) { // the verdict costs far more than the count
			time.Sleep(200 * time.Millisecond)
			continue
		}
		v := w.verdict()
		if v.OK() && v.Events >= rows || v.Doubled+v.Wrong > 0 || time.Now().After(deadline) {
			return v
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// logText is what a child has logged so far.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
