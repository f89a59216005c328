//! A member of a consumer group whose owner completes every rebalance itself.
//!
//! Invariants: offsets are committed by transactions alone; partitions start where their owner says, or where the group
//! stands, and a position that the log no longer has is a fault, not a reset.
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

use super::beside::Beside;
use super::client::{Diagnostics, Kind, base_config};
use super::denied::{Denied, principal_of};
use super::joining::{Joining, OwnIds, Step, fenced};
use super::member::{Member, Start, list_of};
use super::native::ahead::Ahead;
use super::record::{InRecord, OwnedRecord, TopicPartition};
use super::transaction::GroupMetadata;
use crate::config;
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Breakage, Point};

/// A member silent for longer is taken for dead by the group.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const SESSION_TIMEOUT_MS: &str = "10000";

/// Who stood still for longer may have been expelled meanwhile: the session began to run out with the last heartbeat,
/// which may have been one interval (1 s) before the stall, and two seconds are for the way.
pub const STALL: Duration = Duration::from_secs(7);

/// How long one question to the cluster may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a new member waits for a first broker; without one it goes on all the same.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);

/// Not more than about so many bytes are taken ahead: librdkafka does not count them as queued any more.
const MOST_BYTES_AHEAD: usize = 256 << 10;

/// How long an answer that nobody needs is waited for.
const WAKE_TIMEOUT: Duration = Duration::from_millis(100);

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
    /// What all lives of this member have in common, and no other member has: its client id.
    pub name: &'a str,
    /// Whether the member is a static one (KIP-345), under its name.
    pub is_static: bool,
    /// The ids that earlier lives of the member had in this process: none when it is new in it, and takes its name over.
    pub ids: OwnIds,
    /// How partitions are spread.
    pub assignor: Assignor,
    /// Bound on prefetched records, in KiB.
    pub queue_kib: u32,
    /// Topics whose partitions are read one by one with [`GroupConsumer::poll_split`].
    pub split: fn(&str) -> bool,
    /// Whether [`GroupConsumer::was_at_end`] can be asked.
    pub tells_ends: bool,
    /// So many records are taken from librdkafka before the first of them is handed out, at most; fewer where they are large,
    /// at least one.
    pub ahead: usize,
}

/// What one poll found.
pub enum Polled<'c> {
    /// A record of a partition that is not split.
    Record(InRecord<'c>),
    /// The group's assignment changes: complete it with [`GroupConsumer::accept`], [`GroupConsumer::begin`] or
    /// [`GroupConsumer::release`]. The next one may come before that, as when a topic comes or goes.
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
    /// Another member joined under the same static membership, and joining again would take its place.
    #[error(
        "group `{group}` has a newer member under this one's name, `{member}`; this one stops. If nobody replaced it on \
         purpose, give each process an `instance` of its own"
    )]
    Replaced {
        /// The group.
        group: String,
        /// The id of the newer one.
        member: String,
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
    /// Holds the client too, and is dropped before the member, which has to be the last to.
    ahead: Ahead<Context>,
    most_ahead: usize,
    is_static: bool,
    /// What a static member may do only once it is known that nobody else has its name.
    joining: Option<Joining>,
    member: Arc<Member>,
    split: fn(&str) -> bool,
    queues: HashMap<TopicPartition, Split>,
    /// The rebalance that was handed out and is not completed yet.
    open: Option<Rebalance>,
}

