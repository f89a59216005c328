//! What a worker has before it: records taken from Kafka, those whose calls are under way, and whose turn is next.
//!
//! Invariant: pure. A record is in exactly one place: a tier's held head (not taken yet), a lane, in flight, or
//! complete in the ledger. A call is made at most once for a record while its partition is owned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::{self, Breaker, Change, Heard, Probe};
use super::bucket::{Bucket, Rate};
use super::lanes::{Lanes, Limits, Ticket};
use super::ledger::{Ledger, Output, Work};
use super::progress::{Committed, Take};
use super::providers::{Rank, Route, Set, choose};
use super::quotas::Quotas;
use super::wake::{Held, Now};
use crate::kafka::{OwnedRecord, TopicPartition};
use crate::model::{Class, Reason, Timestamp};

/// For each call under way, so many records may wait in lanes, in each class.
const QUEUED_FOR_EACH: usize = 4;

/// Answers that wait for their commit leave the calls their places, up to one for so many places: what they stand in
/// the way of beyond that would cost a provider of 200 ms a fifth of its pace.
const PLACES_FOR_ANSWER: usize = 2;

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

/// What is to be known of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When its turn is.
    pub rank: Rank,
    /// When it is left alone.
    pub breaker: breaker::Settings,
    /// How many calls it takes.
    pub rate: Option<Rate>,
}

#[derive(Debug)]
struct Provider {
    breaker: Breaker,
    rate: Option<Rate>,
    bucket: Bucket,
}

impl Provider {
    fn has_token(&self, now: Timestamp) -> bool {
        self.rate.is_none_or(|rate| self.bucket.wait(rate, now).is_zero())
    }
}

/// A record in its lane.
#[derive(Debug)]
struct Queued {
    work: Work,
    /// Since when nothing but a limit keeps it from being served.
    limited_since: Option<Timestamp>,
}

/// A record whose turn it is. Goes to one of [`Desk::depart`], [`Desk::conclude_uncalled`], [`Desk::put_back`].
#[derive(Debug)]
pub struct Turn {
    ticket: Ticket,
    limited_since: Option<Timestamp>,
    /// The record.
    pub work: Work,
    /// Whom it goes to.
    pub provider: usize,
}

impl Turn {
    /// The same record, now that it is known whom it may go to.
    pub fn by(mut self, route: Route) -> Self {
        self.work.route = route;
        self
    }
}

/// What is told of a call that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departed {
    /// What became of the provider's breaker.
    pub change: Option<Change>,
    /// How long a limit held the record back.
    pub held: Option<Duration>,
}

#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    work: Work,
    provider: usize,
    probe: Option<Probe>,
}

/// A call under way.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// For this record.
    pub work: Work,
    /// By this provider.
    pub provider: usize,
    /// It tries whether the provider is back.
    pub probe: bool,
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
    lanes: Lanes<Queued>,
    flights: HashMap<Place, Flight>,
    /// By partition: what it is, and the held head of a tier.
    partitions: BTreeMap<TopicPartition, (Source, Option<Held>)>,
    ranks: Vec<Rank>,
    providers: Vec<Provider>,
    quotas: Quotas,
    max_in_flight: usize,
}

