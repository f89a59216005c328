package notilog.peer;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.util.Utf8;

/** Confluent's frame around Avro, with a decoder, an encoder and a buffer that are used again. */
final class Avro {
  private static final int FRAME = 5;

  private final ByteArrayOutputStream out = new ByteArrayOutputStream(1_024);
  private BinaryDecoder decoder;
  private BinaryEncoder encoder;

  interface Body {
    void read(BinaryDecoder in) throws IOException;
  }

  interface Fields {
    void write(BinaryEncoder out) throws IOException;
  }

  void read(byte[] value, int schemaId, Body body) throws IOException {
    int id = value.length < FRAME ? -1 : ByteBuffer.wrap(value, 1, 4).getInt();
    if (id != schemaId || value[0] != 0) {
      throw new IOException("not framed with schema " + schemaId);
    }
    decoder = DecoderFactory.get().binaryDecoder(value, FRAME, value.length - FRAME, decoder);
    body.read(decoder);
    if (!decoder.isEnd()) {
      throw new IOException("bytes are left");
    }
  }

  byte[] write(int schemaId, Fields fields) throws IOException {
    out.reset();
    out.write(0);
    out.write(schemaId >> 24);
    out.write(schemaId >> 16);
    out.write(schemaId >> 8);
    out.write(schemaId);
    encoder = EncoderFactory.get().binaryEncoder(out, encoder);
    fields.write(encoder);
    encoder.flush();
    return out.toByteArray();
  }

  /** Fills a list, using its strings again. */
  static List<Utf8> strings(BinaryDecoder in, List<Utf8> into) throws IOException {
    int count = 0;
    for (long left = in.readArrayStart(); left != 0; left = in.arrayNext()) {
      for (; left > 0; left--, count++) {
        if (count < into.size()) {
          into.set(count, in.readString(into.get(count)));
        } else {
          into.add(in.readString(null));
        }
      }
    }
    into.subList(count, into.size()).clear();
    return into;
  }

  static Utf8 optionalString(BinaryDecoder in) throws IOException {
    return in.readIndex() == 0 ? null : in.readString(null);
  }

  static Long optionalLong(BinaryDecoder in) throws IOException {
    return in.readIndex() == 0 ? null : in.readLong();
  }

  static void optional(BinaryEncoder out, Utf8 text) throws IOException {
    out.writeIndex(text == null ? 0 : 1);
    if (text != null) {
      out.writeString(text);
    }
  }

  static void optional(BinaryEncoder out, Long number) throws IOException {
    out.writeIndex(number == null ? 0 : 1);
    if (number != null) {
      out.writeLong(number);
    }
  }
}
