import java.nio.file.Files;
import java.nio.file.Path;
import java.util.*;
import org.apache.flink.table.api.*;
import org.apache.flink.types.Row;

/**
 * Flink BROKERS TOPIC REGISTRY FILE.sql…: runs the statements of each file as a streaming job and prints what the changes of each query
 * add up to: a line a row, its columns in JSON, with a line "-- FILE.sql" before it. added.sql reads TOPIC-evolution.
 */
class Flink {
  public static void main(String[] a) throws Exception {
    for (String file : List.of(a).subList(3, a.length)) {
      String name = Path.of(file).getFileName().toString(), topic = name.equals("added.sql") ? a[1] + "-evolution" : a[1];
      String sql = Files.readString(Path.of(file)).replaceAll("--.*", "");
      for (String[] change : new String[][] {{"'pstn-calls'", "'" + topic + "'"}, {"broker-1:9092", a[0]}, {"http://registry:8081", a[2]},
          {"'earliest-offset'", "'earliest-offset', 'scan.bounded.mode' = 'latest-offset'"}}) {
        if (!sql.contains(change[0])) throw new IllegalArgumentException(file + " has no " + change[0]);
        sql = sql.replace(change[0], change[1]);
      }
      TableEnvironment env = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
      env.getConfig().set("parallelism.default", "1");
      env.getConfig().set("table.local-time-zone", "Pacific/Auckland"); // must not matter
      for (String statement : sql.split(";")) {
        if (statement.isBlank()) continue;
        TableResult result = env.executeSql(statement);
        if (statement.strip().startsWith("SELECT")) print(name, result);
      }
    }
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }

  static void print(String name, TableResult result) throws Exception {
    Map<List<Object>, Integer> rows = new LinkedHashMap<>(); // how often each is there
    try (var changes = result.collect()) {
      while (changes.hasNext()) {
        Row r = changes.next();
        List<Object> columns = new ArrayList<>();
        for (int i = 0; i < r.getArity(); i++) columns.add(r.getField(i));
        int one = switch (r.getKind()) { case INSERT, UPDATE_AFTER -> 1; default -> -1; };
        rows.merge(columns, one, (x, y) -> x + y == 0 ? null : x + y);
      }
    }
    System.out.println("-- " + name);
    rows.forEach((columns, n) -> {
      StringJoiner line = new StringJoiner(",", "[", "]");
      for (Object c : columns)
        line.add(c == null ? "null" : c instanceof Number ? "\"" + new java.math.BigDecimal(c.toString()).toPlainString() + "\"" : "\"" + c.toString().replace("\\", "\\\\").replace("\"", "\\\"") + "\"");
      for (int i = 0; i < n; i++) System.out.println(line);
      if (n < 0) System.out.println("taken back more often than given: " + line);
    });
  }
}
