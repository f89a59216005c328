//! From a receipt to what is written: status, the message's new state, a suppressed address; or a tier, or the dead
//! letters.
//!
//! Invariant: knows no consumer and no producer. No record here holds an address or a provider's text.

use std::time::Duration;

use super::book::Book;
use super::judge::{Judgement, Patience, judge};
use crate::kafka::{NotRestored, OwnedRecord};
use crate::model::{
    BY_NOTIFICATION, DeliveryStatus, Open, Reason, Receipt, SentMessage, State, Suppression, SuppressionReason,
    Timestamp, Topics, receipt_key,
};
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics::{dead_letters, receipt_outcomes, statuses};
use crate::wire::{Blame, DlqHeaders, Encoders, Origin, Records, TierHeaders, WireError};

/// A code is one of a provider's, not a text.
const LONGEST_CODE: usize = 64;

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Destination.
    pub topic: String,
    /// By the key's hash when absent.
    pub partition: Option<i32>,
    /// Null when absent.
    pub key: Option<Vec<u8>>,
    /// Null when absent.
    pub value: Option<Vec<u8>>,
    /// In order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Why a receipt cannot be judged now.
#[derive(Debug, thiserror::Error)]
pub enum Later {
    /// The registry cannot be asked for a schema.
    #[error("waiting for the schema registry: {0}")]
    Registry(#[from] WireError),
    /// The table of messages is being read again.
    #[error("waiting for the table of messages: {0}")]
    Table(#[from] NotRestored),
}

/// What does not change while a worker runs.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Names.
    pub topics: Topics,
    /// The consumer group, for dead letters.
    pub group: String,
    /// Delays of `notify.receipts.retry.<delay>`.
    pub tiers: Vec<Duration>,
    /// How long a receipt waits for the message it speaks of.
    pub patience: Duration,
}

/// One worker's.
pub struct Clerk {
    pub(super) rules: Rules,
    pub(super) records: Records,
    encoders: Encoders,
    pub(super) clock: Clock,
    /// What is known of messages.
    pub book: Book,
}

impl Clerk {
    /// A clerk that reads and writes with these.
    pub fn new(rules: Rules, records: Records, encoders: Encoders, clock: Clock, book: Book) -> Self {
        Clerk { rules, records, encoders, clock, book }
    }

