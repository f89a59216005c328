//! A member of a consumer group whose owner completes every rebalance itself.
//!
//! Invariants: offsets are committed by transactions alone; partitions start where the group stands (a partition the
//! group never saw starts at its earliest record), and a position that the log no longer has is a fault, not a reset.
//! Runs on an OS thread of its owner: nothing here may be called from an async runtime.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::Statistics;
use rdkafka::TopicPartitionList;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;

use super::acl::{Kind as On, Operation};
use super::beside::Beside;
use super::client::{Diagnostics, Kind, base_config};
use super::denied::{Denied, Right, principal_of};
use super::record::{InRecord, OwnedRecord, TopicPartition};
use super::transaction::GroupMetadata;
use crate::config;
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Breakage, Point};

/// A member silent for longer is taken for dead by the group.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const SESSION_TIMEOUT_MS: &str = "10000";

/// Who stood still for longer may have been expelled meanwhile: the session began to run out with the last heartbeat,
/// which may have been one interval (2 s) before the stall, and a second is for the way.
pub const STALL: Duration = Duration::from_secs(7);

/// How long one question to the cluster may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How partitions are spread over the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Partitions that stay are not stopped by a rebalance.
    CooperativeSticky,
    /// One member owns the same partition number of all topics.
    Range,
}

/// How a group consumer is set up.
pub struct Settings<'a> {
    /// How to reach Kafka.
    pub kafka: &'a config::Kafka,
    /// Group, prefix included.
    pub group: &'a str,
    /// Topics; one that begins with `^` is a regular expression.
    pub topics: &'a [String],
    /// Static membership under this id (KIP-345), when set.
    pub instance_id: Option<&'a str>,
    /// How partitions are spread.
    pub assignor: Assignor,
    /// Bound on prefetched records, in KiB.
    pub queue_kib: u32,
    /// Topics whose partitions are read one by one with [`GroupConsumer::poll_split`].
    pub split: fn(&str) -> bool,
}

/// What one poll found.
pub enum Polled<'c> {
    /// A record of a partition that is not split.
    Record(InRecord<'c>),
    /// The group's assignment changes: complete it with [`GroupConsumer::accept`] or [`GroupConsumer::release`].
    Rebalance(Rebalance),
    /// Nothing within the time-out.
    Idle,
    /// The consumer cannot go on.
    Fault(ConsumerFault),
}

/// A change of the assignment that waits for its completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// These become ours.
    Assigned(Vec<TopicPartition>),
    /// These are ours no longer once released; `lost` when someone else may already have them.
    Revoked {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Committing is of no use any more.
        lost: bool,
    },
}

/// Where a newly assigned partition starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which partition.
    pub partition: TopicPartition,
    /// The group's committed offset; `None` for a partition it never saw.
    pub committed: Option<i64>,
    /// The text committed with it.
    pub metadata: String,
}

/// Why a consumer cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerFault {
    /// The log no longer has the group's position.
    #[error(
        "group `{group}` stands at an offset that the log no longer has ({why}); records between were deleted before \
         they were read. Decide where to go on and reset the group's offsets, then start again"
    )]
    OffsetLost {
        /// The group.
        group: String,
        /// librdkafka's words.
        why: String,
    },
    /// The principal may not do this.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Anything else.
    #[error("Kafka consumer of group `{group}` failed while {doing}: {why}")]
    Kafka {
        /// The group.
        group: String,
        /// The step.
        doing: &'static str,
        /// librdkafka's words.
        why: String,
    },
}

/// A member of a group.
pub struct GroupConsumer {
    inner: Arc<BaseConsumer<Context>>,
    group: String,
    principal: String,
    split: fn(&str) -> bool,
    queues: HashMap<TopicPartition, Split>,
    /// The rebalance that was handed out and is not completed yet.
    open: Option<Rebalance>,
}

/// A split partition: its own queue, and what came by the common one before the split took effect.
struct Split {
    queue: PartitionQueue<Context>,
    early: VecDeque<OwnedRecord>,
}

