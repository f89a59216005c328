//! From configuration to librdkafka's: what every client has in common, and what librdkafka says when it cannot.
//!
//! Invariant: what a role sets to keep a guarantee is set after the operator's properties and wins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::statistics::Statistics;

use super::consumer::SESSION_TIMEOUT;
use super::denied::Denied;
use crate::config::{Kafka, refusal};
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics;

/// What a client is for: properties of the other kind are left out, as librdkafka would complain about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads, and is in no group.
    Consumer,
    /// Reads as a member of a group.
    Member,
    /// Writes.
    Producer,
    /// Describes and changes.
    Admin,
}

/// Of those, the ones that only members of a group need. Other consumers are better off without: librdkafka refuses a
/// `max.poll.interval.ms` below its `session.timeout.ms`, whose default is longer than ours.
const MEMBER_ONLY: &[&str] =
    &["session.timeout.ms", "heartbeat.interval.ms", "coordinator.query.interval.ms", "max.poll.interval.ms"];

/// librdkafka's properties that only consumers know (column C of its CONFIGURATION.md), of those that pass.
const CONSUMER_ONLY: &[&str] = &[
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "coordinator.query.interval.ms",
    "max.poll.interval.ms",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "fetch.wait.max.ms",
    "fetch.queue.backoff.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.error.backoff.ms",
    "check.crcs",
];

/// librdkafka's properties that only producers know (column P), of those that pass.
const PRODUCER_ONLY: &[&str] = &[
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
    "linger.ms",
    "queue.buffering.backpressure.threshold",
    "produce.request.max.partitions",
    "compression.codec",
    "compression.type",
    "compression.level",
    "batch.num.messages",
    "batch.size",
    "request.timeout.ms",
    "message.timeout.ms",
    "delivery.timeout.ms",
];

/// The configuration of a client, in rising precedence: sane defaults, the role's own `defaults`, the operator's
/// properties. The caller then sets what its guarantees need.
pub fn base_config(kafka: &Kafka, kind: Kind, role: &str, defaults: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", format!("notilog-{role}"));
    config.set("socket.keepalive.enable", "true");
    config.set("log.connection.close", "false");
    for (name, value) in defaults {
        config.set(*name, *value);
    }
    for (name, value) in &kafka.properties {
        if refusal(name).is_none() && belongs(name, kind) {
            config.set(name, value.reveal());
        }
    }
    config.set("bootstrap.servers", &kafka.bootstrap_servers);
    config.set("allow.auto.create.topics", "false");
    config
}

fn belongs(name: &str, kind: Kind) -> bool {
    match kind {
        Kind::Consumer => !PRODUCER_ONLY.contains(&name) && !MEMBER_ONLY.contains(&name),
        Kind::Member => !PRODUCER_ONLY.contains(&name),
        Kind::Producer => !CONSUMER_ONLY.contains(&name),
        Kind::Admin => !CONSUMER_ONLY.contains(&name) && !PRODUCER_ONLY.contains(&name),
    }
}

/// The operator's properties that librdkafka does not know or whose value it does not take, each as
/// `(property, what is wrong)`. Values are not repeated: they may be secrets.
pub fn property_problems(kafka: &Kafka) -> Vec<(String, String)> {
    let wrong = |(name, value): (&String, &crate::config::Secret)| {
        if name == "max.poll.interval.ms"
            && value.reveal().parse::<u128>().is_ok_and(|ms| ms < SESSION_TIMEOUT.as_millis())
        {
            let least = SESSION_TIMEOUT.as_millis();
            return Some((name.clone(), format!("must be at least {least}: so long is a member's session")));
        }
        let error = ClientConfig::new().set(name, value.reveal()).create_native_config().err()?;
        let problem = match error {
            KafkaError::ClientConfig(_, description, ..) if description.contains("No such") => {
                "librdkafka has no such property".to_owned()
            }
            _ => "librdkafka does not take this value".to_owned(),
        };
        Some((name.clone(), problem))
    };
    kafka.properties.iter().filter_map(wrong).collect()
}

