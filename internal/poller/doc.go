// Package poller owns one shard's work: what is due → pages → diff → commit.
//
// Pages are fetched and converted outside any transaction, one goroutine a scan. One goroutine a shard does everything else: it
// plans (plan.go), compares rows with the ledgers, builds the batch and commits it (batch.go). So within a shard commits are in
// order and no lock is needed. Pages that are ready go out together.
//
// A scan (scan.go) is of whole days, or of the last part of one: a tail of the open window, or a probe that asks how Graph reads
// a range (learn.go). Only a scan of whole days, read by one session from first to last page and by a clock that Graph confirms
// (clock.go), settles a day. Whatever is asked for is a range that holds rows under each of Graph's four possible readings.
//
// What an operator should know of is a condition (conditions.go): of a tenant or, beyond the life of a session, of the shard (work.go).
//
// Commands ask something of the owner by signals (signal.go, asked.go, forget.go): records of the state topic, done once, by whoever owns the
// shard when they are. A settled day is read again only so, and only with its ledger, rebuilt and proved by package verify.
//
// What is published is ahead of the topics in memory only between the comparison and the end of the commit; what scans tell beside
// it (settled days, rows that moved or vanished) may wait ten minutes. After any error of the session all of it is thrown away, and the start-up path (kafka.Cluster.Open, state.Load) finds out how far things really are.
package poller
