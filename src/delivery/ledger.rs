//! What a worker owes to Kafka: progress by partition, and what completed attempts have to write.
//!
//! A completed attempt stays here until a transaction that holds it is known to be committed; when a transaction's
//! end is unknown, [`Ledger::reconcile`] compares with what the group has and keeps what is still to be written.
//!
//! Invariant: pure; a record is complete only together with its outputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::progress::{Committed, Progress, Take};
use super::providers::Route;
use crate::kafka::{OwnedRecord, Position, TopicPartition};
use crate::wire::TierHeaders;

/// A record that was taken, with what its headers say.
#[derive(Debug, Clone)]
pub struct Work {
    /// As it was read.
    pub record: Arc<OwnedRecord>,
    /// Its `notify-*` headers; the default when it has none, or none that can be read.
    pub headers: Arc<TierHeaders>,
    /// It waited in a tier.
    pub waited: bool,
    /// Whom it may go to.
    pub route: Route,
}

/// A record to be written by the next transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Destination.
    pub topic: String,
    /// By the key's hash when absent.
    pub partition: Option<i32>,
    /// Null when absent.
    pub key: Option<Vec<u8>>,
    /// Null when absent.
    pub value: Option<Vec<u8>>,
    /// In order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A completed record that no committed transaction holds yet.
#[derive(Debug, Clone)]
pub struct Completed {
    /// The record.
    pub work: Work,
    /// What it came to; may be empty.
    pub outputs: Vec<Output>,
    /// Whether the provider was called for it: a crash before the commit repeats that.
    pub called: bool,
}

/// Progress and debts of all partitions that are owned.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<TopicPartition, Progress>,
    completed: Vec<Completed>,
    /// How many of them were called for.
    calls: usize,
}

impl Ledger {
    /// A partition is owned from now on; `committed` is where the group stands, if it ever saw it.
    pub fn assign(&mut self, partition: TopicPartition, committed: Option<&Committed>) {
        self.partitions.insert(partition, committed.map_or_else(Progress::unseen, Progress::restore));
    }

    /// A partition is not owned any more: what is not committed is forgotten, and whoever owns it next does it.
    pub fn revoke(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
        self.keep(|completed| completed.work.record.partition != *partition);
    }

    /// The partitions that are owned.
    pub fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// Whether a partition is owned.
    pub fn owns(&self, partition: &TopicPartition) -> bool {
        self.partitions.contains_key(partition)
    }

    /// Whether a record was taken and is not complete.
    pub fn is_outstanding(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.partitions.get(partition).is_some_and(|progress| progress.is_outstanding(offset))
    }

    /// Whether one more record of a partition may be taken.
    pub fn may_take(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(Progress::may_take)
    }

    /// Whether a record of a partition that is owned was not taken before: [`Ledger::take`] would say so.
    pub fn is_new(&self, partition: &TopicPartition, offset: i64) -> bool {
        self.partitions.get(partition).is_some_and(|progress| progress.is_new(offset))
    }

    /// Notes a record as seen; see [`Progress::take`]. One of a partition that is not owned counts as done: it is
    /// not ours to work on.
    pub fn take(&mut self, partition: &TopicPartition, offset: i64) -> Take {
        self.partitions.get_mut(partition).map_or(Take::Done, |progress| progress.take(offset))
    }

    /// A record is complete, with what it has to write. Says false, and forgets the outputs, when it was not
    /// outstanding: its partition went to someone else meanwhile.
    pub fn complete(&mut self, work: Work, outputs: Vec<Output>, called: bool) -> bool {
        let record = &work.record;
        let progress = self.partitions.get_mut(&record.partition);
        let outstanding = progress.is_some_and(|progress| progress.complete(record.offset));
        if outstanding {
            self.completed.push(Completed { work, outputs, called });
            self.calls += usize::from(called);
        }
        outstanding
    }

    /// Completed records that wait for a transaction.
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// Calls that are answered and not committed.
    pub fn uncommitted_calls(&self) -> usize {
        self.calls
    }

    /// Replaces what one completed record has to write, because it cannot be written as it is.
    pub fn replace_outputs(&mut self, index: usize, outputs: Vec<Output>) {
        if let Some(completed) = self.completed.get_mut(index) {
            completed.outputs = outputs;
        }
    }

    /// The positions that a transaction with all of [`Ledger::completed`] commits: those that moved.
    pub fn positions(&self) -> Vec<Position> {
        let moved = self.known().filter_map(|(partition, progress)| {
            progress.uncommitted().map(|(offset, metadata)| position(partition, offset, metadata))
        });
        moved.collect()
    }

    /// The positions of all owned partitions, moved or not: a transaction with [`Ledger::completed`] and these
    /// confirms that the partitions are still ours.
    pub fn all_positions(&self) -> Vec<Position> {
        let all = self.known().map(|(partition, progress)| {
            let (offset, metadata) = progress.commit();
            position(partition, offset, metadata)
        });
        all.collect()
    }

    fn keep(&mut self, wanted: impl Fn(&Completed) -> bool) {
        self.completed.retain(wanted);
        self.calls = self.completed.iter().filter(|completed| completed.called).count();
    }

    fn known(&self) -> impl Iterator<Item = (&TopicPartition, &Progress)> {
        self.partitions.iter().filter(|(_, progress)| progress.is_known())
    }

    /// The transaction with all of [`Ledger::completed`] and these positions is committed.
    pub fn committed(&mut self, positions: Vec<Position>) {
        self.completed.clear();
        self.calls = 0;
        for position in positions {
            if let Some(progress) = self.partitions.get_mut(&position.partition) {
                progress.set_committed((position.offset, position.metadata));
            }
        }
    }

