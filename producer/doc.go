/*
Command producer polls Microsoft Graph's log of PSTN calls and publishes each row to Kafka exactly once.

# A tour of the code, bottom up

[pstncalls/schema] is public: the event, its Avro encoding, its framing, its headers. Readers import it.

[pstncalls/internal/window] is the arithmetic of days and half-open ranges; [pstncalls/internal/clock] is how time is read where
it decides something.

[pstncalls/internal/row] turns the JSON of one row into an event or a reject, in one walk: privacy rules, identity,
fingerprint, fields.

[pstncalls/internal/graph] asks Graph: tokens, the request budget, pages, errors classified once.
[pstncalls/internal/graphfake] answers like it, written from the documents so that the two can disagree.

[pstncalls/internal/state] knows what has been published: windows, ledgers, digests, and their records in the state topic. It
answers, for a row, what is to be done. [pstncalls/internal/schedule] says what is due. Both are pure.

[pstncalls/internal/kafka] owns the topics. Its session is the exactly-once core: fence, claim, read, then one transaction for
events, rejects and state. Its members share the shards out among the replicas.

[pstncalls/internal/poller] is one shard's work: what is due → pages → diff → commit.

[pstncalls/internal/status] is what an operator sees: metrics, health, the view of the state.
[pstncalls/internal/config] is the environment. This package wires them: one file a command.

# The way of one row

graph.Client.Pages yields the page that holds it; a fetcher (poller/fetch.go) converts it with row.Converter; the shard's
goroutine (poller/session.go) asks state.Tenant.Observe what to do; poller/batch.go makes the record; kafka.Session.Commit
makes it visible together with the ledger entry that says so.

# Non-obvious

  - The state is read after the fence and up to a record of our own. Any other order publishes rows twice.
  - After any error of a session its memory is thrown away: the start-up path is the recovery.
  - What is published is ahead of the topics in memory between Observe and the end of Commit, and only there; scans, settled
    days, rows that moved or vanished may wait ten minutes for a commit, and losing them costs a scan, never a row.
  - A row's owner window is that of its first event, wherever it moves; identity is per tenant.
  - Record timestamps are the publish time by the machine's clock, even where the poller's clock is another one.
*/
package main
