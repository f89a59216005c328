//! One observed fact about a notification.

use serde::{Deserialize, Serialize};

use super::open::vocabulary;
use super::{Channel, NotificationId, Open, Reason, Timestamp};

vocabulary! {
    /// Where a notification's run stands.
    pub enum State {
        /// The provider took it.
        Sent = "SENT",
        /// A receipt says it arrived.
        Delivered = "DELIVERED",
        /// A receipt says it came back.
        Bounced = "BOUNCED",
        /// A receipt says the recipient complained.
        Complained = "COMPLAINED",
        /// An attempt failed; another is due.
        Retrying = "RETRYING",
        /// Deferred at wake: quiet hours, a pause.
        Waiting = "WAITING",
        /// The recipient's side refuses.
        Failed = "FAILED",
        /// Too late.
        Expired = "EXPIRED",
        /// Attempts used up or impossible to send; in the DLQ.
        Dead = "DEAD",
        /// Opted out, erased, suppressed or superseded while it waited.
        Cancelled = "CANCELLED",
    }
}

impl State {
    /// No further attempt follows in this run.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, State::Retrying | State::Waiting)
    }

    /// Whether `next` may follow this state within one run.
    pub const fn may_precede(self, next: State) -> bool {
        match self {
            State::Retrying | State::Waiting => !matches!(next, State::Delivered | State::Bounced | State::Complained),
            State::Sent => matches!(next, State::Delivered | State::Bounced | State::Complained),
            State::Delivered => matches!(next, State::Complained | State::Bounced),
            State::Bounced | State::Complained | State::Failed | State::Expired | State::Dead | State::Cancelled => {
                false
            }
        }
    }
}

/// The record of `notify.delivery-status`, keyed by notification id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStatus<'a> {
    /// Which notification.
    pub notification_id: NotificationId,
    /// Which life of it: 0 is the first, each redrive opens the next.
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
    /// What is known now.
    pub state: Open<'a, State>,
    /// Why.
    pub reason: Open<'a, Reason>,
    /// Attempts made so far in this run.
    pub attempt: i32,
    /// Which provider; empty when none was called.
    pub provider: &'a str,
    /// The provider's name for the message.
    #[serde(default)]
    pub provider_message_id: Option<&'a str>,
    /// The provider's status code, never its text.
    #[serde(default)]
    pub code: Option<&'a str>,
    /// When the event happened.
    pub event_time: Timestamp,
    /// When this was observed.
    pub occurred_at: Timestamp,
    /// Not before this the next attempt is made.
    #[serde(default)]
    pub next_attempt_at: Option<Timestamp>,
    /// Set when the event came by a replay.
    #[serde(default)]
    pub replay_id: Option<&'a str>,
    /// The notification that this one stands in for, because that one failed or was not seen in time.
    #[serde(default)]
    pub fallback_of: Option<NotificationId>,
}
