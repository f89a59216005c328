//! A record on its way in, wherever it was held.

use smallvec::SmallVec;

use crate::kafka::{InRecord, OwnedRecord};

/// Names and values of headers, in order. Few records have more than four, and those take no memory from the heap for it.
pub type Headers<'a> = SmallVec<[(&'a str, &'a [u8]); 4]>;

/// One input record.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Topic, prefix included.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// See [`InRecord::timestamp_ms`].
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: Headers<'a>,
}

/// What kind of record it is, by its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of `notify.events.<domain>`.
    Event,
    /// Of `notify.retry.events.<delay>`.
    RetriedEvent,
    /// Of `notify.preferences`.
    Preferences,
}

impl Input<'_> {
    /// The kind of record, under the installation's prefix.
    pub fn kind(&self, prefix: &str) -> Kind {
        let name = self.topic.strip_prefix(prefix).unwrap_or(self.topic);
        if is_event_tier(name) {
            Kind::RetriedEvent
        } else if name == "notify.preferences" {
            Kind::Preferences
        } else {
            Kind::Event
        }
    }
}

/// Whether a topic is a tier of events, with or without a prefix.
pub fn is_event_tier(topic: &str) -> bool {
    topic.contains("notify.retry.events.")
}

impl<'a> From<&'a InRecord<'_>> for Input<'a> {
    fn from(record: &'a InRecord<'_>) -> Self {
        Input {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            key: record.key(),
            value: record.value(),
            headers: record.headers().collect(),
        }
    }
}

impl<'a> From<&'a OwnedRecord> for Input<'a> {
    fn from(record: &'a OwnedRecord) -> Self {
        Input {
            topic: &record.partition.topic,
            partition: record.partition.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record.headers().collect(),
        }
    }
}
