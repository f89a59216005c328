//! Bounded scans of a topic, or of the one partition that a key lives in, up to where its log ended at the start.
//!
//! Invariant: reads committed records only; ends by position, never by counting; commits nothing and joins no group.
//! Blocking: async callers use a blocking thread.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::acl::{Kind as On, Operation};
use super::client::{Context, Diagnostics, Kind, base_config, hear_out, metadata};
use super::denied::{Denied, Right};
use super::native::headers::headers;
use super::partition_of;
use crate::config::Kafka;
use crate::model::Timestamp;
use crate::telemetry::clock::steady_now;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two questions for a leader.
const PAUSE: Duration = Duration::from_millis(100);
/// Without a record or an end of a partition for this long, the scan fails.
const STALL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);
const READ_COMMITTED: &str = "read_committed";
/// For the ends of logs only: no record is read under it.
const READ_UNCOMMITTED: &str = "read_uncommitted";

/// Where a scan begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum From {
    /// At the earliest record that is still there.
    #[default]
    Beginning,
    /// At the first record written at or after this moment.
    Time(Timestamp),
    /// At this offset of each partition.
    Offset(i64),
}

/// What to scan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan<'a> {
    /// The topic, prefix included.
    pub topic: &'a str,
    /// Only the records of this key: reads its partition only.
    pub key: Option<&'a [u8]>,
    /// Only this partition.
    pub partition: Option<i32>,
    /// Where to begin.
    pub from: From,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written or, by the topic's setting, appended.
    pub timestamp: Option<Timestamp>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The last header of this name, when it is UTF-8 text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

/// Why a scan did not reach its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The client cannot even be made.
    #[error("the Kafka consumer cannot be made: {0}; see [kafka] in the configuration")]
    Client(String),
    /// The login or a right is refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The topic is not there.
    #[error("topic {0} does not exist; `notilog topics apply` creates what is missing")]
    NoTopic(String),
    /// The broker refuses or does not answer.
    #[error("cannot read topic {topic}: {cause}")]
    Failed {
        /// The topic.
        topic: String,
        /// The broker's or librdkafka's words and what to do.
        cause: String,
    },
}

/// Reads all that `scan` asks for, up to the end of the log as it was when the scan began; `each` may stop it.
pub fn scan(kafka: &Kafka, scan: Scan<'_>, mut each: impl FnMut(Record) -> ControlFlow<()>) -> Result<(), ReadError> {
    let reader = Reader::open(kafka, scan.topic, READ_COMMITTED)?;
    let open = reader.assign(scan)?;
    reader.read(open, scan.key, &mut each)
}

/// Reads whole partitions of a topic, up to where their logs end now, whatever is in doubt there: a transaction that
/// was ended before this is called is read, even if its end is still being written to these partitions.
pub fn whole(kafka: &Kafka, topic: &str, partitions: &[i32], mut each: impl FnMut(Record)) -> Result<(), ReadError> {
    let (reader, bare) = (Reader::open(kafka, topic, READ_COMMITTED)?, Reader::open(kafka, topic, READ_UNCOMMITTED)?);
    for partition in partitions {
        reader.wait_for_doubt_to_end(*partition, bare.watermarks(*partition)?.1)?;
    }
    let open = reader.assign_from(partitions, From::Beginning)?;
    reader.read(open, None, |record| {
        each(record);
        ControlFlow::Continue(())
    })
}

/// Where the log of each partition ends now.
pub fn ends(kafka: &Kafka, topic: &str) -> Result<BTreeMap<i32, i64>, ReadError> {
    let reader = Reader::open(kafka, topic, READ_COMMITTED)?;
    let end_of = |partition| reader.watermarks(partition).map(|(_, high)| (partition, high));
    (0..reader.partitions()?).map(end_of).collect()
}

fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, GroupAuthorizationFailed, OperationTimedOut, Resolve,
    };
    // librdkafka asks for the group's coordinator although nobody joins the group: no right is needed for it.
    let passing = [AllBrokersDown, BrokerTransportFailure, GroupAuthorizationFailed, OperationTimedOut, Resolve];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}

