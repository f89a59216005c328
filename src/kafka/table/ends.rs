//! How far the table's reader is from the ends of the partitions' logs.
//!
//! librdkafka tells the end of a partition only when nothing came for a whole fetch (`fetch.wait.max.ms`, half a
//! second), so that one who waits for all partitions to be at their ends at once waits for ever while a few records
//! a second are written; and a fetcher that hangs tells nothing. So the ends are asked for as well, apart, and a
//! partition is as current as the newest moment at which all that its log held is known to have been read.
//!
//! Invariant: pure; never counts records.

use std::time::{Duration, Instant};

/// A partition that seems behind, though its fetcher said that it is at its end, is to be fetched anew after so long.
const DOUBT: Duration = Duration::from_millis(300);

/// All partitions of one topic; `None` those that are not read.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<Option<Part>>);

#[derive(Debug)]
struct Part {
    /// The offset after the last record that was read, or where reading begins.
    next: i64,
    /// Where the log ended when reading began.
    goal: i64,
    /// Whether it was read up to `goal`.
    restored: bool,
    /// Nothing came since librdkafka told the end. Transaction markers may stand before it, which `next` never passes.
    at_end: bool,
    /// All that the log held at this moment was read.
    current: Instant,
    /// The newest end that was asked for, and when it was there first.
    newest: Option<(i64, Instant)>,
    /// The oldest end that was asked for and is not reached.
    unreached: Option<(i64, Instant)>,
    /// Whether it was fetched anew for the end that is not reached.
    doubted: bool,
}

impl Part {
    /// Moves on to the newest end when the one that was waited for is reached.
    fn settle(&mut self) {
        if let Some((end, at)) = self.unreached
            && self.next >= end
        {
            self.current = self.current.max(at);
            self.doubted = false;
            self.unreached = self.newest.filter(|(end, _)| self.next < *end);
            if let (None, Some((_, at))) = (self.unreached, self.newest) {
                self.current = self.current.max(at);
            }
        }
    }

    fn behind_since(&self) -> Option<Instant> {
        (!self.at_end || self.unreached.is_some()).then_some(self.current)
    }

    /// Offsets up to the goal.
    fn left(&self) -> u64 {
        if self.restored { 0 } else { u64::try_from(self.goal - self.next).unwrap_or(0) }
    }
}

impl Ends {
    /// Of a topic with so many partitions, none of which is read.
    pub(super) fn of(partitions: usize) -> Self {
        Ends((0..partitions).map(|_| None).collect())
    }

    /// A partition is read from `next` on; its log ends at `goal` now.
    pub(super) fn take(&mut self, partition: i32, next: i64, goal: i64, now: Instant) {
        let Ok(at) = usize::try_from(partition) else { return };
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(Part {
            next,
            goal,
            restored: next >= goal,
            at_end: false,
            current: now,
            newest: None,
            unreached: None,
            doubted: false,
        });
    }