impl Desk {
    /// Nothing yet; at most `max_in_flight` calls at once, to these providers, and `per_recipient` for each recipient.
    pub fn new(max_in_flight: usize, terms: &[Terms], per_recipient: Option<Rate>) -> Self {
        let provider = |terms: &Terms| Provider {
            breaker: Breaker::new(terms.breaker),
            rate: terms.rate,
            bucket: Bucket::default(),
        };
        let in_flight = max_in_flight.max(1);
        Desk {
            ledger: Ledger::default(),
            lanes: Lanes::new(Limits { in_flight, queued: in_flight.saturating_mul(QUEUED_FOR_EACH) }),
            flights: HashMap::new(),
            partitions: BTreeMap::new(),
            ranks: terms.iter().map(|terms| terms.rank).collect(),
            providers: terms.iter().map(provider).collect(),
            quotas: Quotas::new(per_recipient),
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
        self.lanes.remove_if(|queued| partitions.contains(&queued.work.record.partition));
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

    /// Whether a record of this partition may be taken, into this class. While every provider is left alone none is:
    /// what is there waits in Kafka.
    pub fn may_take(&self, partition: &TopicPartition, class: Class, now: Timestamp) -> bool {
        let someone = self.providers.iter().any(|provider| !provider.breaker.is_open(now));
        someone && self.lanes.may_push(class) && self.ledger.may_take(partition)
    }

    /// Whether a record can go to none but providers that are left alone while others work, or its recipient had enough
    /// for now, and the queue fills up: those who wait would leave no room for anybody else.
    pub fn is_stranded(&self, work: &Work, class: Class, now: Timestamp) -> bool {
        let open: Set = self.places(|provider| provider.breaker.is_open(now)).collect();
        let (all, able) = (Set::all(self.providers.len()), work.route.able.and(Set::all(self.providers.len())));
        let waits = (able.is_within(open) && open != all) || self.quotas.limit(key_of(work), now);
        waits && self.lanes.is_filling_up(class)
    }

    fn places(&self, which: impl Fn(&Provider) -> bool) -> impl Iterator<Item = usize> {
        self.providers.iter().enumerate().filter(move |(_, provider)| which(provider)).map(|(place, _)| place)
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

    /// Whether a record is to be worked on: it was not taken before, nor is its call still under way from an earlier
    /// assignment.
    pub fn is_new(&self, record: &OwnedRecord) -> bool {
        self.ledger.is_new(&record.partition, record.offset) && !self.flights.contains_key(&place(record))
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
        self.lanes.push(record.key.as_deref().unwrap_or_default(), class, Queued { work, limited_since: None });
    }

    /// Whether a record's recipient has too many waiting for it to be taken into their lane.
    pub fn is_crowded(&self, work: &Work, class: Class) -> bool {
        self.lanes.is_crowded_by(key_of(work), class)
    }

    /// Begins a round of [`Desk::next`]: who could not be served in the last one may be now.
    pub fn begin_round(&mut self) {
        self.lanes.offer_all_again();
    }

    /// Whether one more call may be under way. Those that are answered and not committed have half as much room besides:
    /// so many together, and no more, a crash can repeat.
    fn has_place(&self) -> bool {
        let (calls, most) = (self.flights.len(), self.max_in_flight);
        let repeatable = most + most.div_ceil(PLACES_FOR_ANSWER);
        calls < most && calls + self.ledger.uncommitted_calls() < repeatable
    }

    /// Whose turn it is, and whom it goes to, if a call may start now.
    pub fn next(&mut self, now: Timestamp) -> Option<Turn> {
        if !self.has_place() {
            return None;
        }
        let callable: Set = self.places(|provider| provider.breaker.may_call(now)).collect();
        if callable.is_empty() {
            return None;
        }
        let free = callable.and(self.places(|provider| provider.has_token(now)).collect());
        // What nobody takes is anybody's, to be told so: no call is made for it.
        let whom = |able: Set| if able.is_empty() { callable } else { able.and(free) };
        let quotas = &self.quotas;
        let may_serve = |queued: &mut Queued| {
            let able = queued.work.route.able;
            let has_enough = !able.is_empty() && quotas.limit(key_of(&queued.work), now);
            let limited = has_enough || able.and(free).is_empty();
            if limited && !able.and(callable).is_empty() {
                queued.limited_since.get_or_insert(now);
            }
            !has_enough && !whom(able).is_empty()
        };
        let (ticket, Queued { work, limited_since }) = self.lanes.next(may_serve)?;
        match choose(&self.ranks, whom(work.route.able), work.route.spread) {
            Some(provider) => Some(Turn { ticket, limited_since, work, provider }),
            // Not reached: there was one just now.
            None => {
                self.lanes.put_back(ticket, Queued { work, limited_since });
                None
            }
        }
    }

    /// The call for a record starts.
    pub fn depart(&mut self, turn: Turn, now: Timestamp) -> Departed {
        let Turn { ticket, limited_since, work, provider } = turn;
        let (mut probe, mut change) = (None, None);
        if let Some(asked) = self.providers.get_mut(provider) {
            (probe, change) = asked.breaker.depart();
            if let Some(rate) = asked.rate {
                asked.bucket.take(rate, now);
            }
        }
        self.quotas.take(key_of(&work), now);
        self.flights.insert(place(&work.record), Flight { ticket, work, provider, probe });
        Departed { change, held: limited_since.map(|since| now.since(since)) }
    }

    /// A record whose turn it was needs no call.
    pub fn conclude_uncalled(&mut self, turn: Turn, outputs: Vec<Output>) {
        self.lanes.finish(turn.ticket);
        self.ledger.complete(turn.work, outputs, false);
    }

    /// A record whose turn it was cannot be judged now: it is the first of its lane again.
    pub fn put_back(&mut self, turn: Turn) {
        let Turn { ticket, limited_since, work, .. } = turn;
        self.lanes.put_back(ticket, Queued { work, limited_since });
    }

    /// The call that is under way for the record at this place.
    pub fn under_way_at(&self, place: &(TopicPartition, i64)) -> Option<UnderWay> {
        let Flight { work, provider, probe, .. } = self.flights.get(place)?;
        Some(UnderWay { work: work.clone(), provider: *provider, probe: probe.is_some() })
    }

    /// What the call for a record says of its provider; nothing when it was not made.
    pub fn hear(&mut self, place: &(TopicPartition, i64), heard: Option<Heard>, now: Timestamp) -> Option<Change> {
        let flight = self.flights.get(place)?;
        let breaker = &mut self.providers.get_mut(flight.provider)?.breaker;
        match (heard, flight.probe) {
            (Some(heard), probe) => breaker.heard(probe, heard, now),
            (None, Some(probe)) => {
                breaker.unused(probe);
                None
            }
            (None, None) => None,
        }
    }

    /// Whether a provider is in trouble: it was given up, and has not proved since that it works.
    pub fn is_in_trouble(&self, provider: usize) -> bool {
        self.providers.get(provider).is_some_and(|provider| !provider.breaker.is_closed())
    }

    /// The call for a record ended with an answer about the record.
    pub fn land(&mut self, place: &(TopicPartition, i64)) -> Landed {
        let Some(flight) = self.flights.remove(place) else { return Landed::Gone };
        self.lanes.finish(flight.ticket);
        if self.is_outstanding(place) { Landed::Ours(flight.work) } else { Landed::Gone }
    }

    /// The call was not made, or said nothing of the record: it is the first of its lane again.
    pub fn ground(&mut self, place: &(TopicPartition, i64)) {
        let Some(flight) = self.flights.remove(place) else { return };
        self.quotas.give_back(key_of(&flight.work));
        if self.is_outstanding(place) {
            self.lanes.put_back(flight.ticket, Queued { work: flight.work, limited_since: None });
        } else {
            self.lanes.finish(flight.ticket);
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

    /// Why each provider is left alone, if it is.
    pub fn halted_because(&self) -> impl Iterator<Item = Option<Reason>> {
        self.providers.iter().map(|provider| provider.breaker.halted_because())
    }

    /// Records whose turn it would be but for a limit.
    pub fn limited(&self) -> usize {
        self.lanes.passed_over(|queued| queued.limited_since.is_some())
    }

    /// Whether the record at this place was taken, is not complete, and its partition is ours.
    pub fn is_outstanding(&self, place: &(TopicPartition, i64)) -> bool {
        self.ledger.is_outstanding(&place.0, place.1)
    }
}

/// The recipient.
fn key_of(work: &Work) -> &[u8] {
    work.record.key.as_deref().unwrap_or_default()
}

fn place(record: &OwnedRecord) -> Place {
    (record.partition.clone(), record.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::breaker::Storm;
    use crate::delivery::samples;

    const NOW: Timestamp = Timestamp(0);
    const PAUSE: Duration = Duration::from_secs(10);

    fn tp() -> TopicPartition {
        TopicPartition::new("notify.outbound.email", 0)
    }

    /// Of these priorities.
    fn terms(priorities: &[u32]) -> Vec<Terms> {
        let storm = Storm { window: PAUSE, share_percent: 50, at_least: 20 };
        let breaker = breaker::Settings { pause: PAUSE, storm: Some(storm) };
        let terms = |priority| Terms { rank: Rank { priority, weight: 1 }, breaker, rate: None };
        priorities.iter().copied().map(terms).collect()
    }

    fn desk() -> Desk {
        desk_of(2, &terms(&[0]))
    }

    fn desk_of(in_flight: usize, terms: &[Terms]) -> Desk {
        let mut desk = Desk::new(in_flight, terms, None);
        desk.assign(tp(), Source::First(Class::Main), Some(&Committed::at(0)));
        desk
    }

    fn work(user: &str, offset: i64) -> Work {
        let record = OwnedRecord { key: Some(user.into()), ..samples::record("notify.outbound.email", 0, offset) };
        Work { record: Arc::new(record), headers: Arc::default(), waited: false, route: Route::default() }
    }

    /// Of a record that only these providers take.
    fn work_for(user: &str, offset: i64, able: &[usize]) -> Work {
        Work { route: Route { able: able.iter().copied().collect(), spread: 0 }, ..work(user, offset) }
    }

    fn start(desk: &mut Desk) -> Option<i64> {
        start_at(desk, NOW).map(|(offset, _)| offset)
    }

    /// The next one's offset, and whom it goes to.
    fn start_at(desk: &mut Desk, now: Timestamp) -> Option<(i64, usize)> {
        desk.begin_round();
        let turn = desk.next(now)?;
        let started = (turn.work.record.offset, turn.provider);
        desk.depart(turn, now);
        Some(started)
    }

    /// The call at an offset ended with Halt.
    fn halt(desk: &mut Desk, offset: i64, now: Timestamp) -> Option<Change> {
        let change = desk.hear(&(tp(), offset), Some(Heard::Halted(Reason::BadCredentials)), now);
        desk.ground(&(tp(), offset));
        change
    }

    #[test]
    fn a_record_goes_from_lane_to_flight_to_ledger() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        assert_eq!(start(&mut desk), Some(0));
        let Landed::Ours(done) = desk.land(&(tp(), 0)) else { panic!("it is ours") };
        desk.conclude(done, Vec::new());
        assert_eq!(desk.ledger().positions()[0].offset, 1);
        assert_eq!((desk.calls(), desk.queued()), (0, 0));
    }

    #[test]
    fn a_record_that_nobody_takes_gets_its_turn_to_be_told_so_and_holds_up_nobody() {
        let mut desk = desk_of(2, &terms(&[0, 0]));
        desk.enqueue(work_for("ada", 0, &[]), Class::Main);
        desk.enqueue(work("ada", 1), Class::Main);
        let turn = desk.next(NOW).unwrap();
        assert_eq!(turn.work.record.offset, 0);
        desk.conclude_uncalled(turn, Vec::new());
        assert_eq!(start(&mut desk), Some(1), "the next of its lane");
    }

    #[test]
    fn what_is_answered_and_not_committed_has_half_as_much_room_as_what_is_under_way() {
        let mut desk = desk();
        for (offset, user) in ["ada", "bob", "eve", "kim"].into_iter().enumerate() {
            desk.enqueue(work(user, offset as i64), Class::Main);
        }
        let land = |desk: &mut Desk, offset| {
            let Landed::Ours(done) = desk.land(&(tp(), offset)) else { panic!("it is ours") };
            desk.conclude(done, Vec::new());
        };
        assert_eq!((start(&mut desk), start(&mut desk), start(&mut desk)), (Some(0), Some(1), None), "two at once");
        land(&mut desk, 0);
        assert_eq!((start(&mut desk), start(&mut desk)), (Some(2), None));
        land(&mut desk, 1);
        assert_eq!(start(&mut desk), None, "a crash would repeat three calls already");
        let positions = desk.ledger().positions();
        desk.ledger().committed(positions);
        assert_eq!(start(&mut desk), Some(3));
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
        assert!(matches!(desk.land(&(tp(), 0)), Landed::Ours(_)), "and its answer counts");
    }

    #[test]
    fn an_answer_for_someone_elses_partition_is_dropped() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        desk.enqueue(work("bob", 1), Class::Main);
        start(&mut desk);
        desk.revoke(&[tp()]);
        assert_eq!((desk.in_flight(), desk.calls(), desk.queued()), (0, 1, 0));
        assert!(matches!(desk.land(&(tp(), 0)), Landed::Gone));
        assert_eq!(start(&mut desk), None);
    }

    #[test]
    fn a_halt_puts_the_record_back_stops_taking_and_lets_one_probe_through() {
        let mut desk = desk();
        for (offset, user) in ["ada", "bob", "eve"].into_iter().enumerate() {
            desk.enqueue(work(user, offset as i64), Class::Main);
        }
        assert_eq!((start(&mut desk), start(&mut desk)), (Some(0), Some(1)));
        assert_eq!(halt(&mut desk, 0, NOW), Some(Change::Opened(Reason::BadCredentials)));
        assert_eq!(halt(&mut desk, 1, NOW), None);
        assert!(!desk.may_take(&tp(), Class::Main, NOW));
        assert_eq!(start(&mut desk), None);
        let later = NOW.plus(PAUSE);
        assert!(desk.may_take(&tp(), Class::Main, later), "the probe may be one that is still in Kafka");
        let (probe, _) = start_at(&mut desk, later).unwrap();
        assert!(start_at(&mut desk, later).is_none(), "one probe");
        desk.hear(&(tp(), probe), Some(Heard::Well), later);
        assert!(matches!(desk.land(&(tp(), probe)), Landed::Ours(_)));
        assert!(start_at(&mut desk, later).is_some());
        assert_eq!(desk.queued(), 1, "nothing is lost");
    }

    #[test]
    fn a_halted_provider_is_probed_after_its_records_went_and_came_back() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        start(&mut desk);
        halt(&mut desk, 0, NOW);
        desk.revoke(&[tp()]);
        desk.assign(tp(), Source::First(Class::Main), Some(&Committed::at(0)));
        let later = NOW.plus(PAUSE);
        assert!(desk.may_take(&tp(), Class::Main, later));
        desk.enqueue(work("ada", 0), Class::Main);
        assert_eq!(start_at(&mut desk, later), Some((0, 0)));
    }

    #[test]
    fn who_halts_is_passed_over_for_the_next_and_loses_nothing() {
        let mut desk = desk_of(2, &terms(&[0, 1]));
        desk.enqueue(work("ada", 0), Class::Main);
        desk.enqueue(work("bob", 1), Class::Main);
        assert_eq!(start_at(&mut desk, NOW), Some((0, 0)));
        halt(&mut desk, 0, NOW);
        assert_eq!(start_at(&mut desk, NOW).unwrap().1, 1);
        assert_eq!(start_at(&mut desk, NOW).unwrap().1, 1);
        assert!(desk.may_take(&tp(), Class::Main, NOW), "the channel works");
    }

    #[test]
    fn what_only_a_halted_provider_may_have_waits_for_it_and_holds_no_other_up() {
        let mut desk = desk_of(3, &terms(&[0, 1]));
        desk.enqueue(work_for("ada", 0, &[0]), Class::Main);
        assert_eq!(start_at(&mut desk, NOW), Some((0, 0)));
        halt(&mut desk, 0, NOW);
        for (offset, user) in [(1, "bob"), (2, "eve")] {
            desk.enqueue(work_for(user, offset, &[1]), Class::Main);
        }
        assert_eq!((start_at(&mut desk, NOW), start_at(&mut desk, NOW)), (Some((1, 1)), Some((2, 1))));
        assert_eq!(start_at(&mut desk, NOW), None);
        assert_eq!(start_at(&mut desk, NOW.plus(PAUSE)), Some((0, 0)));
    }

    #[test]
    fn those_who_wait_for_a_halted_provider_are_stranded_when_they_would_fill_the_queue() {
        let mut desk = desk_of(1, &terms(&[0, 1]));
        desk.enqueue(work_for("ada", 0, &[0]), Class::Main);
        start(&mut desk);
        halt(&mut desk, 0, NOW);
        assert!(!desk.is_stranded(&work_for("bob", 1, &[0]), Class::Main, NOW), "there is room");
        desk.enqueue(work_for("bob", 1, &[0]), Class::Main);
        assert!(desk.is_stranded(&work_for("eve", 2, &[0]), Class::Main, NOW));
        assert!(!desk.is_stranded(&work_for("eve", 2, &[0, 1]), Class::Main, NOW));
        assert!(!desk.is_stranded(&work_for("eve", 2, &[0]), Class::Main, NOW.plus(PAUSE)));
    }

    #[test]
    fn a_limit_lets_so_many_through_urgent_ones_first_and_says_how_long_it_held() {
        let mut of_two = terms(&[0]);
        of_two[0].rate = Some(Rate::new(10, Duration::from_secs(1), 2));
        let mut desk = desk_of(10, &of_two);
        for offset in 0..4 {
            desk.enqueue(work(&format!("user-{offset}"), offset), Class::Main);
        }
        assert_eq!((start(&mut desk), start(&mut desk), start(&mut desk)), (Some(0), Some(1), None));
        assert_eq!(desk.limited(), 2);
        desk.enqueue(work("urgent", 4), Class::Urgent);
        assert_eq!(start_at(&mut desk, Timestamp(99)), None, "not early");
        assert_eq!(start_at(&mut desk, Timestamp(100)), Some((4, 0)), "whoever is urgent goes first");
        desk.begin_round();
        let turn = desk.next(Timestamp(200)).unwrap();
        assert_eq!(turn.work.record.offset, 2);
        assert_eq!(desk.depart(turn, Timestamp(200)).held, Some(Duration::from_millis(200)));
    }

    #[test]
    fn a_recipient_who_had_enough_waits_and_holds_nobody_else_up() {
        let per_recipient = Rate::new(1, Duration::from_secs(60), 1);
        let mut desk = Desk::new(4, &terms(&[0]), Some(per_recipient));
        desk.assign(tp(), Source::First(Class::Main), Some(&Committed::at(0)));
        desk.enqueue(work("ada", 0), Class::Main);
        desk.enqueue(work("ada", 1), Class::Main);
        desk.enqueue(work("bob", 2), Class::Main);
        desk.enqueue(work("ada", 3), Class::Urgent);
        assert_eq!(start(&mut desk), Some(3), "urgent first");
        assert_eq!(start(&mut desk), Some(2));
        desk.land(&(tp(), 3));
        assert_eq!(start(&mut desk), None);
        assert_eq!(desk.limited(), 1);
        assert!(!desk.is_stranded(&work("ada", 4), Class::Main, NOW), "there is room");
        for offset in 10..20 {
            desk.enqueue(work(&format!("user-{offset}"), offset), Class::Main);
        }
        assert!(desk.is_stranded(&work("ada", 4), Class::Main, NOW), "others need the room");
        assert!(!desk.is_stranded(&work("eve", 5), Class::Main, NOW));
        assert_eq!(start_at(&mut desk, Timestamp(59_999)).map(|(offset, _)| offset), Some(10));
        desk.begin_round();
        let turn = desk.next(Timestamp(60_000)).unwrap();
        assert_eq!(turn.work.record.offset, 0);
        assert_eq!(desk.depart(turn, Timestamp(60_000)).held, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_limited_provider_leaves_its_share_to_the_others() {
        let mut of_one = terms(&[0, 1]);
        of_one[0].rate = Some(Rate::new(1, Duration::from_secs(1), 1));
        let mut desk = desk_of(10, &of_one);
        desk.enqueue(work("ada", 0), Class::Main);
        desk.enqueue(work("bob", 1), Class::Main);
        assert_eq!((start_at(&mut desk, NOW), start_at(&mut desk, NOW)), (Some((0, 0)), Some((1, 1))));
    }

    #[test]
    fn a_call_that_was_not_made_is_made_later() {
        let mut desk = desk();
        desk.enqueue(work("ada", 0), Class::Main);
        start(&mut desk);
        assert_eq!(desk.hear(&(tp(), 0), None, NOW), None);
        desk.ground(&(tp(), 0));
        assert_eq!(start(&mut desk), Some(0));
    }

    #[test]
    fn a_tiers_head_is_held_until_due_and_not_taken_before() {
        let mut desk = Desk::new(2, &terms(&[0]), None);
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
