//! Strict order: which of a recipient's notifications wait in tiers, and so which of the others may go.
//!
//! A recipient has a line for each class. Who parks stands in it until it is concluded, by its place: where it was first
//! written, or when it came out of the tier that the router put it in. Nobody is sent while someone before them stands in
//! the line, or was taken and did not have its turn yet, or may still come: the topic of first attempts was not read up
//! to where they were written. They park behind.
//!
//! Invariants: pure. The lowest outstanding of a line may always go, so that no line stands still for ever: even one
//! whose first record was lost goes on in the end. What [`Lines::owed`] says after a number of conclusions belongs in the
//! transaction that holds all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashbrown::HashMap;

use crate::model::{Class, LaneRecord, Timestamp, WaitingLine};

/// So many of a line are written down; those behind them make themselves known when they wake.
const LISTED: usize = 1_024;

/// Who has not come for so long after the time it was due and the longest tier is lost: an operator deleted it, or its
/// topic did.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Places between two offsets of a topic, for what has no offset there.
const BETWEEN: u32 = 16;

/// One notification's place in the order of its recipient and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot<'a> {
    /// The number of its partition.
    pub partition: i32,
    /// Its recipient.
    pub key: &'a [u8],
    /// Its class.
    pub class: Class,
    /// Its place, `notify-lane-seq`.
    pub seq: u64,
}

/// Whether it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nobody is before it.
    Open,
    /// Somebody is, who is due then.
    Behind {
        /// When.
        due: Timestamp,
    },
}

/// All lines of one channel's partitions that are owned.
#[derive(Debug)]
pub struct Lines {
    longest_tier: Duration,
    partitions: BTreeMap<i32, Partition>,
    /// Lines that are not written down as they are.
    changed: BTreeSet<(i32, Box<[u8]>)>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Partition {
    lanes: HashMap<Box<[u8]>, Lane>,
    main: Arrivals,
    urgent: Arrivals,
}

/// What came of one class.
#[derive(Debug, Default, Clone, Copy)]
struct Arrivals {
    /// The last place that was given.
    last: u64,
    /// Before this place all is read that the topic of first attempts holds.
    read: u64,
}

#[derive(Debug, Default)]
struct Lane {
    main: Line,
    urgent: Line,
}

/// Who is outstanding of a recipient and class, as far as they are known.
#[derive(Debug, Default)]
struct Line {
    /// Those that are parked, by place, with when they are due.
    parked: BTreeMap<u64, Timestamp>,
    /// Those that were taken and never parked.
    here: BTreeSet<u64>,
}

impl Partition {
    fn arrivals(&mut self, class: Class) -> &mut Arrivals {
        match class {
            Class::Main => &mut self.main,
            Class::Urgent => &mut self.urgent,
        }
    }
}

impl Partition {
    /// Whether somebody before this one may still come.
    fn is_unread(&self, spot: &Spot<'_>) -> bool {
        let arrivals = match spot.class {
            Class::Main => &self.main,
            Class::Urgent => &self.urgent,
        };
        arrivals.read <= spot.seq
    }
}

impl Lane {
    fn line(&self, class: Class) -> &Line {
        match class {
            Class::Main => &self.main,
            Class::Urgent => &self.urgent,
        }
    }

    fn line_mut(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Main => &mut self.main,
            Class::Urgent => &mut self.urgent,
        }
    }

    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.urgent.is_empty()
    }

    fn record(&self) -> Option<LaneRecord> {
        let record = LaneRecord { main: self.main.record(), urgent: self.urgent.record() };
        (record != LaneRecord::default()).then_some(record)
    }
}

impl Line {
    fn record(&self) -> Option<WaitingLine> {
        let (_, due) = self.parked.first_key_value()?;
        Some(WaitingLine {
            outstanding: self.parked.keys().copied().take(LISTED).collect(),
            due_ms: due.0,
            more: self.parked.len() > LISTED,
        })
    }

    fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.here.is_empty()
    }

    fn restore(&mut self, line: Option<WaitingLine>) {
        let Some(line) = line else { return };
        self.parked.extend(line.outstanding.into_iter().map(|seq| (seq, Timestamp(line.due_ms))));
    }
}

/// The place of what was first written at this offset of its class's topic: there is room before the first.
fn at_offset(offset: i64) -> u64 {
    u64::try_from(offset.saturating_add(1)).unwrap_or(0) << BETWEEN
}

impl Lines {
    /// No lines yet; a record comes out of a tier after `longest_tier` at the latest.
    pub fn new(longest_tier: Duration) -> Self {
        Lines { longest_tier, partitions: BTreeMap::new(), changed: BTreeSet::new(), lost: 0 }
    }

    /// A topic of first attempts begins at this offset: whatever has no offset of its own comes after those before it.
    pub fn begins(&mut self, partition: i32, class: Class, offset: i64) {
        let arrivals = self.partitions.entry(partition).or_default().arrivals(class);
        arrivals.last = arrivals.last.max(at_offset(offset.saturating_sub(1)));
        arrivals.read = arrivals.read.max(at_offset(offset));
    }

    /// The record at this offset of a topic of first attempts was read, whether it was done before or not.
    pub fn saw(&mut self, partition: i32, class: Class, offset: i64) {
        let arrivals = self.partitions.entry(partition).or_default().arrivals(class);
        arrivals.read = arrivals.read.max(at_offset(offset.saturating_add(1)));
    }

