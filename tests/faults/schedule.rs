//! What happens to whom in a chaos run, drawn from a seed. Pure: the same seed, length and number of processes give the
//! same schedule, and its hash says so.
//!
//! Each process has a row of lives, told one after the other. When a life ends depends on the machine; what ends it,
//! and at which pass of which point or how long after the start, does not.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use notilog::telemetry::faults::Point;
use sha2::{Digest as _, Sha256};

use crate::proxy::{Api, Fault};
use crate::scene::Seed;

/// Where a router can be killed, between how many passes the kill may come, and how often it is drawn.
const POINTS: [(Point, Range<u64>, u64); 11] = [
    (Point::Begun, 2..10, 2),
    (Point::MidProduce, 20..120, 4),
    (Point::Drained, 2..10, 3),
    (Point::OffsetsSent, 2..10, 4),
    (Point::Committed, 2..10, 4),
    (Point::Aborting, 1..2, 1),
    (Point::Aborted, 1..2, 1),
    (Point::Rewinding, 1..2, 1),
    (Point::Assigned, 1..2, 1),
    (Point::Revoked, 1..2, 1),
    (Point::Restoring, 1..100, 1),
];

/// What a network does, and how often it is drawn.
const NETWORK: [(Api, Fault, usize, u64); 10] = [
    (Api::EndTxn, Fault::Slow(Duration::from_millis(400)), 3, 2),
    (Api::EndTxn, Fault::LoseAnswer, 1, 3),
    (Api::EndTxn, Fault::HoldAndClose, 1, 3),
    (Api::TxnOffsetCommit, Fault::LoseAnswer, 1, 2),
    (Api::AddOffsetsToTxn, Fault::Close, 1, 1),
    (Api::AddPartitionsToTxn, Fault::Answer(CONCURRENT_TRANSACTIONS), 3, 1),
    (Api::Produce, Fault::LoseAnswer, 1, 3),
    (Api::Produce, Fault::Slow(Duration::from_millis(300)), 4, 2),
    (Api::OffsetFetch, Fault::Answer(COORDINATOR_LOAD_IN_PROGRESS), 3, 2),
    (Api::Heartbeat, Fault::Close, 2, 1),
];
const CONCURRENT_TRANSACTIONS: i16 = 51;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// SIGKILL at the nth pass of a point; `soon` when within milliseconds after it.
    KilledAt { point: Point, pass: u64, soon: bool },
    /// SIGKILL so long after it got partitions.
    Killed { after: Duration },
    /// SIGSTOP after a while, SIGCONT later, SIGKILL two seconds after that.
    Stopped { after: Duration, span: Duration },
    /// SIGTERM after a while.
    Told { after: Duration },
}

/// One life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub fate: Fate,
    /// A static member of the group: its successor takes its partitions at once. Else a rebalance follows.
    pub is_static: bool,
}

/// Something that happens to all at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The next `times` requests of an API fail so.
    Network { api: Api, fault: Fault, times: usize },
    /// The broker is killed, and started again so much later.
    Broker { back: Duration },
}

/// All of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub lives: Vec<Vec<Life>>,
    pub events: Vec<(Duration, Event)>,
}

impl Schedule {
    /// Draws the schedule of a run.
    pub fn of(seed: u64, length: Duration, processes: usize) -> Schedule {
        let mut seed = Seed(seed);
        // No life is shorter than a start, so that these are enough.
        let lives = usize::try_from(length.as_secs()).unwrap_or(0) + 1;
        let lives = (0..processes).map(|_| (0..lives).map(|_| life(&mut seed)).collect()).collect();
        Schedule { lives, events: events(&mut seed, length) }
    }

    /// A short name for it.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.to_string().as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn drawn<T>(seed: &mut Seed, of: &[T], weight: impl Fn(&T) -> u64) -> usize {
    let mut left = seed.between(0, of.iter().map(&weight).sum());
    of.iter()
        .position(|one| {
            let weight = weight(one);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })
        .unwrap_or(0)
}

