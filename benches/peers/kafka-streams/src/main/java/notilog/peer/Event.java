package notilog.peer;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.util.Utf8;

/**
 * A reusable event, read field by field as the coders that Avro generates do. Writers of other schemas would need
 * resolution; here the schema id is checked, and there are none.
 */
final class Event {
  Utf8 id;
  Utf8 source;
  Utf8 type;
  long time;
  Utf8 tenant;
  Utf8 category;
  int priority;
  final List<Utf8> recipients = new ArrayList<>();
  Utf8 audience;
  List<Utf8> channels;
  Utf8 template;
  Utf8 data;
  Utf8 locale;
  Long notBefore;
  Long expiresAt;
  Utf8 collapseKey;

  void read(BinaryDecoder in) throws IOException {
    id = in.readString(id);
    source = in.readString(source);
    type = in.readString(type);
    time = in.readLong();
    tenant = in.readString(tenant);
    category = in.readString(category);
    priority = in.readEnum();
    Avro.strings(in, recipients);
    audience = Avro.optionalString(in);
    channels = in.readIndex() == 0 ? null : Avro.strings(in, new ArrayList<>());
    template = Avro.optionalString(in);
    data = in.readString(data);
    locale = Avro.optionalString(in);
    notBefore = Avro.optionalLong(in);
    expiresAt = Avro.optionalLong(in);
    collapseKey = Avro.optionalString(in);
  }
}
