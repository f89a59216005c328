//! Every metric in one enum: name, kind, help, labels. The only place that names the `metrics` crate's registry.
//!
//! Labels are bounded: topics, channels, reasons, partitions; never a user, an address or an id. Hot paths register a
//! handle once and keep it; a handle made before [`install`] counts nothing.

use std::sync::OnceLock;

pub use metrics::{Counter, Gauge, Histogram};
use metrics::{Key, KeyName, Label, Level, Metadata};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use crate::model::{Channel, Class, Reason, State, Verdict};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution, with these upper bounds.
    Histogram(&'static [f64]),
}

impl Type {
    /// In Prometheus' words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        }
    }
}

/// Seconds that a call to Kafka or a provider takes.
const CALL: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds from event to decision or message: from milliseconds to a night of quiet hours.
const END_TO_END: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0,
    86_400.0,
];

/// Declares [`Metric`] with what each is.
macro_rules! metrics_enum {
    ($($variant:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)+) => {
        /// Every metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $help] $variant),+ }

        impl Metric {
            /// Every metric, in the order of the documentation.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant),+];

            /// Its name in the exposition.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),+ }
            }

            /// What it is.
            pub const fn kind(self) -> Type {
                match self { $(Metric::$variant => $kind),+ }
            }

            /// Its labels, in order.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Metric::$variant => &[$($label),*]),+ }
            }

            /// What it counts, in a sentence.
            pub const fn help(self) -> &'static str {
                match self { $(Metric::$variant => $help),+ }
            }
        }
    };
}

metrics_enum! {
    BuildInfo = "notilog_build_info", Type::Gauge, ["version"], "Always 1; the label says which version runs.";
    Events = "notilog_events_total", Type::Counter, ["topic"], "Input records that the router took from a topic.";
    Decisions = "notilog_decisions_total", Type::Counter, ["verdict", "reason"], "Conclusions of the decision chain, every no included.";
    Outbound = "notilog_outbound_total", Type::Counter, ["channel", "class"], "Outbound records that the router wrote; class is main or urgent.";
    Attempts = "notilog_attempts_total", Type::Counter, ["channel", "provider", "outcome"], "Calls to providers by what came of them: sent, retry, reject, halt; recorded where a sandbox made none.";
    Statuses = "notilog_statuses_total", Type::Counter, ["channel", "state"], "Delivery statuses written.";
    Retries = "notilog_retries_total", Type::Counter, ["stream", "tier"], "Records parked in a tier; stream is events or a channel.";
    DeadLetters = "notilog_dead_letters_total", Type::Counter, ["topic", "reason"], "Records written to a dead-letter topic.";
    CommitSeconds = "notilog_commit_seconds", Type::Histogram(CALL), ["role"], "How long a transaction's commit takes, draining included.";
    TransactionAborts = "notilog_transaction_aborts_total", Type::Counter, ["role", "cause"], "Transactions aborted or of unknown result.";
    TableRecords = "notilog_table_records", Type::Gauge, ["table"], "Keys held of a table.";
    TableBytes = "notilog_table_bytes", Type::Gauge, ["table"], "Memory that a table's keys and values take.";
    TableRestoreRatio = "notilog_table_restore_ratio", Type::Gauge, ["table"], "How much of a table is restored, 0 to 1.";
    TableLag = "notilog_table_lag_seconds", Type::Gauge, ["table"], "How long a table has been behind its log end.";
    TableSnapshots = "notilog_table_snapshots_total", Type::Counter, ["table", "outcome"], "Snapshots of a table: written, failed to be, loaded at start, or not used because damaged, foreign, aged, offsets or unreadable.";
    ConsumerLag = "notilog_consumer_lag_records", Type::Gauge, ["group", "topic", "partition"], "Records between the committed offset and the log end.";
    Rebalances = "notilog_rebalances_total", Type::Counter, ["role", "kind"], "Assignments, revocations and losses of partitions.";
    RebalanceSeconds = "notilog_rebalance_seconds", Type::Histogram(CALL), ["role"], "How long a change of the assignment stopped the partitions that stay, once for each step.";
    RouterWait = "notilog_router_wait_milliseconds_total", Type::Counter, ["cause"], "Milliseconds that a shard waited; cause is table or registry.";
    DecisionLatency = "notilog_decision_latency_seconds", Type::Histogram(END_TO_END), [], "From an event's time to its decision.";
    DeliveryLatency = "notilog_delivery_latency_seconds", Type::Histogram(END_TO_END), ["channel"], "From an event's time to the provider's acceptance.";
    ProviderSeconds = "notilog_provider_seconds", Type::Histogram(CALL), ["channel", "provider", "outcome"], "How long one call to a provider takes.";
    RetrySeconds = "notilog_retry_seconds", Type::Histogram(END_TO_END), ["channel", "state"], "How long a notification that was tried more than once took from its first record to its end.";
    HeldSeconds = "notilog_held_seconds", Type::Histogram(END_TO_END), ["channel"], "How long a limit held the next notification of a recipient back; not part of any delivery time.";
    InFlight = "notilog_in_flight", Type::Gauge, ["channel"], "Calls to providers under way.";
    Held = "notilog_held_records", Type::Gauge, ["channel", "cause"], "Records held back: behind their recipient's turn, by a tier, a halt or a limit.";
    StrictWaiting = "notilog_strict_waiting_records", Type::Gauge, ["channel"], "Records of strict order that wait in tiers, the first of each recipient and those behind them.";
    StrictLost = "notilog_strict_lost_total", Type::Counter, ["channel"], "Records of strict order that never came out of their tier and are not waited for any more.";
    Halted = "notilog_halted", Type::Gauge, ["channel", "provider"], "1 while a provider is left alone after a fault of ours or its own.";
    BreakerChanges = "notilog_breaker_changes_total", Type::Counter, ["channel", "provider", "to"], "Changes of a provider's breaker: open, half_open, reopened, closed.";
    Receipts = "notilog_receipts_total", Type::Counter, ["provider", "state"], "Receipts that providers sent over their own connection (SMPP).";
    InputHeld = "notilog_input_held", Type::Gauge, ["topic"], "1 while an input topic is held because too much of it went to the dead letters.";
    ReceiptOutcomes = "notilog_receipt_outcomes_total", Type::Counter, ["outcome"], "Receipts by what they came to: told, stale, waits (once for each wait), unknown, meaningless; of notifications that something follows also goes_on and ends_chain.";
    Fallbacks = "notilog_fallbacks_total", Type::Counter, ["channel", "because"], "Notifications written because the one before them in a chain was unseen, bounced, failed, dead, expired or cancelled; by their own channel.";
    ReceiptRequests = "notilog_receipt_requests_total", Type::Counter, ["hook", "outcome"], "Requests that brought receipts by HTTP: taken, unwritten, signature, shape.";
    BounceMails = "notilog_bounce_mails_total", Type::Counter, ["mailbox", "kind"], "Mails read from a mailbox; kind is report or other.";
    KafkaErrors = "notilog_kafka_errors_total", Type::Counter, ["code"], "Errors that the Kafka client reported.";
}

