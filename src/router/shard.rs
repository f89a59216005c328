//! One shard: an OS thread that owns a consumer and its transactional producer. A few records are taken from librdkafka ahead
//! of their turn, and wait in the consumer; nothing else is queued between poll and produce.
//!
//! Invariants: an input offset is committed only in the transaction that holds its outputs; after a transaction that
//! was not committed the input is rewound to where the group stands. The transactional id is taken up only as a member
//! of the group that was given partitions: a producer whose result is unknown is replaced, and one that was fenced ends
//! the shard, as long as nobody else is in the group under this shard's name; otherwise the shard ends for good.
//!
//! | file | is |
//! |---|---|
//! | `shard` | the loop: poll, process, commit, recover |
//! | `shard/partitions` | which partitions, from where: rebalances, beginnings, going back |
//! | `shard/holds` | topics of which nothing more is taken |
//! | `shard/awaiting` | partitions that wait for their part of the preferences table |
//! | `shard/end` | why a shard ended |

mod awaiting;
mod end;
mod holds;
mod partitions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::batch::{Batch, Bisection, Step};
use super::holding::Shares;
use super::input::Input;
use super::metrics::RouterMetrics;
use super::outputs::OutputError;
use super::pace::{Commit, Pace};
use super::pipeline::{Halt, Pipeline};
use super::placing::{First, Places, Placings};
use crate::kafka::{
    Ended, Failure, GroupConsumer, HeldHeads, Membership, OwnedRecord, Polled, Table, TableState, TopicPartition,
    Transaction, TransactionalProducer,
};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::faults::{self, Breakage};
use crate::telemetry::metrics::RouterWait;

use awaiting::Awaiting;
pub use end::ShardEnd;
use holds::Holds;

/// While the table is further behind its log, routing waits.
const TABLE_LAG: Duration = Duration::from_secs(1);

/// How long a poll waits when nothing is open.
const IDLE: Duration = Duration::from_millis(50);

/// How often the held heads of event tiers are looked at, and the group served while routing waits for long.
const LOOK: Duration = Duration::from_millis(5);

/// So long records that are there already are taken, before the tables, the holds and all else are looked at again.
const TURN: Duration = LOOK;

/// So long the table may keep routing waiting before the group is served meanwhile.
const SERVE_AFTER: Duration = Duration::from_secs(2);

/// How long between two questions to a registry that does not answer.
const REGISTRY_PAUSE: Duration = Duration::from_millis(500);

