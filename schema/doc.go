// Package schema is the format of the events topic: the Avro schema of an event, its Go form, the framing of its value and its
// headers. Import it to read the topic; nothing here talks to Kafka or to a schema registry.
//
// # Reading the topic
//
// Read with isolation.level=read_committed. The producer publishes in transactions; a reader that does not ask for committed
// records only also sees those of transactions that were aborted, and of those nothing is promised.
//
// The record's key is the row's callId, or its row id where callId is null or empty ([PstnCall.Key]): the legs of one call are on
// one partition, in the order in which they were published. The key is not the identity: several rows may share a callId, and the
// topic must never be compacted.
//
// The identity is (TenantID, RowID). A row is published once as revision 0, and once more, as revision 1, 2 and so on, whenever
// Graph shows it changed. Each revision is a whole row, not a difference. A reader that only counts calls takes revision 0; one
// that wants rows as they are now keeps the highest revision of each identity:
//
//	if old, ok := rows[id]; !ok || call.Revision > old.Revision {
//		rows[id] = call
//	}
//
// Revisions of a row come in order as long as its callId stays the same. A row is never retracted.
//
// # Values
//
// [Decode] reads a record's value; its first bytes say how it is framed. With a schema registry that is Confluent's framing (00,
// the schema's id in 4 bytes, the Avro value), which the usual deserializers read. Without one it is Avro's single-object encoding
// (C3 01, the schema's CRC-64-AVRO fingerprint in 8 bytes, the Avro value), which Java reads with a BinaryMessageDecoder that was
// given [PstnCallSchema].
//
// Every property of Graph may be null. Times are milliseconds since 1970 in UTC; Graph's further digits are cut off. Amounts are
// exact decimals with six places, in the row's own currency ([Money]); where Graph sent more places they are rounded half to even
// and the literal is kept in extra. Strings that Graph documents as a set of values, such as callType, are open sets.
//
// [ParseHeaders] reads a record's headers: CloudEvents 1.0, and what the producer needs to prove that the topic is complete.
//
// # How the schema changes
//
// Compatibility is FULL: readers of an old version read new events, readers of the new version old events. Fields are only ever
// added, at the end and with a default; none is removed, renamed or given another type, scale or precision. What Graph sends before
// the schema knows of it is in extra, by its name and as raw JSON, and stays there in the events that were published before.
//
// Readers that resolve schemas, as Java's and every registry client's do, need to do nothing. [DecodePstnCall] reads the versions
// that its release of this package knows and refuses a newer one: update the package before the producer. Every version there was
// is in testdata/versions.
package schema
