// Package poller owns one shard's work: what is due → pages → diff → commit.
//
// Pages are fetched and converted outside any transaction, one goroutine a scan. One goroutine a shard does everything else: it
// compares rows with the ledgers, builds the batch and commits it. So within a shard commits are in order and no lock is
// needed. Pages that are ready go out together.
//
// Memory is ahead of the topics only between the comparison and the end of the commit. After any error of the session all of
// it is thrown away, and the start-up path (kafka.Cluster.Open, state.Load) finds out how far things really are.
package poller
