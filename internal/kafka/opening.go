package kafka

import (
	"context"
	"sync"
	"time"
)

// sayOpening tells the log every half minute that a shard is still being opened, until the function that it returns is called: brokers
// that do not answer, or an open transaction, of whomever, on the events topic hold every reader up, this one too.
func (c *Cluster) sayOpening(shard int32) (done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var saying sync.WaitGroup
	saying.Go(func() {
		for began := time.Now(); ; {
			select {
			case <-time.After(sayAgain / 2):
				c.cfg.Log.Warn("the shard cannot be opened yet: its state or the newest events cannot be read; brokers do not answer, or a transaction is open: kafka-transactions.sh find-hanging",
					"shard", shard, "for", time.Since(began).Round(time.Second).String())
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		saying.Wait()
	}
}
