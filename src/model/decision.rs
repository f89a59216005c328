//! What the router concluded for one event, every "no" included.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::open::vocabulary;
use super::{Channel, NotificationId, Open, Reason, Timestamp};

vocabulary! {
    /// The kind of conclusion.
    pub enum Verdict {
        /// An outbound record was written.
        Routed = "ROUTED",
        /// It waits in a tier and is decided anew at `until`.
        Deferred = "DEFERRED",
        /// It is a later step of a fallback chain: written only if the one before it is not delivered or seen in time.
        Standby = "STANDBY",
        /// It waits in a digest.
        Digested = "DIGESTED",
        /// The recipient, the policy or time says no.
        Suppressed = "SUPPRESSED",
        /// The event itself is refused.
        Rejected = "REJECTED",
    }
}

/// The numbered rules of the decision chain; the first that matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// 1: it is an event, and its source may say this.
    Valid = 1,
    /// 2: it is not too old.
    Expiry = 2,
    /// 3: it was not seen before (documented as absent).
    Duplicate = 3,
    /// 4: the recipient is known and not erased.
    Recipient = 4,
    /// 5: some channel is wanted, allowed and asked for.
    Candidates = 5,
    /// 6: a mandatory category skips the recipient's choices.
    Mandatory = 6,
    /// 7: the recipient did not opt out.
    OptOut = 7,
    /// 8: a verified endpoint exists.
    Endpoint = 8,
    /// 9: the address is not suppressed.
    Suppression = 9,
    /// 10: now is the time.
    Timing = 10,
    /// 11: not too many (documented as absent).
    Throttle = 11,
    /// 12: not collected into a digest (documented as absent).
    Digest = 12,
    /// 13: routed.
    Route = 13,
}

impl Rule {
    /// The number in the chain.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// What the rule asks, for `explain`.
    pub const fn question(number: i32) -> &'static str {
        match number {
            1 => "is it an event, and may its source say this?",
            2 => "is it still worth telling?",
            3 => "was it seen before?",
            4 => "is the recipient known?",
            5 => "is there a channel that the recipient, the policy and the event agree on?",
            6 => "is the category mandatory?",
            7 => "did the recipient opt out?",
            8 => "is there a verified endpoint?",
            9 => "is the address suppressed?",
            10 => "is now the time?",
            11 => "are there too many?",
            12 => "is it collected into a digest?",
            13 => "nothing stands against it",
            _ => "a rule of a newer version",
        }
    }
}

/// The record of `notify.decisions`, keyed by `tenant/source/event_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// The event's id.
    #[serde(borrow)]
    pub event_id: &'a str,
    /// The event's source.
    pub source: &'a str,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The event's tenant.
    pub tenant: &'a str,
    /// The event's category.
    pub category: &'a str,
    /// When it happened.
    pub event_time: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// The policy bundle that decided.
    pub policy_version: &'a str,
    /// Set when the event came by a replay.
    #[serde(default)]
    pub replay_id: Option<&'a str>,
    /// One for the event (empty `user_id`), one for a recipient, or one for each of a recipient's endpoints.
    pub outcomes: Vec<DecisionOutcome<'a>>,
}

/// One conclusion of a [`Decision`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionOutcome<'a> {
    /// The recipient; empty when the event as a whole is judged.
    #[serde(borrow)]
    pub user_id: &'a str,
    /// The channel, when one is concerned.
    #[serde(default)]
    pub channel: Option<Open<'a, Channel>>,
    /// See [`super::endpoint_hash`]; never the address.
    #[serde(default)]
    pub endpoint_hash: Option<CompactString>,
    /// The kind of conclusion.
    pub verdict: Open<'a, Verdict>,
    /// Why.
    pub reason: Open<'a, Reason>,
    /// The number of the rule that decided.
    pub rule: i32,
    /// The preferences record it was decided from.
    #[serde(default)]
    pub preferences: Option<PreferencesRef>,
    /// Set when an outbound record was written, or will be should it come to that (STANDBY).
    #[serde(default)]
    pub notification_id: Option<NotificationId>,
    /// When a DEFERRED one is decided anew.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Where a preferences record stands in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferencesRef {
    /// Partition of `notify.preferences`.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
    /// The record's own version.
    pub version: i64,
}
