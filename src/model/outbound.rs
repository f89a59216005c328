//! A notification waiting to be delivered.

use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Channel, NotificationId, Open, Priority, Timestamp};

/// One message to one endpoint. A retry or a redrive never changes it: only headers change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outbound<'a> {
    /// Deterministic, see [`NotificationId::derive`].
    pub notification_id: NotificationId,
    /// The event's id.
    #[serde(borrow)]
    pub event_id: &'a str,
    /// The event's source.
    pub source: &'a str,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When the event happened.
    pub event_time: Timestamp,
    /// Whose it is.
    pub tenant: &'a str,
    /// The recipient within the tenant.
    pub user_id: &'a str,
    /// The event's category.
    pub category: &'a str,
    /// The event's priority.
    pub priority: Priority,
    /// The way it goes.
    pub channel: Open<'a, Channel>,
    /// Where it goes; personal data.
    pub address: &'a str,
    /// BCP 47 tag to render in.
    pub locale: &'a str,
    /// The recipient's IANA zone, for times in templates.
    pub timezone: &'a str,
    /// Template name.
    pub template: &'a str,
    /// The event's data, a JSON object as text; empty means `{}`.
    pub data: &'a str,
    /// See [`super::Event::collapse_key`].
    #[serde(default)]
    pub collapse_key: Option<&'a str>,
    /// Not to be sent before; age counts from then.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Worthless after.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When the router decided.
    pub decided_at: Timestamp,
    /// The policy bundle it was decided under.
    pub policy_version: &'a str,
    /// Set when the event came by a replay.
    #[serde(default)]
    pub replay_id: Option<&'a str>,
    /// [`super::endpoint_hash`]es of the recipient's other endpoints on this channel that have an outbound record of
    /// their own for this event; tells at wake which endpoints are new. Empty for nearly everyone.
    #[serde(default)]
    pub siblings: Vec<CompactString>,
    /// What to try when this is not delivered or seen in time, in order; empty for most.
    #[serde(default)]
    pub fallback: Vec<Fallback<'a>>,
    /// The notification that this one stands in for, because that one failed or was not seen in time.
    #[serde(default)]
    pub fallback_of: Option<NotificationId>,
}

impl<'a> Outbound<'a> {
    /// The notification that follows when this one fails, or is not delivered or seen in time: the same event at the
    /// first endpoint of `fallback`, with the rest of it; `None` at the end of the chain. The decision is the router's
    /// still, and made anew before it is sent.
    #[must_use]
    pub fn next(&self, replay_nonce: &str) -> Option<(Outbound<'a>, Duration)> {
        let (next, rest) = self.fallback.split_first()?;
        let (user, channel) = (self.user_id, next.channel.as_str());
        let id =
            NotificationId::derive(self.tenant, self.source, self.event_id, user, channel, next.address, replay_nonce);
        let follows = Outbound {
            notification_id: id,
            channel: next.channel,
            address: next.address,
            siblings: Vec::new(),
            fallback: rest.to_vec(),
            fallback_of: Some(self.notification_id),
            ..self.clone()
        };
        Some((follows, Duration::from_millis(u64::try_from(next.after_ms).unwrap_or(0))))
    }
}

/// A next endpoint and how long to wait before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback<'a> {
    /// The way it would go.
    #[serde(borrow)]
    pub channel: Open<'a, Channel>,
    /// Where it would go; personal data.
    pub address: &'a str,
    /// Milliseconds after the SENT of the one before it.
    pub after_ms: i64,
}
