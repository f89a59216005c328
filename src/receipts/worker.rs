//! One worker: an OS thread that owns a consumer and its transactional producer; nothing is queued between poll and
//! produce.
//!
//! Invariants: an offset is committed only in the transaction that holds what follows from its record; after one that was
//! not committed the input is rewound to where the group stands. Nothing is taken from new partitions before the table
//! has read what their last owner wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clerk::{Clerk, Later};
use crate::kafka::{
    ConsumerFault, Ended, Failure, GroupConsumer, HeldHeads, Membership, OutRecord, OwnedRecord, Polled, Position,
    Rebalance, Table, TableState, TopicPartition, Transaction, TransactionalProducer,
};
use crate::model::parse_delay;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::health::Condition;
use crate::telemetry::metrics::{
    Rebalance as Kind, Role, commit_seconds, rebalance_seconds, rebalances, transaction_aborts,
};

/// How long a turn rests when there was nothing to do.
const REST: Duration = Duration::from_millis(5);

/// Records taken from one partition in one turn, so that each gets its share.
const SHARE: usize = 64;

/// How long between two questions to a registry that does not answer.
const REGISTRY_PAUSE: Duration = Duration::from_millis(500);

/// The inbox is read once more after so long when its end was not told; see [`GroupConsumer::was_at_end`].
const END_NOT_TOLD: Duration = Duration::from_secs(10);

/// The table has read what was there at an assignment once it was at its end this much later.
const CAUGHT_UP: Duration = Duration::from_millis(500);

/// Why a worker ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerEnd {
    /// It was told to.
    #[error("stopped")]
    Stopped,
    /// A newer producer of its transactional id lives.
    #[error("{0}")]
    Fenced(Failure),
    /// Another worker took this one's name: a replacement lives.
    #[error(
        "member `{0}` of the group has this worker's name: it was replaced and stops. If nobody replaced it on \
         purpose, give each process a receipts.instance of its own"
    )]
    Replaced(String),
    /// The consumer cannot go on.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
    /// The producer cannot go on.
    #[error(transparent)]
    Producer(Failure),
    /// What follows from a record cannot be written.
    #[error("what follows from a receipt cannot be written: {0}. Mend that, then start again")]
    Unwritable(Failure),
    /// The table cannot go on.
    #[error("the table of notify.receipts failed: {0}")]
    Table(String),
    /// A fault of this program.
    #[error("the worker broke down; its log says where")]
    Panicked,
}

impl WorkerEnd {
    /// Whether a new worker may take its place after a while.
    pub fn may_restart(&self) -> bool {
        match self {
            // The table is not started again with the worker.
            WorkerEnd::Stopped
            | WorkerEnd::Fenced(_)
            | WorkerEnd::Replaced(_)
            | WorkerEnd::Table(_)
            | WorkerEnd::Panicked => false,
            WorkerEnd::Consumer(fault) => !matches!(
                fault,
                ConsumerFault::OffsetLost { .. } | ConsumerFault::Replaced { .. } | ConsumerFault::Denied(_)
            ),
            WorkerEnd::Producer(failure) => !matches!(failure, Failure::Denied(_)),
            WorkerEnd::Unwritable(_) => true,
        }
    }
}

