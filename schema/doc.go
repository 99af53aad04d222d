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
// Revisions of a row come in order as long as its callId stays the same: a changed callId may lead to another partition, where
// the comparison above still holds. There is no order between partitions. A row is never retracted.
//
// The record's timestamp is the time of publishing, and so what retention counts from: 90 days on a topic that the producer
// created. A row that is neither new nor corrected is not published again, so that a reader that wants older rows keeps its own.
//
// The watermark topic (pstn-calls.watermark, key: tenant, value: JSON, compacted) says up to when a tenant is complete: all calls
// that start before completeUpTo have been read, as far as Graph has shown them. Later rows and corrections come all the same.
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
// added, at the end and with a default; none is removed, renamed or given another type, scale or precision. Every version there was
// is in testdata/versions. (FULL alone would let a registry take the removal of a field that has a default. The tests here do not.)
//
// An example. Microsoft adds a property, mediaRegion:
//
//  1. The day Graph first sends it, events have it in extra, by its name and as raw JSON: {"mediaRegion": "\"EMEA\""}. The schema is
//     the same and no reader notices. A row within the lookback that was published without it is published again, as a correction.
//  2. The next release of the producer adds the field ["null", "string"] with default null, and registers the new version. From
//     then on events have the property in the field, and no longer in extra. What was published stays as it is: the new schema
//     alone is no correction.
//  3. Old events in the new schema have null in the field and the value in extra. New events in the old schema have it in neither:
//     a reader that looks for it in extra must know the field before the producer does.
//
// So a reader that wants it takes the field, and where that is null what extra has. See the example NewProperty; .ci/readers has the
// same in Java, Python and Flink SQL.
//
// Readers that resolve schemas, as Java's and every registry client's do, need to do nothing. [DecodePstnCall] reads the versions
// that its release of this package knows and refuses a newer one: update the package before the producer.
package schema
