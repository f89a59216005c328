//! What a worker has before it: records taken from Kafka, those whose calls are under way, and whose turn is next.
//!
//! Invariant: pure. A record is in exactly one place: a tier's held head (not taken yet), a lane, in flight, or
//! complete in the ledger. A call is made at most once for a record while its partition is owned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Change, Leave};
use super::lanes::{Lanes, Limits, Ticket};
use super::ledger::{Ledger, Output, Work};
use super::progress::{Committed, Take};
use super::wake::{Held, Now};
use crate::kafka::{OwnedRecord, TopicPartition};
use crate::model::{Class, Reason, Timestamp};

/// For each call under way, so many records may wait in lanes, in each class.
const QUEUED_FOR_EACH: usize = 4;

/// What a topic of the channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// First attempts.
    First(Class),
    /// A tier of this delay.
    Tier(Duration),
}

/// Where a record stands.
type Place = (TopicPartition, i64);

#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    work: Work,
    probe: bool,
}

/// What became of a report about a call.
#[derive(Debug)]
pub enum Landed {
    /// It is to be concluded: hand the outputs to [`Desk::conclude`].
    Ours(Work),
    /// Its partition went to someone else meanwhile: whatever came of it is theirs to find out.
    Gone,
}

/// All of it.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    lanes: Lanes<Work>,
    flights: HashMap<Place, Flight>,
    /// By partition: what it is, and the held head of a tier.
    partitions: BTreeMap<TopicPartition, (Source, Option<Held>)>,
    breaker: Breaker,
    max_in_flight: usize,
}

impl Desk {
    /// Nothing yet; at most `max_in_flight` calls at once, and `halt_pause` between a Halt and a probe.
    pub fn new(max_in_flight: usize, halt_pause: Duration) -> Self {
        let in_flight = max_in_flight.max(1);
        Desk {
            ledger: Ledger::default(),
            lanes: Lanes::new(Limits { in_flight, queued: in_flight.saturating_mul(QUEUED_FOR_EACH) }),
            flights: HashMap::new(),
            partitions: BTreeMap::new(),
            breaker: Breaker::new(halt_pause),
            max_in_flight: in_flight,
        }
    }

    /// A partition is ours from here on.
    pub fn assign(&mut self, partition: TopicPartition, source: Source, committed: Option<&Committed>) {
        self.ledger.assign(partition.clone(), committed);
        self.partitions.insert(partition, (source, None));
    }

