//! What the router writes: outbound records, decisions, deferrals, dead letters; each encoded once into a buffer that
//! is used again.

use std::time::Duration;

use crate::kafka::{Failure, MissingTopics, OutRecord, Transaction};
use crate::model::{Channel, Class, Decision, Outbound, RecipientKey, Timestamp, Topics, choose_tier};
use crate::wire::{Encoders, WireError};

/// Topic names, made once.
#[derive(Debug)]
pub struct OutputTopics {
    outbound: Vec<[String; 2]>,
    tiers: Vec<Vec<(Duration, String)>>,
    event_tiers: Vec<(Duration, String)>,
    /// `notify.decisions`.
    pub decisions: String,
    /// `dlq.notify.events`.
    pub dlq_events: String,
    /// `dlq.notify.preferences`.
    pub dlq_preferences: String,
}

impl OutputTopics {
    /// The names under the installation's prefix; tiers of deliveries and of events in any order.
    pub fn new(topics: &Topics, delivery_tiers: &[Duration], event_tiers: &[Duration]) -> Self {
        let of_channel = |channel: &Channel| {
            delivery_tiers.iter().map(|delay| (*delay, topics.outbound_tier(*channel, *delay))).collect()
        };
        OutputTopics {
            outbound: Channel::ALL
                .iter()
                .map(|channel| [Class::Main, Class::Urgent].map(|class| topics.outbound(*channel, class)))
                .collect(),
            tiers: Channel::ALL.iter().map(of_channel).collect(),
            event_tiers: event_tiers.iter().map(|delay| (*delay, topics.retry_events(*delay))).collect(),
            decisions: topics.decisions(),
            dlq_events: topics.dlq_events(),
            dlq_preferences: topics.dlq_preferences(),
        }
    }

    /// `notify.outbound.<channel>[.urgent]`.
    pub fn outbound(&self, channel: Channel, class: Class) -> &str {
        &self.outbound[channel as usize][usize::from(class == Class::Urgent)]
    }

    /// All topics of a channel.
    pub fn of(&self, channel: Channel) -> impl Iterator<Item = &str> {
        let tiers = self.tiers[channel as usize].iter().map(|(_, topic)| topic.as_str());
        self.outbound[channel as usize].iter().map(String::as_str).chain(tiers)
    }

    /// The tier of a deferred notification.
    pub fn tier(&self, channel: Channel, remaining: Duration) -> &str {
        tier_of(&self.tiers[channel as usize], remaining)
    }

    /// The tier of an event that waits for its recipient.
    pub fn event_tier(&self, remaining: Duration) -> &str {
        tier_of(&self.event_tiers, remaining)
    }
}

/// The configuration refuses an empty list of tiers; the empty name makes librdkafka refuse the record.
fn tier_of(tiers: &[(Duration, String)], remaining: Duration) -> &str {
    let delays: Vec<Duration> = tiers.iter().map(|(delay, _)| *delay).collect();
    let chosen = choose_tier(&delays, remaining);
    tiers.iter().find(|(delay, _)| *delay == chosen).map_or("", |(_, topic)| topic)
}

/// Channels of which a topic does not exist; looked up anew only when that changes.
#[derive(Debug, Default)]
pub struct Gaps {
    seen: u64,
    channels: Vec<bool>,
}

impl Gaps {
    /// Whether any of these channels lacks a topic.
    pub fn reach(&mut self, missing: &MissingTopics, topics: &OutputTopics, channels: &[Channel]) -> bool {
        let changes = missing.changes();
        if changes != self.seen {
            let lacks = |channel: &Channel| topics.of(*channel).any(|topic| missing.is_noted(topic));
            self.channels = Channel::ALL.iter().map(lacks).collect();
            self.seen = changes;
        }
        channels.iter().any(|channel| self.channels.get(*channel as usize).copied().unwrap_or(false))
    }
}

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Kafka did not take it.
    #[error(transparent)]
    Kafka(#[from] Failure),
    /// It does not fit its own schema, which would be a fault of this program.
    #[error("cannot encode: {0}")]
    Encode(#[from] WireError),
}

/// Encodes and sends.
#[derive(Debug)]
pub struct Outputs {
    topics: OutputTopics,
    encoders: Encoders,
    value: Vec<u8>,
    key: String,
}

impl Outputs {
    /// Writes to `topics` with these encoders.
    pub fn new(topics: OutputTopics, encoders: Encoders) -> Self {
        Outputs { topics, encoders, value: Vec::with_capacity(4096), key: String::new() }
    }

    /// The names.
    pub fn topics(&self) -> &OutputTopics {
        &self.topics
    }

    /// A notification that goes out now.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn routed(
        &mut self,
        transaction: &mut Transaction,
        key: &RecipientKey,
        channel: Channel,
        outbound: &Outbound<'_>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), OutputError> {
        let topic = self.topics.outbound(channel, outbound.priority.into());
        let to = Addressed { topic, key: key.as_str(), headers, at: Some(outbound.decided_at) };
        encode_and_send(&mut self.encoders, &mut self.value, transaction, &to, outbound)
    }

    /// A notification that waits, and is decided anew at `until`.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn deferred(
        &mut self,
        transaction: &mut Transaction,
        key: &RecipientKey,
        channel: Channel,
        outbound: &Outbound<'_>,
        until: Timestamp,
        headers: &[(&str, &[u8])],
    ) -> Result<(), OutputError> {
        let topic = self.topics.tier(channel, until.since(outbound.decided_at));
        let to = Addressed { topic, key: key.as_str(), headers, at: None };
        encode_and_send(&mut self.encoders, &mut self.value, transaction, &to, outbound)
    }

    /// What was concluded for one event.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn decision(
        &mut self,
        transaction: &mut Transaction,
        decision: &Decision<'_>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), OutputError> {
        crate::model::event_key(&mut self.key, decision.tenant, decision.source, decision.event_id);
        let to = Addressed { topic: &self.topics.decisions, key: &self.key, headers, at: Some(decision.decided_at) };
        encode_and_send(&mut self.encoders, &mut self.value, transaction, &to, decision)
    }

    /// A record as it came, to another topic.
    ///
    /// # Errors
    /// [`OutputError`].
    pub fn forward(
        transaction: &mut Transaction,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<(), OutputError> {
        Ok(transaction.send(&OutRecord { topic, partition: None, key, value, headers, timestamp_ms: None })?)
    }
}

/// All of a record but its value.
struct Addressed<'a> {
    topic: &'a str,
    key: &'a str,
    headers: &'a [(&'a str, &'a [u8])],
    /// Its timestamp, where the clock was asked a moment ago: librdkafka need not ask again.
    at: Option<Timestamp>,
}

fn encode_and_send<'a, R: crate::wire::Record<'a>>(
    encoders: &mut Encoders,
    buffer: &mut Vec<u8>,
    transaction: &mut Transaction,
    to: &Addressed<'_>,
    record: &R,
) -> Result<(), OutputError> {
    buffer.clear();
    encoders.encode(record, buffer)?;
    Ok(transaction.send(&OutRecord {
        topic: to.topic,
        partition: None,
        key: Some(to.key.as_bytes()),
        value: Some(buffer),
        headers: to.headers,
        timestamp_ms: to.at.map(|at| at.0),
    })?)
}
