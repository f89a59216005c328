//! Held heads: the first record of each tier partition, kept until it is due.
//!
//! A tier is a topic whose records become due a fixed delay after the broker appended them, so that the head is always
//! the first to become due and one held record per partition is enough; nothing is paused (KAFKA-LESSONS 7).

use std::collections::HashMap;
use std::time::Duration;

use super::consumer::{ConsumerFault, GroupConsumer};
use super::record::{OwnedRecord, TopicPartition};
use crate::model::Timestamp;
use crate::telemetry::clock::Clock;

/// The held heads of the tier partitions that one consumer owns.
#[derive(Default)]
pub struct HeldHeads {
    partitions: HashMap<TopicPartition, Tier>,
}

struct Tier {
    delay: Duration,
    head: Option<Head>,
}

struct Head {
    record: OwnedRecord,
    /// On the steady clock, fixed when the head was first seen: a step of the wall clock makes nothing early.
    due: Timestamp,
}

impl HeldHeads {
    /// Takes up a partition of a tier of this delay.
    pub fn add(&mut self, partition: TopicPartition, delay: Duration) {
        self.partitions.insert(partition, Tier { delay, head: None });
    }

    /// Gives up a partition and what is held of it.
    pub fn remove(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }

    /// Drops what is held, after a rewind: it will be read again.
    pub fn clear(&mut self) {
        for tier in self.partitions.values_mut() {
            tier.head = None;
        }
    }

    /// The next record that is due, over all partitions.
    ///
    /// # Errors
    /// [`ConsumerFault`] as the consumer reports it.
    pub fn next_due(
        &mut self,
        consumer: &mut GroupConsumer,
        clock: &Clock,
    ) -> Result<Option<OwnedRecord>, ConsumerFault> {
        for (partition, tier) in &mut self.partitions {
            if tier.head.is_none() {
                tier.head = consumer.poll_split(partition)?.map(|record| Head::new(record, tier.delay, clock));
            }
            let now = clock.steady();
            if let Some(head) = tier.head.take_if(|head| head.due <= now) {
                return Ok(Some(head.record));
            }
        }
        Ok(None)
    }
}

impl Head {
    fn new(record: OwnedRecord, delay: Duration, clock: &Clock) -> Self {
        // Whichever clock says less: the wall clock may have jumped ahead before the record was seen.
        let now = clock.now().min(clock.steady());
        let remaining = Timestamp(record.timestamp_ms).plus(delay).since(now);
        Head { due: clock.steady().plus(remaining), record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(timestamp_ms: i64) -> OwnedRecord {
        OwnedRecord {
            partition: TopicPartition::new("t.retry.10s", 0),
            offset: 7,
            timestamp_ms,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_head_is_not_due_early_when_the_wall_clock_jumps() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let head = Head::new(record(1_000_000), Duration::from_secs(10), &clock);
        clock.jump(3_600_000);
        clock.advance(Duration::from_millis(9_999));
        assert!(head.due > clock.steady());
        clock.advance(Duration::from_millis(1));
        assert!(head.due <= clock.steady());
    }

    #[test]
    fn a_head_that_is_seen_after_the_wall_clock_jumped_is_not_due_early() {
        let clock = Clock::manual(Timestamp(1_000_000));
        clock.jump(3_600_000);
        let head = Head::new(record(1_000_000), Duration::from_secs(10), &clock);
        clock.advance(Duration::from_millis(9_999));
        assert!(head.due > clock.steady());
    }

    #[test]
    fn a_head_that_waited_in_the_topic_is_due_at_once() {
        let clock = Clock::manual(Timestamp(1_000_000));
        let head = Head::new(record(980_000), Duration::from_secs(10), &clock);
        assert!(head.due <= clock.steady());
    }
}
