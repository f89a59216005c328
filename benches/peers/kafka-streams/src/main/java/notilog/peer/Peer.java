package notilog.peer;

import java.io.FileInputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;

/**
 * What notilog's router does, as a Kafka Streams application: events joined with preferences (a global store), one
 * outbound record for each endpoint and one decision for each event, exactly once.
 *
 * <p>It is told everything by a properties file: brokers, application.id, threads, prefix, schema ids, policy version.
 */
public final class Peer {
  private Peer() {}

  public static void main(String[] arguments) throws IOException, InterruptedException {
    Properties given = new Properties();
    try (FileInputStream file = new FileInputStream(arguments[0])) {
      given.load(file);
    }
    CountDownLatch ended = new CountDownLatch(1);
    KafkaStreams streams = new KafkaStreams(topology(new Settings(given)), streamsConfig(given));
    streams.setStateListener(
        (now, before) -> {
          if (now == KafkaStreams.State.ERROR) {
            ended.countDown();
          }
        });
    Thread stop = new Thread(() -> streams.close(Duration.ofSeconds(20)));
    Runtime.getRuntime().addShutdownHook(stop);
    streams.start();
    ended.await();
    // Only an error comes here; halt, because the hook would wait for threads that are gone.
    Runtime.getRuntime().halt(1);
  }

  private static Topology topology(Settings settings) {
    Topology topology = new Topology();
    ByteArrayDeserializer bytes = new ByteArrayDeserializer();
    topology.addGlobalStore(
        new HashStore.Builder(),
        "preferences",
        bytes,
        bytes,
        settings.preferencesTopic(),
        "keep",
        KeepPreferences::new);
    topology.addSource("events", bytes, bytes, settings.eventsTopic());
    topology.addProcessor("route", () -> new Route(settings), "events");
    ByteArraySerializer out = new ByteArraySerializer();
    for (String channel : Settings.CHANNELS) {
      topology.addSink(channel, settings.outboundTopic(channel), out, out, "route");
    }
    topology.addSink("decisions", settings.decisionsTopic(), out, out, "route");
    return topology;
  }

  private static Properties streamsConfig(Properties given) {
    Properties config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.getProperty("bootstrap.servers"));
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, given.getProperty("application.id"));
    config.put(StreamsConfig.STATE_DIR_CONFIG, given.getProperty("state.dir"));
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, given.getProperty("threads"));
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, given.getProperty("commit.interval.ms"));
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    // Enough for a poll to fill what a task holds, so that the thread does not go back and forth.
    config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MIN_BYTES_CONFIG), 65_536);
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 20);
    config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 50);
    config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 262_144);
    config.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 67_108_864);
    given.stringPropertyNames().stream()
        .filter(name -> name.startsWith("streams."))
        .forEach(name -> config.put(name.substring("streams.".length()), given.getProperty(name)));
    return config;
  }
}