    /// Partitions are not ours any more. Calls under way go on; what comes of them is not written.
    pub fn revoke(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.ledger.revoke(partition);
            self.partitions.remove(partition);
        }
        self.lanes.remove_if(|work| partitions.contains(&work.record.partition));
    }

    /// What is owed to Kafka.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// How many partitions are ours.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// The partitions of first attempts of a class.
    pub fn first_attempts(&self, class: Class) -> Vec<TopicPartition> {
        self.of(|source| source == Source::First(class))
    }

    /// The partitions of tiers.
    pub fn tiers(&self) -> Vec<TopicPartition> {
        self.of(|source| matches!(source, Source::Tier(_)))
    }

    fn of(&self, wanted: impl Fn(Source) -> bool) -> Vec<TopicPartition> {
        let found = self.partitions.iter().filter(|(_, (source, _))| wanted(*source));
        found.map(|(partition, _)| partition.clone()).collect()
    }

    /// Whether a record of this partition may be taken, into this class. While the channel is halted none is: what
    /// is there waits in Kafka.
    pub fn may_take(&self, partition: &TopicPartition, class: Class) -> bool {
        self.breaker.open_because().is_none() && self.lanes.may_push(class) && self.ledger.may_take(partition)
    }

    /// Whether a tier's partition wants its next head.
    pub fn wants_head(&self, partition: &TopicPartition) -> bool {
        matches!(self.partitions.get(partition), Some((Source::Tier(_), None)))
    }

    /// Holds a tier's head.
    pub fn hold(&mut self, record: OwnedRecord, now: Now) {
        if let Some((Source::Tier(delay), head)) = self.partitions.get_mut(&record.partition) {
            *head = Some(Held::new(record, *delay, now));
        }
    }

    /// The held head of a tier's partition, when its delay is over.
    pub fn due_head(&self, partition: &TopicPartition, now: Now) -> Option<&Held> {
        self.partitions.get(partition)?.1.as_ref().filter(|held| held.is_due(now))
    }

    /// Takes the held head off, to be handled.
    pub fn release_head(&mut self, partition: &TopicPartition) -> Option<Held> {
        self.partitions.get_mut(partition)?.1.take()
    }

    /// Takes a record that needs no lane: it is complete at once, unless it was before.
    pub fn settle(&mut self, work: Work, outputs: Vec<Output>) {
        if self.ledger.take(&work.record.partition, work.record.offset) == Take::New {
            self.ledger.complete(work, outputs, false);
        }
    }

    /// Takes a record into its recipient's lane. One that was completed before, or whose call is still under way
    /// from an earlier assignment, does not get a second turn.
    pub fn enqueue(&mut self, work: Work, class: Class) {
        let place = place(&work.record);
        if self.ledger.take(&place.0, place.1) != Take::New || self.flights.contains_key(&place) {
            return;
        }
        let record = Arc::clone(&work.record);
        self.lanes.push(record.key.as_deref().unwrap_or_default(), class, work);
    }

    /// Whether a record's recipient has too many waiting for it to be taken into their lane.
    pub fn is_crowded(&self, work: &Work, class: Class) -> bool {
        self.lanes.is_crowded_by(work.record.key.as_deref().unwrap_or_default(), class)
    }

    /// Whose turn it is, if a call may start now. Calls that are answered and not committed count against the limit
    /// as those under way do: so many, and no more, a crash can repeat.
    pub fn next(&mut self, now: Timestamp) -> Option<(Ticket, Work)> {
        if self.flights.len() + self.ledger.uncommitted_calls() >= self.max_in_flight {
            return None;
        }
        match self.breaker.leave(now) {
            Leave::Nothing => None,
            Leave::Calls | Leave::OneProbe => self.lanes.next(),
        }
    }

    /// The call for a record starts.
    pub fn depart(&mut self, ticket: Ticket, work: Work, now: Timestamp) {
        let probe = self.breaker.leave(now) == Leave::OneProbe;
        if probe {
            self.breaker.probe();
        }
        self.flights.insert(place(&work.record), Flight { ticket, work, probe });
    }

    /// A record whose turn it was needs no call.
    pub fn conclude_uncalled(&mut self, ticket: Ticket, work: Work, outputs: Vec<Output>) {
        self.lanes.finish(ticket);
        self.ledger.complete(work, outputs, false);
    }

    /// A record whose turn it was cannot be judged now: it is the first of its lane again.
    pub fn put_back(&mut self, ticket: Ticket, work: Work) {
        self.lanes.put_back(ticket, work);
    }

    /// The record whose call is under way at this place.
    pub fn in_flight_at(&self, place: &(TopicPartition, i64)) -> Option<Work> {
        self.flights.get(place).map(|flight| flight.work.clone())
    }

    /// The call for a record ended with an answer about the record.
    pub fn land(&mut self, place: &(TopicPartition, i64)) -> (Landed, Option<Change>) {
        let Some(flight) = self.flights.remove(place) else { return (Landed::Gone, None) };
        let change = if flight.probe { self.breaker.answered() } else { None };
        self.lanes.finish(flight.ticket);
        if self.is_outstanding(place) { (Landed::Ours(flight.work), change) } else { (Landed::Gone, change) }
    }

    /// The call was not made, or told of a fault of ours: the record is the first of its lane again.
    pub fn ground(&mut self, place: &(TopicPartition, i64), halted: Option<Reason>, now: Timestamp) -> Option<Change> {
        let flight = self.flights.remove(place)?;
        if self.is_outstanding(place) {
            self.lanes.put_back(flight.ticket, flight.work);
        } else {
            self.lanes.finish(flight.ticket);
        }
        match halted {
            Some(reason) => self.breaker.halted(reason, now),
            None => {
                if flight.probe {
                    self.breaker.probe_unused(now);
                }
                None
            }
        }
    }

    /// A record that landed is complete.
    pub fn conclude(&mut self, work: Work, outputs: Vec<Output>) {
        self.ledger.complete(work, outputs, true);
    }

    /// Calls under way for records of partitions that are ours.
    pub fn in_flight(&self) -> usize {
        self.flights.keys().filter(|place| self.ledger.owns(&place.0)).count()
    }

    /// All calls under way.
    pub fn calls(&self) -> usize {
        self.flights.len()
    }

    /// Records in lanes.
    pub fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// Held heads of tiers.
    pub fn held(&self) -> usize {
        self.partitions.values().filter(|(_, head)| head.is_some()).count()
    }

    /// Why the channel is halted, if it is.
    pub fn halted_because(&self) -> Option<Reason> {
        self.breaker.open_because()
    }

    /// Whether the record at this place was taken, is not complete, and its partition is ours.
    pub fn is_outstanding(&self, place: &(TopicPartition, i64)) -> bool {
        self.ledger.is_outstanding(&place.0, place.1)
    }
}

