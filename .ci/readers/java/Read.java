import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.*;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.avro.message.SchemaStore;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * Read HOW BROKERS TOPIC EXPECTED WHERE, where HOW is apicurio (AvroKafkaDeserializer; WHERE is the registry), avro (plain Avro with
 * its conversions, the schema by the id in Confluent's framing; WHERE is the registry) or message (single objects; WHERE is the .avsc file).
 */
class Read {
  interface Decode { GenericRecord of(Object value) throws Exception; }

  public static void main(String[] a) throws Exception {
    Map<String, Object> conf = new HashMap<>(Map.of("bootstrap.servers", a[1], "group.id", a[2] + "-java", "isolation.level", "read_committed",
        "enable.auto.commit", false, "key.deserializer", StringDeserializer.class, "value.deserializer", ByteArrayDeserializer.class));
    Decode decode = switch (a[0]) {
      case "apicurio" -> { conf.putAll(apicurio(a[4])); yield v -> (GenericRecord) v; }
      case "avro" -> avro(a[4]);
      case "message" -> message(a[4]);
      default -> throw new IllegalArgumentException(a[0]);
    };
    try (var consumer = new KafkaConsumer<String, Object>(conf)) {
      List<TopicPartition> all = consumer.partitionsFor(a[2]).stream().map(p -> new TopicPartition(a[2], p.partition())).toList();
      Check check = new Check(a[3], all.size());
      consumer.assign(all);
      consumer.seekToBeginning(all);
      Map<TopicPartition, Long> ends = consumer.endOffsets(all); // read_committed: the last stable offsets
      while (all.stream().anyMatch(p -> consumer.position(p) < ends.get(p)))
        for (var r : consumer.poll(Duration.ofSeconds(1)))
          check.event(r.partition(), r.timestamp(), r.key(), r.headers(), decode.of(r.value()));
      check.end();
    }
  }

  /** The settings of Apicurio's deserializer for Confluent's framing; -Dapi=v2 is for Apicurio 2. */
  static Map<String, Object> apicurio(String ccompat) throws Exception {
    String root = ccompat.substring(0, ccompat.indexOf("/apis/"));
    Map<String, Object> conf = new HashMap<>(Map.of("value.deserializer", "io.apicurio.registry.serde.avro.AvroKafkaDeserializer"));
    if (System.getProperty("api", "v3").equals("v3")) {
      conf.put("apicurio.registry.url", root + "/apis/registry/v3");
    } else {
      conf.putAll(Map.of("apicurio.registry.url", root + "/apis/registry/v2", "apicurio.registry.as-confluent", true,
          "apicurio.registry.use-id", "contentId", "apicurio.registry.headers.enabled", false));
    }
    return conf;
  }

  static GenericData conversions() {
    GenericData data = new GenericData();
    data.addLogicalTypeConversion(new Conversions.DecimalConversion());
    data.addLogicalTypeConversion(new TimeConversions.TimestampMillisConversion());
    return data;
  }

  static Decode avro(String registry) {
    Map<Integer, Schema> schemas = new HashMap<>();
    return v -> {
      ByteBuffer b = ByteBuffer.wrap((byte[]) v);
      if (b.get() != 0) throw new IllegalStateException("not Confluent's framing");
      int id = b.getInt();
      if (!schemas.containsKey(id))
        try (var answer = URI.create(registry + "/schemas/ids/" + id).toURL().openStream()) {
          schemas.put(id, new Schema.Parser().parse(new ObjectMapper().readTree(answer).get("schema").asText()));
        }
      BinaryDecoder in = DecoderFactory.get().binaryDecoder(b.array(), 5, b.remaining(), null);
      GenericRecord r = new GenericDatumReader<GenericRecord>(schemas.get(id), schemas.get(id), conversions()).read(null, in);
      if (!in.isEnd()) throw new IllegalStateException("bytes after the event");
      return r;
    };
  }

  static Decode message(String avsc) throws Exception {
    Schema schema = new Schema.Parser().parse(Files.readString(Path.of(avsc)));
    SchemaStore.Cache store = new SchemaStore.Cache(); // by the fingerprint that Java computes
    store.addSchema(schema);
    var decoder = new BinaryMessageDecoder<GenericRecord>(conversions(), schema, store);
    return v -> decoder.decode((byte[]) v);
  }
}
