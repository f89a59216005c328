//! Partitions that wait for their part of a preferences table that holds only what is needed.
//!
//! Invariants: the table is told which partitions are ours as soon as the group says so, and lets none go that we have;
//! nothing of a partition is processed before the table holds the keys that are at home there; the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Running, ShardEnd};
use crate::kafka::{Table, TopicPartition};
use crate::telemetry::clock::steady_now;
use crate::telemetry::metrics::RouterWait;

/// What waits, by the partition's number: events, and what waits in tiers, of one number need the same keys.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    since: BTreeMap<i32, Instant>,
    /// The state of the table that was looked at.
    seen: Option<u64>,
}

impl Awaiting {
    /// Whether nothing of this partition is taken.
    pub(super) fn awaits(&self, partition: i32) -> bool {
        !self.since.is_empty() && self.since.contains_key(&partition)
    }

    /// What changed about these partitions: the numbers that wait from now on, and those that go on, with since when
    /// they waited.
    fn follow(
        &mut self,
        numbers: &BTreeSet<i32>,
        serves: impl Fn(i32) -> bool,
        now: Instant,
    ) -> (BTreeSet<i32>, BTreeMap<i32, Instant>) {
        self.since.retain(|number, _| numbers.contains(number));
        let goes_on = self.since.extract_if(.., |number, _| serves(*number)).collect();
        let waits: BTreeSet<i32> =
            numbers.iter().copied().filter(|number| !self.since.contains_key(number) && !serves(*number)).collect();
        self.since.extend(waits.iter().map(|number| (*number, now)));
        (waits, goes_on)
    }
}

/// Tells the table what this shard needs.
pub(super) fn want<'p>(table: &Table, shard: usize, partitions: impl Iterator<Item = &'p TopicPartition>) {
    table.want(shard, partitions.map(|partition| partition.partition).collect());
}

impl Running {
    /// Stops partitions that the table does not serve, and goes on with those that it serves now.
    pub(super) fn follow_table(&mut self) -> Result<(), ShardEnd> {
        if self.awaiting.seen == Some(self.shard.table.changes()) {
            return Ok(());
        }
        self.look_at_table()
    }

    /// [`Running::follow_table`], also for partitions that only just came.
    pub(super) fn look_at_table(&mut self) -> Result<(), ShardEnd> {
        // In this order: a change that comes now is looked at the next time.
        self.awaiting.seen = Some(self.shard.table.changes());
        let numbers: BTreeSet<i32> = self.owned.keys().map(|partition| partition.partition).collect();
        let table = self.shard.table.clone();
        let (waits, goes_on) = self.awaiting.follow(&numbers, |number| table.serves(number), steady_now());
        if !waits.is_empty() {
            tracing::info!(shard = self.shard.number, partitions = ?waits, "wait for their part of the preferences table");
            self.commit()?;
            let stopped = self.numbered(|number| waits.contains(&number));
            self.pause(&stopped)?;
        }
        for since in goes_on.values() {
            self.shard.metrics.waited(RouterWait::Table, since.elapsed());
        }
        let on: Vec<TopicPartition> = self.numbered(|number| goes_on.contains_key(&number));
        self.go_on(on)
    }

    fn numbered(&self, is_meant: impl Fn(i32) -> bool) -> Vec<TopicPartition> {
        self.owned.keys().filter(|partition| is_meant(partition.partition)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(of: &[i32]) -> BTreeSet<i32> {
        of.iter().copied().collect()
    }

    #[test]
    fn a_partition_waits_until_the_table_serves_it_and_waits_again_when_it_does_no_more() {
        let (mut awaiting, now) = (Awaiting::default(), steady_now());
        let (waits, goes_on) = awaiting.follow(&set(&[1, 2]), |number| number == 2, now);
        assert_eq!((waits, goes_on.len()), (set(&[1]), 0));
        assert!(awaiting.awaits(1) && !awaiting.awaits(2));
        let (waits, goes_on) = awaiting.follow(&set(&[1, 2]), |_| true, now);
        assert_eq!((waits, goes_on.into_keys().collect()), (set(&[]), set(&[1])));
        assert!(!awaiting.awaits(1));
        let (waits, _) = awaiting.follow(&set(&[1, 2]), |_| false, now);
        assert_eq!(waits, set(&[1, 2]), "the table was begun anew");
    }

    #[test]
    fn a_partition_that_went_away_does_not_wait_and_starts_to_when_it_comes_back() {
        let (mut awaiting, now) = (Awaiting::default(), steady_now());
        awaiting.follow(&set(&[1]), |_| false, now);
        assert_eq!(awaiting.follow(&set(&[]), |_| false, now), (set(&[]), BTreeMap::new()));
        assert!(!awaiting.awaits(1));
        assert_eq!(awaiting.follow(&set(&[1]), |_| false, now).0, set(&[1]));
    }
}