fn place(record: &OwnedRecord) -> Place {
    (record.partition.clone(), record.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::samples;

    const NOW: Timestamp = Timestamp(0);
    const PAUSE: Duration = Duration::from_secs(10);

    fn tp() -> TopicPartition {
        TopicPartition::new("notify.outbound.email", 0)
    }

    fn desk() -> Desk {
        let mut desk = Desk::new(2, PAUSE);
        desk.assign(tp(), Source::First(Class::Main), Some(&Committed::at(0)));
        desk
    }

    fn work(user: &str, offset: i64) -> Work {
        let record = OwnedRecord { key: Some(user.into()), ..samples::record("notify.outbound.email", 0, offset) };
        Work { record: Arc::new(record), headers: Arc::default(), waited: false }
    }

    fn start(desk: &mut Desk) -> Option<i64> {
        let (ticket, work) = desk.next(NOW)?;
        let offset = work.record.offset;
        desk.depart(ticket, work, NOW);
        Some(offset)
    }

    #[test]
    fn a_record_goes_from_lane_to_flight_to_ledger() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        assert_eq!(start(&mut desk), Some(0));
        let (Landed::Ours(done), None) = desk.land(&(tp(), 0)) else { panic!("it is ours") };
        desk.conclude(done, Vec::new());
        assert_eq!(desk.ledger().positions()[0].offset, 1);
        assert_eq!((desk.calls(), desk.queued()), (0, 0));
    }

    #[test]
    fn what_is_answered_and_not_committed_counts_against_the_limit() {
        let mut desk = desk();
        for (offset, user) in ["ada", "bob", "eve"].into_iter().enumerate() {
            desk.enqueue(work(user, offset as i64), Class::Main);
        }
        start(&mut desk);
        start(&mut desk);
        let (Landed::Ours(done), None) = desk.land(&(tp(), 0)) else { panic!("it is ours") };
        desk.conclude(done, Vec::new());
        assert_eq!(start(&mut desk), None, "a crash would repeat two calls already");
        let positions = desk.ledger().positions();
        desk.ledger().committed(positions);
        assert_eq!(start(&mut desk), Some(2));
    }

    #[test]
    fn a_call_that_outlives_its_assignment_is_not_made_twice() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        start(&mut desk);
        desk.revoke(&[tp()]);
        desk.assign(tp(), Source::First(Class::Main), Some(&Committed::at(0)));
        desk.enqueue(work("ada", 0), Class::Main);
        assert_eq!(start(&mut desk), None, "the first call is still under way");
        assert!(matches!(desk.land(&(tp(), 0)).0, Landed::Ours(_)), "and its answer counts");
    }

    #[test]
    fn an_answer_for_someone_elses_partition_is_dropped() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        desk.enqueue(work("bob", 1), Class::Main);
        start(&mut desk);
        desk.revoke(&[tp()]);
        assert_eq!((desk.in_flight(), desk.calls(), desk.queued()), (0, 1, 0));
        assert!(matches!(desk.land(&(tp(), 0)).0, Landed::Gone));
        assert_eq!(start(&mut desk), None);
    }

    #[test]
    fn a_halt_puts_the_record_back_stops_taking_and_lets_one_probe_through() {
        let mut desk = desk();
        for (offset, user) in ["ada", "bob", "eve"].into_iter().enumerate() {
            desk.enqueue(work(user, offset as i64), Class::Main);
        }
        assert_eq!((start(&mut desk), start(&mut desk)), (Some(0), Some(1)));
        let change = desk.ground(&(tp(), 0), Some(Reason::BadCredentials), NOW);
        assert_eq!(change, Some(Change::Opened(Reason::BadCredentials)));
        assert_eq!(desk.ground(&(tp(), 1), Some(Reason::BadCredentials), NOW), None);
        assert!(!desk.may_take(&tp(), Class::Main));
        assert_eq!(start(&mut desk), None);
        let later = NOW.plus(PAUSE);
        let (ticket, first) = desk.next(later).unwrap();
        desk.depart(ticket, first.clone(), later);
        assert!(desk.next(later).is_none(), "one probe");
        assert_eq!(desk.land(&place(&first.record)).1, Some(Change::Closed));
        assert!(desk.may_take(&tp(), Class::Main));
        assert_eq!(desk.queued(), 2, "nothing is lost");
    }

    #[test]
    fn a_call_that_was_not_made_is_made_later() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        start(&mut desk);
        assert_eq!(desk.ground(&(tp(), 0), None, NOW), None);
        assert_eq!(start(&mut desk), Some(0));
    }

    #[test]
    fn a_tiers_head_is_held_until_due_and_not_taken_before() {
        let mut desk = Desk::new(2, PAUSE);
        let tier = TopicPartition::new("notify.outbound.email.retry.10s", 0);
        desk.assign(tier.clone(), Source::Tier(Duration::from_secs(10)), Some(&Committed::at(7)));
        assert!(desk.wants_head(&tier));
        let now = |ms| Now { wall: Timestamp(ms), steady: Timestamp(ms) };
        desk.hold(samples::record("notify.outbound.email.retry.10s", 0, 7), now(0));
        assert!(!desk.wants_head(&tier));
        assert!(desk.due_head(&tier, now(9_999)).is_none());
        assert!(desk.due_head(&tier, now(10_000)).is_some());
        assert!(desk.ledger().positions().is_empty(), "a held head is not taken");
    }
}