impl Metric {
    fn key(self, values: &[&str]) -> Key {
        debug_assert_eq!(values.len(), self.labels().len(), "labels of {}", self.name());
        let labels = self.labels().iter().zip(values);
        let labels: Vec<Label> = labels.map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(self.name(), labels)
    }

    fn counter(self, values: &[&str]) -> Counter {
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    fn gauge(self, values: &[&str]) -> Gauge {
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    fn histogram(self, values: &[&str]) -> Histogram {
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }
}

static METADATA: Metadata<'static> = Metadata::new("notilog", Level::INFO, None);

static EXPOSITION: OnceLock<Exposition> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// Renders what was counted.
#[derive(Clone)]
pub struct Exposition(PrometheusHandle);

impl Exposition {
    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        self.keep_up();
        self.0.render()
    }

    /// Puts the samples of histograms into their buckets. Until someone does, each sample stays in memory, so that a
    /// process that nobody scrapes would grow with what it does.
    pub fn keep_up(&self) {
        self.0.run_upkeep();
    }
}

/// Starts counting for this process; a second call returns the same exposition. Handles made before count nothing.
pub fn install() -> Result<Exposition, BuildError> {
    let _one_at_a_time = INSTALLING.lock();
    if let Some(present) = EXPOSITION.get() {
        return Ok(present.clone());
    }
    let exposition = Exposition(builder()?.install_recorder()?);
    describe();
    Metric::BuildInfo.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    Ok(EXPOSITION.get_or_init(|| exposition).clone())
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    Metric::ALL.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind() {
        Type::Histogram(bounds) => builder.set_buckets_for_metric(Matcher::Full(metric.name().to_owned()), bounds),
        _ => Ok(builder),
    })
}

