//! What became of a message after its provider took it, and what follows when nothing does.

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
    /// The notification that this one stands in for.
    #[serde(default)]
    pub fallback_of: Option<NotificationId>,
    /// Something follows when it is not seen: what receipts say of it is also said of its [`BY_NOTIFICATION`] entry.
    #[serde(default)]
    pub falls_back: bool,
    /// What follows when this is not delivered or seen in time; `None` once that is decided.
    #[serde(default)]
    pub next: Option<NextStep<'a>>,
}

/// What follows a notification that is not delivered or seen in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep<'a> {
    /// The [`super::Outbound`] as it would be written, in the wire format, as base64; personal data.
    #[serde(borrow)]
    pub outbound: &'a str,
    /// Its header of that name.
    #[serde(default)]
    pub traceparent: Option<&'a str>,
    /// Its header `notify-replay-nonce`.
    #[serde(default)]
    pub replay_nonce: Option<&'a str>,
}

/// In the place of a provider where a receipt, or an entry of `notify.receipts`, is about a notification by its own id. No
/// provider can have such a name.
pub const BY_NOTIFICATION: &str = ":notification";

/// What a receipt says when time is up for a notification that something follows, and nothing else was said.
pub const UNSEEN: &str = "UNSEEN";

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
    /// What follows when delivery gave the notification up.
    #[serde(default)]
    pub next: Option<NextStep<'a>>,
}

/// By which way a receipt comes that only repeats, by the notification's own id, what its provider's said.
pub const REPEATED: &str = "receipts";
