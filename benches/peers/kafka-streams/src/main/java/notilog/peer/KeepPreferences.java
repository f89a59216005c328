package notilog.peer;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/** Keeps each recipient's latest record, encoded, with the place that decisions refer to. */
final class KeepPreferences implements Processor<byte[], byte[], Void, Void> {
  private ProcessorContext<Void, Void> context;
  private HashStore store;

  @Override
  public void init(ProcessorContext<Void, Void> context) {
    this.context = context;
    this.store = context.getStateStore(HashStore.NAME);
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    RecordMetadata place = context.recordMetadata().orElseThrow();
    store.put(record.key(), new HashStore.Row(place.partition(), place.offset(), record.value()));
  }
}
