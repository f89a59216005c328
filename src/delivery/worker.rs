//! One worker: an OS thread that owns a consumer and its transactional producer, and lets calls run elsewhere.
//!
//! Each turn: serve the group, collect what calls came to, take records, start calls, commit. Whatever can be decided
//! without Kafka is decided in `desk`, `ledger`, `clerk` and what they use; here is only the order of things.
//!
//! Invariants: no call starts while the assignment, a table or the last commit is in doubt. On a
//! revocation and at the end nothing is taken any more, calls under way may finish within the grace time, and what
//! they came to is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::calls::{Calls, Report};
use super::clerk::{Clerk, Considered};
use super::committer::{CommitEnd, Committer, Scope, Went, committed};
use super::desk::{Desk, Landed, Source};
use super::ledger::Work;
use super::outputs::Destinations;
use super::recall::{Recall, Recalled};
use super::status::Status;
use super::wake::Now;
use crate::config;
use crate::kafka::reader::{ReadError, whole};
use crate::kafka::{
    ConsumerFault, Failure, GroupConsumer, OwnedRecord, Polled, Rebalance, STALL, Table, TableState, TopicPartition,
};
use crate::model::{Class, Timestamp};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::metrics::{Rebalance as Kind, Role, rebalance_seconds, rebalances};
use crate::wire::WireError;

/// While the table is further behind its log, no call starts.
const TABLE_LAG: Duration = Duration::from_secs(1);

/// How long a turn waits for reports when there was nothing to do.
const REST: Duration = Duration::from_millis(5);

/// Records taken from one partition in one turn, so that each gets its share.
const SHARE: usize = 64;

/// How long between two questions to a registry that does not answer.
const REGISTRY_PAUSE: Duration = Duration::from_millis(500);

/// Positions that moved without anything to write are committed this often.
const IDLE_COMMIT: Duration = Duration::from_secs(1);

/// After this no further try to commit begins on a revocation or at the end.
const SETTLE: Duration = Duration::from_secs(5);

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
         purpose, give each process a delivery.instance of its own"
    )]
    Replaced(String),
    /// The consumer cannot go on.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
    /// The producer cannot be connected.
    #[error(transparent)]
    Producer(Failure),
    /// A table cannot go on.
    #[error("{0}")]
    Table(String),
    /// Who waits in strict order cannot be learnt.
    #[error("who waits in strict order cannot be learnt: {0}")]
    Lanes(#[from] ReadError),
    /// A record of ours does not fit our own schema.
    #[error("{0}")]
    Internal(#[from] WireError),
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
            WorkerEnd::Lanes(error) => !matches!(error, ReadError::Denied(_)),
            WorkerEnd::Internal(_) => true,
        }
    }
}

impl From<CommitEnd> for WorkerEnd {
    fn from(end: CommitEnd) -> Self {
        match end {
            CommitEnd::Fenced(failure) => WorkerEnd::Fenced(failure),
            CommitEnd::Replaced(member) => WorkerEnd::Replaced(member),
            CommitEnd::Denied(failure) => WorkerEnd::Producer(failure),
            CommitEnd::Consumer(fault) => WorkerEnd::Consumer(fault),
        }
    }
}

/// When things are done.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Completed records are committed at the latest after this.
    pub commit_interval: Duration,
    /// So many completed records are committed at once.
    pub commit_records: usize,
    /// How long calls under way may take on a revocation and at the end.
    pub grace: Duration,
}

