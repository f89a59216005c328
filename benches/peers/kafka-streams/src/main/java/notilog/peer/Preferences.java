package notilog.peer;

import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.util.Utf8;

/** A reusable preferences record; see {@link Event}. */
final class Preferences {
  record Endpoint(Utf8 channel, Utf8 address, boolean verified) {}

  record Choice(boolean enabled, List<Utf8> channels) {}

  Utf8 tenant;
  Utf8 userId;
  Utf8 locale;
  Utf8 timezone;
  final List<Endpoint> endpoints = new ArrayList<>();
  final Map<Utf8, Boolean> channels = new HashMap<>();
  final Map<Utf8, Choice> categories = new HashMap<>();
  Long pausedUntil;
  long version;
  long updatedAt;
  Utf8 updatedBy;

  void read(BinaryDecoder in) throws IOException {
    tenant = in.readString(tenant);
    userId = in.readString(userId);
    locale = in.readString(locale);
    timezone = in.readString(timezone);
    endpoints.clear();
    for (long left = in.readArrayStart(); left != 0; left = in.arrayNext()) {
      for (; left > 0; left--) {
        endpoints.add(new Endpoint(in.readString(null), in.readString(null), in.readBoolean()));
        Avro.optionalString(in);
      }
    }
    channels.clear();
    for (long left = in.readMapStart(); left != 0; left = in.mapNext()) {
      for (; left > 0; left--) {
        channels.put(in.readString(null), in.readBoolean());
      }
    }
    categories.clear();
    for (long left = in.readMapStart(); left != 0; left = in.mapNext()) {
      for (; left > 0; left--) {
        categories.put(in.readString(null), choice(in));
      }
    }
    if (in.readArrayStart() != 0) {
      throw new UnsupportedOperationException("the benchmark's recipients have no quiet hours");
    }
    pausedUntil = Avro.optionalLong(in);
    version = in.readLong();
    updatedAt = in.readLong();
    updatedBy = in.readString(updatedBy);
  }

  private static Choice choice(BinaryDecoder in) throws IOException {
    boolean enabled = in.readBoolean();
    List<Utf8> channels = in.readIndex() == 0 ? null : Avro.strings(in, new ArrayList<>(2));
    Avro.optionalString(in);
    return new Choice(enabled, channels);
  }
}
