package notilog.peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import notilog.peer.Outcome.Verdict;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.util.Utf8;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/**
 * Decides as notilog's chain (docs/policies.md) does for what the benchmark's data holds. What it does not hold (events
 * that break the contract, strangers, pauses) is refused with an exception, never routed otherwise than notilog would.
 */
final class Route implements Processor<byte[], byte[], byte[], byte[]> {
  private static final Utf8 NO_NONCE = new Utf8("");
  private static final Utf8 ORDERS = new Utf8("orders");
  private static final int MAX_RECIPIENTS = 1_000;

  private final Settings settings;
  private final Utf8 policyVersion;
  private final List<Utf8> channels = utf8(Settings.CHANNELS);
  private final List<Utf8> allowed = utf8(Settings.ALLOWED);
  private final List<Utf8> defaults = utf8(Settings.DEFAULT);
  private final Map<Utf8, Utf8> templates = new HashMap<>();
  private final Map<Utf8, ZoneId> zones = new HashMap<>();
  private final JsonFactory json = new JsonFactory();
  private final Ids ids = new Ids();
  private final Avro avro = new Avro();
  private final Event event = new Event();
  private final Preferences preferences = new Preferences();
  private final List<Outcome> outcomes = new ArrayList<>();
  private ProcessorContext<byte[], byte[]> context;
  private HashStore store;

