//! Which partitions the table's thread reads: those that were added to its topic, or those that someone wants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::Offset;

use super::{End, Reader, Seen};

/// A partition that nobody wants any more is let go after so long: while a group rebalances, one owner may have given it
/// up before the next one wants it.
const LINGER: Duration = Duration::from_secs(5);

impl Reader {
    pub(super) fn asked(&mut self, seen: &Seen) {
        for (partition, end) in &seen.ends {
            self.ends.asked(*partition, *end, seen.at);
        }
    }

    /// Takes up the partitions that are wanted and not held, and lets those go that nobody wants. `None` when nobody
    /// said yet what is wanted: what was recalled stays.
    pub(super) fn follow(&mut self, wanted: Option<BTreeSet<i32>>, seen: &Seen) -> Result<(), End> {
        let count = self.ends.partitions();
        if seen.ends.range(count..).next().is_some() {
            return Err(End::Lasting(format!(
                "partitions were added to `{}`: keys are at home in other partitions now, and events with them no more. Add \
                 as many to every topic of events, and start again",
                self.settings.topic
            )));
        }
        self.asked(seen);
        let Some(wanted) = wanted else { return Ok(()) };
        let held: BTreeSet<i32> = self.ends.read_ones().collect();
        self.unwanted.retain(|partition, _| held.contains(partition) && !wanted.contains(partition));
        for partition in held.difference(&wanted) {
            self.unwanted.entry(*partition).or_insert(seen.at);
        }
        let is_over = |since: &Instant| seen.at.saturating_duration_since(*since) >= LINGER;
        let gone = self.unwanted.iter().filter(|(_, since)| is_over(since)).map(|(partition, _)| *partition).collect();
        self.let_go(&gone)?;
        let end = |partition: &i32| Some((*partition, *seen.ends.get(partition)?));
        let missing: Vec<(i32, i64)> = wanted.difference(&held).filter_map(end).collect();
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(topic = %self.settings.topic, partitions = missing.len(), "parts of the table are taken up");
        self.shared.progress.restores_more();
        self.take_up(&missing, seen.at)?;
        self.shared.progress.expect(self.ends.left());
        Ok(())
    }

    /// Lets partitions go, unless a snapshot is being written: then another time.
    fn let_go(&mut self, gone: &BTreeSet<i32>) -> Result<(), End> {
        if gone.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let Some(parts) = &shared.parts else { return Ok(()) };
        let Some(_moving) = parts.try_hold() else { return Ok(()) };
        // In this order: who finds a key missing was told before that its partition is not held.
        parts.withdraw(|partition| gone.contains(&partition));
        let mut list = TopicPartitionList::with_capacity(gone.len());
        for partition in gone {
            self.ends.leave(*partition);
            list.add_partition(&self.settings.topic, *partition);
        }
        self.ends.positions(true, &mut shared.positions.lock());
        let refused = |error| End::Lasting(format!("letting partitions of `{}` go: {error}", self.settings.topic));
        self.consumer.incremental_unassign(&list).map_err(refused)?;
        shared.rows.retain(|row| !gone.contains(&row.partition));
        tracing::info!(topic = %self.settings.topic, partitions = gone.len(), rows = shared.rows.rows(), "parts of the table are let go");
        Ok(())
    }

    /// Reads partitions from their beginning; their logs ended there at that moment.
    pub(super) fn take_up(&mut self, partitions: &[(i32, i64)], at: Instant) -> Result<(), End> {
        let topic = self.settings.topic.clone();
        let mut list = TopicPartitionList::new();
        for (partition, end) in partitions {
            list.add_partition_offset(&topic, *partition, Offset::Beginning)
                .and_then(|()| self.lead(*partition))
                .map_err(|error| End::Lasting(format!("taking up partition {partition} of `{topic}`: {error}")))?;
            self.ends.take(*partition, 0, *end, at);
        }
        let refused = |error| End::Lasting(format!("taking up partitions of `{topic}`: {error}"));
        self.consumer
            .incremental_assign(&list)
            .and_then(|()| partitions.iter().try_for_each(|(partition, _)| self.lead(*partition)))
            .map_err(refused)
    }
}
