package main

import (
	"sync"
	"time"

	"pstncalls/internal/kafka"
	"pstncalls/internal/status"
)

// phases measures how long the phases of a commit take, and hands what it is told on.
type phases struct {
	next    kafka.Observer
	metrics *status.Metrics

	mu    sync.Mutex
	since map[int32]time.Time
}

// Reached implements kafka.Observer.
func (p *phases) Reached(shard int32, at kafka.Point) {
	var phase string
	switch at {
	case kafka.AtProduced:
		phase = "produce"
	case kafka.AtCommitted:
		phase = "end"
	}
	if phase != "" || at == kafka.AtBegin || at == kafka.AtEnd {
		now := time.Now()
		p.mu.Lock()
		if phase != "" {
			p.metrics.Phase.WithLabelValues(phase).Observe(now.Sub(p.since[shard]).Seconds())
		}
		p.since[shard] = now
		p.mu.Unlock()
	}
	if p.next != nil {
		p.next.Reached(shard, at)
	}
}