/// What a worker is made of.
pub struct Worker {
    /// How to reach Kafka.
    pub kafka: config::Kafka,
    /// Where records come from.
    pub consumer: GroupConsumer,
    /// Where they go.
    pub committer: Committer,
    /// What is before it.
    pub desk: Desk,
    /// Who judges and writes.
    pub clerk: Clerk,
    /// What was seen before the assignment.
    pub recall: Recall,
    /// Who calls the providers.
    pub calls: Calls,
    /// What calls came to.
    pub reports: Receiver<Report>,
    /// Names.
    pub destinations: Destinations,
    /// Watched for lag.
    pub table: Table,
    /// Watched for lag.
    pub suppressions: SuppressionList,
    /// Time.
    pub clock: Clock,
    /// When.
    pub times: Times,
    /// Who is told how it goes.
    pub status: Status,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// A worker at work.
struct Running {
    worker: Worker,
    last_turn: Instant,
    last_commit: Instant,
    /// The group confirmed, since the last stall, that the partitions are ours.
    trusted: bool,
    /// The registry is not asked before.
    registry_at: Instant,
}

impl Worker {
    /// Works until told to stop or unable to go on; leaves the group.
    pub fn run(self) -> WorkerEnd {
        let now = steady_now();
        let mut running = Running { worker: self, last_turn: now, last_commit: now, trusted: true, registry_at: now };
        match running.work().and_then(|()| running.leave()) {
            Ok(()) => WorkerEnd::Stopped,
            Err(end) => end,
        }
    }
}

impl Running {
    fn work(&mut self) -> Result<(), WorkerEnd> {
        while !self.worker.stop.load(Ordering::Relaxed) {
            self.notice_stall();
            self.serve_group()?;
            self.collect(Duration::ZERO)?;
            let took = self.take()?;
            let started = self.start()?;
            self.commit_when_due()?;
            self.worker.status.show(&self.worker.desk, self.worker.clerk.lines());
            if !took && !started {
                self.collect(REST)?;
            }
        }
        Ok(())
    }

    /// A process that did not run for longer than the session lasts may have lost its partitions without knowing.
    fn notice_stall(&mut self) {
        let stalled = self.last_turn.elapsed();
        self.last_turn = steady_now();
        if stalled >= STALL && self.worker.desk.partitions() > 0 {
            tracing::warn!(?stalled, "the worker stood still; no call starts until the group confirms the assignment");
            self.trusted = false;
        }
    }

