// Package kafka owns everything that touches a broker: the session of a shard, the topics, the membership in the group, and
// reading. Nothing else in the program writes to a topic, and nothing of franz-go leaves this package.
//
// A [Session] is the exactly-once core (design section 4). Its file reads as a proof: [Cluster.Open] fences, claims and then
// reads; [Session.Commit] writes events, rejects and window offsets in one transaction. Non-obvious, and each has cost data:
//
//   - The state is read only after the fence and up to a record of our own, never "up to the end": control records and
//     aborted records are not delivered, so a consumer cannot see the end.
//   - Transactional id and state partition belong together one to one: the open transaction of another id would hide our
//     own committed state until it times out.
//   - The error of every produced record is checked before End(commit): the client commits whatever succeeded.
//   - After any error the session is dead and its memory worth nothing; opening another one is the recovery.
//   - An empty transaction sends nothing, so it proves nothing: every commit carries the commit mark.
//   - Every session looks at the topics anew, and while it commits: one that was re-created or altered since the process began
//     would take events that nobody refuses, or refuse batches for ever.
//   - Between the answers to a transaction's records and End, the client must come to know of its partitions (Session.settle): it
//     may end a first transaction by an abort otherwise, and say that it was committed.
//   - Record timestamps are the publish time: a 90-day-old timestamp on a topic with 7 days' retention is deleted within minutes.
//
// The tests run on kfake or on real brokers; brokers_test.go says what differs. Those of the build tag long (epochs that roll over,
// brokers that are killed) run in .ci/long.
//
// Records of a state partition that belong to this package: meta, claim/<group>, commit, and the keys of signals (signal/<id>). All else is
// package state's.
package kafka
