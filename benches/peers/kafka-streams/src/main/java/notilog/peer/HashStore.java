package notilog.peer;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.state.StoreBuilder;

/**
 * The preferences in memory. Streams' own in-memory store is a tree behind a lock: a look-up among 500,000 keys in it
 * costs several cache misses more than in a hash map.
 */
final class HashStore implements StateStore {
  static final String NAME = "preferences-store";

  /** Where a record stands, and what it is. */
  record Row(int partition, long offset, byte[] value) {}

  private final ConcurrentHashMap<Bytes, Row> rows = new ConcurrentHashMap<>(1 << 20);

  Row get(byte[] key) {
    return rows.get(Bytes.wrap(key));
  }

  void put(byte[] key, Row row) {
    if (row.value() == null) {
      rows.remove(Bytes.wrap(key));
    } else {
      rows.put(Bytes.wrap(key), row);
    }
  }

  @Override
  public String name() {
    return NAME;
  }

  @Override
  public void init(StateStoreContext context, StateStore root) {
    // Records are restored through the processor (KAFKA-7663), so that this one is not asked.
    context.register(root, (key, value) -> put(key, new Row(-1, -1, value)));
  }

  @Override
  public void flush() {}

  @Override
  public void close() {
    rows.clear();
  }

  @Override
  public boolean persistent() {
    return false;
  }

  @Override
  public boolean isOpen() {
    return true;
  }

  /** Makes the one store; neither cached nor logged, as a global store has to be. */
  static final class Builder implements StoreBuilder<HashStore> {
    @Override
    public StoreBuilder<HashStore> withCachingEnabled() {
      return this;
    }

    @Override
    public StoreBuilder<HashStore> withCachingDisabled() {
      return this;
    }

    @Override
    public StoreBuilder<HashStore> withLoggingEnabled(Map<String, String> config) {
      return this;
    }

    @Override
    public StoreBuilder<HashStore> withLoggingDisabled() {
      return this;
    }

    @Override
    public HashStore build() {
      return new HashStore();
    }

    @Override
    public Map<String, String> logConfig() {
      return Map.of();
    }

    @Override
    public boolean loggingEnabled() {
      return false;
    }

    @Override
    public String name() {
      return NAME;
    }
  }
}
