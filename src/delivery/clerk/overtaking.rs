//! What the clerk knows of collapse keys.

use super::super::collapse::{Mark, Newest, Place};
use super::super::ledger::Work;
use super::super::outputs::Destinations;
use super::{Clerk, first_written};
use crate::kafka::OwnedRecord;
use crate::model::Outbound;

impl Clerk {
    /// Whether a later notification of the same collapse key was seen for this address.
    pub(super) fn is_overtaken(&self, work: &Work, outbound: &Outbound<'_>, address: &str) -> bool {
        let place = || place(&self.rules.destinations, work, outbound);
        let partition = work.record.partition.partition;
        Mark::at(outbound, address).is_some_and(|mark| self.newest.overtakes(partition, mark, place()))
    }

    /// Whether a record has a collapse key: what is known of later ones decides its fate.
    pub fn collapses(&mut self, record: &OwnedRecord) -> bool {
        let value = record.value.as_deref().unwrap_or_default();
        self.records.outbound(value).is_ok_and(|outbound| outbound.collapse_key.is_some())
    }

    /// What stands in a topic of first attempts was seen, now or by whoever had the partition before.
    pub fn remember(&mut self, partition: i32, seen: Vec<(Mark, Place)>) {
        for (mark, place) in seen {
            self.newest.note(partition, mark, place);
        }
    }
}

/// Remembers a notification among those of its collapse key.
pub(super) fn note(newest: &mut Newest, destinations: &Destinations, work: &Work, outbound: &Outbound<'_>) {
    if let Some(mark) = Mark::of(outbound) {
        newest.note(work.record.partition.partition, mark, place(destinations, work, outbound));
    }
}

/// Where a notification stands among those of its collapse key.
pub fn place(destinations: &Destinations, work: &Work, outbound: &Outbound<'_>) -> Place {
    let offset = first_written(destinations, work).map_or(0, |(_, offset)| offset);
    Place { decided_at: outbound.decided_at, offset, id: outbound.notification_id.0 }
}
