//! A transactional producer as a state machine in types: a record can be sent only within a [`Transaction`], and a
//! producer whose last result is unknown cannot be used again, because it is gone.
//!
//! Commit is: wait until every record is acknowledged → offsets → end. librdkafka lacks KIP-890's client side
//! (#5423): after an unknown result a late EndTxn could end a *later* transaction, so that such a producer is
//! destroyed and its successor, with the same `transactional.id` and a new epoch, begins anew. The same holds where
//! librdkafka asked for the end twice, because the first request's connection broke: the first may still be under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::acl::{CLUSTER, Kind as On, Operation};
use super::beside::Beside;
use super::client::{Diagnostics, Kind, base_config};
use super::denied::{Denied, Right, principal_of};
use super::missing::{Destinations, MissingTopics};
use super::native::produce::ByHandle;
use super::record::{OutRecord, Position};
use crate::config;
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Breakage, Point};

/// The broker ends a transaction by itself after this; librdkafka wants `message.timeout.ms` not above it.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one call about the transaction may take before its result counts as unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// How long records that were sent already may take to be acknowledged before an abort takes them out of the queue.
const DRAIN_BEFORE_ABORT: Duration = Duration::from_millis(250);

/// How long a producer tries to take up its transactional id.
const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// One turn of that: librdkafka goes on where it was in the next.
const INIT_TURN: Duration = Duration::from_millis(500);

/// How long acknowledgements are waited for before what librdkafka has to tell is looked at.
const FLUSH_TURN: Duration = Duration::from_millis(10);

/// How long a record waits for room in a full queue before it is tried again.
const ROOM_TURN: Duration = Duration::from_millis(1);

/// How long it may take to ask whether a topic is there.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Librdkafka's bound on what is produced and not yet acknowledged, in KiB.
const QUEUE_KIB: &str = "65536";

/// librdkafka's words for CONCURRENT_TRANSACTIONS.
const OVERLAPPED: &str = "another concurrent operation on the same transaction was ongoing";

/// A producer between transactions.
pub struct TransactionalProducer {
    inner: ByHandle<Context>,
    id: Box<str>,
    destinations: Box<Destinations>,
}

/// A producer within a transaction.
pub struct Transaction {
    producer: TransactionalProducer,
    records: u64,
}

/// How a transaction ended.
pub enum Ended {
    /// All of it is visible.
    Committed(TransactionalProducer),
    /// All of it is visible; the producer is gone, because a second request for this end may still be under way.
    /// Connect a new one of the same id.
    CommittedLast,
    /// None of it is visible; rewind the input to the committed offsets.
    Aborted(TransactionalProducer, Failure),
    /// Nobody knows; the producer is gone. Connect a new one of the same id, then rewind the input to the
    /// committed offsets.
    Unknown(Failure),
    /// A newer producer of the same id lives; this one ends for good.
    Fenced(Failure),
}

/// Why a transaction, or the connection of a producer, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// One record cannot be written; the rest could.
    #[error("a record of {bytes} bytes to topic `{topic}` cannot be written: {why}")]
    Record {
        /// Where it should have gone.
        topic: String,
        /// Its value's size.
        bytes: usize,
        /// What is wrong with it.
        why: RecordFault,
    },
    /// A newer producer with the same transactional id was started.
    #[error("transactional id `{id}` was taken over by a newer producer; this one stops ({code})")]
    Fenced {
        /// The transactional id.
        id: String,
        /// librdkafka's code.
        code: String,
    },
    /// The group gave our partitions to someone else.
    #[error("the consumer group moved on without this member ({0}); the transaction was given up")]
    Group(String),
    /// The principal may not do this.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// Anything else.
    #[error("Kafka transaction `{id}` failed while {doing}: {why}")]
    Kafka {
        /// The transactional id.
        id: String,
        /// The step.
        doing: &'static str,
        /// librdkafka's words.
        why: String,
    },
}