fn life(seed: &mut Seed) -> Life {
    let millis = |seed: &mut Seed, range: Range<u64>| Duration::from_millis(seed.between(range.start, range.end));
    let fate = match seed.between(0, 100) {
        0..88 => {
            let (point, passes, _) = &POINTS[drawn(seed, &POINTS, |(_, _, weight)| *weight)];
            let soon = *point == Point::OffsetsSent && seed.between(0, 2) == 0;
            Fate::KilledAt { point: *point, pass: seed.between(passes.start, passes.end), soon }
        }
        88..93 => Fate::Killed { after: millis(seed, 0..4_000) },
        93..97 => Fate::Stopped { after: millis(seed, 500..3_000), span: millis(seed, 200..13_000) },
        _ => Fate::Told { after: millis(seed, 500..4_000) },
    };
    Life { fate, is_static: seed.between(0, 8) > 0 }
}

fn events(seed: &mut Seed, length: Duration) -> Vec<(Duration, Event)> {
    let (mut events, mut at) = (Vec::new(), Duration::from_secs(10));
    let mut brokers = 0;
    while at < length {
        let due = at.as_secs() / 240 >= brokers && at.as_secs() % 240 > 25;
        let event = if due {
            brokers += 1;
            Event::Broker { back: Duration::from_millis(seed.between(0, 3_000)) }
        } else {
            let (api, fault, times, _) = NETWORK[drawn(seed, &NETWORK, |(_, _, _, weight)| *weight)];
            Event::Network { api, fault, times }
        };
        events.push((at, event));
        at += Duration::from_millis(seed.between(5_000, 15_000));
    }
    events
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (process, lives) in self.lives.iter().enumerate() {
            for life in lives {
                writeln!(f, "{process} {life:?}")?;
            }
        }
        self.events.iter().try_for_each(|(at, event)| writeln!(f, "{at:?} {event:?}"))
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::KilledAt { point, soon: false, .. } => write!(f, "{}", point.name()),
            Fate::KilledAt { point, soon: true, .. } => write!(f, "{} + ms", point.name()),
            Fate::Killed { .. } => write!(f, "at any time"),
            Fate::Stopped { .. } => write!(f, "after a standstill"),
            Fate::Told { .. } => write!(f, "SIGTERM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(1_200);

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
        let hash = |seed| Schedule::of(seed, LENGTH, 2).hash();
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
        assert_eq!(Schedule::of(1, LENGTH, 2).to_string(), Schedule::of(1, LENGTH, 2).to_string());
    }

    #[test]
    fn every_point_and_every_network_fault_and_a_broker_comes_up_in_a_long_run() {
        let schedule = Schedule::of(1, LENGTH, 2);
        let fates: Vec<Fate> = schedule.lives.iter().flatten().map(|life| life.fate).collect();
        for (point, passes, _) in POINTS {
            let here = |fate: &&Fate| matches!(fate, Fate::KilledAt { point: at, .. } if *at == point);
            let mut of_point = fates.iter().filter(here).peekable();
            assert!(of_point.peek().is_some(), "{}", point.name());
            assert!(of_point.all(|fate| matches!(fate, Fate::KilledAt { pass, .. } if passes.contains(pass))));
        }
        for (api, fault, ..) in NETWORK {
            let found =
                |event: &Event| matches!(event, Event::Network { api: a, fault: f, .. } if (*a, *f) == (api, fault));
            assert!(schedule.events.iter().any(|(_, event)| found(event)), "{api:?} {fault:?}");
        }
        let brokers = schedule.events.iter().filter(|(_, event)| matches!(event, Event::Broker { .. })).count();
        assert_eq!(brokers, 5, "one in four minutes");
    }

    #[test]
    fn a_short_run_kills_the_broker_too() {
        let schedule = Schedule::of(7, Duration::from_secs(70), 2);
        assert!(schedule.events.iter().any(|(_, event)| matches!(event, Event::Broker { .. })));
    }
}