impl GroupConsumer {
    /// Joins the group.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the configuration is refused.
    pub fn subscribe(settings: &Settings<'_>) -> Result<Self, ConsumerFault> {
        let fault = |doing, error: &KafkaError| ConsumerFault::Kafka {
            group: settings.group.to_owned(),
            doing,
            why: error.to_string(),
        };
        let queue_kib = settings.queue_kib.to_string();
        let defaults = [
            ("heartbeat.interval.ms", "2000"),
            ("fetch.queue.backoff.ms", "10"),
            ("queued.max.messages.kbytes", queue_kib.as_str()),
        ];
        let mut config = base_config(settings.kafka, Kind::Consumer, "group", &defaults);
        config
            .set("group.id", settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // OffsetFetch waits for pending transactional offsets only with read_committed.
            .set("isolation.level", isolation())
            .set("auto.offset.reset", "error")
            // A stall is judged by this one, so it is not the operator's.
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set(
                "partition.assignment.strategy",
                match settings.assignor {
                    Assignor::CooperativeSticky => "cooperative-sticky",
                    Assignor::Range => "range",
                },
            );
        if let Some(id) = settings.instance_id {
            config.set("group.instance.id", id);
        }
        let context = Context {
            diagnostics: Diagnostics::default(),
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let inner = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| fault("creating the client", &error))?;
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        inner.subscribe(&topics).map_err(|error| fault("subscribing", &error))?;
        Ok(GroupConsumer {
            inner: Arc::new(inner),
            group: settings.group.to_owned(),
            principal: principal_of(settings.kafka),
            split: settings.split,
            queues: HashMap::new(),
            open: None,
        })
    }

    /// Serves the group and gives the next record of the partitions that are not split.
    pub fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        let polled = self.inner.poll(timeout);
        if let Some(rebalance) = self.inner.context().rebalances.lock().pop_front() {
            // A record that came with it would be lost: none does, a poll that meets a rebalance ends with it.
            self.open = Some(rebalance.clone());
            return Polled::Rebalance(rebalance);
        }
        match polled {
            None => Polled::Idle,
            Some(Ok(message)) => {
                let record = InRecord(message);
                if (self.split)(record.topic()) {
                    let early = record.to_owned_record();
                    if let Some(split) = self.queues.get_mut(&early.partition) {
                        split.early.push_back(early);
                    }
                    return Polled::Idle;
                }
                Polled::Record(record)
            }
            Some(Err(error)) => self.polled_error(&error).map_or(Polled::Idle, Polled::Fault),
        }
    }

    /// The next record of one split partition, if one is there.
    ///
    /// # Errors
    /// [`ConsumerFault`] as [`GroupConsumer::poll`] reports it.
    pub fn poll_split(&mut self, partition: &TopicPartition) -> Result<Option<OwnedRecord>, ConsumerFault> {
        let Some(split) = self.queues.get_mut(partition) else { return Ok(None) };
        if let Some(early) = split.early.pop_front() {
            return Ok(Some(early));
        }
        match split.queue.poll(Duration::ZERO) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(InRecord(message).to_owned_record())),
            Some(Err(error)) => {
                let error = error.clone();
                self.polled_error(&error).map_or(Ok(None), Err)
            }
        }
    }

    /// Errors that pass by themselves are logged by the client's events; the others end the consumer.
    fn polled_error(&self, error: &KafkaError) -> Option<ConsumerFault> {
        let group = self.group.clone();
        let why = error.to_string();
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                return Some(ConsumerFault::Kafka { group, doing: "polling", why });
            }
            KafkaError::PartitionEOF(_) => return None,
            _ => {}
        }
        match error.rdkafka_error_code()? {
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                Some(ConsumerFault::OffsetLost { group, why })
            }
            code => self.denied(code).map(ConsumerFault::Denied),
        }
    }

    /// The right that is missing, when a code says so.
    fn denied(&self, code: RDKafkaErrorCode) -> Option<Denied> {
        match code {
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                Some(Denied::lacks(&self.principal, Right::on(On::Group, &self.group, Operation::Read)))
            }
            // The topic's name is lost on the way here.
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                Some(Denied::SomeTopic { principal: self.principal.clone(), operation: Operation::Read })
            }
            _ => None,
        }
    }

    /// Completes an assignment: finds where the group stands, starts there, and tells where that is.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the group's offsets cannot be learnt.
    pub fn accept(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        faults::at(Point::Assigned);
        let starts = self.committed(partitions)?;
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for start in &starts {
            let offset = start.committed.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(&start.partition.topic, start.partition.partition, offset)
                .map_err(|error| self.fault("assigning", &error))?;
        }
        // Before the fetchers run: what they fetch then never takes the way of the common queue, where it could be
        // overtaken by what follows in the partition's own.
        self.split_queues(partitions);
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_assign(&list),
            _ => self.inner.assign(&list),
        }
        .map_err(|error| self.fault("assigning", &error))?;
        self.open = None;
        Ok(starts)
    }

    fn split_queues(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions.iter().filter(|partition| (self.split)(&partition.topic)) {
            if let Some(queue) = self.inner.split_partition_queue(&partition.topic, partition.partition) {
                self.queues.insert(partition.clone(), Split { queue, early: VecDeque::new() });
            }
        }
    }

    /// Completes a revocation.
    ///
    /// # Errors
    /// [`ConsumerFault`] when librdkafka refuses.
    pub fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), ConsumerFault> {
        faults::at(Point::Revoked);
        for partition in partitions {
            self.queues.remove(partition);
        }
        match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_unassign(&list_of(partitions)),
            _ => self.inner.unassign(),
        }
        .map_err(|error| self.fault("unassigning", &error))?;
        self.open = None;
        Ok(())
    }

    /// Whether all partitions were lost and that was not completed yet.
    ///
    /// Asked after [`GroupConsumer::group_metadata`]: a member that the group expelled may be without id and
    /// generation for a moment, and a broker takes offsets within a transaction from one without both, as from a
    /// producer that knows no groups.
    pub fn assignment_lost(&self) -> bool {
        self.inner.assignment_lost()
    }

    /// Where the group stands, as the coordinator knows it once pending transactions are resolved.
    ///
    /// # Errors
    /// [`ConsumerFault`] when it does not tell within 60 s.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        let deadline = steady_now() + Duration::from_secs(60);
        loop {
            match self.try_committed(partitions) {
                Ok(starts) => return Ok(starts),
                Err(error) if steady_now() < deadline && may_pass(&error) => {
                    tracing::debug!(group = %self.group, %error, "the group's offsets are not known yet");
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(self.fault("fetching the group's offsets", &error)),
            }
        }
    }

    fn try_committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, KafkaError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.inner.committed_offsets(list_of(partitions), CALL_TIMEOUT)?;
        committed
            .elements()
            .iter()
            .map(|element| {
                element.error()?;
                Ok(Start {
                    partition: TopicPartition::new(element.topic(), element.partition()),
                    committed: match element.offset() {
                        Offset::Offset(offset) => Some(offset),
                        _ => None,
                    },
                    metadata: element.metadata().to_owned(),
                })
            })
            .collect()
    }

    /// Goes back to where the group stands, after a transaction that was not committed.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the offsets cannot be learnt or sought.
    pub fn rewind(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        faults::at(Point::Rewinding);
        let starts = self.committed(partitions)?;
        for split in self.queues.values_mut() {
            split.early.clear();
        }
        for start in &starts {
            let offset = start.committed.map_or(Offset::Beginning, Offset::Offset);
            self.seek(&start.partition, offset)?;
        }
        Ok(starts)
    }

    /// A partition that was only just assigned answers "erroneous state" until its fetcher runs.
    fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), ConsumerFault> {
        let deadline = steady_now() + CALL_TIMEOUT;
        loop {
            match self.inner.seek(&partition.topic, partition.partition, offset, CALL_TIMEOUT) {
                Ok(()) => return Ok(()),
                Err(_) if steady_now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(self.fault("seeking", &error)),
            }
        }
    }

    /// The membership to commit under.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the consumer is not in a group, which cannot be after `subscribe`.
    pub fn group_metadata(&self) -> Result<GroupMetadata, ConsumerFault> {
        let with_name = |inner| GroupMetadata { inner, group: self.group.clone(), beside: Beside::of(&self.inner) };
        self.inner.group_metadata().map(with_name).ok_or_else(|| ConsumerFault::Kafka {
            group: self.group.clone(),
            doing: "reading the group's metadata",
            why: "there is none".to_owned(),
        })
    }

    /// High watermark of a partition as the last fetch saw it, asked from the broker.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        self.inner
            .fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(1))
            .ok()
            .map(|(_, high)| high)
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group
    }

    fn fault(&self, doing: &'static str, error: &KafkaError) -> ConsumerFault {
        if let Some(denied) = error.rdkafka_error_code().and_then(|code| self.denied(code)) {
            return ConsumerFault::Denied(denied);
        }
        ConsumerFault::Kafka { group: self.group.clone(), doing, why: self.inner.context().diagnostics.explain(error) }
    }
}

