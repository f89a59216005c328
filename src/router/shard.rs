//! One shard: an OS thread that owns a consumer and its transactional producer; nothing is queued between poll and
//! produce.
//!
//! Invariants: an input offset is committed only in the transaction that holds its outputs; after a transaction that
//! was not committed the input is rewound to where the group stands; a producer whose result is unknown is replaced,
//! a fenced one ends the shard for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::batch::{Batch, Bisection, Step, poll_timeout};
use super::input::{Input, is_event_tier};
use super::metrics::RouterMetrics;
use super::outputs::OutputError;
use super::pipeline::{Halt, Pipeline};
use crate::kafka::{
    ConsumerFault, Ended, Failure, GroupConsumer, HeldHeads, OwnedRecord, Polled, Rebalance, Table, TableState,
    TopicPartition, Transaction, TransactionalProducer,
};
use crate::model::parse_delay;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::metrics::{Rebalance as RebalanceKind, RouterWait};

/// While the table is further behind its log, routing waits.
const TABLE_LAG: Duration = Duration::from_secs(1);

/// How long a poll waits when nothing is open.
const IDLE: Duration = Duration::from_millis(50);

/// How long a poll waits for more while a transaction is open; then it is committed: input is scarce.
const DRY: Duration = Duration::from_millis(5);

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
    /// Makes a producer of this shard's transactional id.
    pub connect: Box<dyn Fn() -> Result<TransactionalProducer, Failure> + Send>,
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

/// Why a shard ended.
#[derive(Debug, thiserror::Error)]
pub enum ShardEnd {
    /// It was told to.
    #[error("stopped")]
    Stopped,
    /// A newer producer of its transactional id lives.
    #[error("{0}")]
    Fenced(Failure),
    /// The consumer cannot go on.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
    /// The producer cannot go on.
    #[error(transparent)]
    Producer(Failure),
    /// The table cannot go on.
    #[error("the preferences table failed: {0}")]
    Table(String),
    /// A dead letter cannot be written either.
    #[error("neither the outputs of a record nor its dead letter can be written: {0}. Mend that, then start again")]
    Stuck(Failure),
    /// A record of ours does not fit our own schema.
    #[error("{0}")]
    Internal(String),
}

impl ShardEnd {
    /// Whether a new shard may take its place after a while.
    pub fn may_restart(&self) -> bool {
        match self {
            ShardEnd::Stopped | ShardEnd::Fenced(_) => false,
            ShardEnd::Consumer(fault) => !matches!(fault, ConsumerFault::OffsetLost { .. }),
            ShardEnd::Producer(_) | ShardEnd::Table(_) | ShardEnd::Stuck(_) | ShardEnd::Internal(_) => true,
        }
    }
}

/// The producer: between transactions, or within one. Moving it out to commit or abort leaves `Gone` until the result
/// is known, so that nothing can be produced meanwhile.
enum Stage {
    Gone,
    Ready(TransactionalProducer),
    Open(Transaction),
}

/// A shard at work.
struct Running {
    shard: Shard,
    stage: Stage,
    batch: Batch,
    bisection: Bisection,
    heads: HeldHeads,
    owned: Vec<TopicPartition>,
}

impl Shard {
    /// Works until told to stop or unable to go on; leaves the group.
    pub fn run(self) -> ShardEnd {
        let producer = match (self.connect)() {
            Ok(producer) => producer,
            Err(failure @ Failure::Fenced { .. }) => return ShardEnd::Fenced(failure),
            Err(failure) => return ShardEnd::Producer(failure),
        };
        let bisection = Bisection::new(self.max_records);
        let mut running = Running {
            shard: self,
            stage: Stage::Ready(producer),
            batch: Batch::default(),
            bisection,
            heads: HeldHeads::default(),
            owned: Vec::new(),
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
            self.wait_for_table()?;
            self.step()?;
            self.take_due()?;
            if self.is_full() {
                self.commit()?;
            }
        }
        Ok(())
    }