/// What a worker is made of.
pub struct Worker {
    /// Where receipts come from; every partition is split.
    pub consumer: GroupConsumer,
    /// Makes a producer of this worker's transactional id.
    pub connect: Box<dyn Fn() -> Result<TransactionalProducer, Failure> + Send>,
    /// What follows from them.
    pub clerk: Clerk,
    /// Watched for lag.
    pub table: Table,
    /// The next producer takes the id over from whoever had it: the first one of a process does.
    pub takes_over: bool,
    /// A transaction is committed at the latest after this.
    pub commit_interval: Duration,
    /// Time.
    pub clock: Clock,
    /// Told when partitions are assigned.
    pub assigned: Condition,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// The producer: between transactions, or within one; gone while the result of one is not known.
enum Stage {
    Gone,
    Ready(TransactionalProducer),
    Open { transaction: Transaction, since: Instant, next: BTreeMap<TopicPartition, i64> },
}

struct Running {
    worker: Worker,
    stage: Stage,
    heads: HeldHeads,
    owned: Vec<TopicPartition>,
    /// When partitions came last.
    since: Instant,
    /// Since when the table knows what it had to know then; `None` until it does.
    caught_up: Option<Instant>,
}

impl Worker {
    /// Works until told to stop or unable to go on; leaves the group.
    pub fn run(self) -> WorkerEnd {
        let since = steady_now();
        let stage = Stage::Gone;
        let mut running =
            Running { worker: self, stage, heads: HeldHeads::default(), owned: Vec::new(), since, caught_up: None };
        match running.work().and_then(|()| running.commit()) {
            Ok(()) => WorkerEnd::Stopped,
            Err(end) => end,
        }
    }
}

impl Running {
    fn work(&mut self) -> Result<(), WorkerEnd> {
        while !self.worker.stop.load(Ordering::Relaxed) {
            // Every partition is split: records never come this way.
            match self.worker.consumer.poll(Duration::ZERO) {
                Polled::Rebalance(rebalance) => self.rebalance(rebalance)?,
                Polled::Fault(fault) => return Err(fault.into()),
                Polled::Record(_) | Polled::Idle => {}
            }
            let took = self.may_take()? && self.take()?;
            let due = match &self.stage {
                Stage::Open { since, .. } => !took || since.elapsed() >= self.worker.commit_interval,
                Stage::Ready(_) | Stage::Gone => false,
            };
            if due {
                self.commit()?;
            }
            if !took {
                std::thread::sleep(REST);
            }
        }
        Ok(())
    }

    /// Nothing is taken until the table has read all that is there now.
    fn catch_up(&mut self) {
        (self.since, self.caught_up) = (steady_now(), None);
    }

    /// Whether the table has read all that was there when partitions came last.
    fn may_take(&mut self) -> Result<bool, WorkerEnd> {
        if self.owned.is_empty() {
            return Ok(false);
        }
        match self.worker.table.state() {
            TableState::Failed(why) => return Err(WorkerEnd::Table(why)),
            TableState::Restoring { .. } => return Ok(false),
            TableState::Live { behind } => {
                if self.caught_up.is_none() && self.since.elapsed() >= behind + CAUGHT_UP {
                    self.caught_up = Some(steady_now());
                }
            }
        }
        Ok(self.caught_up.is_some())
    }

    fn take(&mut self) -> Result<bool, WorkerEnd> {
        let mut took = false;
        let inbox: Vec<TopicPartition> =
            self.owned.iter().filter(|partition| tier_delay(&partition.topic).is_none()).cloned().collect();
        for partition in &inbox {
            for _ in 0..SHARE {
                let Some(record) = self.worker.consumer.poll_split(partition)? else { break };
                took = true;
                if !self.handle(&record)? {
                    return Ok(true);
                }
            }
        }
        if took {
            return Ok(true);
        }
        // A receipt that came while nobody read is heard before a notification's time is called up.
        if !inbox.iter().all(|partition| self.worker.consumer.was_at_end(partition)) {
            if self.caught_up.is_some_and(|since| since.elapsed() >= END_NOT_TOLD) {
                self.commit()?;
                self.rewind()?;
            }
            return Ok(false);
        }
        for _ in 0..SHARE {
            let Some(record) = self.heads.next_due(&mut self.worker.consumer, &self.worker.clock)? else { break };
            took = true;
            if !self.handle(&record)? {
                return Ok(true);
            }
        }
        Ok(took)
    }

    /// Writes what follows from a record; false when the transaction was given up, and the record comes again.
    fn handle(&mut self, record: &OwnedRecord) -> Result<bool, WorkerEnd> {
        let outputs = match self.worker.clerk.handle(record) {
            Ok(outputs) => outputs,
            Err(error) => {
                self.wait(&error)?;
                return Ok(false);
            }
        };
        if !self.open()? {
            // The record is read again.
            self.worker.clerk.book.given_up();
            self.rewind()?;
            return Ok(false);
        }
        let Stage::Open { transaction, next, .. } = &mut self.stage else { return Ok(false) };
        let sent = outputs.iter().try_for_each(|output| {
            let headers: Vec<(&str, &[u8])> =
                output.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            transaction.send(&OutRecord {
                topic: &output.topic,
                partition: output.partition,
                key: output.key.as_deref(),
                value: output.value.as_deref(),
                headers: &headers,
                timestamp_ms: None,
            })
        });
        next.insert(record.partition.clone(), record.offset + 1);
        match sent {
            Ok(()) => Ok(true),
            Err(failure) => {
                self.give_up(failure)?;
                Ok(false)
            }
        }
    }

