//! Whether a preferences record can be used; one that cannot gets nothing sent (`invalid_preferences`).

use crate::model::Preferences;

use super::Zones;
use super::quiet::QuietSpan;

/// The most endpoints of one recipient.
pub const MAX_ENDPOINTS: usize = 256;

/// The most quiet spans of one recipient.
pub const MAX_QUIET_HOURS: usize = 64;

/// Why a preferences record cannot be used. No variant quotes an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreferencesError {
    /// Nobody is named.
    #[error("`{0}` is empty: write whose preferences these are")]
    Empty(&'static str),
    /// The zone is unknown.
    #[error("timezone `{0}` is not an IANA time zone: write one like `Europe/Berlin`, or none for UTC")]
    UnknownTimezone(String),
    /// A day is unknown.
    #[error("quiet_hours: day `{0}` is not one of MON, TUE, WED, THU, FRI, SAT, SUN")]
    UnknownDay(String),
    /// A time of day cannot be read.
    #[error("quiet_hours: `{field}` is `{value}`: write HH:MM from 00:00 to 23:59 (`to` may be 24:00)")]
    BadTime {
        /// `from` or `to`.
        field: &'static str,
        /// What was written.
        value: String,
    },
    /// An endpoint without an address.
    #[error("endpoints: number {0} has no address")]
    NoAddress(usize),
    /// More than anyone needs.
    #[error("{what}: {count} entries, at most {most} are taken")]
    TooMany {
        /// The list.
        what: &'static str,
        /// Its length.
        count: usize,
        /// The bound.
        most: usize,
    },
}

impl PreferencesError {
    /// What is wrong and where, without anything that the recipient wrote: for logs and dead letters.
    pub fn without_values(&self) -> String {
        match self {
            PreferencesError::UnknownTimezone(_) => "timezone: not an IANA time zone".to_owned(),
            PreferencesError::UnknownDay(_) => "quiet_hours.days: not a day".to_owned(),
            PreferencesError::BadTime { field, .. } => format!("quiet_hours.{field}: not a time of day"),
            PreferencesError::Empty(_) | PreferencesError::NoAddress(_) | PreferencesError::TooMany { .. } => {
                self.to_string()
            }
        }
    }
}

/// Checks a record and names the first thing that is wrong. Channels that this version does not know are no error:
/// a newer writer may know them, and they are not used.
///
/// # Errors
/// The first problem, in words for the one who wrote the record.
pub fn validate(preferences: &Preferences<'_>, zones: &Zones) -> Result<(), PreferencesError> {
    for (field, value) in [("tenant", preferences.tenant), ("user_id", preferences.user_id)] {
        if value.is_empty() {
            return Err(PreferencesError::Empty(field));
        }
    }
    bounded("endpoints", preferences.endpoints.len(), MAX_ENDPOINTS)?;
    bounded("quiet_hours", preferences.quiet_hours.len(), MAX_QUIET_HOURS)?;
    if zones.get(preferences.timezone).is_none() {
        return Err(PreferencesError::UnknownTimezone(preferences.timezone.to_owned()));
    }
    if let Some(index) = preferences.endpoints.iter().position(|endpoint| endpoint.address.is_empty()) {
        return Err(PreferencesError::NoAddress(index + 1));
    }
    preferences.quiet_hours.iter().try_for_each(|span| QuietSpan::parse(span).map(drop))
}

fn bounded(what: &'static str, count: usize, most: usize) -> Result<(), PreferencesError> {
    if count > most { Err(PreferencesError::TooMany { what, count, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