    /// After a transaction whose end is unknown: `committed` is what the group has. What it contains was written;
    /// the rest stays to be written.
    pub fn reconcile(&mut self, committed: &[(TopicPartition, Committed)]) {
        for (partition, stands) in committed {
            self.keep(|completed| {
                completed.work.record.partition != *partition || !stands.contains(completed.work.record.offset)
            });
        }
    }
}

fn position(partition: &TopicPartition, offset: i64, metadata: String) -> Position {
    Position { partition: partition.clone(), offset, metadata }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::samples;

    fn work(partition: i32, offset: i64) -> Work {
        Work {
            record: Arc::new(samples::record("notify.outbound.email", partition, offset)),
            headers: Arc::default(),
            waited: false,
            route: Route::default(),
        }
    }

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("notify.outbound.email", partition)
    }

    fn output(text: &str) -> Vec<Output> {
        vec![Output { topic: text.to_owned(), partition: None, key: None, value: None, headers: Vec::new() }]
    }

    fn stands(positions: &[Position]) -> Vec<(TopicPartition, Committed)> {
        let decode = |position: &Position| Committed::decode(position.offset, &position.metadata).unwrap();
        positions.iter().map(|position| (position.partition.clone(), decode(position))).collect()
    }

    #[test]
    fn a_completed_record_stays_until_it_is_committed() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), Some(&Committed::at(0)));
        ledger.take(&tp(0), 0);
        assert!(ledger.complete(work(0, 0), output("status"), true));
        assert_eq!(ledger.completed().len(), 1);
        let positions = ledger.positions();
        assert_eq!(positions[0].offset, 1);
        ledger.committed(positions);
        assert!(ledger.completed().is_empty());
        assert!(ledger.positions().is_empty(), "nothing moved since");
    }

    #[test]
    fn after_an_unknown_end_only_what_is_missing_is_written_again() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), Some(&Committed::at(0)));
        for offset in 0..4 {
            ledger.take(&tp(0), offset);
        }
        ledger.complete(work(0, 2), output("two"), true);
        let in_doubt = ledger.positions();
        ledger.complete(work(0, 0), output("zero"), true);
        ledger.reconcile(&stands(&in_doubt));
        let left: Vec<i64> = ledger.completed().iter().map(|completed| completed.work.record.offset).collect();
        assert_eq!(left, [0], "2 was committed after all");
    }

    #[test]
    fn what_was_not_committed_is_written_again_whole() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), Some(&Committed::at(5)));
        ledger.take(&tp(0), 5);
        ledger.complete(work(0, 5), output("five"), true);
        ledger.reconcile(&[(tp(0), Committed::at(5))]);
        assert_eq!(ledger.completed().len(), 1);
    }

    #[test]
    fn what_belongs_to_someone_else_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), Some(&Committed::at(0)));
        ledger.assign(tp(1), Some(&Committed::at(0)));
        for partition in [tp(0), tp(1)] {
            ledger.take(&partition, 0);
            ledger.take(&partition, 1);
            ledger.complete(work(partition.partition, 0), output("done"), true);
        }
        ledger.revoke(&tp(0));
        assert_eq!(ledger.completed().len(), 1);
        assert!(!ledger.complete(work(0, 1), output("late"), true), "its call ended after the partition was lost");
        assert_eq!(ledger.take(&tp(0), 2), Take::Done);
        assert!(!ledger.may_take(&tp(0)));
    }

    #[test]
    fn a_partition_that_was_never_seen_is_not_committed_by_guess() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), None);
        assert!(ledger.all_positions().is_empty());
        ledger.take(&tp(0), 500);
        assert_eq!(ledger.all_positions()[0].offset, 500);
    }

    #[test]
    fn an_assignment_can_be_confirmed_when_nothing_moved() {
        let mut ledger = Ledger::default();
        ledger.assign(tp(0), Some(&Committed::at(3)));
        assert!(ledger.positions().is_empty());
        assert_eq!(ledger.all_positions().iter().map(|position| position.offset).collect::<Vec<_>>(), [3]);
    }

    proptest! {
        #[test]
        fn each_completed_record_is_written_exactly_once_whatever_ends_unknown(
            ends in prop::collection::vec((1usize..5, 0u8..3), 1..60)
        ) {
            let mut ledger = Ledger::default();
            ledger.assign(tp(0), Some(&Committed::at(0)));
            let mut stored = Committed::at(0);
            let (mut next, mut written) = (0i64, Vec::new());
            for (records, end) in ends {
                for _ in 0..records {
                    ledger.take(&tp(0), next);
                    // The first of each round stays outstanding a while: completed with the next round.
                    if next % 3 != 0 {
                        ledger.complete(work(0, next), output("x"), true);
                    } else if next > 0 {
                        ledger.complete(work(0, next - 3), output("x"), true);
                    }
                    next += 1;
                }
                let positions = ledger.positions();
                let visible = end != 1;
                if visible {
                    written.extend(ledger.completed().iter().map(|completed| completed.work.record.offset));
                    if let Some((_, committed)) = stands(&positions).pop() {
                        stored = committed;
                    }
                }
                match end {
                    0 => ledger.committed(positions),
                    // 1: aborted, 2: committed, but nobody told us.
                    _ => ledger.reconcile(&[(tp(0), stored.clone())]),
                }
            }
            written.extend(ledger.completed().iter().map(|completed| completed.work.record.offset));
            let total = written.len();
            written.sort_unstable();
            written.dedup();
            prop_assert_eq!(written.len(), total, "nothing twice");
            let done = (0..next).filter(|offset| offset % 3 != 0 || offset + 3 < next).count();
            prop_assert_eq!(total, done, "nothing lost");
        }
    }
}
