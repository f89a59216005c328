//! The join: a recipient's preferences as the table has them now. Shared by the router and by delivery at wake.

mod preferences;

pub use preferences::{Held, PreferencesTable};

use crate::decide::Recipient;
use crate::kafka::{Entry, NotRestored, Table};
use crate::model::{Preferences, PreferencesRef, RecipientKey, Timestamp};
use crate::wire::{Blame, Records, WireError};

/// Why nothing can be said of a recipient now.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The registry cannot be asked for the schema of the value.
    #[error("waiting for the schema registry: {0}")]
    Registry(#[from] WireError),
    /// The table is being restored.
    #[error("waiting for the preferences table: {0}")]
    Table(#[from] NotRestored),
}

/// What the table knows of a recipient, decoded from a copy so that no lock is held while it is used.
pub struct Joined<'b>(State<'b>);

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack of the hot path")]
enum State<'b> {
    Absent,
    Erased(PreferencesRef),
    Invalid(PreferencesRef),
    Found(PreferencesRef, Preferences<'b>),
}

impl<'b> Joined<'b> {
    /// Looks `key` up; `buffer` holds the copy.
    ///
    /// # Errors
    /// [`JoinError`]; what cannot be decoded for another cause is known to be invalid.
    pub fn look_up(
        table: &Table,
        key: &RecipientKey,
        buffer: &'b mut Vec<u8>,
        records: &mut Records,
    ) -> Result<Self, JoinError> {
        buffer.clear();
        let at = |partition, offset| PreferencesRef { partition, offset, version: 0 };
        let found = table.get(key.as_str().as_bytes(), |entry| match entry {
            Entry::Absent => None,
            Entry::Erased { partition, offset } => Some((at(partition, offset), false)),
            Entry::Present { value, partition, offset } => {
                buffer.extend_from_slice(value);
                Some((at(partition, offset), true))
            }
        })?;
        let reference = match found {
            None => return Ok(Joined(State::Absent)),
            Some((reference, false)) => return Ok(Joined(State::Erased(reference))),
            Some((reference, true)) => reference,
        };
        Ok(Joined(match records.preferences(buffer) {
            Ok(preferences) => State::Found(PreferencesRef { version: preferences.version, ..reference }, preferences),
            Err(error) if error.blame() == Blame::Registry => return Err(error.into()),
            Err(_) => State::Invalid(reference),
        }))
    }

    /// For the chain. A record that was written under another's key is not used.
    pub fn recipient(&self, tenant: &str, user: &str, grace_until: Timestamp) -> Recipient<'_> {
        match &self.0 {
            State::Absent => Recipient::Unknown { grace_until },
            State::Erased(_) => Recipient::Erased,
            State::Found(_, preferences) if preferences.tenant == tenant && preferences.user_id == user => {
                Recipient::Known(preferences)
            }
            State::Invalid(_) | State::Found(..) => Recipient::Invalid,
        }
    }

    /// Where the record stands.
    pub fn reference(&self) -> Option<PreferencesRef> {
        match &self.0 {
            State::Absent => None,
            State::Erased(reference) | State::Invalid(reference) | State::Found(reference, _) => Some(*reference),
        }
    }

    /// The recipient's locale; empty when unknown.
    pub fn locale(&self) -> &str {
        match &self.0 {
            State::Found(_, preferences) => preferences.locale,
            _ => "",
        }
    }

    /// The recipient's zone; empty when unknown.
    pub fn timezone(&self) -> &str {
        match &self.0 {
            State::Found(_, preferences) => preferences.timezone,
            _ => "",
        }
    }
}