/// Errors of an OffsetFetch that the coordinator gives while it moves, loads or waits for a transaction's end.
fn may_pass(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::TopicAuthorizationFailed)
    )
}

/// Aborted records are never read, except by the breakage that shows that tests would notice.
fn isolation() -> &'static str {
    if faults::broken(Breakage::ReadUncommitted) { "read_uncommitted" } else { "read_committed" }
}

fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

impl Drop for GroupConsumer {
    /// Leaves the group: nobody completes a rebalance from here on, so the context does. One that was handed out
    /// already is completed here: librdkafka's close would wait for that for ever.
    fn drop(&mut self) {
        self.inner.context().closing.store(true, Ordering::SeqCst);
        // They hold the client too, and must not be the last to.
        self.queues.clear();
        let cooperative = matches!(self.inner.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let noted = self.inner.context().rebalances.lock().pop_front();
        let completed = match self.open.take().or(noted) {
            None => Ok(()),
            Some(Rebalance::Assigned(_)) if cooperative => self.inner.incremental_assign(&TopicPartitionList::new()),
            Some(Rebalance::Assigned(_)) => self.inner.assign(&TopicPartitionList::new()),
            Some(Rebalance::Revoked { partitions, .. }) if cooperative => {
                self.inner.incremental_unassign(&list_of(&partitions))
            }
            Some(Rebalance::Revoked { .. }) => self.inner.unassign(),
        };
        if let Err(error) = completed {
            tracing::debug!(%error, "leaving the group");
        }
    }
}

pub(super) struct Context {
    diagnostics: Diagnostics,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.diagnostics.on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.diagnostics.on_error(&error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Context {
    /// Notes the change for the owner, who completes it; librdkafka waits for that.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.closing.load(Ordering::SeqCst) {
            let released = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
                _ => consumer.unassign(),
            };
            if let Err(error) = released {
                tracing::debug!(%error, "leaving the group");
            }
            return;
        }
        let partitions: Vec<TopicPartition> =
            list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        let rebalance = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            _ => Rebalance::Revoked { partitions, lost: consumer.assignment_lost() },
        };
        self.rebalances.lock().push_back(rebalance);
    }
}
