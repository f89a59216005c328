//! What the clerk does about strict order: whose place is where, who waits behind whom, and what is written of it.

use std::sync::Arc;

use super::super::ledger::{Output, Work};
use super::super::order::{Gate, Lines, Spot};
use super::super::outcome::{Conclusion, End};
use super::{Clerk, class_of, first_written};
use crate::kafka::OwnedRecord;
use crate::kafka::reader::Record;
use crate::model::{Class, LaneRecord, Outbound, Reason, Timestamp};
use crate::wire::WireError;

impl Clerk {
    /// Whether some category is of strict order.
    pub fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    /// A partition of first attempts begins at the group's offset.
    pub fn begins(&mut self, partition: i32, class: Class, committed: Option<i64>) {
        if self.keeps_order {
            self.lines.begins(partition, class, committed.unwrap_or(0));
        }
    }

    /// Reads a record of `notify.lanes`. One that cannot be read says nothing: those that wait make themselves known.
    pub fn restore_lane(&mut self, record: &Record) {
        let lane = record.value.as_deref().map(serde_json::from_slice).transpose();
        let lane = lane.unwrap_or_else(|error| {
            tracing::warn!(topic = record.topic, partition = record.partition, offset = record.offset, %error, "a record of the lanes cannot be read; its recipient's order may be lost");
            None
        });
        self.lines.restore(record.partition, record.key.as_deref().unwrap_or_default(), lane);
    }

    /// A record of a topic of first attempts was read.
    pub fn saw(&mut self, record: &OwnedRecord, class: Class) {
        if self.keeps_order {
            self.lines.saw(record.partition.partition, class, record.offset);
        }
    }

    /// Finds a new record's place in its line, if it is of strict order. One that has a place and is of strict order no
    /// more leaves its line: nobody waits for it.
    pub fn find_place(&mut self, work: &mut Work) {
        if !self.keeps_order && work.headers.lane_seq.is_none() {
            return;
        }
        let rules = Arc::clone(&self.rules);
        let Ok(outbound) = self.records.outbound(work.record.value.as_deref().unwrap_or_default()) else { return };
        let is_strict = rules.policy.is_strict(outbound.category);
        let class = class_of(&rules.destinations, work, &outbound);
        match spot(work, class) {
            Some(spot) if is_strict => self.lines.adopt(&spot, self.clock.now()),
            Some(spot) => {
                self.lines.conclude(&spot);
                Arc::make_mut(&mut work.headers).lane_seq = None;
            }
            None if is_strict => {
                let (partition, key) = (work.record.partition.partition, work.record.key.clone().unwrap_or_default());
                let offset = first_written(&rules.destinations, work).map(|(_, offset)| offset);
                let seq = self.lines.place(partition, &key, class, offset);
                self.lines.take_in(&Spot { partition, key: &key, class, seq });
                Arc::make_mut(&mut work.headers).lane_seq = Some(seq);
            }
            None => {}
        }
    }

    /// Sends a record behind those of its line that are before it, if there are any. That it waits is said once.
    pub(super) fn wait_in_line(
        &mut self,
        work: &Work,
        outbound: &Outbound<'_>,
        now: Timestamp,
    ) -> Result<Option<Vec<Output>>, WireError> {
        let rules = Arc::clone(&self.rules);
        let Some(spot) = spot(work, class_of(&rules.destinations, work, outbound)) else { return Ok(None) };
        let Gate::Behind { due } = self.lines.gate(&spot, now) else { return Ok(None) };
        let soonest = rules.destinations.tiers.iter().copied().min().unwrap_or_default();
        let until = due.max(now.plus(soonest));
        if !self.lines.is_parked(&spot) {
            let waits = Conclusion::without_call(End::Waiting(until), Reason::StrictOrder, &work.headers);
            return self.write(work, outbound, &waits, now).map(Some);
        }
        self.lines.park(&spot, until);
        let output = rules.destinations.wait_behind(work, until, now);
        self.count(std::slice::from_ref(&output));
        Ok(Some(vec![output]))
    }

    /// What is to be written about who waits in strict order, in the transaction that holds all that is completed.
    pub fn owed(&self) -> Vec<Output> {
        let topic = self.rules.destinations.topics.lanes(self.rules.destinations.channel);
        let output = |(partition, key, lane): (i32, &[u8], Option<LaneRecord>)| Output {
            topic: topic.clone(),
            partition: Some(partition),
            key: Some(key.to_vec()),
            // Cannot fail: the record has no map with keys that are not text.
            value: lane.and_then(|lane| serde_json::to_vec(&lane).ok()),
            headers: Vec::new(),
        };
        self.lines.owed().map(output).collect()
    }

    /// It is committed.
    pub fn owed_is_written(&mut self) {
        self.lines.written();
    }

    /// Who waits in strict order.
    pub fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// A record was concluded, for good or for a while.
    pub(super) fn move_in_line(&mut self, work: &Work, class: Class, end: &End) {
        let Some(spot) = spot(work, class) else { return };
        match end.comes_again() {
            Some(at) => self.lines.park(&spot, at),
            None => self.lines.conclude(&spot),
        }
    }

    /// A record goes to a tier, or another one takes its place.
    pub(super) fn stay_in_line(&mut self, work: &Work, class: Class, due: Timestamp) {
        if let Some(spot) = spot(work, class) {
            self.lines.park(&spot, due);
        }
    }
}

/// A record's place in its line, if it is of strict order.
fn spot(work: &Work, class: Class) -> Option<Spot<'_>> {
    let (partition, key) = (work.record.partition.partition, work.record.key.as_deref().unwrap_or_default());
    work.headers.lane_seq.map(|seq| Spot { partition, key, class, seq })
}