/// A split partition: its own queue, and what came by the common one before the split took effect.
struct Split {
    queue: PartitionQueue<Context>,
    early: VecDeque<OwnedRecord>,
    /// All that was there was read, at some time since it began or was sought.
    was_at_end: bool,
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
            // Also how soon a member hears that others gave partitions up for it.
            ("heartbeat.interval.ms", "1000"),
            ("fetch.queue.backoff.ms", "10"),
            // A rewind waits for the fetch that is under way, and so does every narrowing of a transaction that failed.
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", queue_kib.as_str()),
        ];
        let mut config = base_config(settings.kafka, Kind::Member, "group", &defaults);
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
        if settings.tells_ends {
            config.set("enable.partition.eof", "true");
        }
        config.set("client.id", client_id(settings));
        if settings.is_static {
            config.set("group.instance.id", settings.name);
        }
        let context = Context {
            diagnostics: Diagnostics::default(),
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let inner = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| fault("creating the client", &error))?;
        // The group's coordinator is often connected to before any other broker. librdkafka (2.12) then finds nobody to
        // ask about the topics, takes its question for asked, and joins two seconds later. What is told does not matter.
        let _ = inner.fetch_metadata(None, FIRST_TIMEOUT);
        let inner = Arc::new(inner);
        let ahead = Ahead::new(&inner);
        let member = Member {
            inner: Arc::clone(&inner),
            group: settings.group.to_owned(),
            name: settings.name.to_owned(),
            principal: principal_of(settings.kafka),
            ids: settings.ids.clone(),
            leaving: AtomicBool::new(false),
        };
        let mut consumer = GroupConsumer {
            ahead,
            most_ahead: settings.ahead.max(1),
            is_static: settings.is_static,
            joining: None,
            member: Arc::new(member),
            split: settings.split,
            queues: HashMap::new(),
            open: None,
        };
        // New in this process, it takes its name over from whoever had it.
        if settings.is_static && !settings.ids.is_empty() {
            consumer.joining = Some(Joining::new(Step::Subscribe(settings.topics.to_vec())));
        } else {
            consumer.join(settings.topics)?;
        }
        Ok(consumer)
    }

    fn join(&self, topics: &[String]) -> Result<(), ConsumerFault> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.inner().subscribe(&topics).map_err(|error| self.fault("subscribing", &error))
    }

    /// Takes the step that makes librdkafka join, once it takes nobody's place.
    fn go_on_joining(&mut self) -> Result<(), ConsumerFault> {
        let Some(joining) = &mut self.joining else { return Ok(()) };
        let Some(step) = joining.ask(&self.member)?.cloned() else { return Ok(()) };
        self.joining = None;
        match step {
            Step::Subscribe(topics) => self.join(&topics),
            Step::Release(partitions) => self.complete(&partitions),
        }
    }

    /// Serves the group and gives the next record of the partitions that are not split.
    pub fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        self.poll_ahead(timeout, |_| {})
    }

    /// As [`GroupConsumer::poll`]; `look` is shown the keys of records that were taken together, before the first of them
    /// is handed out.
    pub fn poll_ahead(&mut self, timeout: Duration, look: impl FnOnce(&[&[u8]])) -> Polled<'_> {
        if let Err(fault) = self.go_on_joining() {
            return Polled::Fault(fault);
        }
        if self.ahead.is_empty() {
            if self.take_ahead(timeout) > 1 {
                look(&self.ahead.keys().collect::<Vec<_>>());
            }
            // What came before it is handed out first, and nothing is polled behind it before it is.
            if self.ahead.is_empty() {
                let noted = self.member.inner.context().rebalances.lock().pop_front();
                if let Some(rebalance) = noted {
                    return self.hand_out(rebalance);
                }
            }
        }
        match self.ahead.next() {
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
            Some(Err(error)) => polled_error(&self.member, &error).map_or(Polled::Idle, Polled::Fault),
        }
    }

    fn hand_out(&mut self, rebalance: Rebalance) -> Polled<'_> {
        if matches!(rebalance, Rebalance::Assigned(_)) {
            self.member.note_id();
            if let Err(fault) = self.release_at_last() {
                return Polled::Fault(fault);
            }
        }
        self.open = Some(rebalance.clone());
        Polled::Rebalance(rebalance)
    }

    /// Whether records were taken from librdkafka that are not handed out yet.
    pub fn has_more(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Takes what is there, up to a change of the assignment; waits for a first record. Tells how many it took.
    fn take_ahead(&mut self, timeout: Duration) -> usize {
        let (mut taken, mut bytes, mut timeout) = (0, 0, timeout);
        while taken < self.most_ahead
            && bytes < MOST_BYTES_AHEAD
            && self.member.inner.context().rebalances.lock().is_empty()
        {
            let Some(size) = self.ahead.poll(timeout) else { break };
            (taken, bytes, timeout) = (taken + 1, bytes + size, Duration::ZERO);
        }
        taken
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
            Some(Err(KafkaError::PartitionEOF(_))) => {
                split.was_at_end = true;
                Ok(None)
            }
            Some(Err(error)) => {
                let error = error.clone();
                polled_error(&self.member, &error).map_or(Ok(None), Err)
            }
        }
    }

    /// Whether all of a split partition's records were read, at some time since the partition was assigned or rewound.
    /// Not known when its end was told by the common queue, as can be when it is assigned right after it was released.
    pub fn was_at_end(&self, partition: &TopicPartition) -> bool {
        self.queues.get(partition).is_some_and(|split| split.was_at_end)
    }

    /// Asks the cluster for this member, on whatever thread. It must not outlive this consumer: whoever drops the last
    /// of them leaves the group.
    pub fn member(&self) -> Arc<Member> {
        Arc::clone(&self.member)
    }

    /// Completes an assignment: finds where the group stands, starts there (at the earliest record where it stands
    /// nowhere), and tells where that is.
    ///
    /// # Errors
    /// [`ConsumerFault`] when the group's offsets cannot be learnt.
    pub fn accept(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        let starts = self.committed(partitions)?;
        let offset = |start: &Start| start.committed.map_or(Offset::Beginning, Offset::Offset);
        self.assign(starts.iter().map(|start| (&start.partition, offset(start))))?;
        Ok(starts)
    }

    /// Completes an assignment: each partition begins at its offset.
    ///
    /// # Errors
    /// [`ConsumerFault`] when librdkafka refuses.
    pub fn begin(&mut self, starts: &[(TopicPartition, i64)]) -> Result<(), ConsumerFault> {
        self.assign(starts.iter().map(|(partition, offset)| (partition, Offset::Offset(*offset))))
    }

    fn assign<'p>(
        &mut self,
        starts: impl ExactSizeIterator<Item = (&'p TopicPartition, Offset)>,
    ) -> Result<(), ConsumerFault> {
        faults::at(Point::Assigned);
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, offset) in starts {
            list.add_partition_offset(&partition.topic, partition.partition, offset)
                .map_err(|error| self.fault("assigning", &error))?;
            // Before the fetchers run: what they fetch then never takes the way of the common queue, where it could be
            // overtaken by what follows in the partition's own.
            self.split_queue(partition);
        }
        self.assign_to(&list).map_err(|error| self.fault("assigning", &error))?;
        // A revocation that waits is not completed by this.
        if !matches!(self.open, Some(Rebalance::Revoked { .. })) {
            self.open = None;
        }
        self.wake_fetchers();
        Ok(())
    }

    fn split_queue(&mut self, partition: &TopicPartition) {
        if (self.split)(&partition.topic)
            && let Some(queue) = self.inner().split_partition_queue(&partition.topic, partition.partition)
        {
            self.queues.insert(partition.clone(), Split { queue, early: VecDeque::new(), was_at_end: false });
        }
    }

    /// Stops fetching these partitions; what was fetched already may still come, and once [resumed](Self::resume) a
    /// partition has to be sought.
    ///
    /// # Errors
    /// [`ConsumerFault`] when librdkafka refuses.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerFault> {
        self.inner().pause(&list_of(partitions)).map_err(|error| self.fault("pausing", &error))
    }

    /// Fetches these partitions again.
    ///
    /// # Errors
    /// [`ConsumerFault`] when librdkafka refuses.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerFault> {
        self.inner().resume(&list_of(partitions)).map_err(|error| self.fault("resuming", &error))?;
        self.wake_fetchers();
        Ok(())
    }

    fn inner(&self) -> &Arc<BaseConsumer<Context>> {
        &self.member.inner
    }

    /// Completes a revocation. When librdkafka would join without an id after it, a static member completes it only once it
    /// is known that it was not replaced meanwhile: polling finds that out, if it cannot be told at once.
    ///
    /// # Errors
    /// [`ConsumerFault`] when librdkafka refuses, or when it was replaced.
    pub fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), ConsumerFault> {
        faults::at(Point::Revoked);
        for partition in partitions {
            self.queues.remove(partition);
            self.ahead.drop_of(partition);
        }
        let is_lost = matches!(self.open, Some(Rebalance::Revoked { lost: true, .. }));
        if self.is_static && (is_lost || !self.member.has_id()) {
            // One that waits already is completed with it.
            let waiting = self.joining.take().map_or_else(Vec::new, Joining::into_released);
            let all = waiting.into_iter().chain(partitions.iter().cloned()).collect();
            self.joining = Some(Joining::new(Step::Release(all)));
            return self.go_on_joining();
        }
        self.complete(partitions)
    }

    /// librdkafka joined although a revocation waits, as it does when topics come and go. It is not handed out again, and what
    /// it was of must not be taken for assigned; all that an eager protocol gives is new.
    fn release_at_last(&mut self) -> Result<(), ConsumerFault> {
        let waiting = self.joining.take().map_or_else(Vec::new, Joining::into_released);
        if waiting.is_empty() || self.is_eager() {
            return Ok(());
        }
        self.unassign(&waiting).map_err(|error| self.fault("unassigning", &error))
    }

    fn complete(&mut self, revoked: &[TopicPartition]) -> Result<(), ConsumerFault> {
        self.unassign(revoked).map_err(|error| self.fault("unassigning", &error))?;
        self.open = None;
        self.wake_fetchers();
        Ok(())
    }

    fn assign_to(&self, list: &TopicPartitionList) -> Result<(), KafkaError> {
        if self.is_eager() { self.inner().assign(list) } else { self.inner().incremental_assign(list) }
    }

    /// librdkafka refuses all of them when one is none of its own, as those are that the group gave and that never began: it
    /// takes them away too when topics come and go while an assignment waits.
    fn unassign(&self, revoked: &[TopicPartition]) -> Result<(), KafkaError> {
        if self.is_eager() {
            return self.inner().unassign();
        }
        let assigned = self.inner().assignment()?;
        let is_assigned = |of: &&TopicPartition| assigned.find_partition(&of.topic, of.partition).is_some();
        let begun: Vec<TopicPartition> = revoked.iter().filter(is_assigned).cloned().collect();
        self.inner().incremental_unassign(&list_of(&begun))
    }

    /// Whether each assignment is a whole one, which takes the place of what was ours before.
    pub fn is_eager(&self) -> bool {
        !matches!(self.inner().rebalance_protocol(), RebalanceProtocol::Cooperative)
    }

    /// Lets partitions that stay go on at once after a change of the assignment.
    ///
    /// librdkafka pauses all of them while it hands a change out, and resumes them without waking the threads that
    /// fetch: those find out when they have slept for up to a second (librdkafka 2.12, `rd_kafka_toppar_pause_resume`
    /// and `rd_kafka_broker_consumer_serve`). A question to the partitions' leaders wakes them; what they answer, and
    /// whether they do, does not matter.
    fn wake_fetchers(&self) {
        let Ok(assigned) = self.inner().assignment() else { return };
        let mut asked = TopicPartitionList::with_capacity(assigned.count());
        for partition in assigned.elements() {
            let _ = asked.add_partition_offset(partition.topic(), partition.partition(), Offset::End);
        }
        if asked.count() > 0 {
            let _ = self.inner().offsets_for_times(asked, WAKE_TIMEOUT);
        }
    }

    /// Whether partitions were lost and that was not completed yet: all of them, or those of a topic that is gone.
    ///
    /// Asked after [`GroupConsumer::group_metadata`]: a member that the group expelled may be without id and
    /// generation for a moment, and a broker takes offsets within a transaction from one without both, as from a
    /// producer that knows no groups.
    pub fn assignment_lost(&self) -> bool {
        self.inner().assignment_lost()
    }

    /// See [`Member::committed`].
    ///
    /// # Errors
    /// [`ConsumerFault`] as it says.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Start>, ConsumerFault> {
        self.member.committed(partitions)
    }

    /// Goes back, after a transaction that was not committed: reads each partition from its offset on.
    ///
    /// # Errors
    /// [`ConsumerFault`] when one cannot be sought.
    pub fn rewind(&mut self, to: &[(TopicPartition, i64)]) -> Result<(), ConsumerFault> {
        faults::at(Point::Rewinding);
        for (partition, offset) in to {
            if let Some(split) = self.queues.get_mut(partition) {
                split.early.clear();
                split.was_at_end = false;
            }
            self.ahead.drop_of(partition);
            self.seek(partition, Offset::Offset(*offset))?;
        }
        Ok(())
    }

    /// A partition that was only just assigned answers "erroneous state" until its fetcher runs.
    fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), ConsumerFault> {
        let deadline = steady_now() + CALL_TIMEOUT;
        loop {
            match self.inner().seek(&partition.topic, partition.partition, offset, CALL_TIMEOUT) {
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
        let beside = || Beside::of(self.inner());
        let with_name = |inner| GroupMetadata { inner, group: self.member.group.clone(), beside: beside() };
        self.inner().group_metadata().map(with_name).ok_or_else(|| ConsumerFault::Kafka {
            group: self.member.group.clone(),
            doing: "reading the group's metadata",
            why: "there is none".to_owned(),
        })
    }

    /// The group.
    pub fn group(&self) -> &str {
        self.member.group()
    }

    fn fault(&self, doing: &'static str, error: &KafkaError) -> ConsumerFault {
        self.member.fault(doing, error)
    }
}

/// Errors that pass by themselves are logged by the client's events; the others end the consumer.
fn polled_error(member: &Member, error: &KafkaError) -> Option<ConsumerFault> {
    let group = member.group.clone();
    let why = error.to_string();
    match error {
        KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::FencedInstanceId) => return Some(fenced(member, why)),
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
        code => member.denied(code).map(ConsumerFault::Denied),
    }
}

