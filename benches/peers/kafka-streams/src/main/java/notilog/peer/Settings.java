package notilog.peer;

import java.util.List;
import java.util.Map;
import java.util.Properties;

/** Names, ids and the one category of the policy that the benchmark's events have. */
record Settings(String prefix, int eventId, int preferencesId, int outboundId, int decisionId, String policyVersion) {
  /** In the order in which outcomes are written. */
  static final List<String> CHANNELS = List.of("email", "telegram");

  /** Of the category `orders` in policies/shop.toml. */
  static final List<String> ALLOWED = List.of("email", "telegram", "webhook", "push", "inbox");

  static final List<String> DEFAULT = List.of("email");
  static final long MAX_AGE_MS = 3L * 24 * 3_600 * 1_000;
  static final Map<String, String> TEMPLATES =
      Map.of("order.placed", "order_placed", "order.shipped", "order_shipped", "order.delivered", "message");

  Settings(Properties given) {
    this(
        given.getProperty("prefix"),
        Integer.parseInt(given.getProperty("schema.event")),
        Integer.parseInt(given.getProperty("schema.preferences")),
        Integer.parseInt(given.getProperty("schema.outbound")),
        Integer.parseInt(given.getProperty("schema.decision")),
        given.getProperty("policy.version"));
  }

  String eventsTopic() {
    return prefix + "notify.events.shop";
  }

  String preferencesTopic() {
    return prefix + "notify.preferences";
  }

  String outboundTopic(String channel) {
    return prefix + "notify.outbound." + channel;
  }

  String decisionsTopic() {
    return prefix + "notify.decisions";
  }
}
