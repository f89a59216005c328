//! An address that nothing is sent to any more.

use serde::{Deserialize, Serialize};

use super::open::vocabulary;
use super::{NotificationId, Open, Timestamp};

vocabulary! {
    /// Why an address is on the suppression list.
    pub enum SuppressionReason {
        /// The provider or the receiving side says that it does not exist.
        HardBounce = "hard_bounce",
        /// Its owner complained.
        Complaint = "complaint",
        /// An endpoint that answered nothing but errors for too long.
        DeadEndpoint = "dead_endpoint",
        /// An operator put it there.
        Manual = "manual",
    }
}

/// The record of `notify.suppressions`, keyed by `tenant/channel/HMAC(address)`: the address itself is nowhere in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suppression<'a> {
    /// Why.
    #[serde(borrow)]
    pub reason: Open<'a, SuppressionReason>,
    /// Since when.
    pub since: Timestamp,
    /// Who says so: a role with the provider's name, or an operator.
    pub source: &'a str,
    /// Names the secret key that the address was hashed with.
    #[serde(default)]
    pub key_id: &'a str,
    /// The notification that bounced or was complained about.
    #[serde(default)]
    pub notification_id: Option<NotificationId>,
    /// The provider's status code, never its text.
    #[serde(default)]
    pub code: Option<&'a str>,
}