/// Aborted records are never read, except by the breakage that shows that tests would notice.
fn isolation() -> &'static str {
    if faults::broken(Breakage::ReadUncommitted) { "read_uncommitted" } else { "read_committed" }
}

/// What the group's other members see: the operator's client id, if there is one, comes before the name.
fn client_id(settings: &Settings<'_>) -> String {
    let own = settings.kafka.properties.get("client.id").map_or("notilog", |id| id.reveal());
    format!("{own}.{}", settings.name)
}

impl Drop for GroupConsumer {
    /// Leaves the group: nobody completes a rebalance from here on, so the context does. One that was handed out
    /// already is completed here: librdkafka's close would wait for that for ever. Where all was lost the close comes
    /// first, or else librdkafka would join once more, and take the place of who replaced this member.
    fn drop(&mut self) {
        // A static member does not leave: the next life has to know it.
        self.member.note_id();
        self.member.leaving.store(true, Ordering::SeqCst);
        self.inner().context().closing.store(true, Ordering::SeqCst);
        // They hold the client too, and must not be the last to.
        self.queues.clear();
        self.ahead.clear();
        let noted = self.inner().context().rebalances.lock().pop_front();
        let open = self.open.take().or(noted);
        if matches!(open, Some(Rebalance::Revoked { lost: true, .. }))
            && let Err(error) = self.inner().close_queue()
        {
            tracing::debug!(%error, "leaving the group");
        }
        let completed = match open {
            None => Ok(()),
            Some(Rebalance::Assigned(_)) => self.assign_to(&TopicPartitionList::new()),
            Some(Rebalance::Revoked { partitions, .. }) => self.unassign(&partitions),
        };
        if let Err(error) = completed {
            tracing::debug!(%error, "leaving the group");
        }
    }
}

pub(super) struct Context {
    pub(super) diagnostics: Diagnostics,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.diagnostics.on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The close was asked for twice.
        let is_closing = self.closing.load(Ordering::SeqCst);
        if is_closing && error.rdkafka_error_code() == Some(RDKafkaErrorCode::InProgress) {
            return;
        }
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