fn describe() {
    metrics::with_recorder(|recorder| {
        for metric in Metric::ALL {
            let (name, help) = (KeyName::from(metric.name()), metric.help().into());
            match metric.kind() {
                Type::Counter => recorder.describe_counter(name, None, help),
                Type::Gauge => recorder.describe_gauge(name, None, help),
                Type::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
    });
}

/// The documentation's table of all metrics, in Markdown.
pub fn table() -> String {
    let head = "| metric | type | labels | what it says |\n|---|---|---|---|\n".to_owned();
    Metric::ALL.iter().fold(head, |table, metric| {
        let labels: Vec<String> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (metric.name(), metric.kind().as_str());
        format!("{table}| `{name}` | {kind} | {} | {} |\n", labels.join(", "), metric.help())
    })
}

/// Input records of a topic.
pub fn events(topic: &str) -> Counter {
    Metric::Events.counter(&[topic])
}

/// Outbound records by channel and class.
pub fn outbound(channel: Channel, class: Class) -> Counter {
    let class = match class {
        Class::Main => "main",
        Class::Urgent => "urgent",
    };
    Metric::Outbound.counter(&[channel.as_str(), class])
}

/// What came of a call to a provider, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    /// The provider took it.
    Sent,
    /// Later.
    Retry,
    /// The recipient's side refuses.
    Reject,
    /// Our side fails.
    Halt,
    /// No call was made: a sandbox recorded it.
    Recorded,
}

impl AttemptOutcome {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptOutcome::Sent => "sent",
            AttemptOutcome::Retry => "retry",
            AttemptOutcome::Reject => "reject",
            AttemptOutcome::Halt => "halt",
            AttemptOutcome::Recorded => "recorded",
        }
    }
}

/// Calls to providers.
pub fn attempts(channel: Channel, provider: &str, outcome: AttemptOutcome) -> Counter {
    Metric::Attempts.counter(&[channel.as_str(), provider, outcome.as_str()])
}

/// Seconds that calls to providers take.
pub fn provider_seconds(channel: Channel, provider: &str, outcome: AttemptOutcome) -> Histogram {
    Metric::ProviderSeconds.histogram(&[channel.as_str(), provider, outcome.as_str()])
}

/// Seconds from the first record of a notification that was tried more than once to its end.
pub fn retry_seconds(channel: Channel, state: State) -> Histogram {
    Metric::RetrySeconds.histogram(&[channel.as_str(), state.as_str()])
}

/// Seconds that a limit held a recipient's next notification back.
pub fn held_seconds(channel: Channel) -> Histogram {
    Metric::HeldSeconds.histogram(&[channel.as_str()])
}

/// Records of strict order that wait in tiers.
pub fn strict_waiting(channel: Channel) -> Gauge {
    Metric::StrictWaiting.gauge(&[channel.as_str()])
}

/// Records of strict order that are not waited for any more.
pub fn strict_lost(channel: Channel) -> Counter {
    Metric::StrictLost.counter(&[channel.as_str()])
}

/// What a breaker became, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerTo {
    /// From closed to open.
    Open,
    /// Probes start.
    HalfOpen,
    /// A probe failed.
    Reopened,
    /// Calls go on.
    Closed,
}

/// Changes of a provider's breaker.
pub fn breaker_changes(channel: Channel, provider: &str, to: BreakerTo) -> Counter {
    let to = match to {
        BreakerTo::Open => "open",
        BreakerTo::HalfOpen => "half_open",
        BreakerTo::Reopened => "reopened",
        BreakerTo::Closed => "closed",
    };
    Metric::BreakerChanges.counter(&[channel.as_str(), provider, to])
}

/// Receipts that came over a provider's connection.
pub fn receipts(provider: &str, state: &str) -> Counter {
    Metric::Receipts.counter(&[provider, state])
}

/// Delivery statuses written.
pub fn statuses(channel: Channel, state: State) -> Counter {
    Metric::Statuses.counter(&[channel.as_str(), state.as_str()])
}

/// Records parked in a tier; `stream` is `events` or a channel.
pub fn retries(stream: &str, tier: &str) -> Counter {
    Metric::Retries.counter(&[stream, tier])
}

/// Receipts, by what they came to.
pub fn receipt_outcomes(outcome: &'static str) -> Counter {
    Metric::ReceiptOutcomes.counter(&[outcome])
}

/// Notifications that stand in for another; `because` is a word of the chain's.
pub fn fallbacks(channel: Channel, because: &'static str) -> Counter {
    Metric::Fallbacks.counter(&[channel.as_str(), because])
}