/// librdkafka's version, as a number and in words.
pub fn library_version() -> (i32, String) {
    rdkafka::util::get_rdkafka_version()
}

/// What librdkafka last complained about, shared by a client's context and those who wait on the client.
///
/// A wrong password shows itself only here: calls merely time out.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Arc<Mutex<Reports>>);

#[derive(Debug, Default)]
struct Reports {
    last: Option<LastError>,
    /// The last that waiting does not help against: what follows from it comes after it and says less.
    refusal: Option<LastError>,
}

/// An error that librdkafka reported by callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// librdkafka's words.
    pub reason: String,
}

impl LastError {
    /// Whether waiting does not help: the login is refused, or the broker's certificate not trusted.
    pub(super) fn is_refusal(&self) -> bool {
        match self.code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism => true,
            // A broker that goes away during the handshake gives the same codes.
            RDKafkaErrorCode::SSL | RDKafkaErrorCode::BrokerTransportFailure => {
                self.reason.contains("certificate verify failed")
            }
            _ => false,
        }
    }

    /// What an operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self.code {
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
                "check sasl.username, sasl.password and sasl.mechanisms in [kafka.properties]"
            }
            RDKafkaErrorCode::SSL => "check security.protocol, ssl.ca.location and the broker's certificate",
            RDKafkaErrorCode::Resolve => "check the host names in kafka.bootstrap_servers",
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure => {
                "check that Kafka runs, that kafka.bootstrap_servers is right, and that security.protocol fits its listener"
            }
            _ => "see the broker's log",
        }
    }
}

impl std::fmt::Display for LastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.advice())
    }
}

impl Diagnostics {
    /// What was reported last, if anything was.
    pub fn last_error(&self) -> Option<LastError> {
        self.0.lock().last.clone()
    }

    /// What was reported that waiting does not help against, since the client last worked.
    pub fn denied(&self, kafka: &Kafka) -> Option<Denied> {
        Denied::from_report(kafka, self.0.lock().refusal.as_ref()?)
    }

    /// The client works: what was refused before is over.
    pub(super) fn works(&self) {
        self.0.lock().refusal = None;
    }

    /// `error` in words, with what librdkafka reported last as its likely cause.
    pub fn explain(&self, error: &KafkaError) -> String {
        let what = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        match self.last_error() {
            Some(last) => format!("{what} (last report: {last})"),
            None => what,
        }
    }

    /// For [`ClientContext::error`].
    pub fn on_error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // Those who ask for the end of a partition are told it as an error, and it is none.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        tracing::warn!(target: "librdkafka", %code, reason, "kafka client error");
        metrics::kafka_errors(&format!("{code:?}")).increment(1);
        let report = LastError { code, reason: reason.to_owned() };
        let mut reports = self.0.lock();
        if report.is_refusal() {
            reports.refusal = Some(report.clone());
        }
        // "All brokers are down" follows from a cause that was reported before it and says less.
        let follows = code == RDKafkaErrorCode::AllBrokersDown && reports.last.is_some();
        if !follows {
            reports.last = Some(report);
        }
    }

    /// For [`ClientContext::log`].
    pub fn on_log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }
}

/// A context that only listens; for admin clients, plain producers and bounded readers. Clients with callbacks of
/// their own embed [`Diagnostics`] and hand these two on.
#[derive(Debug, Clone, Default)]
pub struct Context(Diagnostics);

impl Context {
    /// What the client complains about.
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.0
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka asks for the coordinator of any group that a consumer names. These clients join none, need no
        // right on it, and are told so.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            tracing::debug!(target: "librdkafka", reason, "no right on a group that nobody joins");
            return;
        }
        self.0.on_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Context {}

/// How long the first of several tries to get metadata may take; each later one takes twice as long.
const FIRST_TRY: Duration = Duration::from_millis(250);

