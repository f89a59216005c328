//! How far a reader of several partitions is from the ends of their logs.
//!
//! librdkafka tells the end of a partition only when nothing came for a whole fetch (`fetch.wait.max.ms`, half a
//! second), so that one who waits for all partitions to be at their ends at once waits for ever while a few records
//! a second are written. Beside what it tells, the ends are asked for now and then, and having read up to them counts.
//!
//! Invariant: pure.

/// All partitions of one topic.
#[derive(Debug, Default)]
pub(super) struct Ends {
    partitions: Vec<End>,
    /// How many are at their end, as librdkafka told.
    ended: usize,
    /// How many are neither at their end nor at the one that was asked for.
    behind: usize,
}

#[derive(Debug)]
struct End {
    /// The next offset to read.
    next: i64,
    /// Where the log ended when that was asked last.
    goal: i64,
    /// Nothing came since librdkafka told the end. Markers of transactions may stand before it, which `next` never
    /// passes.
    ended: bool,
}

impl End {
    fn is_behind(&self) -> bool {
        !self.ended && self.next < self.goal
    }
}

impl Ends {
    /// How many partitions are read.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// One partition more, whose log reaches from `low` to `high`.
    pub fn add(&mut self, low: i64, high: i64) {
        let end = End { next: low, goal: high, ended: false };
        self.behind += usize::from(end.is_behind());
        self.partitions.push(end);
    }

    /// The record at `offset` was read.
    pub fn read(&mut self, partition: i32, offset: i64) {
        self.change(partition, |end| (end.next, end.ended) = (offset + 1, false));
    }

    /// librdkafka tells that the partition is read to its end.
    pub fn at_end(&mut self, partition: i32) {
        self.change(partition, |end| end.ended = true);
    }

    /// The partition's log ends at `high` now.
    pub fn asked(&mut self, partition: i32, high: i64) {
        self.change(partition, |end| end.goal = high);
    }

    /// All partitions are at their ends.
    pub fn all_ended(&self) -> bool {
        self.ended == self.partitions.len()
    }

    /// All partitions are at their ends, or were read up to those that were asked for last.
    pub fn all_reached(&self) -> bool {
        self.behind == 0
    }

    /// The partitions whose ends are worth asking for.
    pub fn unended(&self) -> Vec<i32> {
        let unended = self.partitions.iter().enumerate().filter(|(_, end)| !end.ended);
        unended.filter_map(|(partition, _)| i32::try_from(partition).ok()).collect()
    }

    fn change(&mut self, partition: i32, change: impl FnOnce(&mut End)) {
        let Some(end) = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)) else {
            return;
        };
        self.ended -= usize::from(end.ended);
        self.behind -= usize::from(end.is_behind());
        change(end);
        self.ended += usize::from(end.ended);
        self.behind += usize::from(end.is_behind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Ends {
        let mut ends = Ends::default();
        ends.add(0, 3);
        ends.add(5, 5);
        ends
    }

    #[test]
    fn an_empty_partition_is_reached_and_a_full_one_is_not() {
        let mut ends = two();
        assert!(!ends.all_reached());
        ends.read(0, 1);
        assert!(!ends.all_reached());
        ends.read(0, 2);
        assert!(ends.all_reached() && !ends.all_ended());
    }

    #[test]
    fn markers_at_the_end_of_a_log_are_passed_by_what_librdkafka_tells() {
        let mut ends = two();
        ends.read(0, 1);
        ends.at_end(0);
        assert!(ends.all_reached(), "2 is a marker");
        ends.at_end(1);
        assert!(ends.all_ended());
        ends.asked(0, 4);
        assert!(ends.all_reached(), "it is still at its end");
        ends.read(0, 4);
        assert!(ends.all_reached() && !ends.all_ended());
        assert_eq!(ends.unended(), [0]);
    }

    #[test]
    fn partitions_that_take_turns_to_grow_are_reached_though_never_at_their_ends_together() {
        let mut ends = two();
        ends.at_end(0);
        ends.at_end(1);
        for offset in 3..50 {
            let (grows, rests) = ((offset % 2) as i32, (offset % 2 == 0) as i32);
            ends.read(grows, offset + 5);
            ends.at_end(rests);
            assert!(!ends.all_ended());
            ends.asked(grows, offset + 6);
            assert!(ends.all_reached());
            ends.asked(grows, offset + 7);
            assert!(!ends.all_reached(), "one more was written");
        }
    }

    #[test]
    fn a_partition_that_nobody_knows_changes_nothing() {
        let mut ends = two();
        ends.read(7, 1);
        ends.at_end(-1);
        assert_eq!((ends.partitions(), ends.all_ended()), (2, false));
    }
}