    /// A partition is read no more.
    pub(super) fn leave(&mut self, partition: i32) {
        if let Some(part) = usize::try_from(partition).ok().and_then(|at| self.0.get_mut(at)) {
            *part = None;
        }
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// Whether a partition is read.
    pub(super) fn reads(&self, partition: i32) -> bool {
        usize::try_from(partition).ok().and_then(|at| self.0.get(at)).is_some_and(Option::is_some)
    }

    /// Whether a partition was read to its end once.
    pub(super) fn is_restored(&self, partition: i32) -> bool {
        usize::try_from(partition).ok().and_then(|at| self.0.get(at)?.as_ref()).is_some_and(|part| part.restored)
    }

    /// The partitions that are read.
    pub(super) fn read_ones(&self) -> impl Iterator<Item = i32> {
        self.parts().map(|(partition, _)| partition)
    }

    fn parts(&self) -> impl Iterator<Item = (i32, &Part)> {
        (0..).zip(&self.0).filter_map(|(partition, part)| Some((partition, part.as_ref()?)))
    }

    /// The record at `offset` was read and applied.
    pub(super) fn read(&mut self, partition: i32, offset: i64) {
        let Some(part) = self.part(partition) else { return };
        part.next = part.next.max(offset + 1);
        part.restored |= part.next >= part.goal;
        part.at_end = false;
        part.settle();
    }

    /// librdkafka tells that the partition is read to its end.
    pub(super) fn at_end(&mut self, partition: i32, now: Instant) {
        let Some(part) = self.part(partition) else { return };
        (part.at_end, part.restored, part.current) = (true, true, now);
        // What is left before the newest end are markers.
        part.unreached = None;
    }

    /// The partition's log ends at `end` now.
    pub(super) fn asked(&mut self, partition: i32, end: i64, now: Instant) {
        let Some(part) = self.part(partition) else { return };
        let known = part.newest.is_some_and(|(newest, _)| newest == end);
        if part.next >= end || (known && part.at_end && part.unreached.is_none()) {
            part.current = now;
        } else if part.unreached.is_none() {
            (part.unreached, part.doubted) = (Some((end, now)), false);
        }
        part.newest = Some((end, now));
        part.settle();
    }

    /// Every partition that is read was read to its end once.
    pub(super) fn all_restored(&self) -> bool {
        self.parts().all(|(_, part)| part.restored)
    }

    /// Since when some partition is behind; `None` when all are at their ends.
    pub(super) fn behind_since(&self) -> Option<Instant> {
        self.parts().filter_map(|(_, part)| part.behind_since()).min()
    }

    /// Since when some partition that was read to its end once is behind; what is being restored does not count.
    pub(super) fn restored_behind_since(&self) -> Option<Instant> {
        self.parts().filter(|(_, part)| part.restored).filter_map(|(_, part)| part.behind_since()).min()
    }

    /// Offsets up to where the logs ended when reading began.
    pub(super) fn left(&self) -> u64 {
        self.parts().map(|(_, part)| part.left()).sum()
    }

    /// The offset to go on from, of each partition that was read to its end once, or else is asked for all the same.
    pub(super) fn positions(&self, restored_only: bool, out: &mut Vec<Option<i64>>) {
        let known = |part: &&Part| part.restored || !restored_only;
        out.clear();
        out.extend(self.0.iter().map(|part| part.as_ref().filter(known).map(|part| part.next)));
    }

    /// Partitions to fetch anew, and from where: their logs go on and the fetcher said nothing of it. It hangs, or what
    /// is left are transaction markers that it passed before their end was seen here. Each is named once for an end.
    pub(super) fn doubtful(&mut self, now: Instant) -> Vec<(i32, i64)> {
        let doubtful = |(partition, part): (usize, &mut Option<Part>)| {
            let part = part.as_mut()?;
            let (_, since) = part.unreached.filter(|_| part.at_end && !part.doubted)?;
            if now.saturating_duration_since(since) < DOUBT {
                return None;
            }
            part.doubted = true;
            Some((i32::try_from(partition).ok()?, part.next))
        };
        self.0.iter_mut().enumerate().filter_map(doubtful).collect()
    }

    fn part(&mut self, partition: i32) -> Option<&mut Part> {
        self.0.get_mut(usize::try_from(partition).ok()?)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock::steady_now;

    struct Two {
        ends: Ends,
        start: Instant,
    }

    impl Two {
        fn new() -> Self {
            let (mut ends, start) = (Ends::default(), steady_now());
            ends.take(0, 0, 3, start);
            ends.take(1, 5, 5, start);
            Two { ends, start }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Milliseconds after the start since when it is behind.
        fn behind_since(&self) -> Option<u128> {
            self.ends.behind_since().map(|since| (since - self.start).as_millis())
        }
    }

    #[test]
    fn an_empty_partition_is_restored_and_a_full_one_when_its_last_record_was_read() {
        let mut two = Two::new();
        assert!(!two.ends.all_restored());
        two.ends.read(0, 1);
        assert!(!two.ends.all_restored());
        assert_eq!(two.ends.left(), 1);
        two.ends.read(0, 2);
        assert!(two.ends.all_restored());
        assert_eq!(two.ends.left(), 0);
    }

    #[test]
    fn what_librdkafka_tells_passes_markers_at_the_end() {
        let mut two = Two::new();
        two.ends.read(0, 1);
        two.ends.at_end(0, two.at(10));
        assert!(two.ends.all_restored(), "2 is a marker");
        two.ends.at_end(1, two.at(20));
        assert_eq!(two.behind_since(), None);
    }

    #[test]
    fn partitions_that_take_turns_to_grow_stay_current_though_never_at_their_ends_together() {
        let mut two = Two::new();
        two.ends.at_end(0, two.at(0));
        two.ends.at_end(1, two.at(0));
        for round in 1..50u64 {
            let (grows, rests) = ((round % 2) as i32, 1 - (round % 2) as i32);
            let offset = 10 + round as i64;
            two.ends.read(grows, offset);
            two.ends.at_end(rests, two.at(round * 100));
            assert!(two.behind_since().is_some());
            two.ends.asked(grows, offset + 1, two.at(round * 100));
            assert_eq!(two.behind_since(), Some(u128::from(round) * 100));
        }
    }

    #[test]
    fn a_fetcher_that_says_nothing_while_the_log_goes_on_is_behind_and_doubted_once() {
        let mut two = Two::new();
        two.ends.at_end(0, two.at(0));
        two.ends.at_end(1, two.at(0));
        two.ends.asked(0, 3, two.at(100));
        two.ends.asked(0, 9, two.at(200));
        two.ends.asked(0, 12, two.at(300));
        assert_eq!(two.behind_since(), Some(0));
        assert_eq!(two.ends.doubtful(two.at(350)), []);
        assert_eq!(two.ends.doubtful(two.at(600)), [(0, 0)]);
        assert_eq!(two.ends.doubtful(two.at(900)), []);
        two.ends.at_end(0, two.at(950));
        assert_eq!(two.behind_since(), None, "only markers were left");
        two.ends.asked(0, 12, two.at(1_000));
        assert_eq!(two.behind_since(), None, "this end is known to be markers");
        two.ends.asked(0, 13, two.at(1_100));
        assert_eq!(two.behind_since(), Some(1_000));
    }

    #[test]
    fn a_reader_that_follows_at_a_distance_is_behind_by_that_distance() {
        let mut two = Two::new();
        two.ends.at_end(1, two.at(0));
        // A record every millisecond; the reader is 400 of them late; the end is asked for every 250 ms.
        for ms in 1..5_000u64 {
            if ms % 250 == 0 {
                two.ends.asked(0, ms as i64, two.at(ms));
            }
            if ms > 400 {
                two.ends.read(0, (ms - 400) as i64 - 1);
            }
        }
        let behind = 4_999 - two.behind_since().unwrap();
        assert!((400..=1_000).contains(&behind), "{behind}");
    }

    #[test]
    fn what_is_not_read_is_neither_waited_for_nor_behind_and_has_no_position() {
        let (mut ends, start) = (Ends::of(3), steady_now());
        assert!(ends.all_restored());
        ends.take(2, 0, 4, start);
        ends.asked(0, 100, start);
        assert_eq!((ends.all_restored(), ends.left(), ends.partitions()), (false, 4, 3));
        assert_eq!(ends.restored_behind_since(), None, "it is being restored");
        let positions = |ends: &Ends, restored_only| {
            let mut out = Vec::new();
            ends.positions(restored_only, &mut out);
            out
        };
        assert_eq!(positions(&ends, true), [None, None, None]);
        assert_eq!(positions(&ends, false), [None, None, Some(0)]);
        (0..4).for_each(|offset| ends.read(2, offset));
        assert_eq!(positions(&ends, true), [None, None, Some(4)]);
        assert!(ends.is_restored(2) && !ends.is_restored(0));
        assert!(ends.restored_behind_since().is_some(), "librdkafka did not tell its end");
        ends.leave(2);
        assert_eq!((ends.read_ones().count(), ends.behind_since()), (0, None));
    }

    #[test]
    fn a_partition_that_nobody_knows_changes_nothing() {
        let mut two = Two::new();
        two.ends.read(7, 1);
        two.ends.at_end(-1, two.at(1));
        two.ends.asked(2, 100, two.at(1));
        assert_eq!((two.ends.partitions(), two.behind_since()), (2, Some(0)));
    }
}