/// What a shard is made of.
pub struct Shard {
    /// For logs and metrics.
    pub number: usize,
    /// Where records come from.
    pub consumer: GroupConsumer,
    /// What follows from them.
    pub pipeline: Pipeline,
    /// Watched for lag.
    pub table: Table,
    /// Watched for lag.
    pub suppressions: SuppressionList,
    /// Makes a producer of this shard's transactional id.
    pub connect: Box<dyn Fn() -> Result<TransactionalProducer, Failure> + Send>,
    /// Whether this is the shard's first life in this process: a process that is started takes its ids over from
    /// whoever had them, which is what a replacement is for.
    pub takes_over: bool,
    /// Where partitions begin.
    pub places: Places,
    /// When too much of a topic goes to the dead letters.
    pub shares: Shares,
    /// A transaction is committed at the latest after this.
    pub commit_interval: Duration,
    /// A transaction holds at most this many input records.
    pub max_records: usize,
    /// Time.
    pub clock: Clock,
    /// Numbers.
    pub metrics: RouterMetrics,
    /// Told when partitions are assigned.
    pub assigned: Arc<dyn Fn(usize) + Send + Sync>,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// The producer: between transactions, or within one. Moving it out to commit or abort leaves `Gone` until the result
/// is known, so that nothing can be produced meanwhile.
enum Stage {
    /// None yet, or its result is not known.
    Gone,
    Ready(TransactionalProducer),
    Open(Transaction),
}

/// What a poll gave.
#[derive(PartialEq, Eq)]
enum Stepped {
    /// A record, which is done with.
    Took,
    /// Nothing.
    Idle,
    /// Something after which all has to be looked at anew.
    Turned,
}

/// A shard at work.
struct Running {
    /// Dropped before the consumer, which they ask.
    placings: Placings,
    shard: Shard,
    stage: Stage,
    batch: Batch,
    pace: Pace,
    bisection: Bisection,
    heads: HeldHeads,
    /// The held heads are not looked at before.
    heads_at: Instant,
    /// Our partitions, and where the group stands in each as far as we know.
    owned: BTreeMap<TopicPartition, i64>,
    /// Beginnings that are not committed yet.
    firsts: BTreeMap<TopicPartition, (i64, First)>,
    holds: Holds,
    awaiting: Awaiting,
    /// The input stands past where the group does, and nothing may be committed before it went back.
    rewind_due: bool,
}

impl Shard {
    /// Works until told to stop or unable to go on; leaves the group.
    pub fn run(self) -> ShardEnd {
        let bisection = Bisection::new(self.max_records);
        let pace = Pace::new(self.commit_interval);
        let holds = Holds::new(self.places.register.clone(), self.consumer.group(), self.clock.clone());
        let mut running = Running {
            placings: Placings::default(),
            shard: self,
            stage: Stage::Gone,
            batch: Batch::default(),
            pace,
            bisection,
            heads: HeldHeads::default(),
            heads_at: steady_now(),
            owned: BTreeMap::new(),
            firsts: BTreeMap::new(),
            holds,
            awaiting: Awaiting::default(),
            rewind_due: false,
        };
        match running.work() {
            Err(end) => end,
            Ok(()) => match running.commit() {
                Err(end) => end,
                Ok(()) => ShardEnd::Stopped,
            },
        }
    }
}

impl Running {
    fn work(&mut self) -> Result<(), ShardEnd> {
        while !self.shard.stop.load(Ordering::Relaxed) {
            if self.rewind_due {
                // What was opened since is given up.
                self.commit()?;
                if self.rewind_due {
                    self.rewind()?;
                }
            }
            if !self.wait_for_table()? {
                break;
            }
            self.turn()?;
            let now = steady_now();
            self.take_due(now)?;
            self.place()?;
            self.follow_holds(now)?;
            self.follow_table()?;
            if self.is_full(steady_now()) {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// Waits for a record, and takes those that are there already with it.
    fn turn(&mut self) -> Result<(), ShardEnd> {
        let now = self.settled();
        let rested = self.batch.opened().map(|opened| self.pace.rested(opened));
        match self.step(rested.map_or(IDLE, |rested| whole_millis(rested, now)), now)? {
            Stepped::Took => {}
            Stepped::Idle if rested.is_none_or(|rested| steady_now() >= rested) => return self.commit(),
            Stepped::Idle | Stepped::Turned => return Ok(()),
        }
        let mut now = steady_now();
        let ends = now + TURN;
        while now < ends && !self.is_full(now) && self.step(Duration::ZERO, now)? == Stepped::Took {
            now = steady_now();
        }
        Ok(())
    }

    /// Now, once the next transaction may be opened.
    fn settled(&mut self) -> Instant {
        let now = steady_now();
        if self.batch.opened().is_some() {
            return now;
        }
        match self.pace.settles(now) {
            Duration::ZERO => now,
            left => {
                std::thread::sleep(left);
                steady_now()
            }
        }
    }

    /// One poll and what follows from it.
    fn step(&mut self, timeout: Duration, now: Instant) -> Result<Stepped, ShardEnd> {
        let Running { shard, stage, batch, bisection, holds, awaiting, .. } = self;
        // Most events are keyed by their recipient; for others this does nothing.
        let result = match shard.consumer.poll_ahead(timeout, |keys| shard.table.touch(keys)) {
            // Fetched before its partition was stopped; it comes again when that goes on.
            Polled::Record(record) if holds.holds(record.topic()) || awaiting.awaits(record.partition()) => {
                return Ok(Stepped::Took);
            }
            Polled::Record(record) => {
                let input = Input::from(&record);
                process(&mut shard.pipeline, stage, batch, bisection, &input).map(|()| {
                    let topic = shard.pipeline.took().topic.as_deref().unwrap_or(input.topic);
                    holds.note(&mut shard.shares, topic, shard.pipeline.took().dead, now);
                })
            }
            Polled::Rebalance(rebalance) => return self.rebalance(rebalance).map(|()| Stepped::Turned),
            Polled::Idle => return Ok(Stepped::Idle),
            Polled::Fault(fault) => return Err(self.fault(fault)),
        };
        match result {
            Ok(()) => Ok(Stepped::Took),
            Err(halted) => self.settle(halted).map(|()| Stepped::Turned),
        }
    }

    /// Processes the records of event tiers that are due. Looking at each partition's head costs more than routing a
    /// record, so that it is not done after each.
    fn take_due(&mut self, now: Instant) -> Result<(), ShardEnd> {
        if now < self.heads_at {
            return Ok(());
        }
        while !self.is_full(steady_now()) {
            let Some(record) = self.heads.next_due(&mut self.shard.consumer, &self.shard.clock)? else {
                self.heads_at = steady_now() + LOOK;
                return Ok(());
            };
            if let Err(halted) = self.process_owned(&record, now) {
                self.settle(halted)?;
            }
        }
        Ok(())
    }

    fn process_owned(&mut self, record: &OwnedRecord, now: Instant) -> Result<(), Halted> {
        let input = Input::from(record);
        process(&mut self.shard.pipeline, &mut self.stage, &mut self.batch, &self.bisection, &input)?;
        let took = self.shard.pipeline.took();
        let topic = took.topic.as_deref().unwrap_or(input.topic);
        self.holds.note(&mut self.shard.shares, topic, took.dead, now);
        Ok(())
    }

    fn settle(&mut self, Halted { halt, culprit }: Halted) -> Result<(), ShardEnd> {
        match halt {
            Halt::Output(OutputError::Encode(error)) => Err(ShardEnd::Internal(error.to_string())),
            Halt::Output(OutputError::Kafka(failure)) => self.abort(failure, Some(culprit)),
            // What comes next waits until the table is restored.
            halt @ Halt::Table(_) => {
                let why = halt.to_string();
                self.abort(Failure::Kafka { id: String::new(), doing: "reading a record", why }, Some(culprit))
            }
            halt @ Halt::Registry(_) => {
                let why = halt.to_string();
                let cause = Failure::Kafka { id: String::new(), doing: "reading a record", why: why.clone() };
                self.abort(cause, Some(culprit))?;
                self.wait_for_registry(&why)
            }
        }
    }

    /// Whether the open transaction has to be committed.
    fn is_full(&self, now: Instant) -> bool {
        self.batch.inputs() >= self.bisection.limit()
            || self.holds.is_due()
            || self.batch.opened().is_some_and(|opened| self.pace.is_over(opened, now))
    }

    /// Commits what is open, if anything is, and what has to be told of: beginnings and holds.
    fn commit(&mut self) -> Result<(), ShardEnd> {
        self.shard.pipeline.publish();
        self.tell()?;
        let transaction = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open(transaction) => transaction,
            Stage::Ready(producer) => {
                producer.serve();
                self.stage = Stage::Ready(producer);
                return Ok(());
            }
            Stage::Gone => return Ok(()),
        };
        let positions = self.positions();
        let group = self.shard.consumer.group_metadata()?;
        if self.rewind_due || self.shard.consumer.assignment_lost() {
            let ended = transaction.abort(Failure::Group("the assignment was lost".to_owned()));
            return self.recover(ended, None);
        }
        let began = steady_now();
        let full = self.batch.opened().is_some_and(|opened| self.pace.is_over(opened, began));
        let ended = match transaction.commit(&positions, &group) {
            Ended::CommittedLast => Ended::Committed(self.connect()?),
            other => other,
        };
        match ended {
            Ended::Committed(producer) => {
                let ended = steady_now();
                self.shard.metrics.committed(ended - began);
                self.pace.committed(Commit { began, ended, overlapped: producer.overlapped(), full });
                self.stage = Stage::Ready(producer);
                self.batch = Batch::default();
                self.bisection.committed(&positions);
                self.stands(&positions);
                self.shard.shares.committed(steady_now());
                self.hold_told()
            }
            other => {
                let culprit = self.batch.only_input();
                self.recover(other, culprit)
            }
        }
    }

    /// Aborts what is open; `processing` is the record whose outputs were being written.
    fn abort(&mut self, why: Failure, processing: Option<Place>) -> Result<(), ShardEnd> {
        let culprit = suspect(why.record_fault().is_some(), processing, &mut self.batch);
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open(transaction) => {
                let ended = transaction.abort(why);
                self.recover(ended, culprit)
            }
            Stage::Ready(producer) => {
                self.stage = Stage::Ready(producer);
                Ok(())
            }
            Stage::Gone => match why {
                Failure::Fenced { .. } => self.recover(Ended::Fenced(why), None),
                _ => self.recover(Ended::Unknown(why), culprit),
            },
        }
    }

    /// After a transaction that was not committed: a producer to go on with, and the input where the group stands.
    /// `culprit` is the record to blame when the fault is a record's, if it is known which.
    fn recover(&mut self, ended: Ended, culprit: Option<Place>) -> Result<(), ShardEnd> {
        let age = self.batch.opened().map_or(Duration::ZERO, |opened| opened.elapsed());
        let failure = match ended {
            Ended::Committed(producer) => {
                self.stage = Stage::Ready(producer);
                return Ok(());
            }
            Ended::CommittedLast => {
                self.stage = Stage::Ready(self.connect()?);
                return Ok(());
            }
            Ended::Fenced(failure) => return Err(self.fenced(failure, age)),
            Ended::Aborted(producer, failure) => {
                self.stage = Stage::Ready(producer);
                failure
            }
            Ended::Unknown(failure) => {
                self.stage = Stage::Ready(self.connect()?);
                failure
            }
        };
        self.shard.metrics.aborted(cause_of(&failure));
        self.shard.pipeline.publish();
        tracing::warn!(shard = self.shard.number, inputs = self.batch.inputs(), %failure, "transaction given up; going back");
        if let Some(fault) = failure.record_fault() {
            match self.bisection.failed(self.batch.inputs(), culprit, fault) {
                Step::Stuck => return Err(ShardEnd::Stuck(failure)),
                Step::Narrow | Step::Found => {}
            }
        } else if let Failure::Denied(_) = failure {
            return Err(ShardEnd::Producer(failure));
        }
        self.batch = Batch::default();
        self.shard.shares.given_up();
        self.holds.given_up();
        self.rewind()
    }

    /// The producer was told that a newer one lives; see [`Member::may_follow_fenced`](crate::kafka::Member).
    fn fenced(&self, failure: Failure, age: Duration) -> ShardEnd {
        if faults::broken(Breakage::RetakeAfterFence) {
            return ShardEnd::StoodStill(failure);
        }
        match self.shard.consumer.member().may_follow_fenced(age) {
            Ok(true) => ShardEnd::StoodStill(failure),
            Ok(false) => ShardEnd::Fenced(failure),
            Err(fault) => fault.into(),
        }
    }

    /// Takes up the transactional id.
    fn connect(&mut self) -> Result<TransactionalProducer, ShardEnd> {
        if !self.shard.takes_over && !faults::broken(Breakage::RetakeAfterFence) {
            match self.shard.consumer.member().membership()? {
                Membership::Alone => {}
                Membership::Rival(member) => return Err(ShardEnd::Replaced { member }),
                Membership::Outside => return Err(ShardEnd::Outside),
            }
        }
        self.shard.takes_over = false;
        (self.shard.connect)().map_err(|failure| match failure {
            Failure::Fenced { .. } => ShardEnd::Fenced(failure),
            other => ShardEnd::Producer(other),
        })
    }

    /// While the table is far behind its log, decisions would rest on old preferences. False when told to stop.
    fn wait_for_table(&mut self) -> Result<bool, ShardEnd> {
        if self.is_table_fresh()? {
            return Ok(true);
        }
        self.commit()?;
        let (began, mut dropped) = (steady_now(), false);
        while !self.is_table_fresh()? {
            if self.shard.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if began.elapsed() < SERVE_AFTER {
                std::thread::sleep(LOOK);
            } else {
                self.serve_group()?;
                dropped = true;
            }
        }
        self.shard.metrics.waited(RouterWait::Table, began.elapsed());
        if dropped {
            self.rewind()?;
        }
        Ok(true)
    }

    fn is_table_fresh(&self) -> Result<bool, ShardEnd> {
        if faults::broken(Breakage::UnrestoredTable) {
            return Ok(true);
        }
        let suppressions = match self.shard.suppressions.state() {
            TableState::Live { behind } => Ok(Some(behind)),
            TableState::Restoring { .. } => Ok(None),
            TableState::Failed(why) => Err(why),
        };
        let tables = [("preferences table", self.shard.table.behind()), ("suppression list", suppressions)];
        for (name, behind) in tables {
            match behind {
                Ok(Some(behind)) if behind <= TABLE_LAG => {}
                Ok(_) => return Ok(false),
                Err(why) => return Err(ShardEnd::Table(format!("the {name} failed: {why}"))),
            }
        }
        Ok(true)
    }

    /// The registry does not answer: nothing is lost, nothing goes to the DLQ, the same records come again. The group
    /// is served meanwhile; what it gives is dropped and read again after the rewind.
    fn wait_for_registry(&mut self, why: &str) -> Result<(), ShardEnd> {
        tracing::warn!(shard = self.shard.number, why, "routing waits");
        self.shard.metrics.waited(RouterWait::Registry, REGISTRY_PAUSE);
        let until = steady_now() + REGISTRY_PAUSE;
        while steady_now() < until && !self.shard.stop.load(Ordering::Relaxed) {
            self.serve_group()?;
        }
        self.rewind()
    }

    /// Stays in the group while nothing is routed; what it gives is dropped, so that a rewind has to follow.
    fn serve_group(&mut self) -> Result<(), ShardEnd> {
        self.place()?;
        match self.shard.consumer.poll(Duration::from_millis(50)) {
            Polled::Rebalance(rebalance) => self.rebalance(rebalance),
            Polled::Fault(fault) => Err(self.fault(fault)),
            Polled::Record(_) => {
                // Those that were taken with it are dropped at once, so that the group is served again soon.
                if !self.shard.consumer.has_more() {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(())
            }
            Polled::Idle => Ok(()),
        }
    }
}

/// How long a poll may wait until then. It takes whole milliseconds, and spins through what is left of one.
fn whole_millis(until: Instant, now: Instant) -> Duration {
    let left = until.saturating_duration_since(now);
    Duration::from_millis(left.as_nanos().div_ceil(1_000_000) as u64)
}

/// Where a record stands.
type Place = (TopicPartition, i64);

/// The record that a transaction failed for, when that is known: the one whose output was refused at once, or the
/// only one that has outputs in it. A fault that a delivery report told while another record was being processed is
/// of any record before it, and often of a neighbour.
fn suspect(refused: bool, processing: Option<Place>, batch: &mut Batch) -> Option<Place> {
    match processing {
        Some(place) if refused || batch.inputs() == 0 => Some(place),
        Some(_) => None,
        None => batch.only_input(),
    }
}

/// Why a record could not be processed, and which it was.
struct Halted {
    halt: Halt,
    culprit: Place,
}

/// Opens a transaction if none is, and writes what follows from the record.
fn process(
    pipeline: &mut Pipeline,
    stage: &mut Stage,
    batch: &mut Batch,
    bisection: &Bisection,
    input: &Input<'_>,
) -> Result<(), Halted> {
    let halted = |halt| Halted { halt, culprit: (TopicPartition::new(input.topic, input.partition), input.offset) };
    let transaction = open(stage, batch).map_err(|failure| halted(OutputError::Kafka(failure).into()))?;
    match bisection.fault(input.topic, input.partition, input.offset) {
        Some(fault) => pipeline.bury(transaction, input, fault),
        None => pipeline.process(transaction, input),
    }
    .map_err(halted)?;
    batch.add(input.topic, input.partition, input.offset);
    Ok(())
}

/// The open transaction; a new one when none is.
fn open<'s>(stage: &'s mut Stage, batch: &mut Batch) -> Result<&'s mut Transaction, Failure> {
    if matches!(stage, Stage::Ready(_))
        && let Stage::Ready(producer) = std::mem::replace(stage, Stage::Gone)
    {
        *stage = Stage::Open(producer.begin()?);
        batch.open(steady_now());
    }
    match stage {
        Stage::Open(transaction) => Ok(transaction),
        Stage::Ready(_) | Stage::Gone => {
            Err(Failure::Kafka { id: String::new(), doing: "producing", why: "there is no producer".to_owned() })
        }
    }
}

/// A word for the metric.
fn cause_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Record { .. } => "record",
        Failure::Fenced { .. } => "fenced",
        Failure::Group(_) => "group",
        Failure::Denied(_) => "authorization",
        Failure::Kafka { .. } => "kafka",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: i64) -> Place {
        (TopicPartition::new("t", 0), offset)
    }

    fn batch(offsets: &[i64]) -> Batch {
        let mut batch = Batch::default();
        batch.open(steady_now());
        offsets.iter().for_each(|offset| batch.add("t", 0, *offset));
        batch
    }

    #[test]
    fn a_record_is_to_blame_when_its_own_output_is_refused() {
        assert_eq!(suspect(true, Some(place(9)), &mut batch(&[7, 8])), Some(place(9)));
    }

    #[test]
    fn a_record_is_not_to_blame_for_a_neighbour_whose_output_failed_meanwhile() {
        assert_eq!(suspect(false, Some(place(8)), &mut batch(&[7])), None);
        assert_eq!(suspect(false, Some(place(9)), &mut batch(&[7, 8])), None);
    }

    #[test]
    fn a_record_that_is_alone_in_its_transaction_is_to_blame() {
        assert_eq!(suspect(false, Some(place(7)), &mut batch(&[])), Some(place(7)), "an earlier output of its own");
        assert_eq!(suspect(false, None, &mut batch(&[7])), Some(place(7)));
        assert_eq!(suspect(false, None, &mut batch(&[7, 8])), None);
    }
}
