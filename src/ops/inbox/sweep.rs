//! What nobody is to have in the app any more: items of the erased, expired ones, old ones.
//!
//! Invariant: the inbox is read before the preferences. Whoever has an item had preferences before it was written, so
//! that none is found there later means an erase, and never someone who has just signed up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;

use super::scan;
use crate::kafka::reader::Scan;
use crate::model::{InboxPlace, Timestamp};
use crate::ops::session::{OpsError, Session};

/// Why a record is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its recipient has no preferences.
    Erased,
    /// It says itself that it is worthless.
    Expired,
    /// It came too long ago.
    Old,
}

/// What is to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Items, and what became of them.
    pub places: Vec<InboxPlace>,
    /// How many records for each cause.
    pub counts: BTreeMap<Why, usize>,
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Age {
    /// Absent for a state, and for what cannot be read.
    created_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// Finds what is to go; `older_than` is how long an item may stay, for ever when not given.
///
/// # Errors
/// When a topic cannot be read.
pub async fn find_stale(session: &Session, older_than: Option<Duration>) -> Result<Sweep, OpsError> {
    session
        .blocking(move |session| {
            let all = ages(session)?;
            let known = recipients(session)?;
            Ok(stale(&all, &known, session.clock.now(), older_than))
        })
        .await
}

fn ages(session: &Session) -> Result<BTreeMap<InboxPlace, Age>, OpsError> {
    let (mut ages, mut records) = (BTreeMap::new(), session.records());
    scan(session, |place, value| {
        let Some(value) = value else {
            ages.remove(&place);
            return;
        };
        let item = (!place.is_state).then(|| records.inbox_item(&value).ok()).flatten();
        let age = item.map(|item| Age { created_at: Some(item.created_at), expires_at: item.expires_at });
        ages.insert(place, age.unwrap_or_default());
    })?;
    Ok(ages)
}

/// The keys of all that have preferences, whether those can be used or not.
fn recipients(session: &Session) -> Result<BTreeSet<String>, OpsError> {
    let (mut known, topic) = (BTreeSet::new(), session.topics.preferences());
    session.scan(Scan { topic: &topic, ..Scan::default() }, |record| {
        if let Some(key) = record.key.and_then(|key| String::from_utf8(key).ok()) {
            match record.value {
                Some(_) => known.insert(key),
                None => known.remove(&key),
            };
        }
        ControlFlow::Continue(())
    })?;
    Ok(known)
}

fn stale(
    all: &BTreeMap<InboxPlace, Age>,
    known: &BTreeSet<String>,
    now: Timestamp,
    older_than: Option<Duration>,
) -> Sweep {
    let why = |place: &InboxPlace, age: &Age| {
        let too_old = |at: Timestamp| older_than.is_some_and(|most| now.since(at) > most);
        match age {
            _ if !known.contains(&place.recipient) => Some(Why::Erased),
            Age { expires_at: Some(at), .. } if *at <= now => Some(Why::Expired),
            Age { created_at: Some(at), .. } if too_old(*at) => Some(Why::Old),
            _ => None,
        }
    };
    let mut sweep = Sweep::default();
    for (place, age) in all {
        // What became of an item goes with it; by itself only when its recipient is gone.
        let item = if place.is_state { all.get(&InboxPlace { is_state: false, ..place.clone() }) } else { None };
        if let Some(why) = why(place, item.unwrap_or(age)) {
            sweep.places.push(place.clone());
            *sweep.counts.entry(why).or_default() += 1;
        }
    }
    sweep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NotificationId, RecipientKey};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn item(user: &str, n: u128) -> InboxPlace {
        InboxPlace::item(&RecipientKey::new("acme", user), NotificationId(uuid::Uuid::from_u128(n)))
    }

    fn age(created_at: i64, expires_at: Option<i64>) -> Age {
        Age { created_at: Some(Timestamp(created_at)), expires_at: expires_at.map(Timestamp) }
    }

    #[test]
    fn what_the_erased_had_what_expired_and_what_is_old_goes_with_its_state() {
        let all = BTreeMap::from([
            (item("ada", 1), age(900_000, None)),
            (item("ada", 1).state(), Age::default()),
            (item("ada", 2), age(900_000, Some(1_000_000))),
            (item("ada", 2).state(), Age::default()),
            (item("ada", 3), age(1, None)),
            (item("ada", 3).state(), Age::default()),
            // Its item is on its way to this reader, or cannot be read.
            (item("ada", 4).state(), Age::default()),
            (item("ada", 5), Age::default()),
            (item("bob", 6), age(900_000, None)),
            (item("bob", 7).state(), Age::default()),
        ]);
        let known = BTreeSet::from(["acme/ada".to_owned()]);
        let swept = stale(&all, &known, NOW, Some(Duration::from_secs(500)));
        let (two, three) = (item("ada", 2), item("ada", 3));
        let expected = [two.clone(), two.state(), three.clone(), three.state(), item("bob", 6), item("bob", 7).state()];
        assert_eq!(swept.places, expected);
        assert_eq!(swept.counts, BTreeMap::from([(Why::Erased, 2), (Why::Expired, 2), (Why::Old, 2)]));
        let patient = stale(&all, &known, NOW, None);
        assert!(!patient.places.contains(&three) && !patient.places.contains(&three.state()));
    }
}
