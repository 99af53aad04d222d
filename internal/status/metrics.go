package status

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the program's counters. Label values are bounded: tenants are configured, everything else is a fixed set.
type Metrics struct {
	Rows      *prometheus.CounterVec // rows read, by tenant
	Events    *prometheus.CounterVec
	Revisions *prometheus.CounterVec
	Rejects   *prometheus.CounterVec
	Requests  *prometheus.CounterVec // by tenant and HTTP status; 0: no answer
	Commits   prometheus.Counter
	Phase     *prometheus.HistogramVec // of a commit: produce, end
	Lag       *prometheus.GaugeVec     // of the open window: seconds since the last complete scan of it began, or the window itself
	Clock     *prometheus.GaugeVec     // seconds that this machine's clock is behind Graph's, by tenant; negative: ahead
	Shards    prometheus.Gauge

	Conditions *Board
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pstncalls", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	condition := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pstncalls", Name: "condition",
		Help: "1 while a condition holds, of a tenant, or of a shard where the tenant is empty; see the status command."}, []string{"tenant", "shard", "name"})
	m := &Metrics{
		Rows:      counter("rows_total", "Rows read from Graph, known ones included.", "tenant"),
		Events:    counter("events_total", "Events committed.", "tenant"),
		Revisions: counter("revisions_total", "Events committed that correct an earlier one.", "tenant"),
		Rejects:   counter("rejects_total", "Rows committed to the dead-letter topic.", "tenant"),
		Requests:  counter("requests_total", "Requests to Graph by status; 0 is no answer.", "tenant", "status"),
		Commits: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "pstncalls", Name: "commits_total",
			Help: "Kafka transactions committed."}),
		Phase: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "pstncalls", Name: "commit_seconds",
			Help: "Duration of a commit's phases.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"phase"}),
		Lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pstncalls", Name: "open_window_lag_seconds",
			Help: "Time since the last complete scan of the open window began, or the window itself where there was none yet."}, []string{"tenant"}),
		Clock: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pstncalls", Name: "clock_behind_seconds",
			Help: "How far this machine's clock is behind Graph's Date, 0 within its second."}, []string{"tenant"}),
		Shards: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "pstncalls", Name: "shards_owned",
			Help: "Shards that this replica owns and works on."}),
		Conditions: &Board{gauge: condition, held: map[held]int{}},
	}
	r.MustRegister(m.Commits, m.Phase, m.Lag, m.Clock, m.Shards, condition)
	return m
}

// Request counts one request to Graph.
func (m *Metrics) Request(tenant string, httpStatus int) {
	m.Requests.WithLabelValues(tenant, strconv.Itoa(httpStatus)).Inc()
}

// Committed counts one commit of a tenant's rows.
func (m *Metrics) Committed(tenant string, events, revisions, rejects int) {
	m.Events.WithLabelValues(tenant).Add(float64(events))
	m.Revisions.WithLabelValues(tenant).Add(float64(revisions))
	m.Rejects.WithLabelValues(tenant).Add(float64(rejects))
}

// Forget removes the gauges of tenants that this replica works for no more: nobody would ever set them again.
func (m *Metrics) Forget(tenants []string) {
	for _, t := range tenants {
		of := prometheus.Labels{"tenant": t}
		m.Lag.DeletePartialMatch(of)
		m.Clock.DeletePartialMatch(of)
	}
}

// OpenLag sets how long nothing of the open window has been read.
func (m *Metrics) OpenLag(tenant string, age time.Duration) {
	m.Lag.WithLabelValues(tenant).Set(age.Seconds())
}