    /// One poll and what follows from it.
    fn step(&mut self) -> Result<(), ShardEnd> {
        let timeout = poll_timeout(self.batch.opened(), steady_now(), self.shard.commit_interval, IDLE, DRY);
        let result = match self.shard.consumer.poll(timeout) {
            Polled::Record(record) => {
                let input = Input::from(&record);
                process(&mut self.shard.pipeline, &mut self.stage, &mut self.batch, &self.bisection, &input)
            }
            Polled::Rebalance(rebalance) => return self.rebalance(rebalance),
            Polled::Idle => return self.commit(),
            Polled::Fault(fault) => return Err(fault.into()),
        };
        self.settle(result)
    }

    /// Processes the records of event tiers that are due.
    fn take_due(&mut self) -> Result<(), ShardEnd> {
        while !self.is_full() {
            let Some(record) = self.heads.next_due(&mut self.shard.consumer, &self.shard.clock)? else { return Ok(()) };
            let result = self.process_owned(&record);
            self.settle(result)?;
        }
        Ok(())
    }

    fn process_owned(&mut self, record: &OwnedRecord) -> Result<(), Halted> {
        let input = Input::from(record);
        process(&mut self.shard.pipeline, &mut self.stage, &mut self.batch, &self.bisection, &input)
    }

    fn settle(&mut self, result: Result<(), Halted>) -> Result<(), ShardEnd> {
        let Err(Halted { halt, culprit }) = result else { return Ok(()) };
        match halt {
            Halt::Output(OutputError::Encode(error)) => Err(ShardEnd::Internal(error.to_string())),
            Halt::Output(OutputError::Kafka(failure)) => self.abort(failure, Some(culprit)),
            halt @ Halt::Registry(_) => {
                let why = halt.to_string();
                let cause = Failure::Kafka { id: String::new(), doing: "reading a record", why: why.clone() };
                self.abort(cause, None)?;
                self.wait_for_registry(&why)
            }
        }
    }

    fn is_full(&self) -> bool {
        let limit = self.bisection.limit();
        self.batch.inputs() >= limit
            || self.batch.opened().is_some_and(|opened| opened.elapsed() >= self.shard.commit_interval)
    }