    /// What follows from a record of the receipts' inbox or of a tier, or of what users have in the app.
    ///
    /// # Errors
    /// Only when the registry cannot be asked for a schema, or the table is being read again: try again later.
    pub fn handle(&mut self, record: &OwnedRecord) -> Result<Vec<Output>, Later> {
        if record.partition.topic == self.rules.topics.inbox() {
            return self.read_mark(record);
        }
        let Some(value) = record.value.as_deref() else {
            return Ok(vec![self.bury(record, Reason::NotAReceipt, "the value is null")]);
        };
        let mut records = self.records.clone();
        let receipt = match records.receipt(value) {
            Ok(receipt) => receipt,
            Err(error) if error.blame() == Blame::Registry => return Err(error.into()),
            Err(error) => return Ok(vec![self.bury(record, Reason::NotAReceipt, &error.to_string())]),
        };
        self.records = records;
        let headers = match TierHeaders::parse(record.headers()) {
            Ok(headers) => headers,
            Err(error) => return Ok(vec![self.bury(record, Reason::NotAReceipt, &error.to_string())]),
        };
        if receipt.provider == BY_NOTIFICATION {
            return self.follow(record, &receipt, &headers);
        }
        let key = receipt_key(receipt.provider, receipt.message_id);
        let known = self.book.look_up(key.as_bytes())?;
        let mut records = self.records.clone();
        let message = match known.as_deref().map(|value| records.sent_message(value)) {
            None => None,
            Some(Ok(message)) => Some(message),
            Some(Err(error)) if error.blame() == Blame::Registry => return Err(error.into()),
            Some(Err(error)) => {
                let message = format!("what is known of its message cannot be read: {error}");
                return Ok(vec![self.bury(record, Reason::UnknownMessage, &message)]);
            }
        };
        let first = headers.original.as_ref().map_or(Timestamp(record.timestamp_ms), |origin| origin.timestamp);
        let patience =
            Patience { since: first, now: self.clock.now(), longest: self.rules.patience, tiers: &self.rules.tiers };
        let state = message.as_ref().and_then(|message| message.state.known());
        let judgement = match (&message, state) {
            // A state of a newer version: nothing may follow it here.
            (Some(_), None) => Judgement::Stale,
            _ => judge(state, receipt.state.known(), patience),
        };
        receipt_outcomes(word(judgement)).increment(1);
        match (judgement, message) {
            (Judgement::Tell(state), Some(message)) => Ok(self.tell(&key, &receipt, &message, state)?),
            (Judgement::Wait(tier), _) => Ok(vec![self.park(record, &headers, tier, first)]),
            (Judgement::Unknown, _) => {
                let message = "no message of this id was sent, as far as anyone knew for as long as receipts wait";
                Ok(vec![self.bury(record, Reason::UnknownMessage, message)])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn tell(
        &mut self,
        key: &str,
        receipt: &Receipt<'_>,
        message: &SentMessage<'_>,
        state: State,
    ) -> Result<Vec<Output>, WireError> {
        let now = self.clock.now();
        let mut outputs = vec![self.status(receipt, message, state, reason_of(state))?];
        let changed = SentMessage { state: state.into(), ..message.clone() };
        let changed = self.output(self.rules.topics.receipts(), key, &changed)?;
        self.book.write(key.as_bytes().to_vec(), changed.value.clone().unwrap_or_default());
        outputs.push(changed);
        outputs.extend(self.suppress(receipt, message, state, receipt.code.map(short), now)?);
        outputs.extend(self.repeat(receipt, message, state)?);
        if let Some(channel) = message.channel.known() {
            statuses(channel, state).increment(1);
        }
        Ok(outputs)
    }

    /// The status of what a receipt says.
    pub(super) fn status(
        &mut self,
        receipt: &Receipt<'_>,
        message: &SentMessage<'_>,
        state: State,
        reason: Reason,
    ) -> Result<Output, WireError> {
        let now = self.clock.now();
        let status = DeliveryStatus {
            notification_id: message.notification_id,
            run: message.run,
            event_id: message.event_id,
            tenant: message.tenant,
            user_id: message.user_id,
            category: message.category,
            channel: message.channel,
            state: state.into(),
            reason: reason.into(),
            attempt: message.attempt,
            provider: message.provider,
            provider_message_id: Some(message.message_id).filter(|id| !id.is_empty()),
            code: receipt.code.map(short),
            event_time: message.event_time,
            // A provider's clock may be wrong, but nothing was observed after it came in.
            occurred_at: receipt.occurred_at.unwrap_or(receipt.received_at).min(now),
            next_attempt_at: None,
            replay_id: message.replay_id,
            fallback_of: message.fallback_of,
        };
        self.output(self.rules.topics.delivery_status(), &message.notification_id.to_string(), &status)
    }

    /// A hard bounce or a complaint puts the address on the suppression list, by the key that delivery made of it.
    fn suppress(
        &mut self,
        receipt: &Receipt<'_>,
        message: &SentMessage<'_>,
        state: State,
        code: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Output>, WireError> {
        let reason = match state {
            State::Complained => SuppressionReason::Complaint,
            State::Bounced if receipt.permanent => SuppressionReason::HardBounce,
            _ => return Ok(None),
        };
        let Some(key) = message.suppression_key else { return Ok(None) };
        let entry = Suppression {
            reason: Open::Known(reason),
            since: now,
            source: &format!("receipts/{}", message.provider),
            key_id: message.key_id.unwrap_or_default(),
            notification_id: Some(message.notification_id),
            code,
        };
        self.output(self.rules.topics.suppressions(), key, &entry).map(Some)
    }

    pub(super) fn output<'a, R: crate::wire::Record<'a>>(
        &mut self,
        topic: String,
        key: &str,
        record: &R,
    ) -> Result<Output, WireError> {
        let value = Some(self.encoders.to_vec(record)?);
        Ok(Output { topic, partition: None, key: Some(key.as_bytes().to_vec()), value, headers: Vec::new() })
    }

    /// The same partition number as the record's: the worker that owns it is the one that may speak of its message.
    pub(super) fn park(&self, record: &OwnedRecord, headers: &TierHeaders, tier: Duration, first: Timestamp) -> Output {
        let origin = || Origin {
            topic: record.partition.topic.clone(),
            partition: record.partition.partition,
            offset: record.offset,
            timestamp: first,
        };
        let waits = TierHeaders {
            attempt: headers.attempt.saturating_add(1),
            not_before: headers.not_before,
            original: Some(headers.original.clone().unwrap_or_else(origin)),
            error_code: Some(Reason::UnknownMessage.as_str().to_owned()),
            ..TierHeaders::default()
        };
        let mut own = Vec::new();
        waits.write(&mut own);
        let kept = record.headers.iter().filter(|(name, _)| !TierHeaders::NAMES.contains(&name.as_str())).cloned();
        Output {
            topic: self.rules.topics.receipts_tier(tier),
            partition: Some(record.partition.partition),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: kept.chain(own.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()))).collect(),
        }
    }

    pub(super) fn bury(&self, record: &OwnedRecord, reason: Reason, message: &str) -> Output {
        let topic = self.rules.topics.dlq_receipts();
        tracing::warn!(at = %record.partition, offset = record.offset, %reason, message, "a receipt goes to the dead letters");
        dead_letters(&topic, reason).increment(1);
        let mut own = Vec::new();
        DlqHeaders {
            topic: &record.partition.topic,
            partition: record.partition.partition,
            offset: record.offset,
            group: &self.rules.group,
            delivery_count: 1,
            message,
            reason: reason.into(),
        }
        .write(&mut own);
        let kept = record.headers.iter().filter(|(name, _)| !DlqHeaders::NAMES.contains(&name.as_str())).cloned();
        Output {
            topic,
            partition: None,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: kept.chain(own.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes()))).collect(),
        }
    }
}

/// At most [`LONGEST_CODE`] bytes, and whole characters.
fn short(code: &str) -> &str {
    let end = (0..=LONGEST_CODE.min(code.len())).rev().find(|at| code.is_char_boundary(*at)).unwrap_or(0);
    &code[..end]
}

const fn reason_of(state: State) -> Reason {
    match state {
        State::Bounced => Reason::Bounced,
        State::Complained => Reason::Complained,
        _ => Reason::Arrived,
    }
}

/// A word for the metric.
const fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Tell(_) => "told",
        Judgement::Stale => "stale",
        Judgement::Wait(_) => "waits",
        Judgement::Unknown => "unknown",
        Judgement::Meaningless => "meaningless",
    }
}
