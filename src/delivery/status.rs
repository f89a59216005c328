//! How a worker is doing: readiness and gauges.

use std::time::{Duration, Instant};

use super::desk::Desk;
use crate::model::Channel;
use crate::telemetry::clock::steady_now;
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::{Gauge, HeldBy, halted, held, in_flight};

/// How often gauges are set.
const INTERVAL: Duration = Duration::from_millis(250);

/// One worker's.
pub struct Status {
    partitions: Condition,
    not_halted: Condition,
    shown: Instant,
    in_flight: Gauge,
    halted: Gauge,
    by_recipient: Gauge,
    by_tier: Gauge,
    by_halt: Gauge,
}

impl Status {
    /// The status of a channel's worker; ready when it has partitions and the provider is not halted.
    pub fn new(channel: Channel, partitions: Condition, not_halted: Condition) -> Self {
        Status {
            partitions,
            not_halted,
            shown: steady_now(),
            in_flight: in_flight(channel),
            halted: halted(channel),
            by_recipient: held(channel, HeldBy::Recipient),
            by_tier: held(channel, HeldBy::Tier),
            by_halt: held(channel, HeldBy::Halt),
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

    /// Shows what is on the desk, now and then.
    pub fn show(&mut self, desk: &Desk) {
        if self.shown.elapsed() < INTERVAL {
            return;
        }
        self.shown = steady_now();
        self.in_flight.set(float(desk.calls()));
        self.by_tier.set(float(desk.held()));
        let halted = desk.halted_because();
        self.halted.set(if halted.is_some() { 1.0 } else { 0.0 });
        let (recipient, halt) = if halted.is_some() { (0, desk.queued()) } else { (desk.queued(), 0) };
        self.by_recipient.set(float(recipient));
        self.by_halt.set(float(halt));
        match halted {
            Some(reason) => self.not_halted.not_ready(format!("halted: {reason}")),
            None => self.not_halted.ready(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 records are not reached")]
fn float(count: usize) -> f64 {
    count as f64
}