/// What is wrong with a record, for ever or until an operator mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Above `max.message.bytes` of the topic or `message.max.bytes` of the broker.
    #[error("it is larger than the topic's max.message.bytes")]
    TooLarge,
    /// The topic does not exist.
    #[error("the topic does not exist; run `notilog topics apply`")]
    TopicMissing,
    /// The broker refuses it for another reason.
    #[error("the broker refuses it")]
    Refused,
}

impl Failure {
    fn of_record(record: &OutRecord<'_>, why: RecordFault) -> Self {
        Failure::Record { topic: record.topic.to_owned(), bytes: record.value.map_or(0, <[u8]>::len), why }
    }

    /// The record's fault, when the failure is one record's.
    pub fn record_fault(&self) -> Option<RecordFault> {
        match self {
            Failure::Record { why, .. } => Some(*why),
            _ => None,
        }
    }
}

impl TransactionalProducer {
    /// Connects, fences every older producer of `id` and waits until its open transaction is resolved.
    ///
    /// # Errors
    /// [`Failure`] when the configuration is refused, the cluster cannot be reached within the time-out, or the
    /// principal may not use the transactional id.
    pub fn connect(
        kafka: &config::Kafka,
        id: &str,
        linger: Duration,
        missing: MissingTopics,
    ) -> Result<TransactionalProducer, Failure> {
        let linger = linger.as_millis().to_string();
        let defaults = [
            ("linger.ms", linger.as_str()),
            ("batch.size", "1000000"),
            ("message.max.bytes", "10485760"),
            // Of our own (vendor/librdkafka.patch): as stock librdkafka, with 1, it sends each partition a request.
            ("produce.request.max.partitions", "64"),
            ("queue.buffering.max.kbytes", QUEUE_KIB),
            ("queue.buffering.max.messages", "500000"),
            // How long a topic may be unknown before its records fail; a new topic needs a moment.
            ("topic.metadata.propagation.max.ms", "3000"),
        ];
        let mut config = base_config(kafka, Kind::Producer, "transactional", &defaults);
        config
            .set("transactional.id", id)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("delivery.report.only.error", "true")
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
            .set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
            // Nothing else tells that it asked for the end of a transaction again (see `Context::log`).
            .set("debug", "eos")
            .set_log_level(RDKafkaLogLevel::Debug);
        if faults::broken(Breakage::NoTransactionalId) {
            config.remove("transactional.id");
        }
        let diagnostics = Diagnostics::default();
        let context = Context {
            diagnostics: diagnostics.clone(),
            missing: missing.clone(),
            principal: principal_of(kafka),
            faults: Mutex::default(),
            lost: AtomicBool::new(false),
            served: AtomicU64::new(0),
            asked_again: AtomicBool::new(false),
            overlapped: AtomicBool::new(false),
        };
        let failed =
            |doing, error: &KafkaError| Failure::Kafka { id: id.to_owned(), doing, why: diagnostics.explain(error) };
        let inner = BaseProducer::from_config_and_context(&config, context)
            .map_err(|error| failed("creating the client", &error))?;
        let (inner, destinations) = (ByHandle::new(inner), Box::new(Destinations::new(missing)));
        let producer = TransactionalProducer { inner, id: id.into(), destinations };
        let Err(error) = producer.initialise(kafka, &diagnostics) else { return Ok(producer) };
        Err(match (diagnostics.denied(kafka), producer.failure("initialising", &error)) {
            (Some(denied), Failure::Kafka { .. }) => Failure::Denied(Box::new(denied)),
            (None, Failure::Kafka { .. }) => failed("initialising", &error),
            (_, other) => other,
        })
    }

    /// Takes up the transactional id. Asks in short turns, because a refused login shows only in events, which are
    /// served in between; the call itself would merely time out.
    fn initialise(&self, kafka: &config::Kafka, diagnostics: &Diagnostics) -> Result<(), KafkaError> {
        if faults::broken(Breakage::NoTransactionalId) {
            return Ok(());
        }
        let deadline = steady_now() + INIT_TIMEOUT;
        loop {
            let error = match self.inner.base().init_transactions(INIT_TURN) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.inner.base().poll(Duration::from_millis(10));
            if !goes_on(&error) || diagnostics.denied(kafka).is_some() || steady_now() >= deadline {
                return Err(error);
            }
        }
    }

