import com.fasterxml.jackson.annotation.*;
import com.fasterxml.jackson.databind.*;
import java.time.*;
import java.util.*;
import java.util.concurrent.atomic.*;
import org.apache.flink.api.common.eventtime.*;
import org.apache.flink.api.common.functions.*;
import org.apache.flink.api.common.serialization.*;
import org.apache.flink.api.common.typeinfo.*;
import org.apache.flink.api.java.tuple.*;
import org.apache.flink.configuration.*;
import org.apache.flink.connector.kafka.source.*;
import org.apache.flink.connector.kafka.source.enumerator.initializer.*;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.*;
import org.apache.flink.streaming.api.environment.*;
import org.apache.flink.streaming.api.functions.co.*;
import org.apache.flink.streaming.api.functions.sink.v2.*;
import org.apache.flink.util.*;

/** usage: FlinkJoin BOOTSTRAP PREFIX EVENTS EXPECTED_JOINED PARALLELISM CHECKPOINT_DIR hashmap|rocksdb */
public class FlinkJoin {
  @JsonIgnoreProperties(ignoreUnknown = true)
  public static class Event {
    public String impression_id, campaign_id, placement, click_id;
    public long ts, price_micros;
  }

  static final ObjectReader READER = new ObjectMapper().readerFor(Event.class);
  static final AtomicLong n = new AtomicLong(), joined = new AtomicLong();
  static volatile long t0, cpu0, half, last, total;
  static final TypeInformation<Tuple4<String, Long, String, byte[]>> ROW =
      Types.TUPLE(
          Types.STRING, Types.LONG, Types.STRING, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);

  static long cpu() {
    return ((com.sun.management.OperatingSystemMXBean)
            java.lang.management.ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }

  static void seen() {
    long now = n.incrementAndGet();
    if (now == 1) {
      t0 = System.nanoTime();
      cpu0 = cpu();
    }
    if (now == total / 2) half = System.nanoTime();
    if (now == total) last = System.nanoTime();
  }

  /** Parsed in the source, so that watermarks are kept for each partition: otherwise slower partitions come late. */
  public static class Parse implements DeserializationSchema<Tuple4<String, Long, String, byte[]>> {
    public Tuple4<String, Long, String, byte[]> deserialize(byte[] b) throws java.io.IOException {
      Event e = READER.readValue(b);
      seen();
      String group = e.campaign_id == null ? "" : e.ts / 60000 + "|" + e.campaign_id + "|" + e.placement;
      return Tuple4.of(e.impression_id, e.ts, group, b);
    }

    public boolean isEndOfStream(Tuple4<String, Long, String, byte[]> e) {
      return false;
    }

    public TypeInformation<Tuple4<String, Long, String, byte[]>> getProducedType() {
      return ROW;
    }
  }

  /** Counts in plain memory, outside of Flink's state: less than a real keyed count would cost. */
  public static class Count
      implements MapFunction<Tuple4<String, Long, String, byte[]>, Tuple4<String, Long, String, byte[]>> {
    transient Map<String, long[]> counts;

    public Tuple4<String, Long, String, byte[]> map(Tuple4<String, Long, String, byte[]> e) {
      if (counts == null) counts = new HashMap<>();
      counts.computeIfAbsent(e.f2, k -> new long[1])[0]++;
      return e;
    }
  }

  public static class Match
      extends ProcessJoinFunction<
          Tuple4<String, Long, String, byte[]>, Tuple4<String, Long, String, byte[]>, byte[]> {
    public void processElement(
        Tuple4<String, Long, String, byte[]> l,
        Tuple4<String, Long, String, byte[]> r,
        Context x,
        Collector<byte[]> o) {
      joined.incrementAndGet();
      o.collect(l.f3);
    }
  }

  static DataStream<Tuple4<String, Long, String, byte[]>> source(
      StreamExecutionEnvironment env, String bootstrap, String topic) {
    return env.fromSource(
        KafkaSource.<Tuple4<String, Long, String, byte[]>>builder()
            .setBootstrapServers(bootstrap)
            .setTopics(topic)
            .setGroupId("fl" + System.currentTimeMillis())
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new Parse())
            .setProperty("max.poll.records", "10000")
            .build(),
        WatermarkStrategy.<Tuple4<String, Long, String, byte[]>>forBoundedOutOfOrderness(Duration.ofMinutes(2))
            .withTimestampAssigner((e, t) -> e.f1),
        topic,
        ROW);
  }

  public static void main(String[] a) throws Exception {
    total = Long.parseLong(a[2]);
    long expected = Long.parseLong(a[3]);
    int parallelism = Integer.parseInt(a[4]);
    Configuration c = new Configuration();
    c.setString("state.backend.type", a[6]);
    c.setString("execution.checkpointing.incremental", "true");
    c.setString("execution.checkpointing.dir", "file://" + a[5]);
    c.setString("taskmanager.memory.network.fraction", "0.05");
    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(parallelism, c);
    env.getConfig().enableObjectReuse();
    env.enableCheckpointing(5_000, CheckpointingMode.EXACTLY_ONCE);
    source(env, a[0], a[1] + "impressions")
        .map(new Count())
        .returns(ROW)
        .keyBy(e -> e.f0)
        .intervalJoin(source(env, a[0], a[1] + "clicks").keyBy(e -> e.f0))
        .between(Duration.ofSeconds(-5), Duration.ofMinutes(30))
        .process(new Match())
        .returns(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)
        .sinkTo(new DiscardingSink<>());
    env.executeAsync();
    long giveUp = System.nanoTime() + 300_000_000_000L;
    while (last == 0 && System.nanoTime() < giveUp) Thread.sleep(5);
    long until = System.nanoTime() + 5_000_000_000L;
    while (joined.get() < expected && System.nanoTime() < until) Thread.sleep(5);
    // What was read is joined only now: the source runs ahead of the join by what buffers hold.
    long end = joined.get() >= expected ? System.nanoTime() : last;
    long used = cpu() - cpu0;
    System.out.printf(
        "{\"seconds\": %.3f, \"to_last_record_s\": %.3f, \"second_half_s\": %.3f, \"cpu_s\": %.3f,"
            + " \"cpu_process_s\": %.3f, \"n\": %d, \"joined\": %d, \"parallelism\": %d}%n",
        (end - t0) / 1e9, (last - t0) / 1e9, (last - half) / 1e9, used / 1e9, cpu() / 1e9, n.get(), joined.get(),
        parallelism);
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}
