package kafka

import "time"

// SetLimits is for tests that wait for one of the limits, or hold a session up for longer than it may take.
func (c *Cluster) SetLimits(transaction, delivery, commit time.Duration) {
	c.limits = limits{transaction: transaction, delivery: delivery, commit: commit}
}
