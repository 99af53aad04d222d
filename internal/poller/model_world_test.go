//go:build synctests

package poller_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"pstncalls/internal/graph"
	"pstncalls/internal/graphfake"
	"pstncalls/internal/kafka"
	"pstncalls/internal/poller"
	"pstncalls/internal/row"
	"pstncalls/internal/schedule"
	"pstncalls/internal/state"
	"pstncalls/internal/status"
	"pstncalls/internal/window"
)

const (
	kafkaAddr = "localhost:9092"
	graphAddr = "localhost:8900"
	perMinute = 45 // the program's; Graph's is 50
)

// interval is a part of the virtual time.
type interval struct {
	from, to time.Time
	down     bool // no process runs
}

// model is a world in virtual time: simulated Graph, embedded Kafka and pollers, all inside one bubble and on one network in
// memory. What it finds wrong it notes: it never ends the test, for a history that fails is run again, smaller.
type model struct {
	h     *history
	birth time.Time
	net   kfake.VirtualNetwork
	kafka *kfake.Cluster
	graph *graphfake.Server
	web   *http.Server
	log   *lines
	over  chan struct{} // closed at the world's end
	steps               // the program's clock
	tune  func(*poller.Config)

	mu        sync.Mutex
	closing   bool
	main      *process // nil: none runs
	second    *process
	armed     []*armed // kills and freezes to come
	starting  bool
	overlaps  []interval
	processes []*process
	stepped   []interval // times in which the program's clock was off
	setUp     setUpOf
	setUps    []setUpAt
	asked     []time.Time
	trouble   []interval             // times in which a scan may fail or be late
	frozen    []interval             // times in which a shard stood still
	shifts    []shift                // changes of a day between two pages
	moved     map[window.Day][]moved // the same, and what is like it, by day
	faults    []fault
	scanned   []window.Range // asked for
	fired     map[kind]int
	findings  []finding

	rowsMu sync.Mutex
	rows   map[ref]*modelRow
	added  int // rows added to the simulator

	others sync.WaitGroup // operations that last
}

type modelRow struct {
	op      op
	ident   string // what the simulator calls it
	start   time.Time
	version int
}

type shift struct {
	at  time.Time
	day window.Day
}

// fault is one of Graph or of Kafka, and how often it has hit.
type fault struct {
	op    op
	fired func() int
}

// setUpOf is the part of the configuration that what is published depends on.
type setUpOf struct{ version, privacy string }

type setUpAt struct {
	at time.Time
	setUpOf
}

// finding is something wrong. A history is shrunk as long as one of the same class remains.
type finding struct{ class, text string }

func (m *model) found(class, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.findings = append(m.findings, finding{class, fmt.Sprintf(format, args...)})
}

func newModel(h *history) (*model, error) {
	m := &model{h: h, birth: time.Now().UTC(), log: &lines{}, over: make(chan struct{}), rows: map[ref]*modelRow{}, fired: map[kind]int{}, setUp: setUpOf{"beta", ""}}
	m.setUps = []setUpAt{{m.birth, m.setUp}}
	var err error
	// Without the clients' telemetry, which costs a seventh of the time. No compaction: the embedded Kafka's does not look at
	// open transactions.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(kmsg.GetTelemetrySubscriptions.Int16(), -1)
	versions.SetMaxKeyVersion(kmsg.PushTelemetry.Int16(), -1)
	m.kafka, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(m.net.Listen), kfake.MaxVersions(versions),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "31536000000"}))
	if err != nil {
		return nil, err
	}
	m.graph = graphfake.New(graphfake.Config{Seed: h.seed, PageSize: h.pageSize, Order: h.order, Reading: h.reading,
		Tenants: []graphfake.TenantConfig{{ID: tenant}}})
	l, err := m.net.Listen("tcp", graphAddr)
	if err != nil {
		return nil, err
	}
	m.web = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked = append(m.asked, time.Now())
		m.mu.Unlock()
		if !h.gzip {
			r.Header.Del("Accept-Encoding")
		}
		m.graph.ServeHTTP(w, r)
	}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	go func() {
		if err := m.web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			m.found("world", "web server: %v", err)
		}
	}()
	return m, nil
}

// close ends everything that runs in the bubble.
func (m *model) close() {
	m.mu.Lock()
	m.closing = true
	ps := m.processes
	m.mu.Unlock()
	close(m.over)
	for _, p := range ps {
		p.cancel()
		<-p.done
	}
	m.web.Close()
	m.kafka.Close()
}