    /// The transactional id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the last transaction began before the markers of the one before it were written: librdkafka then lets
    /// its first records wait for 5 ms.
    pub fn overlapped(&self) -> bool {
        self.inner.base().context().overlapped.load(Ordering::SeqCst)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Failure`] when librdkafka refuses; the producer is gone.
    pub fn begin(self) -> Result<Transaction, Failure> {
        self.inner.base().context().faults.lock().clear();
        self.inner.base().context().lost.store(false, Ordering::SeqCst);
        self.inner.base().context().overlapped.store(false, Ordering::SeqCst);
        let began = match faults::broken(Breakage::NoTransactionalId) {
            true => Ok(()),
            false => self.inner.base().begin_transaction(),
        };
        match began {
            Ok(()) => {
                faults::at(Point::Begun);
                Ok(Transaction { producer: self, records: 0 })
            }
            Err(error) => Err(self.failure("beginning", &error)),
        }
    }

    /// Serves all of librdkafka's events (logs, errors, delivery reports) that are there.
    pub fn serve(&self) {
        let context = self.inner.base().context();
        // A poll serves one event, and does not say whether there was one.
        loop {
            let served = context.served.load(Ordering::SeqCst);
            self.inner.base().poll(Duration::ZERO);
            if context.served.load(Ordering::SeqCst) == served {
                break;
            }
        }
    }

    /// Whether a request for the end of a transaction may still be under way although another was answered.
    fn is_haunted(&self) -> bool {
        self.serve();
        self.inner.base().context().asked_again.load(Ordering::SeqCst) && !faults::broken(Breakage::ReuseAfterUnknown)
    }

    fn failure(&self, doing: &'static str, error: &KafkaError) -> Failure {
        // After a fatal error producing says only that there was one.
        let (code, why) = match self.inner.base().client().fatal_error() {
            Some((code, why)) => (Some(code), format!("{code}: {why}")),
            None => (error.rdkafka_error_code(), error.to_string()),
        };
        match code {
            Some(code) if is_fence(code) => Failure::Fenced { id: self.id.to_string(), code: why },
            Some(
                RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::FencedInstanceId,
            ) => Failure::Group(why),
            // The coordinator does not say which of the transaction's topics.
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let principal = self.inner.base().context().principal.clone();
                Failure::Denied(Box::new(Denied::SomeTopic { principal, operation: Operation::Write }))
            }
            Some(RDKafkaErrorCode::ClusterAuthorizationFailed) => {
                self.lacks(Right::on(On::Cluster, CLUSTER, Operation::IdempotentWrite))
            }
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
                self.lacks(Right::on(On::TransactionalId, &self.id, Operation::Write))
            }
            _ => Failure::Kafka { id: self.id.to_string(), doing, why },
        }
    }

    /// That it is fenced, if it knows: what it wrote is lost then, which is no reason to look for another cause.
    fn fence(&self) -> Option<Failure> {
        let (code, why) = self.inner.base().client().fatal_error()?;
        is_fence(code).then(|| Failure::Fenced { id: self.id.to_string(), code: format!("{code}: {why}") })
    }

    fn lacks(&self, right: Right) -> Failure {
        self.inner.base().context().lacks(right)
    }
}

fn is_fence(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

/// False only when the cluster says that it does not have the topic.
fn may_exist(producer: &ByHandle<Context>, topic: &str) -> bool {
    let Ok(metadata) = producer.base().client().fetch_metadata(Some(topic), LOOK_UP_TIMEOUT) else { return true };
    let error = metadata.topics().first().and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
    !matches!(error, Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition))
}

/// Whether librdkafka goes on with the call by itself, and asking again only resumes it: nobody answered yet, or the
/// coordinator is still ending what an earlier producer of the same id left open.
fn goes_on(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

impl Transaction {
    /// Records sent so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Hands a record to librdkafka. Waits while its queue is full: that is the back-pressure.
    ///
    /// # Errors
    /// [`Failure`]; the transaction should then be [aborted](Transaction::abort).
    pub fn send(&mut self, record: &OutRecord<'_>) -> Result<(), Failure> {
        if self.lacks(record.topic) {
            return Err(Failure::of_record(record, RecordFault::TopicMissing));
        }
        // The clock is asked only once the queue is full.
        let mut deadline = None;
        while let Err(code) = self.producer.inner.produce(record) {
            let mut may_wait = || steady_now() < *deadline.get_or_insert_with(|| steady_now() + TRANSACTION_TIMEOUT);
            if code != RDKafkaErrorCode::QueueFull || !may_wait() {
                return Err(self.send_failure(record, &KafkaError::MessageProduction(code)));
            }
            self.producer.inner.flush(ROOM_TURN);
            self.producer.inner.base().poll(Duration::ZERO);
        }
        self.records += 1;
        faults::at(Point::MidProduce);
        if self.records.is_multiple_of(512) {
            self.producer.inner.base().poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Whether the cluster does not have a topic, as far as is known: it is asked only for one that was missing before.
    pub fn lacks(&mut self, topic: &str) -> bool {
        let TransactionalProducer { inner, destinations, .. } = &mut self.producer;
        destinations.lack(topic, || may_exist(inner, topic))
    }

    fn send_failure(&self, record: &OutRecord<'_>, error: &KafkaError) -> Failure {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return self.producer.lacks(Right::on(On::Topic, record.topic, Operation::Write));
        }
        match error.rdkafka_error_code().and_then(record_fault) {
            Some(why) => Failure::of_record(record, why),
            None => {
                self.producer.inner.base().context().lost.store(true, Ordering::SeqCst);
                self.producer.failure("producing", error)
            }
        }
    }

    /// Ends the transaction with `positions` as the group's offsets.
    ///
    /// Blocks until every record is acknowledged and the end is known, at most about 30 s; where a broker takes a request and
    /// stands still, a minute more (`socket.timeout.ms`).
    pub fn commit(self, positions: &[Position], group: &GroupMetadata) -> Ended {
        match self.drain() {
            Ok(()) => {}
            // Not acknowledged in all this time.
            Err(failure @ Failure::Kafka { .. }) => return Ended::Unknown(failure),
            Err(known) => return self.abort(known),
        }
        faults::at(Point::Drained);
        if faults::broken(Breakage::NoTransactionalId) {
            return group.commit_beside(positions).map_or_else(Ended::Unknown, |()| Ended::Committed(self.producer));
        }
        if !positions.is_empty() {
            let sent = partition_list(positions).and_then(|offsets| {
                self.producer.inner.base().send_offsets_to_transaction(&offsets, &group.inner, CALL_TIMEOUT)
            });
            if let Err(error) = sent {
                let failure = match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                        self.producer.lacks(Right::on(On::Group, &group.group, Operation::Read))
                    }
                    _ => self.producer.failure("sending offsets", &error),
                };
                return match failure {
                    // Nobody answered: the request may still arrive, and would put these offsets into whatever
                    // transaction the same producer has open then.
                    failure @ Failure::Kafka { .. } => Ended::Unknown(failure),
                    answered => self.abort(answered),
                };
            }
        }
        faults::at(Point::OffsetsSent);
        self.end()
    }

    fn end(self) -> Ended {
        let mut ended = self.producer.inner.base().commit_transaction(CALL_TIMEOUT);
        while faults::broken(Breakage::ReuseAfterUnknown) && ended.as_ref().is_err_and(is_unknown) {
            ended = self.producer.inner.base().commit_transaction(CALL_TIMEOUT);
        }
        match ended {
            Ok(()) => {
                faults::at(Point::Committed);
                if self.producer.is_haunted() { Ended::CommittedLast } else { Ended::Committed(self.producer) }
            }
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                let failure = self.producer.failure("committing", &KafkaError::Transaction(error));
                match self.nearest(failure) {
                    // It may need a new epoch, see below; nothing tells.
                    failure @ Failure::Kafka { .. } => Ended::Unknown(failure),
                    known => self.abort(known),
                }
            }
            Err(error) => self.give_up("committing", &error),
        }
    }

    /// Waits until nothing is in flight: `commit_transaction` of rust-rdkafka polls to its full flush interval
    /// when something is (~100 ms, its PR 777).
    fn drain(&self) -> Result<(), Failure> {
        let deadline = steady_now() + TRANSACTION_TIMEOUT;
        loop {
            let done = self.producer.inner.flush(FLUSH_TURN);
            self.producer.serve();
            if let Some(fault) = self.fault() {
                return Err(fault);
            }
            if done {
                return Ok(());
            }
            if steady_now() > deadline {
                return Err(Failure::Kafka {
                    id: self.producer.id.to_string(),
                    doing: "waiting for acknowledgements",
                    why: format!("none within {} s", TRANSACTION_TIMEOUT.as_secs()),
                });
            }
        }
    }

    /// Lets nothing be queued or in flight before an abort. librdkafka's abort purges what is queued and then waits
    /// for its delivery reports, which only polling serves, so that it would run into its time-out; and an abort while
    /// the first record is under way can make a fatal error of it (#4849).
    fn empty(&self) {
        self.flush_until_empty(DRAIN_BEFORE_ABORT);
        if self.producer.inner.base().in_flight_count() > 0 {
            self.producer.inner.base().purge(PurgeConfig::default().queue());
            self.flush_until_empty(TRANSACTION_TIMEOUT);
        }
    }

    fn flush_until_empty(&self, patience: Duration) {
        let deadline = steady_now() + patience;
        while !self.producer.inner.flush(FLUSH_TURN) && steady_now() < deadline {
            self.producer.serve();
        }
        self.producer.serve();
    }

    fn fault(&self) -> Option<Failure> {
        self.producer.inner.base().context().faults.lock().first().cloned()
    }

    /// Ends the transaction with nothing visible.
    pub fn abort(self, why: Failure) -> Ended {
        if matches!(why, Failure::Fenced { .. }) {
            return Ended::Fenced(why);
        }
        self.empty();
        faults::at(Point::Aborting);
        if let Some(fenced) = self.producer.fence() {
            return Ended::Fenced(fenced);
        }
        if self.needs_a_new_epoch() {
            return Ended::Unknown(self.nearest(why));
        }
        if faults::broken(Breakage::NoTransactionalId) {
            return Ended::Aborted(self.producer, why);
        }
        match self.producer.inner.base().abort_transaction(CALL_TIMEOUT) {
            Ok(()) => {
                faults::at(Point::Aborted);
                // Serves the reports of purged records, so that they are not taken for the next transaction's.
                self.producer.serve();
                let why = self.nearest(why);
                if self.producer.is_haunted() { Ended::Unknown(why) } else { Ended::Aborted(self.producer, why) }
            }
            Err(error) => match self.give_up("aborting", &error) {
                Ended::Unknown(_) => Ended::Unknown(why),
                other => other,
            },
        }
    }

    /// What is nearest to the cause: a record's own fault, or else what the delivery reports said.
    fn nearest(&self, why: Failure) -> Failure {
        match why {
            record @ Failure::Record { .. } => record,
            other => self.fault().unwrap_or(other),
        }
    }

    /// Whether an abort would ask for a new epoch, as librdkafka does when records were lost on the way (KIP-360). The
    /// coordinator first ends whatever transaction is open under the id, and looks only then whether the epoch that
    /// asks is still the newest: a zombie would fence the one that replaced it. Who is in the group has to be asked
    /// before, which is done when a new producer is connected.
    fn needs_a_new_epoch(&self) -> bool {
        self.producer.inner.base().context().lost.load(Ordering::SeqCst)
    }

    fn give_up(self, doing: &'static str, error: &KafkaError) -> Ended {
        match self.producer.failure(doing, error) {
            failure @ Failure::Fenced { .. } => Ended::Fenced(failure),
            failure => Ended::Unknown(failure),
        }
    }
}

/// The group membership under which offsets are committed; taken fresh for each commit.
pub struct GroupMetadata {
    pub(super) inner: ConsumerGroupMetadata,
    pub(super) group: String,
    pub(super) beside: Beside,
}

impl GroupMetadata {
    /// What the breakage `no_transactional_id` does: offsets on their own, as a consumer commits them.
    fn commit_beside(&self, positions: &[Position]) -> Result<(), Failure> {
        let unknown = |error: KafkaError| Failure::Kafka {
            id: self.group.clone(),
            doing: "committing offsets beside the records",
            why: error.to_string(),
        };
        partition_list(positions).and_then(|offsets| self.beside.commit(&offsets)).map_err(unknown)
    }
}

/// Neither a fatal error nor one that asks for an abort: nobody answered.
fn is_unknown(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => !error.txn_requires_abort() && !error.is_fatal(),
        _ => false,
    }
}

fn partition_list(positions: &[Position]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for position in positions {
        let mut element = list.add_partition(&position.partition.topic, position.partition.partition);
        element.set_offset(Offset::Offset(position.offset))?;
        if !position.metadata.is_empty() {
            element.set_metadata(&position.metadata);
        }
    }
    Ok(list)
}

/// Faults of one record; everything else is the connection's or the transaction's.
pub(super) fn record_fault(code: RDKafkaErrorCode) -> Option<RecordFault> {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize => Some(RecordFault::TooLarge),
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => Some(RecordFault::TopicMissing),
        RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidMessage | RDKafkaErrorCode::PolicyViolation => {
            Some(RecordFault::Refused)
        }
        _ => None,
    }
}

/// Collects what delivery reports and error events say.
struct Context {
    diagnostics: Diagnostics,
    missing: MissingTopics,
    principal: String,
    faults: Mutex<Vec<Failure>>,
    /// Records of the transaction were lost on the way, or may have been: it needs a new epoch.
    lost: AtomicBool,
    /// Logs, errors, statistics and delivery reports handed out so far.
    served: AtomicU64,
    /// librdkafka asked for the end of a transaction a second time.
    asked_again: AtomicBool,
    /// The last transaction began before the markers of the one before it were written.
    overlapped: AtomicBool,
}

impl Context {
    fn lacks(&self, right: Right) -> Failure {
        Failure::Denied(Box::new(Denied::lacks(&self.principal, right)))
    }
}

impl ClientContext for Context {
    /// When the connection of an EndTxn breaks or times out, librdkafka asks again by itself and reports neither; its
    /// log of category `eos` says "EndTxn returned _TRANSPORT". tests/faults/late_end.rs notices when that changes.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.served.fetch_add(1, Ordering::SeqCst);
        if !matches!(level, RDKafkaLogLevel::Debug) {
            self.diagnostics.on_log(level, facility, message);
        } else if facility == "ENDTXN" && (message.contains("_TRANSPORT") || message.contains("_TIMED_OUT")) {
            self.asked_again.store(true, Ordering::SeqCst);
        } else if facility == "ADDPARTS" && message.ends_with(OVERLAPPED) {
            self.overlapped.store(true, Ordering::SeqCst);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.diagnostics.on_error(&error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {
        self.served.fetch_add(1, Ordering::SeqCst);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.served.fetch_add(1, Ordering::SeqCst);
        let Err((error, message)) = result else { return };
        let Some(code) = error.rdkafka_error_code() else { return };
        let failure = if code == RDKafkaErrorCode::TopicAuthorizationFailed {
            let right = Right::on(On::Topic, message.topic(), Operation::Write);
            self.lacks(right)
        } else {
            let Some(why) = record_fault(code) else {
                if !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
                    self.lost.store(true, Ordering::SeqCst);
                }
                return;
            };
            if why == RecordFault::TopicMissing {
                self.missing.note(message.topic());
            }
            let bytes = message.payload().map_or(0, <[u8]>::len);
            Failure::Record { topic: message.topic().to_owned(), bytes, why }
        };
        let mut faults = self.faults.lock();
        if faults.len() < 16 {
            faults.push(failure);
        }
    }
}