  Route(Settings settings) {
    this.settings = settings;
    this.policyVersion = new Utf8(settings.policyVersion());
    Settings.TEMPLATES.forEach((type, template) -> templates.put(new Utf8(type), new Utf8(template)));
  }

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    this.context = context;
    this.store = context.getStateStore(HashStore.NAME);
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    try {
      route(record);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private void route(Record<byte[], byte[]> record) throws IOException {
    avro.read(record.value(), settings.eventId(), event::read);
    judge();
    long now = System.currentTimeMillis();
    outcomes.clear();
    if (isExpired(now)) {
      outcomes.add(new Outcome(NO_NONCE, null, null, Verdict.EXPIRED, null, 0, null));
    } else {
      for (Utf8 user : event.recipients) {
        tell(record, user, now);
      }
    }
    byte[] key = Ids.eventKey(event.tenant, event.source, event.id);
    byte[] decision = avro.write(settings.decisionId(), out -> decision(out, now));
    context.forward(record.withKey(key).withValue(decision), "decisions");
  }

  /** Rule 1. */
  private void judge() throws IOException {
    boolean named =
        event.id.getByteLength() > 0
            && event.source.getByteLength() > 0
            && event.type.getByteLength() > 0
            && event.tenant.getByteLength() > 0;
    boolean told = !event.recipients.isEmpty() && event.recipients.size() <= MAX_RECIPIENTS && event.audience == null;
    if (!named || !told || !event.category.equals(ORDERS) || !isJsonObject(event.data)) {
      throw new UnsupportedOperationException("the benchmark's events keep the contract");
    }
  }

  private boolean isJsonObject(Utf8 text) throws IOException {
    if (text.getByteLength() == 0) {
      return true;
    }
    try (JsonParser parser = json.createParser(text.getBytes(), 0, text.getByteLength())) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        return false;
      }
      parser.skipChildren();
      return parser.nextToken() == null;
    }
  }

  /** Rule 2. */
  private boolean isExpired(long now) {
    long from = event.notBefore == null ? event.time : Math.max(event.time, event.notBefore);
    return event.expiresAt != null && now >= event.expiresAt || now - from > Settings.MAX_AGE_MS;
  }

  /** Rules 4 to 13. */
  private void tell(Record<byte[], byte[]> record, Utf8 user, long now) throws IOException {
    byte[] key = Ids.recipientKey(event.tenant, user);
    HashStore.Row row = store.get(key);
    if (row == null) {
      throw new UnsupportedOperationException("the benchmark has no strangers");
    }
    avro.read(row.value(), settings.preferencesId(), preferences::read);
    if (zoneOf(preferences.timezone) == null || preferences.pausedUntil != null || event.notBefore != null) {
      throw new UnsupportedOperationException("the benchmark defers nothing");
    }
    Preferences.Choice choice = preferences.categories.get(event.category);
    List<Utf8> wanted = choice != null && choice.channels() != null ? choice.channels() : defaults;
    boolean none = true;
    for (Utf8 channel : channels) {
      boolean asked = event.channels == null || event.channels.contains(channel);
      if (!wanted.contains(channel) || !allowed.contains(channel) || !asked) {
        continue;
      }
      none = false;
      if (choice != null && !choice.enabled()) {
        outcomes.add(new Outcome(user, null, null, Verdict.OPTED_OUT_CATEGORY, row, preferences.version, null));
        return;
      }
      tellBy(record, key, user, channel, row, now);
    }
    if (none) {
      outcomes.add(new Outcome(user, null, null, Verdict.NO_CHANNEL, row, preferences.version, null));
    }
  }

  private void tellBy(Record<byte[], byte[]> record, byte[] key, Utf8 user, Utf8 channel, HashStore.Row row, long now)
      throws IOException {
    if (Boolean.FALSE.equals(preferences.channels.get(channel))) {
      outcomes.add(new Outcome(user, channel, null, Verdict.OPTED_OUT_CHANNEL, row, preferences.version, null));
      return;
    }
    boolean none = true;
    for (Preferences.Endpoint endpoint : preferences.endpoints) {
      if (!endpoint.channel().equals(channel)) {
        continue;
      }
      none = false;
      Utf8 hash = ids.endpoint(event.tenant, user, channel, endpoint.address());
      if (!endpoint.verified()) {
        outcomes.add(new Outcome(user, channel, hash, Verdict.UNVERIFIED, row, preferences.version, null));
        continue;
      }
      Utf8 id =
          ids.notification(event.tenant, event.source, event.id, user, channel, endpoint.address(), NO_NONCE);
      byte[] outbound =
          avro.write(settings.outboundId(), out -> outbound(out, id, user, channel, endpoint.address(), now));
      context.forward(record.withKey(key).withValue(outbound), channel.toString());
      outcomes.add(new Outcome(user, channel, hash, Verdict.ROUTED, row, preferences.version, id));
    }
    if (none) {
      outcomes.add(new Outcome(user, channel, null, Verdict.NO_ENDPOINT, row, preferences.version, null));
    }
  }

  private void outbound(BinaryEncoder out, Utf8 id, Utf8 user, Utf8 channel, Utf8 address, long now)
      throws IOException {
    out.writeString(id);
    out.writeString(event.id);
    out.writeString(event.source);
    out.writeString(event.type);
    out.writeLong(event.time);
    out.writeString(event.tenant);
    out.writeString(user);
    out.writeString(event.category);
    out.writeEnum(event.priority);
    out.writeString(channel);
    out.writeString(address);
    out.writeString(event.locale != null ? event.locale : preferences.locale);
    out.writeString(preferences.timezone);
    out.writeString(event.template != null ? event.template : templates.get(event.type));
    out.writeString(event.data);
    Avro.optional(out, event.collapseKey);
    Avro.optional(out, event.notBefore);
    Avro.optional(out, event.expiresAt);
    out.writeLong(now);
    out.writeString(policyVersion);
    out.writeIndex(0);
    // No siblings, no fallback, and it is none itself: each channel has one endpoint, and no category falls back.
    empty(out);
    empty(out);
    out.writeIndex(0);
  }

  private void decision(BinaryEncoder out, long now) throws IOException {
    out.writeString(event.id);
    out.writeString(event.source);
    out.writeString(event.type);
    out.writeString(event.tenant);
    out.writeString(event.category);
    out.writeLong(event.time);
    out.writeLong(now);
    out.writeString(policyVersion);
    out.writeIndex(0);
    out.writeArrayStart();
    out.setItemCount(outcomes.size());
    for (Outcome outcome : outcomes) {
      out.startItem();
      outcome.write(out);
    }
    out.writeArrayEnd();
  }

  private static void empty(BinaryEncoder out) throws IOException {
    out.writeArrayStart();
    out.setItemCount(0);
    out.writeArrayEnd();
  }

  private ZoneId zoneOf(Utf8 name) {
    ZoneId zone = zones.get(name);
    if (zone == null) {
      zone = ZoneId.of(name.toString());
      zones.put(new Utf8(name), zone);
    }
    return zone;
  }

  private static List<Utf8> utf8(List<String> words) {
    return words.stream().map(Utf8::new).toList();
  }
}
