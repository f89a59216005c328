//! How a worker is doing: readiness and gauges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::Change;
use super::desk::{Departed, Desk};
use super::order::Lines;
use crate::channel::{Provider, Providers};
use crate::model::{Channel, Reason};
use crate::telemetry::clock::steady_now;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::{
    BreakerTo, Counter, Gauge, HeldBy, Histogram, breaker_changes, halted, held, held_seconds, in_flight, strict_lost,
    strict_waiting,
};

/// How often gauges are set.
const INTERVAL: Duration = Duration::from_millis(250);

/// One worker's.
pub struct Status {
    partitions: Condition,
    not_halted: Condition,
    shown: Instant,
    channel: Channel,
    providers: Vec<Shown>,
    in_flight: Gauge,
    held_seconds: Histogram,
    by_recipient: Gauge,
    by_tier: Gauge,
    by_halt: Gauge,
    by_limit: Gauge,
    strict_waiting: Gauge,
    strict_lost: Counter,
}

/// One provider, as others see it.
struct Shown {
    name: Arc<str>,
    halted: Gauge,
}

impl Status {
    /// The status of a channel's worker; ready when it has partitions and not all providers are halted.
    pub fn new(providers: &Providers, partitions: Condition, not_halted: Condition) -> Self {
        let channel = providers.channel;
        let shown =
            |provider: &Provider| Shown { name: Arc::clone(&provider.name), halted: halted(channel, &provider.name) };
        Status {
            channel,
            providers: providers.all.iter().map(shown).collect(),
            held_seconds: held_seconds(channel),
            partitions,
            not_halted,
            shown: steady_now(),
            in_flight: in_flight(channel),
            by_recipient: held(channel, HeldBy::Recipient),
            by_tier: held(channel, HeldBy::Tier),
            by_halt: held(channel, HeldBy::Halt),
            by_limit: held(channel, HeldBy::Limit),
            strict_waiting: strict_waiting(channel),
            strict_lost: strict_lost(channel),
        }
    }

    /// So many partitions are assigned now.
    pub fn assigned(&self, partitions: usize) {
        if partitions > 0 {
            self.partitions.ready();
        } else {
            self.partitions.not_ready("no partition is assigned");
        }
    }

    /// Shows what is on the desk and who waits in lines, now and then.
    pub fn show(&mut self, desk: &Desk, lines: &mut Lines) {
        if self.shown.elapsed() < INTERVAL {
            return;
        }
        self.shown = steady_now();
        self.in_flight.set(float(desk.calls()));
        self.strict_waiting.set(float(lines.parked()));
        let lost = lines.take_lost();
        if lost > 0 {
            tracing::warn!(channel = %self.channel, lost, "records of strict order never came out of their tiers; those behind them go on");
            self.strict_lost.increment(lost);
        }
        self.by_tier.set(float(desk.held()));
        let halted: Vec<Option<Reason>> = desk.halted_because().collect();
        for (provider, reason) in self.providers.iter().zip(&halted) {
            provider.halted.set(if reason.is_some() { 1.0 } else { 0.0 });
        }
        let limited = desk.limited();
        let queued = desk.queued() - limited.min(desk.queued());
        let stopped = halted.iter().all(Option::is_some);
        let (recipient, halt) = if stopped { (0, queued) } else { (queued, 0) };
        self.by_recipient.set(float(recipient));
        self.by_halt.set(float(halt));
        self.by_limit.set(float(limited));
        match halted.into_iter().flatten().next().filter(|_| stopped) {
            Some(reason) => self.not_halted.not_ready(format!("halted: {reason}")),
            None => self.not_halted.ready(),
        }
    }

    /// A call to a provider starts.
    pub fn departed(&self, provider: usize, departed: Departed) {
        if let Some(held) = departed.held {
            self.held_seconds.record(held.as_secs_f64());
        }
        if let Some(change) = departed.change {
            self.tell(provider, change);
        }
    }

    /// A provider's breaker changed.
    pub fn tell(&self, provider: usize, change: Change) {
        let Some(provider) = self.providers.get(provider).map(|shown| &*shown.name) else { return };
        let channel = self.channel;
        let to = match change {
            Change::Opened(reason) => {
                tracing::error!(%channel, provider, %reason, "the provider is left alone: the fault is ours or its own; what no other can take waits in Kafka");
                BreakerTo::Open
            }
            Change::HalfOpened => {
                tracing::info!(%channel, provider, "the provider is tried again");
                BreakerTo::HalfOpen
            }
            Change::Reopened(reason) => {
                tracing::warn!(%channel, provider, %reason, "the provider is not back yet");
                BreakerTo::Reopened
            }
            Change::Closed => {
                tracing::info!(%channel, provider, "the provider works again");
                BreakerTo::Closed
            }
        };
        breaker_changes(channel, provider, to).increment(1);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 records are not reached")]
fn float(count: usize) -> f64 {
    count as f64
}
