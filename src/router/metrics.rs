//! The router's numbers: handles registered once, so that counting costs no look-up by name.

use std::time::Duration;

use hashbrown::HashMap;

use crate::model::{Channel, Class, Reason, Verdict};
use crate::telemetry::metrics::{
    self as names, Counter, DecisionCounters, Histogram, LocalCounter, Rebalance as RebalanceKind, Role, RouterWait,
};

/// One shard's handles. What comes with every event is seen once it is [published](RouterMetrics::publish).
pub struct RouterMetrics {
    events: HashMap<String, LocalCounter>,
    decisions: DecisionCounters,
    outbound: Vec<[LocalCounter; 2]>,
    dead: HashMap<(String, Reason), Counter>,
    commit: Histogram,
    latency: Histogram,
}

impl Default for RouterMetrics {
    fn default() -> Self {
        RouterMetrics {
            events: HashMap::new(),
            decisions: DecisionCounters::default(),
            outbound: Channel::ALL
                .iter()
                .map(|channel| [Class::Main, Class::Urgent].map(|class| names::outbound(*channel, class).into()))
                .collect(),
            dead: HashMap::new(),
            commit: names::commit_seconds(Role::Router),
            latency: names::decision_latency(),
        }
    }
}

impl RouterMetrics {
    /// An input record was taken.
    pub fn event_in(&mut self, topic: &str) {
        self.events.entry_ref(topic).or_insert_with(|| names::events(topic).into()).add(1);
    }

    /// Lets what was counted since the last time be seen.
    pub fn publish(&mut self) {
        self.events.values_mut().chain(self.outbound.iter_mut().flatten()).for_each(LocalCounter::publish);
        self.decisions.publish();
    }

    /// Something was concluded.
    pub fn decided(&mut self, verdict: Verdict, reason: Reason) {
        self.decisions.count(verdict, reason);
    }

    /// An outbound record was written.
    pub fn outbound(&mut self, channel: Channel, class: Class) {
        self.outbound[channel as usize][usize::from(class == Class::Urgent)].add(1);
    }

    /// A record was parked in a tier.
    pub fn parked(&self, stream: &str, topic: &str) {
        names::retries(stream, topic.rsplit('.').next().unwrap_or_default()).increment(1);
    }

    /// A dead letter was written.
    pub fn dead(&mut self, topic: &str, reason: Reason) {
        let counter = self.dead.entry((topic.to_owned(), reason)).or_insert_with(|| names::dead_letters(topic, reason));
        counter.increment(1);
    }

    /// From an event's time to its decision.
    pub fn latency(&self, latency: Duration) {
        self.latency.record(latency.as_secs_f64());
    }

    /// A transaction was committed.
    pub fn committed(&self, took: Duration) {
        self.commit.record(took.as_secs_f64());
    }

    /// A transaction was given up.
    pub fn aborted(&self, cause: &'static str) {
        names::transaction_aborts(Role::Router, cause).increment(1);
    }

    /// Partitions came or went; routing stood still for `took`.
    pub fn rebalanced(&self, kind: RebalanceKind, took: Duration) {
        names::rebalances(Role::Router, kind).increment(1);
        names::rebalance_seconds(Role::Router).record(took.as_secs_f64());
    }

    /// New partitions were taken up; routing stood still for `took` once more.
    pub fn placed(&self, took: Duration) {
        names::rebalance_seconds(Role::Router).record(took.as_secs_f64());
    }

    /// Routing stood still.
    pub fn waited(&self, cause: RouterWait, took: Duration) {
        names::router_wait(cause).increment(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }
}
