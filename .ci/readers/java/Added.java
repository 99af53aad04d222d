import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import org.apache.avro.Schema;
import org.apache.avro.generic.*;
import org.apache.avro.io.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * Added BROKERS TOPIC REGISTRY SCHEMA.avsc: the two events of evolve.py. Apicurio's deserializer gives each in the schema it was written
 * with; a reader whose program was built with the old schema resolves both to that.
 */
class Added {
  public static void main(String[] a) throws Exception {
    Current.configure(a[2]);
    Schema old = new Schema.Parser().parse(Files.readString(Path.of(a[3])));
    String want = "[planted-new EMEA \"west\" ü 1, planted-next EMEA \"west\" ü 0]", want2 = "[planted-new EMEA \"west\" ü 1, planted-next null 0]";
    List<String> read = new ArrayList<>(), resolved = new ArrayList<>();
    Map<String, Object> conf = Map.of("bootstrap.servers", a[0], "isolation.level", "read_committed", "key.deserializer", StringDeserializer.class,
        "value.deserializer", ByteArrayDeserializer.class);
    try (var consumer = new KafkaConsumer<String, byte[]>(conf)) {
      var p = List.of(new TopicPartition(a[1] + "-evolution", 0));
      consumer.assign(p);
      consumer.seekToBeginning(p);
      for (int tries = 0; read.size() < 2 && tries < 20; tries++)
        for (var r : consumer.poll(Duration.ofSeconds(1))) {
          GenericRecord call = Current.decode(r.value());
          read.add(tell(call));
          BinaryDecoder in = DecoderFactory.get().binaryDecoder(r.value(), 5, r.value().length - 5, null);
          resolved.add(tell(new GenericDatumReader<GenericRecord>(call.getSchema(), old).read(null, in)));
        }
    }
    int wrong = (read.toString().equals(want) ? 0 : 1) + (resolved.toString().equals(want2) ? 0 : 1);
    if (wrong > 0) System.out.println(read + " " + resolved);
    System.out.printf("read=%d missing=0 doubled=0 wrong=%d aborted_seen=0%n", read.size() + resolved.size(), wrong);
    System.out.flush();
    Runtime.getRuntime().halt(wrong);
  }

  static String tell(GenericRecord call) throws Exception {
    return call.get("rowId") + " " + Current.added(call, "mediaRegion") + " " + ((Map<?, ?>) call.get("extra")).size();
  }
}
