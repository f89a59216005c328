//! The Kafka properties that `[kafka.properties]` may not set, each with the guarantee that it would break.

/// Properties refused, with the reason. Aliases of librdkafka are listed beside their main name.
pub const REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "it has its own key: kafka.bootstrap_servers"),
    ("metadata.broker.list", "it has its own key: kafka.bootstrap_servers"),
    ("group.id", "group names are set by role (router.group, delivery.group) under kafka.topic_prefix"),
    (
        "group.instance.id",
        "it is made of group, instance and shard; router.static_membership turns static membership on",
    ),
    ("group.protocol", "the next-generation protocol of librdkafka still has a fatal error after max.poll.interval.ms"),
    ("group.remote.assignor", "belongs to the next-generation group protocol, which is not used"),
    (
        "partition.assignment.strategy",
        "delivery relies on `range`: one worker owns the same partition number of main, urgent and tiers",
    ),
    ("enable.auto.commit", "offsets are committed with the outputs in one transaction; a timer would lose events"),
    ("auto.commit.interval.ms", "offsets are committed with the outputs in one transaction; a timer would lose events"),
    ("enable.auto.offset.store", "an offset counts as processed when its outputs are written, not when it is fetched"),
    ("offset.store.method", "offsets live in the broker, with the transaction that wrote the outputs"),
    ("auto.offset.reset", "a lost offset must stop the router: starting over would send old notifications again"),
    ("isolation.level", "without read_committed, outputs of aborted transactions would be sent"),
    ("enable.partition.eof", "tables and scans rely on it, workers on its absence"),
    ("transactional.id", "it is made of group, instance and shard; a shared one would fence the others"),
    ("transaction.timeout.ms", "it must fit the commit interval and the watchdog around it"),
    ("enable.idempotence", "without it a retried produce may write twice or out of order"),
    ("enable.gapless.guarantee", "a gap would stop the producer for good; the transaction already guards against it"),
    ("acks", "a record that only one replica has can be lost; it is always `all`"),
    ("request.required.acks", "a record that only one replica has can be lost; it is always `all`"),
    ("max.in.flight", "more than 5 breaks the order that idempotence keeps"),
    ("max.in.flight.requests.per.connection", "more than 5 breaks the order that idempotence keeps"),
    ("message.send.max.retries", "idempotence needs retries; delivery is bounded by message.timeout.ms"),
    ("retries", "idempotence needs retries; delivery is bounded by message.timeout.ms"),
    ("partitioner", "keys must land where Java clients put them (murmur2_random), or joins miss"),
    ("partitioner_cb", "keys must land where Java clients put them (murmur2_random), or joins miss"),
    ("sticky.partitioning.linger.ms", "belongs to the partitioner, which is fixed"),
    ("allow.auto.create.topics", "topics are created by `notilog topics apply`, with the right settings"),
    ("topic.blacklist", "a hidden topic would be missed without a word"),
    (
        "enable.ssl.certificate.verification",
        "anyone could pose as the broker; trust its CA with ssl.ca.location instead",
    ),
    ("delivery.report.only.error", "what was written is known from the reports"),
    ("log.queue", "logs are already taken over"),
    ("log_level", "use telemetry.log, for example `info,librdkafka=debug`"),
    ("plugin.library.paths", "would load foreign code into the process"),
    ("test.mock.num.brokers", "would write to brokers that do not exist"),
];

/// Why `name` may not be set, if it may not.
pub fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| *reason)
}

/// The documentation's table of refused properties, in Markdown.
pub fn refused_table() -> String {
    let head = "| property | why it may not be set |\n|---|---|\n".to_owned();
    REFUSED.iter().fold(head, |table, (name, reason)| format!("{table}| `{name}` | {reason} |\n"))
}

/// Whether a property's value must never be shown. What is not known to be harmless counts as secret.
pub fn is_secret(name: &str) -> bool {
    const HARMLESS_SASL: &[&str] =
        &["sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.kerberos.service.name"];
    let speaks_of_a_secret = ["password", "secret", "passphrase", "pem", "ssl.key", "ssl_key", "token", "config"]
        .iter()
        .any(|word| name.contains(word));
    speaks_of_a_secret || (name.starts_with("sasl.") && !HARMLESS_SASL.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_reason_and_stands_once() {
        let mut names: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(REFUSED.iter().all(|(_, reason)| reason.len() > 10));
    }

    #[test]
    fn a_password_is_secret_and_a_mechanism_is_not() {
        for name in [
            "sasl.password",
            "ssl.key.pem",
            "ssl.key.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.client.secret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["sasl.mechanisms", "security.protocol", "ssl.ca.location", "compression.type", "linger.ms"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
