//! How much one transaction holds, and how a record that breaks transactions is found.
//!
//! Pure: the shard tells what happened, this says what to do.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::kafka::{Position, RecordFault, TopicPartition};
use crate::telemetry::faults::{self, Breakage};

/// The input of the open transaction.
#[derive(Debug, Default)]
pub struct Batch {
    next: BTreeMap<TopicPartition, i64>,
    inputs: usize,
    opened: Option<Instant>,
    last: Option<(TopicPartition, i64)>,
}

impl Batch {
    /// Notes that a transaction was opened.
    pub fn open(&mut self, now: Instant) {
        *self = Batch { opened: Some(now), ..Batch::default() };
    }

    /// Notes that an input record's outputs were sent.
    pub fn add(&mut self, topic: &str, partition: i32, offset: i64) {
        self.inputs += 1;
        // The common case first: the same partition as the record before, no allocation.
        if let Some((last, at)) = &mut self.last
            && last.partition == partition
            && last.topic == topic
        {
            *at = offset;
            return;
        }
        self.flush_last();
        self.last = Some((TopicPartition::new(topic, partition), offset));
    }

    fn flush_last(&mut self) {
        if let Some((partition, offset)) = self.last.take() {
            let next = if faults::broken(Breakage::OffsetOfLast) { offset } else { offset + 1 };
            self.next.insert(partition, next);
        }
    }

    /// Input records so far.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// When the transaction was opened.
    pub fn opened(&self) -> Option<Instant> {
        self.opened
    }

    /// The group's offsets once this is committed: the last record of each partition, plus one.
    pub fn positions(&mut self) -> Vec<Position> {
        self.flush_last();
        self.next
            .iter()
            .map(|(partition, offset)| Position {
                partition: partition.clone(),
                offset: *offset,
                metadata: String::new(),
            })
            .collect()
    }

    /// The one record it holds, if it holds one.
    pub fn only_input(&mut self) -> Option<(TopicPartition, i64)> {
        self.flush_last();
        match (self.inputs, self.next.iter().next()) {
            (1, Some((partition, next))) => Some((partition.clone(), next - 1)),
            _ => None,
        }
    }
}

/// How many records the next transaction may hold; and the records that are known to break one.
///
/// A transaction that fails for one record's sake is halved until it holds that record alone, which is then written
/// to the DLQ instead of its outputs. While all goes well the limit doubles back to the configured one.
#[derive(Debug)]
pub struct Bisection {
    most: usize,
    limit: usize,
    poison: HashMap<(TopicPartition, i64), RecordFault>,
}

/// What to do after a transaction that failed for one record's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try again with fewer records.
    Narrow,
    /// The record is found; try again, it goes to the DLQ now.
    Found,
    /// Even its dead letter cannot be written: an operator has to act.
    Stuck,
}

impl Bisection {
    /// With at most `most` records in a transaction.
    pub fn new(most: usize) -> Self {
        Bisection { most: most.max(1), limit: most.max(1), poison: HashMap::new() }
    }

    /// Records that the next transaction may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The fault of a record that is known to break a transaction.
    pub fn fault(&self, topic: &str, partition: i32, offset: i64) -> Option<RecordFault> {
        if self.poison.is_empty() {
            return None;
        }
        self.poison.get(&(TopicPartition::new(topic, partition), offset)).copied()
    }

    /// A transaction of `inputs` records failed; `only` is its record when it held one.
    pub fn failed(&mut self, inputs: usize, only: Option<(TopicPartition, i64)>, fault: RecordFault) -> Step {
        match only {
            Some(record) => {
                self.limit = 1;
                match self.poison.insert(record, fault) {
                    None => Step::Found,
                    Some(_) => Step::Stuck,
                }
            }
            None => {
                self.limit = (inputs.min(self.limit) / 2).max(1);
                Step::Narrow
            }
        }
    }

    /// A transaction was committed.
    pub fn committed(&mut self, positions: &[Position]) {
        self.limit = self.limit.saturating_mul(2).min(self.most);
        if !self.poison.is_empty() {
            for position in positions {
                self.poison
                    .retain(|(partition, offset), _| *partition != position.partition || *offset >= position.offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn offsets_are_the_last_record_of_each_partition_plus_one() {
        let mut batch = Batch::default();
        for (partition, offset) in [(0, 5), (0, 6), (1, 40), (0, 9)] {
            batch.add("t", partition, offset);
        }
        let positions: Vec<_> = batch.positions().into_iter().map(|p| (p.partition.partition, p.offset)).collect();
        assert_eq!(positions, [(0, 10), (1, 41)]);
        assert_eq!(batch.inputs(), 4);
        assert_eq!(batch.only_input(), None);
    }

    #[test]
    fn a_record_whose_dead_letter_cannot_be_written_stops_the_shard() {
        let mut bisection = Bisection::new(100);
        assert_eq!(bisection.failed(1, Some((at(0), 7)), RecordFault::TooLarge), Step::Found);
        assert_eq!(bisection.fault("t", 0, 7), Some(RecordFault::TooLarge));
        assert_eq!(bisection.failed(1, Some((at(0), 7)), RecordFault::TopicMissing), Step::Stuck);
    }

    #[test]
    fn the_limit_grows_back_and_the_poison_is_forgotten_once_it_is_behind() {
        let mut bisection = Bisection::new(8);
        bisection.failed(1, Some((at(0), 7)), RecordFault::TooLarge);
        assert_eq!(bisection.limit(), 1);
        let position = Position { partition: at(0), offset: 8, metadata: String::new() };
        bisection.committed(&[position]);
        assert_eq!(bisection.fault("t", 0, 7), None);
        bisection.committed(&[]);
        bisection.committed(&[]);
        bisection.committed(&[]);
        assert_eq!(bisection.limit(), 8);
    }

    proptest! {
        /// Plays a partition with some records that break their transaction, and checks that each of them, and no
        /// other, is found.
        #[test]
        fn every_poisonous_record_is_found_and_no_other(poison in proptest::collection::btree_set(0i64..200, 0..6), most in 1usize..64) {
            let mut bisection = Bisection::new(most);
            let (mut position, mut found, mut steps) = (0i64, Vec::new(), 0);
            while position < 200 {
                steps += 1;
                prop_assert!(steps < 2_000, "it ends");
                let end = (position + bisection.limit() as i64).min(200);
                let breaks = (position..end).any(|n| poison.contains(&n) && bisection.fault("t", 0, n).is_none());
                if breaks {
                    let only = (end - position == 1).then(|| (at(0), position));
                    if bisection.failed((end - position) as usize, only, RecordFault::TooLarge) == Step::Found {
                        found.push(position);
                    }
                } else {
                    position = end;
                    bisection.committed(&[Position { partition: at(0), offset: position, metadata: String::new() }]);
                }
            }
            prop_assert_eq!(found, poison.into_iter().collect::<Vec<_>>());
        }
    }
}