    /// Takes up the transactional id, unless it has: whoever used it before is fenced, and what they left open is
    /// resolved. Again only while nobody else is in the group under this worker's name.
    fn take_up(&mut self) -> Result<(), WorkerEnd> {
        if !matches!(self.stage, Stage::Gone) {
            return Ok(());
        }
        if !self.worker.takes_over {
            match self.worker.consumer.member().membership() {
                Ok(Membership::Alone) => {}
                Ok(Membership::Rival(id)) => return Err(WorkerEnd::Replaced(id)),
                // Once it is in the group again.
                Ok(Membership::Outside) => return Ok(()),
                Err(fault @ ConsumerFault::Denied(_)) => return Err(fault.into()),
                Err(fault) => {
                    tracing::warn!(%fault, "nobody tells who is in the group; asking again");
                    return Ok(());
                }
            }
        }
        self.worker.takes_over = false;
        match (self.worker.connect)() {
            Ok(producer) => self.stage = Stage::Ready(producer),
            Err(failure @ Failure::Fenced { .. }) => return Err(WorkerEnd::Fenced(failure)),
            Err(failure) => return Err(WorkerEnd::Producer(failure)),
        }
        Ok(())
    }

    /// Opens a transaction if none is; false when there is no producer to open one with.
    fn open(&mut self) -> Result<bool, WorkerEnd> {
        self.take_up()?;
        let producer = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Ready(producer) => producer,
            other => {
                let is_open = matches!(other, Stage::Open { .. });
                self.stage = other;
                return Ok(is_open);
            }
        };
        match producer.begin() {
            Ok(transaction) => {
                self.stage = Stage::Open { transaction, since: steady_now(), next: BTreeMap::new() };
                Ok(true)
            }
            Err(failure) => {
                self.recover(Ended::Unknown(failure))?;
                Ok(false)
            }
        }
    }

    /// Commits what is open, if anything is.
    fn commit(&mut self) -> Result<(), WorkerEnd> {
        let (transaction, since, next) = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open { transaction, since, next } => (transaction, since, next),
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        let group = self.worker.consumer.group_metadata()?;
        if self.worker.consumer.assignment_lost() {
            let ended = transaction.abort(Failure::Group("the assignment was lost".to_owned()));
            let ended = self.judged(ended, since)?;
            return self.recover(ended);
        }
        let positions: Vec<Position> = next
            .into_iter()
            .map(|(partition, offset)| Position { partition, offset, metadata: String::new() })
            .collect();
        let began = steady_now();
        let ended = self.judged(transaction.commit(&positions, &group), since)?;
        commit_seconds(Role::Receipts).record(began.elapsed().as_secs_f64());
        match ended {
            Ended::Committed(producer) => {
                self.stage = Stage::Ready(producer);
                self.worker.clerk.book.committed();
                Ok(())
            }
            // It is in the group's offsets; only its producer is of no use any more.
            Ended::CommittedLast => {
                self.worker.clerk.book.committed();
                Ok(())
            }
            other => self.recover(other),
        }
    }