    /// What is written down of a recipient; `None` when none waits any more.
    pub fn restore(&mut self, partition: i32, key: &[u8], record: Option<LaneRecord>) {
        let lanes = &mut self.partitions.entry(partition).or_default().lanes;
        lanes.remove(key);
        if let Some(LaneRecord { main, urgent }) = record {
            let mut lane = Lane::default();
            lane.main.restore(main);
            lane.urgent.restore(urgent);
            lanes.insert(key.into(), lane);
        }
    }

    /// A partition is someone else's: what they know of it is written down.
    pub fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.changed.retain(|(of, _)| *of != partition);
    }

    /// The place of a record that has none yet: it was first written at `offset` of its class's topic, or the router put
    /// it into a tier, and it arrives only now.
    pub fn place(&mut self, partition: i32, key: &[u8], class: Class, offset: Option<i64>) -> u64 {
        let known = self.partitions.entry(partition).or_default();
        let last_parked = known.lanes.get(key).and_then(|lane| lane.line(class).parked.last_key_value());
        let last_parked = last_parked.map_or(0, |(seq, _)| *seq);
        let arrivals = known.arrivals(class);
        let place = match offset {
            Some(offset) => at_offset(offset),
            None => arrivals.last.max(last_parked) + 1,
        };
        arrivals.last = arrivals.last.max(place);
        place
    }

    /// A record was taken that did not park: it has its turn before those behind it.
    pub fn take_in(&mut self, spot: &Spot<'_>) {
        let lanes = &mut self.partitions.entry(spot.partition).or_default().lanes;
        lanes.entry(spot.key.into()).or_default().line_mut(spot.class).here.insert(spot.seq);
    }

    /// Whether a record may be sent. Somebody before it who is overdue for long is taken for lost, and not waited for any
    /// more.
    pub fn gate(&mut self, spot: &Spot<'_>, now: Timestamp) -> Gate {
        let overdue = self.longest_tier.saturating_add(PATIENCE);
        if self.partitions.get(&spot.partition).is_none_or(|known| known.is_unread(spot)) {
            return Gate::Behind { due: now };
        }
        let Some(line) = self.line_mut(spot) else { return Gate::Open };
        if line.here.first().is_some_and(|first| *first < spot.seq) {
            return Gate::Behind { due: now };
        }
        let mut lost = 0;
        let gate = loop {
            match line.parked.first_key_value().map(|(first, due)| (*first, *due)) {
                Some((first, due)) if first < spot.seq => {
                    if now.since(due) <= overdue {
                        break Gate::Behind { due };
                    }
                    line.parked.remove(&first);
                    lost += 1;
                }
                _ => break Gate::Open,
            }
        };
        if lost > 0 {
            self.lost += lost;
            self.settle(spot, true);
        }
        gate
    }

    /// Whether a record stands in its line.
    pub fn is_parked(&self, spot: &Spot<'_>) -> bool {
        let lane = self.partitions.get(&spot.partition).and_then(|known| known.lanes.get(spot.key));
        lane.is_some_and(|lane| lane.line(spot.class).parked.contains_key(&spot.seq))
    }

    /// A record goes to a tier, and is due then.
    pub fn park(&mut self, spot: &Spot<'_>, due: Timestamp) {
        let lanes = &mut self.partitions.entry(spot.partition).or_default().lanes;
        let line = lanes.entry(spot.key.into()).or_default().line_mut(spot.class);
        line.here.remove(&spot.seq);
        let was = line.parked.insert(spot.seq, due);
        let is_first = line.parked.first_key_value().is_some_and(|(first, _)| *first == spot.seq);
        if was.is_none() || (is_first && was != Some(due)) {
            self.changed.insert((spot.partition, spot.key.into()));
        }
    }

    /// A record came out of a tier with a place that nobody knows: it was beyond those that are written down.
    pub fn adopt(&mut self, spot: &Spot<'_>, now: Timestamp) {
        if !self.is_parked(spot) {
            self.park(spot, now);
        }
    }

    /// A record is concluded: the next of its line may go.
    pub fn conclude(&mut self, spot: &Spot<'_>) {
        let Some(line) = self.line_mut(spot) else { return };
        line.here.remove(&spot.seq);
        let was_parked = line.parked.remove(&spot.seq).is_some();
        self.settle(spot, was_parked);
    }

    /// What is to be written down: partition, recipient, and what waits of them, if anything does.
    pub fn owed(&self) -> impl Iterator<Item = (i32, &[u8], Option<LaneRecord>)> {
        self.changed.iter().map(|(partition, key)| {
            let lane = self.partitions.get(partition).and_then(|known| known.lanes.get(key));
            (*partition, &**key, lane.and_then(Lane::record))
        })
    }

    /// It is committed.
    pub fn written(&mut self) {
        self.changed.clear();
    }

    /// How many records stand in lines.
    pub fn parked(&self) -> usize {
        let lanes = self.partitions.values().flat_map(|known| known.lanes.values());
        lanes.map(|lane| lane.main.parked.len() + lane.urgent.parked.len()).sum()
    }

    /// How many were taken for lost since this was asked last.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn line_mut(&mut self, spot: &Spot<'_>) -> Option<&mut Line> {
        Some(self.partitions.get_mut(&spot.partition)?.lanes.get_mut(spot.key)?.line_mut(spot.class))
    }

    /// A line lost a record: it is written down anew if that was parked, and forgotten when nobody is left.
    fn settle(&mut self, spot: &Spot<'_>, was_parked: bool) {
        if was_parked {
            self.changed.insert((spot.partition, spot.key.into()));
        }
        let Some(known) = self.partitions.get_mut(&spot.partition) else { return };
        if known.lanes.get(spot.key).is_some_and(Lane::is_empty) {
            known.lanes.remove(spot.key);
        }
    }
}

#[cfg(test)]
mod tests;
