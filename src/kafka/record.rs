//! Records as they come from and go to Kafka, without librdkafka's types.

use rdkafka::message::{BorrowedMessage, Message as _};

use super::native::headers::headers;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name, prefix included.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic` and `partition` together.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// What one partition's group offset becomes with a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which partition.
    pub partition: TopicPartition,
    /// The next offset to read: the last one done, plus one.
    pub offset: i64,
    /// Text kept with the offset, at most the broker's `offset.metadata.max.bytes` (4,096).
    pub metadata: String,
}

/// A record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct OutRecord<'a> {
    /// Destination.
    pub topic: &'a str,
    /// By the key's hash when absent.
    pub partition: Option<i32>,
    /// Null when absent.
    pub key: Option<&'a [u8]>,
    /// Null (a tombstone) when absent.
    pub value: Option<&'a [u8]>,
    /// In order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Milliseconds since 1970; when librdkafka took it, where absent.
    pub timestamp_ms: Option<i64>,
}

/// A record that was read, still in librdkafka's memory.
pub struct InRecord<'c>(pub(super) BorrowedMessage<'c>);

impl InRecord<'_> {
    /// Topic name, prefix included.
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// Partition number.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Offset in the partition.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Key bytes.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// Value bytes.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    /// Milliseconds since the epoch: the producer's, or the broker's in a LogAppendTime topic.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(0)
    }

    /// Headers in order; a null value reads as empty, and what has a name that is no text is left out.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        headers(&self.0).map(|(name, value)| (name, value.unwrap_or_default()))
    }

    /// A copy that outlives the consumer's next poll.
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            partition: TopicPartition::new(self.topic(), self.partition()),
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key().map(<[u8]>::to_vec),
            value: self.value().map(<[u8]>::to_vec),
            headers: self.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
        }
    }
}

/// A record that was read, in memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Where it stands.
    pub partition: TopicPartition,
    /// Offset in the partition.
    pub offset: i64,
    /// See [`InRecord::timestamp_ms`].
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl OwnedRecord {
    /// Headers in order, borrowed.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}
