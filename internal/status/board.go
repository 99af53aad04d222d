package status

import (
	"log/slog"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"pstncalls/internal/state"
)

// Subject is what a condition is of: a tenant of a shard, or the shard itself.
type Subject struct {
	Tenant string // empty: the shard
	Shard  int32
}

// Board is what this process shows of conditions: the metric is 1 while one holds, and the log has one line when it begins and one
// when it ends. Several parts of the program may hold the same condition: it begins with the first of them and ends with the last.
// It is safe for concurrent use.
type Board struct {
	gauge *prometheus.GaugeVec

	mu   sync.Mutex
	held map[held]int // by how many parts
}

type held struct {
	Subject
	name string
}

func (h held) labels() []string { return []string{h.Tenant, strconv.Itoa(int(h.Shard)), h.name} }

// Part returns a part of the program that holds no condition yet.
func (b *Board) Part() *Part { return &Part{b: b, holds: map[held]bool{}} }

// Part is a part of the program that holds conditions: a session, say. It is safe for concurrent use.
type Part struct {
	b     *Board
	holds map[held]bool // false: it did; under the board's mutex
}

// Begin shows a condition, and says so if it is a new one here.
func (p *Part) Begin(log *slog.Logger, s Subject, c state.Condition) {
	if p.Show(s, c.Name) {
		log.Warn("condition begins", "condition", c.Name, "says", c.Sentence, "do", DefinitionOf(c.Name).Do)
	}
}

// Show shows a condition that began before, of which nothing is said. It reports whether it was not shown yet.
func (p *Part) Show(s Subject, name string) bool {
	h := held{s, name}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.holds[h] {
		return false
	}
	p.holds[h] = true
	p.b.held[h]++
	p.b.gauge.WithLabelValues(h.labels()...).Set(1)
	return p.b.held[h] == 1
}

// End ends a condition, and says so if nobody else holds it. The log need not know what it never heard of.
func (p *Part) End(log *slog.Logger, s Subject, name string) {
	h := held{s, name}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if !p.holds[h] {
		return
	}
	p.holds[h] = false
	if p.b.drop(h) {
		p.b.gauge.WithLabelValues(h.labels()...).Set(0)
		log.Info("condition ended", "condition", name)
	}
}

// Forget takes all of them off the board, without a word: they go on, and are somebody else's to show.
func (p *Part) Forget() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	for h, holds := range p.holds {
		if holds && p.b.drop(h) || !holds && p.b.held[h] == 0 {
			p.b.gauge.DeleteLabelValues(h.labels()...)
		}
	}
	clear(p.holds)
}

// drop reports whether nobody holds h any more.
func (b *Board) drop(h held) bool {
	if b.held[h]--; b.held[h] > 0 {
		return false
	}
	delete(b.held, h)
	return true
}