/// The one record at a place, if it is still there.
pub fn record_at(kafka: &Kafka, topic: &str, partition: i32, offset: i64) -> Result<Option<Record>, ReadError> {
    let mut found = None;
    let at = Scan { topic, partition: Some(partition), from: From::Offset(offset), ..Scan::default() };
    scan(kafka, at, |record| {
        found = (record.offset == offset).then_some(record);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The last record of a key, tombstones included.
pub fn latest_of_key(kafka: &Kafka, topic: &str, key: &[u8]) -> Result<Option<Record>, ReadError> {
    let mut found = None;
    scan(kafka, Scan { topic, key: Some(key), ..Scan::default() }, |record| {
        found = Some(record);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

struct Reader {
    consumer: BaseConsumer<Context>,
    diagnostics: Diagnostics,
    kafka: Kafka,
    topic: String,
}

impl Reader {
    fn open(kafka: &Kafka, topic: &str, isolation: &str) -> Result<Self, ReadError> {
        let context = Context::default();
        let diagnostics = context.diagnostics().clone();
        let mut config = base_config(kafka, Kind::Consumer, "reader", &[("fetch.queue.backoff.ms", "10")]);
        config
            // librdkafka wants a name even of a consumer that only assigns; nothing is committed under it.
            .set("group.id", format!("{}notilog-reader", kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let consumer = config.create_with_context(context).map_err(|error| ReadError::Client(error.to_string()))?;
        Ok(Reader { consumer, diagnostics, kafka: kafka.clone(), topic: topic.to_owned() })
    }

    /// Reads up to these ends, all records or those of a key; `each` may stop it.
    fn read(
        &self,
        mut open: BTreeMap<i32, i64>,
        key: Option<&[u8]>,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut quiet = Duration::ZERO;
        while !open.is_empty() {
            match self.consumer.poll(POLL) {
                None => {
                    quiet += POLL;
                    if quiet >= STALL {
                        return Err(self.failed(&KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                // librdkafka connects again by itself; if it cannot, the scan stalls and says so.
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(self.failed(&error)),
                Some(Ok(message)) => {
                    quiet = Duration::ZERO;
                    let Some(end) = open.get(&message.partition()).copied() else { continue };
                    if message.offset() + 1 >= end {
                        open.remove(&message.partition());
                    }
                    let wanted = message.offset() < end && key.is_none_or(|key| message.key() == Some(key));
                    if wanted && each(record(&message)).is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until all transactions below `end` are ended.
    fn wait_for_doubt_to_end(&self, partition: i32, end: i64) -> Result<(), ReadError> {
        let deadline = steady_now() + REQUEST_TIMEOUT;
        while self.watermarks(partition)?.1 < end {
            if steady_now() >= deadline {
                return Err(self.failed(&KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Assigns what is to be read and returns, for each partition that has something, where its log ends.
    fn assign(&self, scan: Scan<'_>) -> Result<BTreeMap<i32, i64>, ReadError> {
        let count = self.partitions()?;
        let partitions = match (scan.key, scan.partition) {
            (_, Some(partition)) => vec![partition],
            (Some(key), None) => vec![partition_of(key, count)],
            (None, None) => (0..count).collect(),
        };
        self.assign_from(&partitions, scan.from)
    }

    fn assign_from(&self, partitions: &[i32], from: From) -> Result<BTreeMap<i32, i64>, ReadError> {
        let starts = self.starts(partitions, from)?;
        let mut ends = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in partitions.iter().copied() {
            let (low, high) = self.watermarks(partition)?;
            let start = starts.get(&partition).copied().flatten().map_or(high, |start| start.max(low));
            if start < high {
                ends.insert(partition, high);
                assignment
                    .add_partition_offset(&self.topic, partition, Offset::Offset(start))
                    .map_err(|error| self.failed(&error))?;
            }
        }
        self.consumer.assign(&assignment).map_err(|error| self.failed(&error))?;
        Ok(ends)
    }

    /// Where the log of a partition begins and ends. One that was only just created, or whose broker just went, may be
    /// without a leader for a moment.
    fn watermarks(&self, partition: i32) -> Result<(i64, i64), ReadError> {
        let deadline = steady_now() + REQUEST_TIMEOUT;
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, REQUEST_TIMEOUT) {
                Ok(bounds) => return Ok(bounds),
                Err(error) if is_leaderless(&error) && steady_now() < deadline => std::thread::sleep(PAUSE),
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// The first offset to read of each partition; `None` where nothing is young enough.
    fn starts(&self, partitions: &[i32], from: From) -> Result<BTreeMap<i32, Option<i64>>, ReadError> {
        let all_at = |offset| Ok(partitions.iter().map(|partition| (*partition, Some(offset))).collect());
        let at = match from {
            From::Beginning => return all_at(0),
            From::Offset(offset) => return all_at(offset),
            From::Time(at) => at,
        };
        let mut query = TopicPartitionList::new();
        for partition in partitions {
            query
                .add_partition_offset(&self.topic, *partition, Offset::Offset(at.0))
                .map_err(|error| self.failed(&error))?;
        }
        let answer = self.consumer.offsets_for_times(query, REQUEST_TIMEOUT).map_err(|error| self.failed(&error))?;
        Ok(answer
            .elements()
            .iter()
            .map(|element| (element.partition(), element.offset().to_raw().filter(|raw| *raw >= 0)))
            .collect())
    }

    fn partitions(&self) -> Result<i32, ReadError> {
        let metadata = metadata(&self.consumer, &self.kafka, Some(&self.topic), REQUEST_TIMEOUT)
            .map_err(|error| self.failed(&error))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        if let Some(error) = topic.and_then(MetadataTopic::error) {
            return Err(self.failed(&KafkaError::MetadataFetch(error.into())));
        }
        match topic.map_or(0, |topic| topic.partitions().len()) {
            0 => Err(ReadError::NoTopic(self.topic.clone())),
            count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
        }
    }

    fn failed(&self, error: &KafkaError) -> ReadError {
        let cause = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                return ReadError::NoTopic(self.topic.clone());
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let right = Right::on(On::Topic, &self.topic, Operation::Read);
                return ReadError::Denied(Denied::right(&self.kafka, right));
            }
            _ => {
                hear_out(&self.consumer);
                if let Some(denied) = self.diagnostics.denied(&self.kafka) {
                    return ReadError::Denied(denied);
                }
                self.diagnostics.explain(error)
            }
        };
        ReadError::Failed { topic: self.topic.clone(), cause }
    }
}

fn is_leaderless(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
    )
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().map(Timestamp),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers(message).map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
    }
}
