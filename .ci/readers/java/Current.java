import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.*;

/**
 * Current BROKERS TOPIC EXPECTED REGISTRY: the rows as they are now, as a table of Kafka Streams: of each (tenantId, rowId) the
 * highest revision. The values stay the bytes that they are, so that nothing is registered for the table's own topics.
 */
class Current {
  static Deserializer<Object> avro;

  static GenericRecord decode(byte[] value) { return (GenericRecord) avro.deserialize("", value); }
  static int revision(byte[] value) { return (Integer) decode(value).get("revision"); }
  static String identity(byte[] value) { return decode(value).get("tenantId") + "/" + decode(value).get("rowId"); }

  /** The table: updated by each correction, whichever partition it comes from. */
  static KTable<String, byte[]> callsNow(StreamsBuilder builder, String topic) {
    return builder.<String, byte[]>stream(topic)
        .groupBy((key, value) -> identity(value))
        .reduce((old, value) -> revision(value) > revision(old) ? value : old, Materialized.as("calls-now"));
  }

  /** A property that Microsoft has added: from its field where the event has one, else from extra, where it is raw JSON. */
  static String added(GenericRecord call, String name) throws Exception {
    if (call.hasField(name) && call.get(name) != null) return call.get(name).toString();
    for (var e : ((Map<?, ?>) call.get("extra")).entrySet())
      if (e.getKey().toString().equals(name)) return new ObjectMapper().readTree(e.getValue().toString()).asText();
    return null;
  }

  @SuppressWarnings("unchecked")
  static void configure(String registry) throws Exception {
    avro = (Deserializer<Object>) Class.forName("io.apicurio.registry.serde.avro.AvroKafkaDeserializer").getConstructor().newInstance();
    avro.configure(Read.apicurio(registry), false);
  }

  public static void main(String[] a) throws Exception {
    configure(a[3]);
    Check now = new Check(a[2], 0).now();
    AtomicLong changes = new AtomicLong();
    StreamsBuilder builder = new StreamsBuilder();
    callsNow(builder, a[1]).toStream().foreach((identity, value) -> changes.incrementAndGet());
    Properties conf = new Properties();
    conf.putAll(Map.of("application.id", a[1] + "-now", "bootstrap.servers", a[0], "auto.offset.reset", "earliest", "processing.guarantee", "exactly_once_v2",
        "default.key.serde", Serdes.StringSerde.class, "default.value.serde", Serdes.ByteArraySerde.class, "state.dir", Files.createTempDirectory("now").toString()));
    try (KafkaStreams streams = new KafkaStreams(builder.build(), conf)) {
      streams.start();
      // The end: no change within 5 s of the last one, or within a minute of the start.
      long last = System.nanoTime();
      for (long before = 0; System.nanoTime() - last < (before == 0 ? 60e9 : 5e9); Thread.sleep(100)) {
        if (streams.state() == KafkaStreams.State.ERROR) break;
        if (changes.get() != before) { before = changes.get(); last = System.nanoTime(); }
      }
      try (var rows = table(streams).all()) { while (rows.hasNext()) now.row(decode(rows.next().value)); }
      streams.close(CloseOptions.timeout(Duration.ofSeconds(10)).withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
    }
    now.end();
  }

  static ReadOnlyKeyValueStore<String, byte[]> table(KafkaStreams streams) {
    return streams.store(StoreQueryParameters.fromNameAndType("calls-now", QueryableStoreTypes.keyValueStore()));
  }
}
