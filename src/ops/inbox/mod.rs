//! What a user has in the app: list, mark, take away.
//!
//! `notify.inbox` is compacted by key and not sorted by user: a listing reads all of it. An app reads it once into a
//! table of its own and follows it.
//!
//! Invariant: what delivery wrote is never written again, only taken away; what became of it is a record of its own.

mod sweep;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::audit::{self, Action};
use super::documents::Moment;
use super::session::{OpsError, Session};
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::reader::Scan;
use crate::model::{InboxItem, InboxPlace, InboxState, NotificationId, RecipientKey, Timestamp};
pub use sweep::{Sweep, Why, find_stale};

/// Records under way at once.
const IN_FLIGHT: usize = 500;

/// One item as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// The notification's id.
    pub notification_id: String,
    /// When it came.
    pub created_at: Moment,
    /// The event's category.
    pub category: String,
    /// One line.
    pub title: String,
    /// Plain text.
    pub body: String,
    /// Where it leads.
    pub link: Option<String>,
    /// When the user saw it.
    pub read_at: Option<Moment>,
    /// When the user put it away.
    pub archived_at: Option<Moment>,
    /// Worthless after.
    pub expires_at: Option<Moment>,
}

/// What became of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The user saw them.
    Read,
    /// The user put them away.
    Archived,
}

impl Mark {
    fn action(self) -> Action {
        match self {
            Mark::Read => Action::InboxRead,
            Mark::Archived => Action::InboxArchive,
        }
    }
}

/// A user's items, the newest first, and how many records could not be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The items.
    pub items: Vec<Item>,
    /// Records of the user that are no items.
    pub unreadable: usize,
}

/// Whose items.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The recipient within the tenant.
    pub user_id: &'a str,
}

impl User<'_> {
    fn key(&self) -> RecipientKey {
        RecipientKey::new(self.tenant, self.user_id)
    }
}

/// The latest values by what their keys name.
type Latest = BTreeMap<InboxPlace, Vec<u8>>;

/// A user's items that have not expired.
///
/// # Errors
/// When the topic cannot be read.
pub async fn list(session: &Session, user: User<'_>) -> Result<Found, OpsError> {
    let recipient = user.key();
    session
        .blocking(move |session| {
            let mut found = Found::default();
            let (mut records, now, all) = (session.records(), session.clock.now(), latest(session, &recipient)?);
            for (place, value) in all.iter().filter(|(place, _)| !place.is_state) {
                let state = all.get(&place.state()).map(|state| records.inbox_state(state).map(times)).transpose();
                match (records.inbox_item(value), state) {
                    (Ok(item), Ok(_)) if item.expires_at.is_some_and(|at| at <= now) => {}
                    (Ok(item), Ok(times)) => found.items.push(shown(&item, times.unwrap_or_default())),
                    _ => found.unreadable += 1,
                }
            }
            found.items.sort_by(|a, b| (b.created_at.0, &b.notification_id).cmp(&(a.created_at.0, &a.notification_id)));
            Ok(found)
        })
        .await
}

/// Marks these of a user's items, or all of them; says how many were changed. What is marked already stays as it is.
///
/// # Errors
/// When the topic cannot be read, or an id is not among the user's; what the registry or Kafka refuse.
pub async fn mark(
    session: &Session,
    user: User<'_>,
    ids: Option<Vec<NotificationId>>,
    mark: Mark,
) -> Result<usize, OpsError> {
    let recipient = user.key();
    let of = recipient.clone();
    let marks: Vec<(InboxPlace, Times)> = session
        .blocking(move |session| {
            let (mut records, now, all) = (session.records(), session.clock.now(), latest(session, &of)?);
            let wanted = chosen(&all, &of, ids.as_deref())?;
            // One that cannot be read is written anew.
            let mut before = |place: &InboxPlace| {
                all.get(place).and_then(|value| records.inbox_state(value).ok().map(times)).unwrap_or_default()
            };
            let states = wanted.iter().map(InboxPlace::state);
            Ok(states.filter_map(|place| Some((place.clone(), marked(before(&place), mark, now)?))).collect())
        })
        .await?;
    let mut encoders = session.encoders().await?;
    let mut changes = Vec::with_capacity(marks.len());
    for (place, (read_at, archived_at)) in marks {
        let (tenant, user_id) = (user.tenant, user.user_id);
        let state = InboxState { notification_id: place.id, tenant, user_id, read_at, archived_at };
        let cannot = |source| OpsError::Wire { what: "the mark cannot be written".to_owned(), source };
        changes.push((place.key(), Some(encoders.to_vec(&state).map_err(cannot)?)));
    }
    let details = json!({ "items": changes.len() });
    write(session, mark.action(), recipient.as_str(), None, details, &changes).await?;
    Ok(changes.len())
}

/// All that stands in the topic about these of a user's items, or about all of them.
///
/// # Errors
/// When the topic cannot be read, or an id is not among the user's.
pub async fn find(
    session: &Session,
    user: User<'_>,
    ids: Option<Vec<NotificationId>>,
) -> Result<Vec<InboxPlace>, OpsError> {
    let recipient = user.key();
    session
        .blocking(move |session| {
            let all = latest(session, &recipient)?;
            let Some(ids) = ids else { return Ok(all.into_keys().collect()) };
            let items = chosen(&all, &recipient, Some(&ids))?;
            let states = items.iter().map(InboxPlace::state).filter(|state| all.contains_key(state));
            Ok(states.chain(items.iter().cloned()).collect())
        })
        .await
}

