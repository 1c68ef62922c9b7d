import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.function.Predicate;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A bidder in Java: it sends impressions and clicks, waits until the clicks are billed, and reads the decision on its
 * campaign. Needs kafka-clients and jackson-databind.
 *
 * <pre>java -cp "kafka-clients.jar:jackson-databind.jar:..." Bidder.java 127.0.0.1:9092 20</pre>
 */
public class Bidder {
    private static final ObjectMapper JSON = new ObjectMapper();
    // The join waits up to 5 s for an input that is silent, and commits ten times a second.
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] arguments) throws Exception {
        String kafka = arguments[0];
        int shown = Integer.parseInt(arguments[1]);
        String campaign = "java-" + UUID.randomUUID().toString().substring(0, 8);

        Set<String> clicked = send(kafka, campaign, shown);
        int clicks = clicked.size();
        System.out.printf("sent %d impressions and %d clicks of campaign %s%n", shown, clicks, campaign);

        long[] billedMicros = {0};
        read(kafka, "ads.outcomes", record -> {
            JsonNode outcome = parsed(record.value());
            if (outcome.path("kind").asText().equals("click")
                    && clicked.remove(outcome.path("impression_id").asText())) {
                billedMicros[0] += outcome.path("price_micros").asLong();
            }
            return clicked.isEmpty();
        });
        System.out.printf("billed %d clicks, %.2f in all%n", clicks, billedMicros[0] / 1e6);

        // A bidder keeps the decision with the highest version on each campaign; this one waits for its own.
        read(kafka, "ads.pacing", record -> {
            JsonNode decision = parsed(record.value());
            if (!campaign.equals(record.key()) || decision.path("clicks").asInt() < clicks) {
                return false;
            }
            System.out.printf("decided %s: %s, admit %.3f%n", campaign, decision.path("state").asText(),
                    decision.path("admit").asDouble());
            return true;
        });
    }

    /** Sends a campaign and impressions of now, every second one clicked; the ids of the clicked ones. */
    private static Set<String> send(String kafka, String campaign, int shown) throws Exception {
        Set<String> clicked = new HashSet<>();
        long nowMs = System.currentTimeMillis();
        // Java's partitioner, murmur2 of the key, is what clickfold expects: nothing is to set.
        Map<String, Object> settings = Map.of("bootstrap.servers", kafka, "linger.ms", 5);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>("ads.campaigns", campaign, JSON.writeValueAsString(Map.of(
                    "campaign_id", campaign, "daily_budget_micros", 50_000_000, "version", nowMs,
                    "timezone", "Europe/Berlin", "status", "active", "pacing", "asap")))).get();
            for (int number = 0; number < shown; number++) {
                String id = UUID.randomUUID().toString();
                producer.send(new ProducerRecord<>("ads.impressions", id, JSON.writeValueAsString(Map.of(
                        "impression_id", id, "ts", nowMs, "campaign_id", campaign, "creative_id", "banner",
                        "price_micros", 200_000))));
                if (number % 2 == 0) {
                    // The key is the impression's, so that both are in one partition.
                    producer.send(new ProducerRecord<>("ads.clicks", id, JSON.writeValueAsString(Map.of(
                            "click_id", UUID.randomUUID().toString(), "impression_id", id, "ts", nowMs + 500))));
                    clicked.add(id);
                }
            }
            producer.flush();
        }
        return clicked;
    }

    /** Reads all committed records of a topic and what follows, until one is enough. */
    private static void read(String kafka, String topic, Predicate<ConsumerRecord<String, String>> enough) {
        // Every bidder needs every record: partitions are assigned, no group shares them out, nothing is committed.
        Map<String, Object> settings = Map.of("bootstrap.servers", kafka, "isolation.level", "read_committed",
                "enable.auto.commit", false);
        long until = System.nanoTime() + PATIENCE.toNanos();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(each -> new TopicPartition(topic, each.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (System.nanoTime() < until) {
                for (var record : consumer.poll(Duration.ofMillis(500))) {
                    if (record.value() != null && enough.test(record)) {
                        return;
                    }
                }
            }
        }
        throw new IllegalStateException("what was awaited did not come in " + topic + " within " + PATIENCE);
    }

    private static JsonNode parsed(String value) {
        try {
            return JSON.readTree(value);
        } catch (java.io.IOException error) {
            throw new IllegalArgumentException(value, error);
        }
    }
}