    /// Commits what is open, if anything is.
    fn commit(&mut self) -> Result<(), ShardEnd> {
        let transaction = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open(transaction) => transaction,
            Stage::Ready(producer) => {
                producer.serve();
                self.stage = Stage::Ready(producer);
                return Ok(());
            }
            Stage::Gone => {
                self.stage = Stage::Ready(self.connect()?);
                return Ok(());
            }
        };
        let positions = self.batch.positions();
        let group = self.shard.consumer.group_metadata()?;
        let begun = steady_now();
        match transaction.commit(&positions, &group) {
            Ended::Committed(producer) => {
                self.shard.metrics.committed(begun.elapsed());
                self.stage = Stage::Ready(producer);
                self.batch = Batch::default();
                self.bisection.committed(&positions);
                Ok(())
            }
            other => self.recover(other, None),
        }
    }

    /// Aborts what is open; `culprit` is the record that was being processed, when it is to blame.
    fn abort(&mut self, why: Failure, culprit: Option<Place>) -> Result<(), ShardEnd> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open(transaction) => {
                let ended = transaction.abort(why);
                self.recover(ended, culprit)
            }
            Stage::Ready(producer) => {
                self.stage = Stage::Ready(producer);
                Ok(())
            }
            Stage::Gone => self.recover(Ended::Unknown(why), culprit),
        }
    }

    /// After a transaction that was not committed: a producer to go on with, and the input where the group stands.
    fn recover(&mut self, ended: Ended, culprit: Option<Place>) -> Result<(), ShardEnd> {
        let failure = match ended {
            Ended::Committed(producer) => {
                self.stage = Stage::Ready(producer);
                return Ok(());
            }
            Ended::Fenced(failure) => return Err(ShardEnd::Fenced(failure)),
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
        tracing::warn!(shard = self.shard.number, inputs = self.batch.inputs(), %failure, "transaction given up; going back");
        if let Some(fault) = failure.record_fault() {
            let only = culprit.or_else(|| self.batch.only_input());
            match self.bisection.failed(self.batch.inputs(), only, fault) {
                Step::Stuck => return Err(ShardEnd::Stuck(failure)),
                Step::Narrow | Step::Found => {}
            }
        } else if let Failure::Authorization(_) = failure {
            return Err(ShardEnd::Producer(failure));
        }
        self.batch = Batch::default();
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), ShardEnd> {
        self.heads.clear();
        self.shard.consumer.rewind(&self.owned)?;
        Ok(())
    }

    fn connect(&self) -> Result<TransactionalProducer, ShardEnd> {
        (self.shard.connect)().map_err(|failure| match failure {
            Failure::Fenced { .. } => ShardEnd::Fenced(failure),
            other => ShardEnd::Producer(other),
        })
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), ShardEnd> {
        let begun = steady_now();
        let kind = match &rebalance {
            Rebalance::Assigned(_) => RebalanceKind::Assigned,
            Rebalance::Revoked { lost: true, .. } => RebalanceKind::Lost,
            Rebalance::Revoked { .. } => RebalanceKind::Revoked,
        };
        match rebalance {
            Rebalance::Assigned(partitions) => {
                tracing::info!(shard = self.shard.number, partitions = partitions.len(), "assigned");
                self.shard.consumer.accept(&partitions)?;
                for partition in &partitions {
                    if let Some(delay) = tier_delay(&partition.topic) {
                        self.heads.add(partition.clone(), delay);
                    }
                }
                self.owned.extend(partitions);
            }
            Rebalance::Revoked { partitions, lost } => {
                tracing::info!(shard = self.shard.number, partitions = partitions.len(), lost, "revoked");
                if lost {
                    self.give_up_lost(&partitions)?;
                } else {
                    self.commit()?;
                    self.forget(&partitions);
                }
                self.shard.consumer.release(&partitions)?;
            }
        }
        (self.shard.assigned)(self.owned.len());
        self.shard.metrics.rebalanced(kind, begun.elapsed());
        Ok(())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.owned.retain(|owned| !partitions.contains(owned));
        for partition in partitions {
            self.heads.remove(partition);
        }
    }

    /// Someone else may own them already: nothing of the open transaction may become visible.
    fn give_up_lost(&mut self, partitions: &[TopicPartition]) -> Result<(), ShardEnd> {
        // What is lost must not be sought when the rest is rewound.
        self.forget(partitions);
        self.abort(Failure::Group("the assignment was lost".to_owned()), None)
    }

    /// While the table is far behind its log, decisions would rest on old preferences.
    fn wait_for_table(&mut self) -> Result<(), ShardEnd> {
        let mut waited = Duration::ZERO;
        loop {
            match self.shard.table.state() {
                TableState::Live { behind } if behind <= TABLE_LAG => break,
                TableState::Failed(why) => return Err(ShardEnd::Table(why)),
                TableState::Live { .. } | TableState::Restoring { .. } => {}
            }
            if waited.is_zero() {
                self.commit()?;
            }
            if self.shard.stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            waited += Duration::from_millis(5);
        }
        if !waited.is_zero() {
            self.shard.metrics.waited(RouterWait::Table, waited);
        }
        Ok(())
    }

    /// The registry does not answer: nothing is lost, nothing goes to the DLQ, the same records come again. The group
    /// is served meanwhile; what it gives is dropped and read again after the rewind.
    fn wait_for_registry(&mut self, why: &str) -> Result<(), ShardEnd> {
        tracing::warn!(shard = self.shard.number, why, "routing waits");
        self.shard.metrics.waited(RouterWait::Registry, REGISTRY_PAUSE);
        let until = steady_now() + REGISTRY_PAUSE;
        while steady_now() < until && !self.shard.stop.load(Ordering::Relaxed) {
            match self.shard.consumer.poll(Duration::from_millis(50)) {
                Polled::Rebalance(rebalance) => self.rebalance(rebalance)?,
                Polled::Fault(fault) => return Err(fault.into()),
                Polled::Record(_) => std::thread::sleep(Duration::from_millis(50)),
                Polled::Idle => {}
            }
        }
        self.rewind()
    }
}

/// Where a record stands.
type Place = (TopicPartition, i64);

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

/// The delay of an event tier, by its topic's name.
fn tier_delay(topic: &str) -> Option<Duration> {
    is_event_tier(topic).then(|| topic.rsplit('.').next()).flatten().and_then(|delay| parse_delay(delay).ok())
}

/// A word for the metric.
fn cause_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Record { .. } => "record",
        Failure::Fenced { .. } => "fenced",
        Failure::Group(_) => "group",
        Failure::Authorization(_) => "authorization",
        Failure::Kafka { .. } => "kafka",
    }
}