/// Metadata of one topic, or of all. Waits for brokers that are not there yet, at most `patience`, but not once the
/// client reported what does not pass by itself: a refused login shows only in reports, the call would time out.
///
/// For consumers that have nothing assigned yet.
pub(super) fn metadata(
    consumer: &BaseConsumer<Context>,
    kafka: &Kafka,
    topic: Option<&str>,
    patience: Duration,
) -> Result<Metadata, KafkaError> {
    let deadline = steady_now() + patience;
    let mut timeout = FIRST_TRY;
    loop {
        let left = deadline.saturating_duration_since(steady_now());
        let error = match consumer.fetch_metadata(topic, timeout.min(left).max(Duration::from_millis(1))) {
            Ok(metadata) => {
                consumer.context().diagnostics().works();
                return Ok(metadata);
            }
            Err(error) => error,
        };
        hear_out(consumer);
        if consumer.context().diagnostics().denied(kafka).is_some() || steady_now() >= deadline {
            return Err(error);
        }
        timeout *= 2;
    }
}

/// Lets a consumer hand out the errors and logs that piled up while a call blocked, so that the call's failure can be
/// explained. For consumers that have nothing assigned yet.
pub(super) fn hear_out(consumer: &BaseConsumer<Context>) {
    const POLLS: usize = 50;
    const POLL: Duration = Duration::from_millis(2);
    for _ in 0..POLLS {
        // What it returns was handed to the context as well.
        let _ = consumer.poll(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn kafka(properties: &[(&str, &str)]) -> Kafka {
        Kafka {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            topic_prefix: String::new(),
            properties: properties.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        }
    }

    #[test]
    fn an_operators_property_wins_over_a_roles_default() {
        let config = base_config(&kafka(&[("linger.ms", "7")]), Kind::Producer, "cli", &[("linger.ms", "1")]);
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("client.id"), Some("notilog-cli"));
    }

    #[test]
    fn a_refused_property_never_reaches_the_client() {
        let config = base_config(&kafka(&[("isolation.level", "read_uncommitted")]), Kind::Consumer, "t", &[]);
        assert_eq!(config.get("isolation.level"), None);
    }

    #[test]
    fn producers_are_spared_consumer_properties_and_the_reverse() {
        let kafka = kafka(&[("session.timeout.ms", "9000"), ("linger.ms", "1")]);
        assert_eq!(base_config(&kafka, Kind::Producer, "t", &[]).get("session.timeout.ms"), None);
        assert_eq!(base_config(&kafka, Kind::Consumer, "t", &[]).get("linger.ms"), None);
        assert_eq!(base_config(&kafka, Kind::Member, "t", &[]).get("session.timeout.ms"), Some("9000"));
        assert_eq!(base_config(&kafka, Kind::Consumer, "t", &[]).get("session.timeout.ms"), None);
    }

    #[test]
    fn unknown_properties_and_wrong_values_are_told_apart_and_values_not_shown() {
        let problems =
            property_problems(&kafka(&[("linger.ns", "1"), ("socket.timeout.ms", "hunter2"), ("client.rack", "a")]));
        assert_eq!(
            problems,
            [
                ("linger.ns".to_owned(), "librdkafka has no such property".to_owned()),
                ("socket.timeout.ms".to_owned(), "librdkafka does not take this value".to_owned()),
            ]
        );
    }

    #[test]
    fn a_poll_interval_shorter_than_the_session_is_refused_with_the_reason() {
        let problems = |ms: &str| property_problems(&kafka(&[("max.poll.interval.ms", ms)]));
        assert!(problems("9999")[0].1.contains("10000"), "{:?}", problems("9999"));
        assert_eq!(problems("10000"), []);
    }

    #[test]
    fn a_wrong_password_explains_a_time_out_even_after_all_brokers_are_down() {
        let diagnostics = Diagnostics::default();
        diagnostics.on_error(&KafkaError::Global(RDKafkaErrorCode::Authentication), "SASL authentication failed");
        diagnostics.on_error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let text = diagnostics.explain(&KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        assert!(text.contains("SASL authentication failed") && text.contains("sasl.password"), "{text}");
    }
}
