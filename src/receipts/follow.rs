//! What is written for a notification that something follows: the next one of its chain, and what is known of it now.
//!
//! Invariant: what follows and the word that nothing more does are records of one transaction. Nothing that a notification
//! says of a person is in a log or an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chain::{self, Because, Known, Said, Step};
use super::clerk::{Clerk, Later, Output};
use super::judge::Patience;
use crate::kafka::OwnedRecord;
use crate::model::{
    BY_NOTIFICATION, Class, InboxPlace, InboxState, NextStep, NotificationId, Outbound, REPEATED, Reason, Receipt,
    RecipientKey, SentMessage, State, Timestamp, receipt_key,
};
use crate::telemetry::metrics::{fallbacks, receipt_outcomes, statuses};
use crate::wire::{Blame, Records, TierHeaders, WireError, names};

impl Clerk {
    /// What follows from a receipt that names a notification by its own id.
    pub(super) fn follow(
        &mut self,
        record: &OwnedRecord,
        receipt: &Receipt<'_>,
        headers: &TierHeaders,
    ) -> Result<Vec<Output>, Later> {
        let Some(said) = Said::of(receipt.state.as_str()) else {
            receipt_outcomes("meaningless").increment(1);
            return Ok(Vec::new());
        };
        let key = receipt_key(BY_NOTIFICATION, receipt.message_id);
        let value = self.book.look_up(key.as_bytes())?;
        let mut records = self.records.clone();
        let message = match value.as_deref().map(|value| records.sent_message(value)).transpose() {
            Ok(message) => message,
            Err(error) => return self.unreadable(record, error),
        };
        let known = match &message {
            Some(message) => match self.known(message)? {
                Some(known) => Some(known),
                // A state of a newer version: nothing may follow it here.
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let now = self.clock.now();
        let first = headers.original.as_ref().map_or(Timestamp(record.timestamp_ms), |origin| origin.timestamp);
        let patience = Patience { since: first, now, longest: self.rules.patience, tiers: &self.rules.tiers };
        let left = chain::remaining(headers.not_before, now, self.clock.steady());
        let step = chain::step(known, said, left, patience);
        receipt_outcomes(word(step)).increment(1);
        match (step, &message) {
            (Step::Wait(tier), _) => Ok(vec![self.park(record, headers, tier, first)]),
            (Step::GoOn(because), message) => self.go_on(record, receipt, message.as_ref(), &key, because),
            (Step::Close(state), Some(message)) => {
                let mut outputs = self.seen(receipt, message, state)?;
                outputs.push(self.note(&key, &SentMessage { state: state.into(), next: None, ..message.clone() })?);
                Ok(outputs)
            }
            (Step::Note(state), Some(message)) => {
                let mut outputs = self.seen(receipt, message, state)?;
                outputs.push(self.note(&key, &SentMessage { state: state.into(), ..message.clone() })?);
                Ok(outputs)
            }
            (Step::Unknown, _) if said == Said::TimeUp => {
                let message = "time is up for a notification that nothing is known of";
                Ok(vec![self.bury(record, Reason::UnknownMessage, message)])
            }
            // The app reports what it shows, and cannot know which of it something would have followed.
            _ => Ok(Vec::new()),
        }
    }

    /// `None` when its state is a newer version's.
    fn known(&mut self, message: &SentMessage<'_>) -> Result<Option<Known>, Later> {
        let Some(state) = message.state.known() else { return Ok(None) };
        let by_provider = match message.message_id {
            "" => State::Sent,
            id => {
                let value = self.book.look_up(receipt_key(message.provider, id).as_bytes())?;
                let mut records = self.records.clone();
                let read = value.as_deref().and_then(|value| records.sent_message(value).ok());
                let of_it = read.filter(|read| read.notification_id == message.notification_id);
                of_it.and_then(|read| read.state.known()).unwrap_or(State::Sent)
            }
        };
        Ok(Some(Known { state, pending: message.next.is_some(), by_provider }))
    }

    /// Writes what follows, and that nothing more does.
    fn go_on(
        &mut self,
        record: &OwnedRecord,
        receipt: &Receipt<'_>,
        message: Option<&SentMessage<'_>>,
        key: &str,
        because: Because,
    ) -> Result<Vec<Output>, Later> {
        let carried = message.map_or(receipt.next.as_ref(), |message| message.next.as_ref());
        let Some(next) = carried else {
            return Ok(vec![self.bury(record, Reason::NotAReceipt, "it says that something follows, and not what")]);
        };
        let mut outputs = match self.next(next, because) {
            Ok(Some(output)) => vec![output],
            Ok(None) => {
                return Ok(vec![self.bury(
                    record,
                    Reason::UnknownChannel,
                    "what follows goes by a channel of a newer version",
                )]);
            }
            Err(error) => return self.unreadable(record, error),
        };
        if let Some(message) = message {
            let state = if because == Because::Bounced { State::Bounced.into() } else { message.state };
            outputs.push(self.note(key, &SentMessage { state, next: None, ..message.clone() })?);
        }
        Ok(outputs)
    }

    /// The record of what follows, byte for byte as delivery made it.
    fn next(&mut self, next: &NextStep<'_>, because: Because) -> Result<Option<Output>, WireError> {
        let mut records: Records = self.records.clone();
        let value = STANDARD.decode(next.outbound).unwrap_or_default();
        let outbound: Outbound<'_> = records.outbound(&value)?;
        let Some(channel) = outbound.channel.known() else { return Ok(None) };
        let headers = [
            (names::TRACEPARENT, next.traceparent),
            (names::REPLAY_ID, outbound.replay_id.filter(|_| next.replay_nonce.is_some())),
            (names::REPLAY_NONCE, next.replay_nonce),
        ];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.as_bytes().to_vec())))
            .collect();
        let key = RecipientKey::new(outbound.tenant, outbound.user_id).as_str().as_bytes().to_vec();
        let topic = self.rules.topics.outbound(channel, Class::from(outbound.priority));
        tracing::debug!(of = ?outbound.fallback_of, notification = %outbound.notification_id, because = because.as_str(), "a chain goes on");
        fallbacks(channel, because.as_str()).increment(1);
        Ok(Some(Output { topic, partition: None, key: Some(key), value: Some(value), headers }))
    }

    /// The status of what the app says, once; a provider's receipts have told theirs already.
    fn seen(
        &mut self,
        receipt: &Receipt<'_>,
        message: &SentMessage<'_>,
        state: State,
    ) -> Result<Vec<Output>, WireError> {
        if receipt.source == REPEATED || receipt.state.as_str() == crate::model::UNSEEN {
            return Ok(Vec::new());
        }
        let told = self.status(receipt, message, state, chain::reason(state))?;
        if let Some(channel) = message.channel.known() {
            statuses(channel, state).increment(1);
        }
        Ok(vec![told])
    }

    /// Says by the notification's own id what a provider's receipt says of its message, if something follows it.
    pub(super) fn repeat(
        &mut self,
        receipt: &Receipt<'_>,
        message: &SentMessage<'_>,
        state: State,
    ) -> Result<Option<Output>, WireError> {
        if !message.falls_back {
            return Ok(None);
        }
        let id = message.notification_id.to_string();
        let repeated = Receipt {
            provider: BY_NOTIFICATION,
            message_id: &id,
            state: state.into(),
            source: REPEATED,
            next: None,
            ..receipt.clone()
        };
        self.output(self.rules.topics.receipts_inbox(), &receipt_key(BY_NOTIFICATION, &id), &repeated).map(Some)
    }

    /// What follows from a record of `notify.inbox`: that an item was read or put away is a receipt, if something would
    /// follow it otherwise. Items themselves, and what cannot be read, say nothing here.
    pub(super) fn read_mark(&mut self, record: &OwnedRecord) -> Result<Vec<Output>, Later> {
        let place = record.key.as_deref().and_then(InboxPlace::of).filter(|place| place.is_state);
        let (Some(place), Some(value)) = (place, record.value.as_deref()) else { return Ok(Vec::new()) };
        let mut records = self.records.clone();
        let mark: InboxState<'_> = match records.inbox_state(value) {
            Ok(mark) => mark,
            Err(error) if error.blame() == Blame::Registry => return Err(error.into()),
            Err(_) => return Ok(Vec::new()),
        };
        let Some(at) = mark.read_at.or(mark.archived_at) else { return Ok(Vec::new()) };
        if !self.is_pending(place.id)? {
            return Ok(Vec::new());
        }
        let id = place.id.to_string();
        let receipt = Receipt {
            provider: BY_NOTIFICATION,
            message_id: &id,
            state: State::Delivered.into(),
            permanent: false,
            code: None,
            occurred_at: Some(at),
            received_at: self.clock.now(),
            source: "inbox",
            next: None,
        };
        Ok(vec![self.output(self.rules.topics.receipts_inbox(), &receipt_key(BY_NOTIFICATION, &id), &receipt)?])
    }

    fn is_pending(&mut self, id: NotificationId) -> Result<bool, Later> {
        let Some(value) = self.book.look_up(receipt_key(BY_NOTIFICATION, &id.to_string()).as_bytes())? else {
            return Ok(false);
        };
        let mut records = self.records.clone();
        match records.sent_message(&value) {
            Ok(message) => Ok(message.next.is_some()),
            Err(error) if error.blame() == Blame::Registry => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// What is known of a notification now.
    fn note(&mut self, key: &str, message: &SentMessage<'_>) -> Result<Output, WireError> {
        let noted = self.output(self.rules.topics.receipts(), key, message)?;
        self.book.write(key.as_bytes().to_vec(), noted.value.clone().unwrap_or_default());
        Ok(noted)
    }

    fn unreadable(&self, record: &OwnedRecord, error: WireError) -> Result<Vec<Output>, Later> {
        if error.blame() == Blame::Registry {
            return Err(error.into());
        }
        let message = format!("what is known of its notification cannot be read: {error}");
        Ok(vec![self.bury(record, Reason::UnknownMessage, &message)])
    }
}

/// A word for the metric.
const fn word(step: Step) -> &'static str {
    match step {
        Step::GoOn(_) => "goes_on",
        Step::Close(_) => "ends_chain",
        Step::Note(_) => "told",
        Step::Nothing => "stale",
        Step::Wait(_) => "waits",
        Step::Unknown => "unknown",
    }
}
