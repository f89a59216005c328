package notilog.peer;

import java.io.IOException;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.util.Utf8;

/** One conclusion of a decision; `channel`, `endpoint`, `row` and `notification` may be null. */
record Outcome(
    Utf8 user,
    Utf8 channel,
    Utf8 endpoint,
    Verdict verdict,
    HashStore.Row row,
    long version,
    Utf8 notification) {

  /** What was concluded, and by which rule of docs/policies.md. */
  enum Verdict {
    ROUTED("ROUTED", "routed", 13),
    EXPIRED("SUPPRESSED", "expired", 2),
    NO_CHANNEL("SUPPRESSED", "no_channel", 5),
    OPTED_OUT_CATEGORY("SUPPRESSED", "opted_out_category", 7),
    OPTED_OUT_CHANNEL("SUPPRESSED", "opted_out_channel", 7),
    NO_ENDPOINT("SUPPRESSED", "no_endpoint", 8),
    UNVERIFIED("SUPPRESSED", "endpoint_unverified", 8);

    private final Utf8 word;
    private final Utf8 reason;
    private final int rule;

    Verdict(String word, String reason, int rule) {
      this.word = new Utf8(word);
      this.reason = new Utf8(reason);
      this.rule = rule;
    }
  }

  void write(BinaryEncoder out) throws IOException {
    out.writeString(user);
    Avro.optional(out, channel);
    Avro.optional(out, endpoint);
    out.writeString(verdict.word);
    out.writeString(verdict.reason);
    out.writeInt(verdict.rule);
    out.writeIndex(row == null ? 0 : 1);
    if (row != null) {
      out.writeInt(row.partition());
      out.writeLong(row.offset());
      out.writeLong(version);
    }
    Avro.optional(out, notification);
    out.writeIndex(0);
  }
}
