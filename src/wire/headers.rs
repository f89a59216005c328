//! Record headers: their names, and codecs for those of tiers, dead letters and replays.
//!
//! Header values come from strangers too: what cannot be read is an error that names the header, never its value.

mod dlq;
mod tier;
mod trace;

pub use dlq::{DlqHeaders, ReplayHeaders};
pub use tier::{Origin, TierHeaders};
pub use trace::TraceParent;

/// The names of all headers of the contract.
pub mod names {
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Attempts made so far in this run.
    pub const ATTEMPT: &str = "notify-attempt";
    /// Not to be handled before this moment: milliseconds since 1970, absolute.
    pub const NOT_BEFORE_MS: &str = "notify-not-before-ms";
    /// The topic that the record was first written to.
    pub const ORIGINAL_TOPIC: &str = "notify-original-topic";
    /// The partition that the record was first written to.
    pub const ORIGINAL_PARTITION: &str = "notify-original-partition";
    /// The offset that the record was first written at.
    pub const ORIGINAL_OFFSET: &str = "notify-original-offset";
    /// The timestamp of the record as first written: milliseconds since 1970.
    pub const ORIGINAL_TIMESTAMP_MS: &str = "notify-original-timestamp-ms";
    /// The reason code of the attempt that failed or of the rule that deferred.
    pub const ERROR_CODE: &str = "notify-error-code";
    /// Which life of the notification: 0 is the first, each redrive opens the next.
    pub const RUN: &str = "notify-run";
    /// Place in the recipient's lane (strict order).
    pub const LANE_SEQ: &str = "notify-lane-seq";
    /// The provider that alone may be asked: the outcome of an attempt by it is unknown.
    pub const PROVIDER: &str = "notify-provider";
    /// Indexes into the event's recipients that still wait.
    pub const RECIPIENTS: &str = "notify-recipients";
    /// Makes the idempotency key of a redriven run another one.
    pub const REDRIVE_NONCE: &str = "notify-redrive-nonce";
    /// KIP-1191: the topic of the record that died.
    pub const DLQ_TOPIC: &str = "__dlq.errors.topic";
    /// KIP-1191: its partition.
    pub const DLQ_PARTITION: &str = "__dlq.errors.partition";
    /// KIP-1191: its offset.
    pub const DLQ_OFFSET: &str = "__dlq.errors.offset";
    /// KIP-1191: the consumer group that gave it up.
    pub const DLQ_GROUP: &str = "__dlq.errors.group";
    /// KIP-1191: how often it was tried.
    pub const DLQ_DELIVERY_COUNT: &str = "__dlq.errors.delivery.count";
    /// KIP-1191: what was wrong, in words; no personal data.
    pub const DLQ_MESSAGE: &str = "__dlq.errors.message";
    /// The reason code of a dead letter.
    pub const REASON: &str = "notify-reason";
    /// Which replay a record belongs to.
    pub const REPLAY_ID: &str = "notify-replay-id";
    /// Makes the notification ids of a replay other ones.
    pub const REPLAY_NONCE: &str = "notify-replay-nonce";
}

/// A header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header `{header}` {fault}")]
pub struct HeaderError {
    /// Which header.
    pub header: &'static str,
    /// What is wrong with it.
    pub fault: HeaderFault,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Others of its group are there, it is not.
    #[error("is missing beside its companions")]
    Missing,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Not a whole number, or one out of range.
    #[error("is not a whole number in its range")]
    NotANumber,
    /// Not a comma-separated list of rising indexes.
    #[error("is not a list of rising indexes")]
    NotIndexes,
}

impl HeaderError {
    fn new(header: &'static str, fault: HeaderFault) -> Self {
        HeaderError { header, fault }
    }
}

fn text<'a>(header: &'static str, value: &'a [u8]) -> Result<&'a str, HeaderError> {
    std::str::from_utf8(value).map_err(|_| HeaderError::new(header, HeaderFault::NotUtf8))
}

/// A whole number without a sign (save `-`), spaces or surprises.
fn number<T: std::str::FromStr>(header: &'static str, value: &[u8]) -> Result<T, HeaderError> {
    let text = text(header, value)?;
    let not_a_number = HeaderError::new(header, HeaderFault::NotANumber);
    if text.starts_with('+') {
        return Err(not_a_number);
    }
    text.parse().map_err(|_| not_a_number)
}