/// Requests that brought receipts; `hook` is a configured name.
pub fn receipt_requests(hook: &str, outcome: &'static str) -> Counter {
    Metric::ReceiptRequests.counter(&[hook, outcome])
}

/// Mails that were read from a configured mailbox.
pub fn bounce_mails(mailbox: &str, kind: &'static str) -> Counter {
    Metric::BounceMails.counter(&[mailbox, kind])
}

/// Records written to a dead-letter topic.
pub fn dead_letters(topic: &str, reason: Reason) -> Counter {
    Metric::DeadLetters.counter(&[topic, reason.as_str()])
}

/// Who holds transactions, groups and partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The router.
    Router,
    /// Delivery.
    Deliver,
    /// Receipts.
    Receipts,
}

impl Role {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Router => "router",
            Role::Deliver => "deliver",
            Role::Receipts => "receipts",
        }
    }
}

/// Seconds that commits take.
pub fn commit_seconds(role: Role) -> Histogram {
    Metric::CommitSeconds.histogram(&[role.as_str()])
}

/// Transactions aborted; `cause` is one of a few words of the caller's.
pub fn transaction_aborts(role: Role, cause: &'static str) -> Counter {
    Metric::TransactionAborts.counter(&[role.as_str(), cause])
}

/// Assignments, revocations and losses of partitions.
pub fn rebalances(role: Role, kind: Rebalance) -> Counter {
    let kind = match kind {
        Rebalance::Assigned => "assigned",
        Rebalance::Revoked => "revoked",
        Rebalance::Lost => "lost",
    };
    Metric::Rebalances.counter(&[role.as_str(), kind])
}

/// What happened to partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rebalance {
    /// They came.
    Assigned,
    /// They were handed back.
    Revoked,
    /// They were taken: another may own them already.
    Lost,
}

/// Seconds that rebalances stop a member's partitions.
pub fn rebalance_seconds(role: Role) -> Histogram {
    Metric::RebalanceSeconds.histogram(&[role.as_str()])
}

/// What the router waits for, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouterWait {
    /// The preferences table is too far behind.
    Table,
    /// The schema registry does not answer.
    Registry,
}

/// Milliseconds that a shard waited.
pub fn router_wait(cause: RouterWait) -> Counter {
    Metric::RouterWait.counter(&[match cause {
        RouterWait::Table => "table",
        RouterWait::Registry => "registry",
    }])
}

/// The gauges of one table.
#[derive(Clone)]
pub struct TableGauges {
    /// Keys held.
    pub records: Gauge,
    /// Bytes of keys and values.
    pub bytes: Gauge,
    /// 0 to 1.
    pub restore_ratio: Gauge,
    /// Seconds behind the log end.
    pub lag_seconds: Gauge,
}

/// The gauges of the table of this name (its topic without the prefix).
pub fn table_gauges(table: &str) -> TableGauges {
    TableGauges {
        records: Metric::TableRecords.gauge(&[table]),
        bytes: Metric::TableBytes.gauge(&[table]),
        restore_ratio: Metric::TableRestoreRatio.gauge(&[table]),
        lag_seconds: Metric::TableLag.gauge(&[table]),
    }
}

/// Snapshots of a table; `outcome` is one of a few words of the caller's.
pub fn table_snapshots(table: &str, outcome: &'static str) -> Counter {
    Metric::TableSnapshots.counter(&[table, outcome])
}

/// Records between the committed offset and the log end of a partition.
pub fn consumer_lag(group: &str, topic: &str, partition: i32) -> Gauge {
    Metric::ConsumerLag.gauge(&[group, topic, &partition.to_string()])
}

/// Seconds from an event's time to its decision.
pub fn decision_latency() -> Histogram {
    Metric::DecisionLatency.histogram(&[])
}

/// Seconds from an event's time to the provider's acceptance.
pub fn delivery_latency(channel: Channel) -> Histogram {
    Metric::DeliveryLatency.histogram(&[channel.as_str()])
}

/// Calls to providers under way.
pub fn in_flight(channel: Channel) -> Gauge {
    Metric::InFlight.gauge(&[channel.as_str()])
}

/// Why a record is held back, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeldBy {
    /// Its recipient's earlier notification is under way.
    Recipient,
    /// Its tier's delay.
    Tier,
    /// A halted provider.
    Halt,
    /// A rate limit.
    Limit,
}

/// Records held back.
pub fn held(channel: Channel, cause: HeldBy) -> Gauge {
    let cause = match cause {
        HeldBy::Recipient => "recipient",
        HeldBy::Tier => "tier",
        HeldBy::Halt => "halt",
        HeldBy::Limit => "limit",
    };
    Metric::Held.gauge(&[channel.as_str(), cause])
}

