import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.*;
import org.apache.avro.Conversions;
import org.apache.avro.LogicalTypes;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.utils.Utils;

/** Compares events with expected.jsonl. check.py does so for Python; the two share no code. */
class Check {
  private final Map<String, JsonNode> expected = new HashMap<>();
  private final Set<String> seen = new HashSet<>();
  private final Map<String, Integer> revisions = new HashMap<>(); // by partition and row: the last one
  private final int partitions;
  private int read, doubled, wrong, strange, said;

  Check(String file, int partitions) throws Exception {
    this.partitions = partitions;
    ObjectMapper json = new ObjectMapper();
    try (BufferedReader lines = Files.newBufferedReader(Path.of(file))) {
      for (String line; (line = lines.readLine()) != null; ) {
        JsonNode e = json.readTree(line);
        expected.put(e.get("fields").get("rowId").asText() + "/" + e.get("fields").get("revision").asText(), e);
      }
    }
  }

  /** Of each row only the newest revision. */
  Check now() {
    Map<String, Integer> newest = new HashMap<>();
    expected.values().forEach(e -> newest.merge(e.get("fields").get("rowId").asText(), e.get("fields").get("revision").asInt(), Math::max));
    expected.values().removeIf(e -> newest.get(e.get("fields").get("rowId").asText()) != e.get("fields").get("revision").asInt());
    return this;
  }

  synchronized int read() { return read; }
  int expected() { return expected.size(); }
  Set<String> keys() { Set<String> keys = new TreeSet<>(); expected.values().forEach(e -> keys.add(e.get("key").asText())); return keys; }

  private void say(String what) { if (said++ < 5) System.out.println(what); }

  synchronized void event(int partition, long timestamp, String key, Headers headers, GenericRecord value, String... more) {
    JsonNode want = expect(value);
    if (want == null) return;
    List<String> faults = new ArrayList<>(List.of(more));
    fields(value, want, faults);
    long observed = value.get("observedAt") instanceof Instant t ? t.toEpochMilli() : (Long) value.get("observedAt");
    if (observed != timestamp) faults.add("observedAt is " + observed + ", want " + timestamp);
    if (!want.get("key").asText().equals(key)) faults.add("key " + key);
    if (Utils.toPositive(Utils.murmur2(key.getBytes(java.nio.charset.StandardCharsets.UTF_8))) % partitions != partition) faults.add("on partition " + partition);
    if (!who(value).equals(text(headers, "ce_id"))) faults.add("ce_id " + text(headers, "ce_id"));
    if (!key.equals(text(headers, "ce_subject"))) faults.add("ce_subject " + text(headers, "ce_subject"));
    if (!Instant.ofEpochMilli(timestamp).equals(Instant.parse(text(headers, "ce_time")))) faults.add("ce_time " + text(headers, "ce_time"));
    int revision = (Integer) value.get("revision");
    Integer last = revisions.put(partition + "/" + value.get("rowId"), revision);
    if (last != null && last >= revision) faults.add("after revision " + last);
    if (!faults.isEmpty()) { wrong++; say(who(value) + ": " + String.join("; ", faults)); }
  }

  /** A row of a table: an event without its record. */
  synchronized void row(GenericRecord value) {
    JsonNode want = expect(value);
    if (want == null) return;
    List<String> faults = new ArrayList<>();
    fields(value, want, faults);
    if (!faults.isEmpty()) { wrong++; say(who(value) + ": " + String.join("; ", faults)); }
  }

  private static String who(GenericRecord value) { return value.get("rowId") + "/" + value.get("revision"); }

  /** What the truth says of the event; null if it says nothing, or was asked already. */
  private JsonNode expect(GenericRecord value) {
    read++;
    String who = who(value);
    JsonNode want = expected.get(who);
    if (want == null) { strange++; say(who + ": not in the truth"); return null; }
    if (seen.add(who)) return want;
    doubled++;
    return null;
  }

  private static void fields(GenericRecord value, JsonNode want, List<String> faults) {
    Set<String> left = new TreeSet<>();
    want.get("fields").fieldNames().forEachRemaining(left::add);
    for (Schema.Field f : value.getSchema().getFields()) {
      if (f.name().equals("observedAt")) continue; // the truth does not know it
      String is = canonical(value.get(f.name()), f.schema());
      JsonNode n = want.get("fields").get(f.name());
      String should = n == null ? "absent" : n.isNull() ? null : n.asText();
      if (!Objects.equals(is, should)) faults.add(f.name() + " is " + is + ", want " + should);
      left.remove(f.name());
    }
    if (!left.isEmpty()) faults.add("no field " + left);
  }

  private static String text(Headers headers, String name) {
    var h = headers.lastHeader(name);
    return h == null ? "" : new String(h.value(), java.nio.charset.StandardCharsets.UTF_8);
  }

  /** A field's text; see canonical in check.py. */
  private static String canonical(Object v, Schema s) {
    if (v == null) return null;
    if (s.getType() == Schema.Type.UNION) s = s.getTypes().get(1);
    if (v instanceof ByteBuffer b) // a reader without DecimalConversion
      v = new Conversions.DecimalConversion().fromBytes(b, s, (LogicalTypes.Decimal) s.getLogicalType());
    if (v instanceof BigDecimal d) return d.toPlainString();
    if (v instanceof Instant t) return Long.toString(t.toEpochMilli());
    if (v instanceof Collection<?> units) {
      StringJoiner ids = new StringJoiner(",", "[", "]");
      for (Object u : units) { Object id = ((GenericRecord) u).get("id"); ids.add(id == null ? "null" : "\"" + id + "\""); }
      return ids.toString();
    }
    if (v instanceof Map<?, ?> m) {
      TreeMap<String, String> sorted = new TreeMap<>();
      m.forEach((k, raw) -> sorted.put(k.toString(), k + "=" + raw));
      return String.join("\n", sorted.values());
    }
    return v.toString();
  }

  /** Prints the last line; ends the program. */
  synchronized void end() {
    Set<String> missing = new TreeSet<>(expected.keySet());
    missing.removeAll(seen);
    missing.stream().limit(5).forEach(who -> say(who + ": missing"));
    System.out.printf("read=%d missing=%d doubled=%d wrong=%d aborted_seen=%d%n", read, missing.size(), doubled, wrong, strange + doubled);
    System.out.flush();
    Runtime.getRuntime().halt(missing.isEmpty() && doubled + wrong + strange == 0 ? 0 : 1);
  }
}