/// Takes records away for good; `target` is what the audit record speaks of.
///
/// # Errors
/// What Kafka refuses; the audit record is written first.
pub async fn remove(
    session: &Session,
    target: &str,
    places: &[InboxPlace],
    why: Option<&str>,
    details: Value,
) -> Result<(), OpsError> {
    let tombstones: Vec<(String, Option<Vec<u8>>)> = places.iter().map(|place| (place.key(), None)).collect();
    write(session, Action::InboxRemove, target, why, details, &tombstones).await
}

/// Writes an audit record, then these; nothing when there are none.
async fn write(
    session: &Session,
    action: Action,
    target: &str,
    why: Option<&str>,
    details: Value,
    changes: &[(String, Option<Vec<u8>>)],
) -> Result<(), OpsError> {
    if changes.is_empty() {
        return Ok(());
    }
    let producer = Producer::new(session.kafka())?;
    audit::record(session, &producer, action, target, why, details).await?;
    let (producer, topic) = (&producer, session.topics.inbox());
    let topic = topic.as_str();
    let mut sending = futures::stream::iter(changes)
        .map(|(key, value)| async move {
            let value = value.as_deref();
            producer.send(Outgoing { topic, key: Some(key.as_bytes()), value, ..Outgoing::default() }).await
        })
        .buffered(IN_FLIGHT);
    while let Some(written) = sending.next().await {
        written?;
    }
    Ok(())
}

/// The latest values of one recipient.
fn latest(session: &Session, recipient: &RecipientKey) -> Result<Latest, OpsError> {
    let mut latest = Latest::new();
    scan(session, |place, value| {
        if place.recipient != recipient.as_str() {
            return;
        }
        match value {
            Some(value) => drop(latest.insert(place, value)),
            None => drop(latest.remove(&place)),
        }
    })?;
    Ok(latest)
}

/// Hands over every record of the topic that has a key of the inbox.
fn scan(session: &Session, mut each: impl FnMut(InboxPlace, Option<Vec<u8>>)) -> Result<(), OpsError> {
    let topic = session.topics.inbox();
    session.scan(Scan { topic: &topic, ..Scan::default() }, |record| {
        if let Some(place) = record.key.as_deref().and_then(InboxPlace::of) {
            each(place, record.value);
        }
        ControlFlow::Continue(())
    })
}

/// The items of these ids, or all there are.
fn chosen(all: &Latest, recipient: &RecipientKey, ids: Option<&[NotificationId]>) -> Result<Vec<InboxPlace>, OpsError> {
    let Some(ids) = ids else { return Ok(all.keys().filter(|place| !place.is_state).cloned().collect()) };
    let take = |id: &NotificationId| {
        let place = InboxPlace::item(recipient, *id);
        let none =
            || OpsError::Refused(format!("the user has no item `{id}`; `notilog inbox ls` shows those there are"));
        all.contains_key(&place).then_some(place).ok_or_else(none)
    };
    ids.iter().map(take).collect()
}

/// When it was read, and when it was put away.
type Times = (Option<Timestamp>, Option<Timestamp>);

fn times(state: InboxState<'_>) -> Times {
    (state.read_at, state.archived_at)
}

/// The times with the mark, if they did not have it.
fn marked((read_at, archived_at): Times, mark: Mark, now: Timestamp) -> Option<Times> {
    match mark {
        Mark::Read if read_at.is_none() => Some((Some(now), archived_at)),
        // What is put away was seen.
        Mark::Archived if archived_at.is_none() => Some((read_at.or(Some(now)), Some(now))),
        _ => None,
    }
}

fn shown(item: &InboxItem<'_>, (read_at, archived_at): Times) -> Item {
    Item {
        notification_id: item.notification_id.to_string(),
        created_at: Moment(item.created_at),
        category: item.category.to_owned(),
        title: item.title.clone(),
        body: item.body.clone(),
        link: item.link.clone(),
        read_at: read_at.map(Moment),
        archived_at: archived_at.map(Moment),
        expires_at: item.expires_at.map(Moment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_once_and_keeps_its_time() {
        let at = |ms| Some(Timestamp(ms));
        let read = marked((None, None), Mark::Read, Timestamp(5)).unwrap();
        assert_eq!(read, (at(5), None));
        assert_eq!(marked(read, Mark::Read, Timestamp(9)), None);
        assert_eq!(marked(read, Mark::Archived, Timestamp(9)), Some((at(5), at(9))));
        assert_eq!(marked((None, None), Mark::Archived, Timestamp(9)), Some((at(9), at(9))));
        assert_eq!(marked((at(5), at(9)), Mark::Archived, Timestamp(11)), None);
    }

    #[test]
    fn an_id_that_is_not_the_users_is_refused_before_anything_is_written() {
        let recipient = RecipientKey::new("acme", "ada");
        let id = |n: u128| NotificationId(uuid::Uuid::from_u128(n));
        let item = |n| InboxPlace::item(&recipient, id(n));
        let all = Latest::from([(item(1), vec![1]), (item(1).state(), vec![1]), (item(2), vec![2])]);
        assert_eq!(chosen(&all, &recipient, None).unwrap(), [item(1), item(2)]);
        assert_eq!(chosen(&all, &recipient, Some(&[id(2)])).unwrap(), [item(2)]);
        let error = chosen(&all, &recipient, Some(&[id(1), id(3)])).unwrap_err().to_string();
        assert!(error.contains("no item `00000000-0000-0000-0000-000000000003`"), "{error}");
    }
}