// process is one run of the program: a Poller with a budget and a claim of its own.
type process struct {
	m        *model
	instance string
	cancel   context.CancelFunc
	done     chan struct{}

	metrics *prometheus.Registry
	gone    chan struct{} // closed when it is killed
	opening bool          // it is inside kafka.Cluster.Open; used by its own goroutine only

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

// dial connects the process, as long as it lives.
func (p *process) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.m.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		conn.Close()
		return nil, errDead
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

var errDead = errors.New("the process is dead")

// kill ends the process where it stands: its connections break, its goroutine ends. Inside Open that would leave the
// goroutines of a Kafka client behind, and a bubble has to be empty at its end: there it stands still until the world's end.
func (p *process) kill() {
	close(p.gone)
	p.cancel()
	if p.opening {
		<-p.m.over
		return
	}
	p.mu.Lock()
	p.dead = true
	conns := p.conns
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	runtime.Goexit()
}

// armed is what happens when a point is reached for the n-th time.
type armed struct {
	op   op
	left int
}

// Reached implements kafka.Observer.
func (p *process) Reached(_ int32, at kafka.Point) {
	if at == kafka.AtFenced {
		p.opening = true
	}
	p.hit(at)
	if at == kafka.AtReady {
		p.opening = false
	}
}

func (p *process) hit(at kafka.Point) {
	select {
	case <-p.gone: // it was killed inside Open, and this is the world's end
		return
	default:
	}
	p.m.mu.Lock()
	var hit *armed
	for i, a := range p.m.armed {
		if string(at) != a.op.what {
			continue
		}
		if a.left--; a.left == 0 {
			hit = a
			p.m.armed = slices.Delete(p.m.armed, i, i+1)
			break
		}
	}
	p.m.mu.Unlock()
	if hit == nil {
		return
	}
	p.m.count(hit.op.kind)
	p.m.count(hit.op.kind + " " + kind(hit.op.what))
	switch hit.op.kind {
	case opKill:
		p.m.restartAfter(p, hit.op)
		p.kill()
	case opFreeze:
		from := time.Now()
		time.Sleep(hit.op.dur)
		p.m.disturbed(from, time.Now().Add(time.Minute))
		p.m.mu.Lock()
		defer p.m.mu.Unlock()
		p.m.frozen = append(p.m.frozen, interval{from: from, to: time.Now()})
	}
}

func (m *model) count(k kind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fired[k]++
}

func (m *model) disturbed(from, to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = append(m.trouble, interval{from: from, to: to})
}

// wasDown notes that no process ran; the first minute after is slow, for the successor of a crash may ask little.
func (m *model) wasDown(from, to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = append(m.trouble, interval{from, to, true}, interval{from: to, to: to.Add(2 * time.Minute)})
}

// restartAfter notes that a process is about to be killed, and starts the next one.
func (m *model) restartAfter(p *process, o op) {
	from := time.Now()
	m.mu.Lock()
	mine, alone := m.main == p, m.second == nil
	if mine {
		m.main = nil
	}
	m.mu.Unlock()
	m.wasDown(from, from.Add(o.dur))
	if !mine {
		return
	}
	time.AfterFunc(o.dur, func() {
		if o.then != "" && alone {
			m.changeSetUp(o.then)
		}
		m.startMain()
	})
}

func (m *model) changeSetUp(to string) {
	version, privacy, _ := strings.Cut(to, " ")
	m.count(opSetUp)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setUp = setUpOf{version, privacy}
	m.setUps = append(m.setUps, setUpAt{time.Now(), m.setUp})
}

// startMain starts the process that runs all the time, unless one does.
func (m *model) startMain() {
	m.mu.Lock()
	wanted := !m.closing && m.main == nil && !m.starting
	m.starting = m.starting || wanted
	m.mu.Unlock()
	if !wanted {
		return
	}
	m.start(true)
	m.mu.Lock()
	m.starting = false
	m.mu.Unlock()
}

// start starts a process; main says that it is the one that runs all the time.
func (m *model) start(main bool) *process {
	ctx, cancel := context.WithCancel(context.Background())
	m.mu.Lock()
	p := &process{m: m, instance: fmt.Sprintf("p%d", len(m.processes)), cancel: cancel, done: make(chan struct{}), gone: make(chan struct{}),
		metrics: prometheus.NewRegistry()}
	su := m.setUp
	m.mu.Unlock()
	cfg, transport, err := m.config(p, su)
	for range 2 { // Kafka's trouble may be as early as this: then the process ends, and something starts it again
		if err != nil {
			time.Sleep(10 * time.Second)
			cfg, transport, err = m.config(p, su)
		}
	}
	if err != nil {
		cancel()
		m.found("world", "process %s does not start: %v", p.instance, err)
		return nil
	}
	m.mu.Lock()
	m.processes = append(m.processes, p)
	if main {
		m.main = p
	}
	m.mu.Unlock()
	go func() {
		defer close(p.done) // also when the observer has ended the goroutine
		defer transport.CloseIdleConnections()
		if err := poller.New(cfg).Work(ctx, kafka.ShardOf(tenant, cfg.Layout.StatePartitions)); err != nil {
			m.found("refused", "Work of %s: %v", p.instance, err)
		}
	}()
	return p
}

func (m *model) cluster(p *process) (*kafka.Cluster, error) {
	cfg := kafka.Config{Brokers: []string{kafkaAddr}, Dialer: m.net.DialContext, Topics: topics, Compression: "none", Group: "test",
		GroupProtocol: "classic", SessionTimeout: 6 * time.Second, Host: "host", Instance: "reader"}
	if p != nil {
		cfg.Instance, cfg.Observer, cfg.Dialer = p.instance, p, p.dial
	}
	return kafka.New(cfg)
}

func (m *model) config(p *process, su setUpOf) (cfg poller.Config, transport *http.Transport, err error) {
	c, err := m.cluster(p)
	if err != nil {
		return cfg, nil, err
	}
	layout, err := c.Prepare(context.Background(), false)
	if err != nil {
		return cfg, nil, err
	}
	tokens, err := graph.NewTokens(graph.TokenConfig{Auth: "none", Tenant: tenant})
	if err != nil {
		return cfg, nil, err
	}
	rules, err := row.ParsePrivacy(su.privacy, nil)
	if err != nil {
		return cfg, nil, err
	}
	transport = graph.NewTransport()
	transport.Proxy, transport.DialContext = nil, p.dial
	budget := graph.NewBudget(m, cmp.Or(m.h.perMinute, perMinute))
	log := slog.New(slog.NewTextHandler(m.log, nil)).With("process", p.instance)
	root := &url.URL{Scheme: "http", Host: graphAddr}
	pager, err := graph.New(graph.Config{Tenant: tenant, Endpoint: root, APIVersion: su.version, Tokens: tokens, Budget: budget, Clock: m,
		Transport: transport, Log: log})
	if err != nil {
		return cfg, nil, err
	}
	pc := poller.Config{
		Cluster: c, Layout: layout, Clock: m, Schedule: schedule.Settings{Interval: m.h.interval, Lookback: m.h.lookback}, Concurrency: 2,
		Start:   func(time.Time) window.Day { return m.day(-m.h.back) },
		Tenants: func() ([]string, <-chan struct{}) { return []string{tenant}, nil },
		Source:  func(string) (poller.Source, error) { return poller.Source{Pager: pager, Budget: budget}, nil },
		Privacy: rules, APIVersion: su.version, Endpoint: root.String() + "/" + su.version, Framer: framer{}, PoliteSuccessor: true, PartRows: m.h.partRows,
		Metrics: status.NewMetrics(p.metrics), Log: log, Observer: p,
	}
	if m.tune != nil {
		m.tune(&pc)
	}
	return pc, transport, nil
}

// stop ends a process in order.
func (p *process) stop() {
	p.cancel()
	select {
	case <-p.done:
	case <-p.gone:
	}
}

// day returns the n-th day from the day of birth.
func (m *model) day(n int) window.Day { return window.Of(m.birth) + window.Day(n) }

// read returns the committed records of a topic.
func (m *model) read(topic string) ([]*kgo.Record, error) {
	return committed(topic, 10*time.Minute, 20*time.Second, kgo.SeedBrokers(kafkaAddr), kgo.Dialer(m.net.DialContext))
}

// load reads the tenant from the state topic; nil where it has none yet.
func (m *model) load() (*state.Tenant, error) {
	c, err := m.cluster(nil)
	if err != nil {
		return nil, err
	}
	return load(c, 10*time.Minute)
}
