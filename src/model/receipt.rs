//! What became of a message after its provider took it.

use serde::{Deserialize, Serialize};

use super::{Channel, NotificationId, Open, State, Timestamp};

/// The record of `notify.receipts`, keyed by [`super::receipt_key`]: written with SENT, and anew with each receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentMessage<'a> {
    /// Which notification.
    pub notification_id: NotificationId,
    /// Which life of it.
    pub run: i32,
    /// The event's id.
    #[serde(borrow)]
    pub event_id: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
    /// The recipient within the tenant.
    pub user_id: &'a str,
    /// The event's category.
    pub category: &'a str,
    /// The way it went.
    pub channel: Open<'a, Channel>,
    /// The provider that took it.
    pub provider: &'a str,
    /// The provider's name for the message.
    pub message_id: &'a str,
    /// The attempt that the provider took.
    pub attempt: i32,
    /// When the event happened.
    pub event_time: Timestamp,
    /// When the provider took it.
    pub sent_at: Timestamp,
    /// SENT, or what the last receipt said.
    pub state: Open<'a, State>,
    /// The key of the address on the suppression list, when there is one.
    #[serde(default)]
    pub suppression_key: Option<&'a str>,
    /// Names the secret that the address was hashed with.
    #[serde(default)]
    pub key_id: Option<&'a str>,
    /// Set when the event came by a replay.
    #[serde(default)]
    pub replay_id: Option<&'a str>,
}

/// The record of `notify.receipts.inbox`, keyed by [`super::receipt_key`]: one receipt, whichever way it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt<'a> {
    /// The provider, as the statuses of its messages name it.
    #[serde(borrow)]
    pub provider: &'a str,
    /// The provider's name for the message.
    pub message_id: &'a str,
    /// DELIVERED, BOUNCED or COMPLAINED.
    pub state: Open<'a, State>,
    /// The address is of no use any more: a hard bounce.
    #[serde(default)]
    pub permanent: bool,
    /// The provider's status code, never its text.
    #[serde(default)]
    pub code: Option<&'a str>,
    /// When it happened, as the provider says.
    #[serde(default)]
    pub occurred_at: Option<Timestamp>,
    /// When it came in.
    pub received_at: Timestamp,
    /// By which way it came.
    #[serde(default)]
    pub source: &'a str,
}
