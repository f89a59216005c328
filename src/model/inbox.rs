//! What a user has in the app.
//!
//! Two records of one topic, `notify.inbox`, each with a key and a writer of its own: delivery writes what came, the app
//! what became of it. So neither overwrites the other, and a notification that comes again stays read.

use serde::{Deserialize, Serialize};

use super::{NotificationId, RecipientKey, Timestamp};

/// What came, keyed by [`InboxPlace::item`]. Delivery writes it; the latest of a key counts, a tombstone takes it away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxItem<'a> {
    /// Which notification.
    pub notification_id: NotificationId,
    /// The event's id.
    #[serde(borrow)]
    pub event_id: &'a str,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
    /// The recipient within the tenant.
    pub user_id: &'a str,
    /// The event's category.
    pub category: &'a str,
    /// The event's priority.
    pub priority: &'a str,
    /// One line.
    pub title: String,
    /// Plain text; may be empty.
    pub body: String,
    /// Where it leads: a URL, or a path within the app.
    #[serde(default)]
    pub link: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
    /// Worthless after.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// What became of an item, keyed by [`InboxPlace::state`]. Whoever serves the app writes it, whole; without one the item
/// is new.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxState<'a> {
    /// Which notification's item.
    pub notification_id: NotificationId,
    /// Whose it is.
    #[serde(borrow)]
    pub tenant: &'a str,
    /// The recipient within the tenant.
    pub user_id: &'a str,
    /// When the user saw it.
    #[serde(default)]
    pub read_at: Option<Timestamp>,
    /// When the user put it away.
    #[serde(default)]
    pub archived_at: Option<Timestamp>,
}

/// What a key of `notify.inbox` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxPlace {
    /// `tenant/user_id`, percent-encoded: the key of the recipient's preferences.
    pub recipient: String,
    /// Which notification.
    pub id: NotificationId,
    /// Whether it is what became of the item, and not the item.
    pub is_state: bool,
}

/// The last part of a state's key.
const STATE: &str = "state";

impl InboxPlace {
    /// Where an item stands.
    pub fn item(recipient: &RecipientKey, id: NotificationId) -> Self {
        InboxPlace { recipient: recipient.as_str().to_owned(), id, is_state: false }
    }

    /// Where it stands what became of the item.
    #[must_use]
    pub fn state(&self) -> Self {
        InboxPlace { is_state: true, ..self.clone() }
    }

    /// `tenant/user_id/notification_id`, and `/state` for what became of it; the first two percent-encoded.
    pub fn key(&self) -> String {
        let InboxPlace { recipient, id, is_state } = self;
        if *is_state { format!("{recipient}/{id}/{STATE}") } else { format!("{recipient}/{id}") }
    }

    /// What a key names; `None` when it is none of the inbox.
    pub fn of(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        let mut parts = text.splitn(4, '/');
        let (tenant, user, id) = (parts.next()?, parts.next()?, parts.next()?);
        let is_state = parts.next().is_some();
        let place = InboxPlace { recipient: format!("{tenant}/{user}"), id: id.parse().ok()?, is_state };
        // No other way to write the same: a tombstone has to find the key.
        (place.key() == text).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0192f0c1-5a7b-5c3d-8e4f-0123456789ab";

    #[test]
    fn a_key_says_whose_and_which_it_is_whatever_the_users_name() {
        for user in ["ada", "ada/state", "", "ä %"] {
            let item = InboxPlace::item(&RecipientKey::new("ac/me", user), ID.parse().unwrap());
            for place in [item.state(), item] {
                assert_eq!(InboxPlace::of(place.key().as_bytes()), Some(place));
            }
        }
    }

    #[test]
    fn other_keys_are_none_of_the_inbox() {
        let plain = ID.replace('-', "");
        let wrong = [
            String::new(),
            "a/b".to_owned(),
            "a/b/c".to_owned(),
            format!("a/b/{plain}"),
            format!("a/b/{}", ID.to_uppercase()),
            format!("a/b/{ID}/"),
            format!("a/b/{ID}/x"),
            format!("a/b/{ID}/state/x"),
        ];
        for key in wrong {
            assert_eq!(InboxPlace::of(key.as_bytes()), None, "{key}");
        }
        assert_eq!(InboxPlace::of(b"\xff/b/c"), None);
    }
}