    fn give_up(&mut self, why: Failure) -> Result<(), WorkerEnd> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Open { transaction, since, .. } => {
                let ended = self.judged(transaction.abort(why), since)?;
                self.recover(ended)
            }
            other => {
                self.stage = other;
                Ok(())
            }
        }
    }

    /// A coordinator that gives a transaction up for its age makes its producer look fenced; see
    /// [`crate::kafka::Member::may_follow_fenced`].
    fn judged(&self, ended: Ended, since: Instant) -> Result<Ended, WorkerEnd> {
        Ok(match ended {
            Ended::Fenced(failure) if self.worker.consumer.member().may_follow_fenced(since.elapsed())? => {
                let why = failure.to_string();
                let doing = "ending a transaction that grew too old";
                Ended::Unknown(Failure::Kafka { id: String::new(), doing, why })
            }
            other => other,
        })
    }

    /// After a transaction that was not committed: the input stands where the group does.
    fn recover(&mut self, ended: Ended) -> Result<(), WorkerEnd> {
        let failure = match ended {
            Ended::Committed(producer) => {
                self.stage = Stage::Ready(producer);
                return Ok(());
            }
            Ended::CommittedLast => return Ok(()),
            Ended::Fenced(failure) => return Err(WorkerEnd::Fenced(failure)),
            Ended::Aborted(producer, failure) => {
                self.stage = Stage::Ready(producer);
                failure
            }
            Ended::Unknown(failure @ Failure::Fenced { .. }) => return Err(WorkerEnd::Fenced(failure)),
            Ended::Unknown(failure) => failure,
        };
        transaction_aborts(Role::Receipts, cause_of(&failure)).increment(1);
        tracing::warn!(%failure, "transaction given up; going back");
        match failure {
            Failure::Record { .. } => return Err(WorkerEnd::Unwritable(failure)),
            Failure::Denied(_) => return Err(WorkerEnd::Producer(failure)),
            _ => {}
        }
        // Whether it is visible is known by the table alone, once it is at its end.
        self.worker.clerk.book.given_up();
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), WorkerEnd> {
        self.heads.clear();
        self.catch_up();
        let member = self.worker.consumer.member();
        let (starts, bounds) = (member.committed(&self.owned)?, member.bounds(&self.owned)?);
        let to = starts.into_iter().map(|start| {
            let begins = bounds.get(&start.partition).map_or(0, |bounds| bounds.begins);
            (start.partition, start.committed.unwrap_or(begins))
        });
        let to: Vec<(TopicPartition, i64)> = to.collect();
        self.worker.consumer.rewind(&to)?;
        Ok(())
    }

    /// The registry does not answer, or the table is being read again.
    fn wait(&mut self, error: &Later) -> Result<(), WorkerEnd> {
        tracing::warn!(%error, "receipts wait");
        self.give_up(Failure::Kafka { id: String::new(), doing: "reading a receipt", why: error.to_string() })?;
        std::thread::sleep(REGISTRY_PAUSE);
        self.worker.clerk.book.given_up();
        self.rewind()
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), WorkerEnd> {
        let began = steady_now();
        match rebalance {
            Rebalance::Assigned(partitions) => {
                rebalances(Role::Receipts, Kind::Assigned).increment(1);
                if !partitions.is_empty() {
                    // Before the group's offsets are asked: what a predecessor left open is resolved then.
                    self.take_up()?;
                }
                self.worker.consumer.accept(&partitions)?;
                for partition in &partitions {
                    if let Some(delay) = tier_delay(&partition.topic) {
                        self.heads.add(partition.clone(), delay);
                    }
                }
                tracing::info!(partitions = partitions.len(), "partitions assigned");
                self.owned.extend(partitions);
                self.catch_up();
            }
            Rebalance::Revoked { partitions, lost } => {
                rebalances(Role::Receipts, if lost { Kind::Lost } else { Kind::Revoked }).increment(1);
                self.owned.retain(|owned| !partitions.contains(owned));
                partitions.iter().for_each(|partition| self.heads.remove(partition));
                if lost {
                    self.give_up(Failure::Group("the assignment was lost".to_owned()))?;
                } else {
                    self.commit()?;
                }
                self.worker.consumer.release(&partitions)?;
                self.worker.clerk.book.forget();
                self.catch_up();
            }
        }
        if self.owned.is_empty() {
            self.worker.assigned.not_ready("no partition is assigned");
        } else {
            self.worker.assigned.ready();
        }
        rebalance_seconds(Role::Receipts).record(began.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The delay of a tier, by its topic's name.
fn tier_delay(topic: &str) -> Option<Duration> {
    let (_, delay) = topic.rsplit_once("notify.receipts.retry.")?;
    parse_delay(delay).ok()
}

fn cause_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Record { .. } => "record",
        Failure::Fenced { .. } => "fenced",
        Failure::Group(_) => "group",
        Failure::Denied(_) => "authorization",
        Failure::Kafka { .. } => "kafka",
    }
}
