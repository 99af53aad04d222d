import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * Join load BROKERS TOPIC EXPECTED writes reference data, one record for each key, to TOPIC-reference, before there are events.
 * Join join BROKERS TOPIC EXPECTED REGISTRY joins the events with it, as a table, and checks both sides.
 */
class Join {
  static final int PARTITIONS = 6;

  static String about(String key) { return "about " + key; }

  public static void main(String[] a) throws Exception {
    if (a[0].equals("load")) load(a[1], a[2], new Check(a[3], PARTITIONS).keys());
    else join(a[1], a[2], new Check(a[3], PARTITIONS), a[4]);
  }

  static void load(String brokers, String topic, Set<String> keys) throws Exception {
    try (var admin = Admin.create(Map.of("bootstrap.servers", (Object) brokers))) {
      admin.createTopics(List.of(new NewTopic(topic + "-reference", Optional.of(PARTITIONS), Optional.empty()))).all().get();
    }
    try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) brokers), new StringSerializer(), new StringSerializer())) {
      for (String key : keys) producer.send(new ProducerRecord<>(topic + "-reference", key, about(key)));
    }
  }

  record Joined(GenericRecord event, String reference) {}

  static void join(String brokers, String topic, Check check, String registry) throws Exception {
    @SuppressWarnings("unchecked")
    var values = (Deserializer<Object>) Class.forName("io.apicurio.registry.serde.avro.AvroKafkaDeserializer").getConstructor().newInstance();
    values.configure(Read.apicurio(registry), false);
    StreamsBuilder builder = new StreamsBuilder();
    KTable<String, String> table = builder.table(topic + "-reference", Consumed.with(Serdes.String(), Serdes.String()));
    builder.stream(topic, Consumed.with(Serdes.String(), Serdes.serdeFrom((t, v) -> { throw new IllegalStateException(); }, values)))
        .leftJoin(table, (event, reference) -> new Joined((GenericRecord) event, reference))
        .process(() -> new ContextualProcessor<String, Joined, Void, Void>() {
          @Override public void process(Record<String, Joined> r) {
            String want = about(r.key()), is = r.value().reference();
            String[] more = want.equals(is) ? new String[0] : new String[] {"joined with " + is + ", want " + want};
            check.event(context().recordMetadata().get().partition(), r.timestamp(), r.key(), r.headers(), r.value().event(), more);
          }
        });
    Properties conf = new Properties();
    conf.putAll(Map.of("application.id", topic + "-join", "bootstrap.servers", brokers, "auto.offset.reset", "earliest", "processing.guarantee", "exactly_once_v2",
        "max.task.idle.ms", 2000, "state.dir", Files.createTempDirectory("join").toString()));
    try (KafkaStreams streams = new KafkaStreams(builder.build(), conf)) {
      streams.start();
      // The end: nothing more within 3 s of the last event, or within a minute of the start.
      long began = System.nanoTime(), last = began;
      for (int before = 0; System.nanoTime() - last < (before < check.expected() ? 60e9 : 3e9); Thread.sleep(100)) {
        if (streams.state() == KafkaStreams.State.ERROR) break;
        if (check.read() != before) { before = check.read(); last = System.nanoTime(); }
      }
      streams.close(CloseOptions.timeout(Duration.ofSeconds(10)).withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
    }
    check.end();
  }
}