/// 1 while a provider is left alone.
pub fn halted(channel: Channel, provider: &str) -> Gauge {
    Metric::Halted.gauge(&[channel.as_str(), provider])
}

/// 1 while an input topic is held.
pub fn input_held(topic: &str) -> Gauge {
    Metric::InputHeld.gauge(&[topic])
}

/// Errors that the Kafka client reported, by librdkafka's name of the code.
pub fn kafka_errors(code: &str) -> Counter {
    Metric::KafkaErrors.counter(&[code])
}

/// A counter of one thread, which shows what was added only once it is published: a counter that all threads share costs
/// two writes that they contend for.
#[derive(Debug)]
pub struct LocalCounter {
    counter: Counter,
    held: u64,
}

impl From<Counter> for LocalCounter {
    fn from(counter: Counter) -> Self {
        LocalCounter { counter, held: 0 }
    }
}

impl LocalCounter {
    /// Counts.
    pub fn add(&mut self, count: u64) {
        self.held += count;
    }

    /// Lets what was added be seen.
    pub fn publish(&mut self) {
        if self.held > 0 {
            self.counter.increment(std::mem::take(&mut self.held));
        }
    }
}

/// What a thread that ended counted is not lost.
impl Drop for LocalCounter {
    fn drop(&mut self) {
        self.publish();
    }
}

/// Decision counters by verdict and reason, registered as they are first used: two array look-ups on the hot path.
#[derive(Default)]
pub struct DecisionCounters {
    counters: Vec<Option<LocalCounter>>,
}

impl DecisionCounters {
    /// Counts one conclusion.
    pub fn count(&mut self, verdict: Verdict, reason: Reason) {
        let index = verdict as usize * Reason::ALL.len() + reason as usize;
        if self.counters.len() <= index {
            self.counters.resize_with(Verdict::ALL.len() * Reason::ALL.len(), || None);
        }
        if let Some(slot) = self.counters.get_mut(index) {
            slot.get_or_insert_with(|| Metric::Decisions.counter(&[verdict.as_str(), reason.as_str()]).into()).add(1);
        }
    }

    /// Lets what was counted be seen.
    pub fn publish(&mut self) {
        self.counters.iter_mut().flatten().for_each(LocalCounter::publish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts in a recorder of its own.
    fn rendered(work: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            work();
        });
        recorder.handle().render()
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("notilog_"), "{name}");
            assert_eq!(metric.kind() == Type::Counter, name.ends_with("_total"), "{name}");
            if matches!(metric.kind(), Type::Histogram(_)) {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            assert!(metric.help().ends_with('.'), "{name}");
        }
    }

    #[test]
    fn what_is_counted_is_exposed_with_help_and_labels() {
        let text = rendered(|| {
            let mut decisions = DecisionCounters::default();
            decisions.count(Verdict::Suppressed, Reason::QuietHours);
            decisions.count(Verdict::Suppressed, Reason::QuietHours);
            decisions.count(Verdict::Routed, Reason::Routed);
            decisions.publish();
            decisions.publish();
            LocalCounter::from(events("t")).add(7);
            commit_seconds(Role::Router).record(0.003);
            attempts(Channel::Email, "smtp", AttemptOutcome::Retry).increment(3);
            consumer_lag("g", "t", 2).set(5.0);
        });
        for line in [
            r#"notilog_decisions_total{verdict="SUPPRESSED",reason="quiet_hours"} 2"#,
            r#"notilog_decisions_total{verdict="ROUTED",reason="routed"} 1"#,
            r#"notilog_events_total{topic="t"} 7"#,
            r#"notilog_commit_seconds_bucket{role="router",le="0.005"} 1"#,
            r#"notilog_commit_seconds_bucket{role="router",le="0.0025"} 0"#,
            r#"notilog_attempts_total{channel="email",provider="smtp",outcome="retry"} 3"#,
            r#"notilog_consumer_lag_records{group="g",topic="t",partition="2"} 5"#,
            "# HELP notilog_decisions_total Conclusions of the decision chain, every no included.",
            "# TYPE notilog_commit_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_documentation_lists_every_metric_as_it_is() {
        let documented = include_str!("../../docs/metrics.md");
        assert!(
            documented.contains(&table()),
            "docs/metrics.md is stale: put in the output of `notilog reference metrics`"
        );
    }
}