    fn serve_group(&mut self) -> Result<(), WorkerEnd> {
        // Every partition is split: records never come this way.
        match self.worker.consumer.poll(Duration::ZERO) {
            Polled::Rebalance(Rebalance::Assigned(partitions)) => self.assigned(&partitions),
            Polled::Rebalance(Rebalance::Revoked { partitions, lost }) => self.revoked(&partitions, lost),
            Polled::Fault(fault) => Err(fault.into()),
            Polled::Record(_) | Polled::Idle => Ok(()),
        }
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkerEnd> {
        let worker = &mut self.worker;
        if !partitions.is_empty() {
            // Before the group's offsets are asked: what a predecessor left open is resolved then.
            worker.committer.take_up(&worker.consumer.member())?;
        }
        for start in worker.consumer.accept(partitions)? {
            if let Some(source) = worker.destinations.source(&start.partition.topic) {
                if let Source::First(class) = source {
                    worker.recall.begins(start.partition.partition, class, start.committed);
                    worker.clerk.begins(start.partition.partition, class, start.committed);
                }
                worker.desk.assign(start.partition.clone(), source, committed(&start).as_ref());
            }
        }
        self.restore_lanes(partitions)?;
        let worker = &mut self.worker;
        rebalances(Role::Deliver, Kind::Assigned).increment(1);
        worker.status.assigned(worker.desk.partitions());
        tracing::info!(partitions = partitions.len(), "partitions assigned");
        Ok(())
    }

    /// Learns who waits in strict order. After the group's offsets: with them every transaction of whoever had the
    /// partitions is ended, and what it wrote about the lanes is read.
    fn restore_lanes(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkerEnd> {
        let worker = &mut self.worker;
        let main = worker.destinations.topics.outbound(worker.destinations.channel, Class::Main);
        let ours = partitions.iter().filter(|partition| partition.topic == main);
        let numbers: Vec<i32> = ours.map(|partition| partition.partition).collect();
        if numbers.is_empty() || !worker.clerk.keeps_order() {
            return Ok(());
        }
        let topic = worker.destinations.topics.lanes(worker.destinations.channel);
        let clerk = &mut worker.clerk;
        whole(&worker.kafka, &topic, &numbers, |record| clerk.restore_lane(&record))?;
        Ok(())
    }

    fn revoked(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<(), WorkerEnd> {
        let began = steady_now();
        rebalances(Role::Deliver, if lost { Kind::Lost } else { Kind::Revoked }).increment(1);
        if lost {
            tracing::warn!(partitions = partitions.len(), "partitions lost; another worker may have them already");
        } else {
            self.drain(began + self.worker.times.grace)?;
            self.settle()?;
        }
        self.worker.desk.revoke(partitions);
        for partition in partitions {
            self.worker.recall.forget(partition.partition);
            self.worker.clerk.forget(partition.partition);
        }
        self.worker.consumer.release(partitions)?;
        self.worker.status.assigned(self.worker.desk.partitions());
        // Whoever comes next is told by a new assignment.
        self.trusted = true;
        rebalance_seconds(Role::Deliver).record(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits for calls under way, at most until `deadline`.
    fn drain(&mut self, deadline: Instant) -> Result<(), WorkerEnd> {
        while self.worker.desk.in_flight() > 0 && steady_now() < deadline {
            self.collect(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Commits what is completed, with some patience: after this the partitions are someone else's.
    ///
    /// Each try may itself take as long as a broker that is away lets it wait, so that none begins late: the group
    /// waits for the partitions.
    fn settle(&mut self) -> Result<(), WorkerEnd> {
        let deadline = steady_now() + SETTLE;
        for _ in 0..5 {
            if self.commit(Scope::Moved)? {
                return Ok(());
            }
            if steady_now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let left = self.worker.desk.ledger().completed().len();
        tracing::warn!(left, "what was completed could not be committed; it is delivered again by whoever comes next");
        Ok(())
    }

    /// Handles what calls came to; waits at most `patience` for the first.
    fn collect(&mut self, patience: Duration) -> Result<(), WorkerEnd> {
        let first = if patience.is_zero() {
            self.worker.reports.try_recv().ok()
        } else {
            self.worker.reports.recv_timeout(patience).ok()
        };
        let mut next = first;
        while let Some(report) = next {
            self.landed(report)?;
            next = self.worker.reports.try_recv().ok();
        }
        Ok(())
    }

    fn landed(&mut self, report: Report) -> Result<(), WorkerEnd> {
        let place = report.place.clone();
        let steady = self.worker.clock.steady();
        let desk = &mut self.worker.desk;
        let Some(call) = desk.under_way_at(&place) else { return Ok(()) };
        let change = desk.hear(&place, report.heard(), steady);
        if let Some(change) = change {
            self.worker.status.tell(call.provider, change);
        }
        let worker = &mut self.worker;
        if !worker.desk.is_outstanding(&place) {
            // Whoever has the partition now finds out for themselves.
            worker.desk.land(&place);
            return Ok(());
        }
        match worker.clerk.answer(&call, report, worker.desk.is_in_trouble(call.provider))? {
            Some(outputs) => {
                if let Landed::Ours(work) = worker.desk.land(&place) {
                    worker.desk.conclude(work, outputs);
                }
            }
            None => worker.desk.ground(&place),
        }
        Ok(())
    }

    /// Takes records: urgent ones first, then the others, then what is due in the tiers.
    fn take(&mut self) -> Result<bool, WorkerEnd> {
        let (mut took, now) = (false, self.worker.clock.steady());
        for class in [Class::Urgent, Class::Main] {
            for partition in self.worker.desk.first_attempts(class) {
                took |= self.take_first_attempts(&partition, class, now)?;
            }
        }
        for partition in self.worker.desk.tiers() {
            took |= self.take_due(&partition)?;
        }
        Ok(took)
    }

    fn take_first_attempts(
        &mut self,
        partition: &TopicPartition,
        class: Class,
        now: Timestamp,
    ) -> Result<bool, WorkerEnd> {
        let worker = &mut self.worker;
        for taken in 0..SHARE {
            if !worker.desk.may_take(partition, class, now) {
                return Ok(taken > 0);
            }
            let Some(record) = worker.consumer.poll_split(partition)? else { return Ok(taken > 0) };
            worker.enqueue(record, false, Some(class));
        }
        Ok(true)
    }

    fn take_due(&mut self, partition: &TopicPartition) -> Result<bool, WorkerEnd> {
        let worker = &mut self.worker;
        for taken in 0..SHARE {
            let now = Now { wall: worker.clock.now(), steady: worker.clock.steady() };
            if worker.desk.wants_head(partition)
                && let Some(record) = worker.consumer.poll_split(partition)?
            {
                worker.desk.hold(record, now);
            }
            // Whichever class it is of: there must be room.
            let room =
                [Class::Main, Class::Urgent].iter().all(|class| worker.desk.may_take(partition, *class, now.steady));
            if !room || !worker.may_wake(partition, now) {
                return Ok(taken > 0);
            }
            worker.wake(partition, now);
        }
        Ok(true)
    }

    /// Starts calls, and concludes what needs none.
    fn start(&mut self) -> Result<bool, WorkerEnd> {
        if !self.may_start()? {
            return Ok(false);
        }
        let mut started = false;
        let now = self.worker.clock.steady();
        self.worker.desk.begin_round();
        while let Some(turn) = self.worker.desk.next(now) {
            started = true;
            let worker = &mut self.worker;
            match worker.clerk.consider(&turn.work, turn.provider) {
                Considered::Call(mode) => {
                    let (work, provider) = (turn.work.clone(), turn.provider);
                    let departed = worker.desk.depart(turn, now);
                    worker.status.departed(provider, departed);
                    worker.calls.start(work, provider, mode, self.last_turn);
                }
                Considered::Elsewhere(route) => worker.desk.put_back(turn.by(route)),
                Considered::Write(outputs) => worker.desk.conclude_uncalled(turn, outputs),
                Considered::Later(error) => {
                    tracing::warn!(why = %error, "delivery waits");
                    worker.desk.put_back(turn);
                    self.registry_at = steady_now() + REGISTRY_PAUSE;
                    break;
                }
            }
        }
        Ok(started)
    }

    fn may_start(&self) -> Result<bool, WorkerEnd> {
        let fresh = is_fresh("preferences table", self.worker.table.state())?
            && is_fresh("suppression list", self.worker.suppressions.state())?;
        Ok(fresh && self.trusted && self.worker.committer.is_well() && steady_now() >= self.registry_at)
    }

    fn commit_when_due(&mut self) -> Result<(), WorkerEnd> {
        let since = self.last_commit.elapsed();
        let completed = self.worker.desk.ledger().completed().len();
        let times = self.worker.times;
        let due = completed >= times.commit_records
            || (completed > 0 && since >= times.commit_interval)
            || (!self.trusted && since >= times.commit_interval)
            || since >= IDLE_COMMIT;
        if due && self.worker.committer.may_try() {
            let scope = if self.trusted { Scope::Moved } else { Scope::All };
            self.commit(scope)?;
        }
        Ok(())
    }

    /// Commits; says whether all of it went through.
    fn commit(&mut self, scope: Scope) -> Result<bool, WorkerEnd> {
        self.last_commit = steady_now();
        let worker = &mut self.worker;
        let confirms =
            scope == Scope::All && (worker.desk.partitions() == 0 || !worker.desk.ledger().all_positions().is_empty());
        let owed = worker.clerk.owed();
        match worker.committer.commit(&worker.consumer, worker.desk.ledger(), &owed, scope)? {
            went @ (Went::Through | Went::Idle) => {
                if matches!(went, Went::Through) {
                    worker.clerk.owed_is_written();
                }
                if confirms {
                    tracing::info!("the group confirmed the assignment");
                    self.trusted = true;
                }
                Ok(true)
            }
            Went::NotYet => Ok(false),
            Went::Unwritable { index, reason, topic } => {
                if let Some(work) = worker.desk.ledger().completed().get(index).map(|done| done.work.clone()) {
                    tracing::error!(at = %work.record.partition, offset = work.record.offset, %reason, "the outputs of a record cannot be written; it goes to the dead letters");
                    let outputs = worker.clerk.unwritable(&work, reason, &topic);
                    worker.desk.ledger().replace_outputs(index, outputs);
                }
                Ok(false)
            }
        }
    }

    /// Takes nothing more, lets calls under way finish within the grace time, commits.
    fn leave(&mut self) -> Result<(), WorkerEnd> {
        let deadline = steady_now() + self.worker.times.grace;
        tracing::info!(calls = self.worker.desk.calls(), "stopping; waiting for calls under way");
        while self.worker.desk.in_flight() > 0 && steady_now() < deadline {
            self.serve_group()?;
            self.collect(Duration::from_millis(20))?;
            self.commit_when_due()?;
        }
        let abandoned = self.worker.desk.in_flight();
        if abandoned > 0 {
            tracing::warn!(abandoned, "calls did not end within the grace time; they may be made again");
        }
        self.settle()
    }
}

/// Whether a table is near enough to its log's end to judge by.
fn is_fresh(name: &str, state: TableState) -> Result<bool, WorkerEnd> {
    match state {
        TableState::Live { behind } => Ok(behind <= TABLE_LAG),
        TableState::Restoring { .. } => Ok(false),
        TableState::Failed(why) => Err(WorkerEnd::Table(format!("the {name} failed: {why}"))),
    }
}

impl Worker {
    /// Puts a record into its lane; one whose headers cannot be read is refused.
    fn enqueue(&mut self, record: OwnedRecord, waited: bool, class: Option<Class>) {
        let is_new = self.desk.is_new(&record);
        if let Some(class) = class {
            self.clerk.saw(&record, class);
        }
        match self.clerk.take(record, waited) {
            Ok(mut work) => {
                let class = class.unwrap_or_else(|| self.clerk.class(&work));
                if is_new {
                    self.clerk.find_place(&mut work);
                }
                let makes_way =
                    self.desk.is_crowded(&work, class) || self.desk.is_stranded(&work, class, self.clock.steady());
                if is_new && makes_way {
                    let outputs = self.clerk.make_way(&work);
                    self.desk.settle(work, outputs);
                } else {
                    self.desk.enqueue(work, class);
                }
            }
            Err((work, outputs)) => self.desk.settle(work, outputs),
        }
    }

    /// Whether a tier's head is due, and all is known that may have overtaken it.
    fn may_wake(&mut self, partition: &TopicPartition, now: Now) -> bool {
        let Some(held) = self.desk.due_head(partition, now) else { return false };
        if !self.clerk.collapses(held.record()) {
            return true;
        }
        match self.recall.ask(partition.partition) {
            Recalled::Known => true,
            Recalled::Waits => false,
            Recalled::Just(seen) => {
                self.clerk.remember(partition.partition, seen);
                true
            }
        }
    }

    /// Handles a tier's head whose delay is over: into its lane, or on to the next tier.
    fn wake(&mut self, partition: &TopicPartition, now: Now) {
        let Some(held) = self.desk.release_head(partition) else { return };
        let not_before = crate::wire::TierHeaders::parse(held.record().headers()).ok().and_then(|tier| tier.not_before);
        let remaining = held.remaining(not_before, now);
        if remaining.is_zero() {
            return self.enqueue(held.into_record(), true, None);
        }
        match self.clerk.take(held.into_record(), true) {
            Ok(work) => self.hop(work, remaining),
            Err((work, outputs)) => self.desk.settle(work, outputs),
        }
    }

    fn hop(&mut self, work: Work, remaining: Duration) {
        let outputs = self.clerk.hop(&work, remaining);
        self.desk.settle(work, outputs);
    }
}
