//! What a recipient chose.

use serde::{Deserialize, Serialize};

use super::{Channel, Open, SmallMap, Timestamp};

/// A recipient's choices; the value of `notify.preferences`, keyed by `tenant/user_id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preferences<'a> {
    /// Whose user this is.
    #[serde(borrow)]
    pub tenant: &'a str,
    /// The user within the tenant.
    pub user_id: &'a str,
    /// BCP 47 tag.
    #[serde(default)]
    pub locale: &'a str,
    /// IANA time zone name.
    #[serde(default)]
    pub timezone: &'a str,
    /// Where the recipient can be reached.
    #[serde(default)]
    pub endpoints: Vec<Endpoint<'a>>,
    /// Channel → wanted at all; absent means wanted.
    #[serde(default)]
    pub channels: SmallMap<&'a str, bool>,
    /// Category → choice; absent means the policy's defaults.
    #[serde(default)]
    pub categories: SmallMap<&'a str, CategoryChoice<'a>>,
    /// When not to disturb, in the recipient's zone.
    #[serde(default)]
    pub quiet_hours: Vec<QuietHours<'a>>,
    /// Nothing until then.
    #[serde(default)]
    pub paused_until: Option<Timestamp>,
    /// Grows with each change.
    #[serde(default)]
    pub version: i64,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Who changed it (a role or a service, not a person's address).
    #[serde(default)]
    pub updated_by: &'a str,
}

/// One address on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint<'a> {
    /// The channel it belongs to.
    #[serde(borrow)]
    pub channel: Open<'a, Channel>,
    /// An e-mail address, chat id, URL, phone number, token: personal data, never logged.
    pub address: &'a str,
    /// Whether the recipient proved that it is theirs; only verified endpoints are used.
    #[serde(default)]
    pub verified: bool,
    /// The recipient's own name for it.
    #[serde(default)]
    pub label: Option<&'a str>,
}

/// What a recipient chose for one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryChoice<'a> {
    /// False opts out.
    pub enabled: bool,
    /// Restricts or extends the policy's default channels, when given.
    #[serde(default, borrow)]
    pub channels: Option<Vec<Open<'a, Channel>>>,
    /// Collect into a digest of this name; documented as absent for now.
    #[serde(default)]
    pub digest: Option<&'a str>,
}

/// A daily span of silence in the recipient's zone; `to` not after `from` spans midnight and belongs to the day
/// it starts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours<'a> {
    /// `MON` … `SUN`; empty means every day.
    #[serde(default, borrow)]
    pub days: Vec<&'a str>,
    /// Local time `HH:MM`, inclusive.
    pub from: &'a str,
    /// Local time `HH:MM`, exclusive.
    pub to: &'a str,
}
