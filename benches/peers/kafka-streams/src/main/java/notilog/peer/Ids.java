package notilog.peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import org.apache.avro.util.Utf8;

/** Names that are computed as src/model/ids.rs computes them. Not for more than one thread. */
final class Ids {
  private static final byte[] NAMESPACE = HexFormat.of().parseHex("6e6f74696c6f675f76315f6e73310001");
  private static final byte[] DIGITS = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

  private final MessageDigest sha1;
  private final MessageDigest sha256;
  private final ByteBuffer length = ByteBuffer.allocate(4);

  Ids() {
    try {
      sha1 = MessageDigest.getInstance("SHA-1");
      sha256 = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException error) {
      throw new IllegalStateException(error);
    }
  }

  /** UUIDv5 over the parts, each preceded by its length. */
  Utf8 notification(Utf8... parts) {
    sha1.update(NAMESPACE);
    for (Utf8 part : parts) {
      add(sha1, part);
    }
    byte[] digest = sha1.digest();
    digest[6] = (byte) (digest[6] & 0x0f | 0x50);
    digest[8] = (byte) (digest[8] & 0x3f | 0x80);
    byte[] text = new byte[36];
    int at = 0;
    for (int index = 0; index < 16; index++) {
      if (index == 4 || index == 6 || index == 8 || index == 10) {
        text[at++] = '-';
      }
      at = hex(digest[index], text, at);
    }
    return new Utf8(text);
  }

  /** The first 16 hex digits of SHA-256 over tenant, user, channel and address. */
  Utf8 endpoint(Utf8 tenant, Utf8 user, Utf8 channel, Utf8 address) {
    add(sha256, tenant);
    add(sha256, user);
    add(sha256, channel);
    add(sha256, address);
    byte[] digest = sha256.digest();
    byte[] text = new byte[16];
    int at = 0;
    for (int index = 0; index < 8; index++) {
      at = hex(digest[index], text, at);
    }
    return new Utf8(text);
  }

  /** tenant/user_id, components percent-encoded. */
  static byte[] recipientKey(Utf8 tenant, Utf8 user) {
    byte[] key = new byte[3 * (tenant.getByteLength() + user.getByteLength()) + 1];
    int at = component(tenant, key, 0);
    key[at++] = '/';
    at = component(user, key, at);
    return java.util.Arrays.copyOf(key, at);
  }

  /** tenant/source/event_id, components percent-encoded. */
  static byte[] eventKey(Utf8 tenant, Utf8 source, Utf8 id) {
    byte[] key = new byte[3 * (tenant.getByteLength() + source.getByteLength() + id.getByteLength()) + 2];
    int at = component(tenant, key, 0);
    key[at++] = '/';
    at = component(source, key, at);
    key[at++] = '/';
    at = component(id, key, at);
    return java.util.Arrays.copyOf(key, at);
  }

  private static int component(Utf8 text, byte[] key, int at) {
    byte[] bytes = text.getBytes();
    for (int index = 0; index < text.getByteLength(); index++) {
      byte each = bytes[index];
      if (each == '/' || each == '%' || each == ' ' || each == 0x7f || each >= 0 && each < 0x20 || each < 0) {
        key[at++] = '%';
        key[at++] = (byte) Character.toUpperCase(DIGITS[each >> 4 & 15]);
        key[at++] = (byte) Character.toUpperCase(DIGITS[each & 15]);
      } else {
        key[at++] = each;
      }
    }
    return at;
  }

  private void add(MessageDigest digest, Utf8 part) {
    digest.update(length.putInt(0, part.getByteLength()).array());
    digest.update(part.getBytes(), 0, part.getByteLength());
  }

  private static int hex(byte each, byte[] text, int at) {
    text[at] = DIGITS[each >> 4 & 15];
    text[at + 1] = DIGITS[each & 15];
    return at + 2;
  }
}
