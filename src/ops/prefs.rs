//! A recipient's preferences: read, change, import, erase.

use futures::StreamExt as _;
use serde_json::json;

use super::audit::{self, Action};
use super::documents::{Moment, PreferencesDocument};
use super::inbox::{self, User};
use super::session::{OpsError, Session, place};
use crate::decide::Zones;
use crate::kafka::producer::{Outgoing, Producer, Written};
use crate::kafka::reader::{self, ReadError};
use crate::model::RecipientKey;

/// Records under way at once.
const IN_FLIGHT: usize = 500;

/// What there is of a recipient.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Preferences, and where they stand.
    Known {
        /// The choices.
        document: Box<PreferencesDocument>,
        /// Partition of `notify.preferences`.
        partition: i32,
        /// Offset in it.
        offset: i64,
    },
    /// The latest record is a tombstone.
    Erased,
    /// There is no record.
    Unknown,
}

/// Reads a recipient's latest record.
///
/// # Errors
/// When the topic or the record cannot be read.
pub async fn get(session: &Session, tenant: &str, user_id: &str) -> Result<Found, OpsError> {
    let key = RecipientKey::new(tenant, user_id);
    session
        .blocking(move |session| {
            let topic = session.topics.preferences();
            let Some(record) = reader::latest_of_key(session.kafka(), &topic, key.as_str().as_bytes())? else {
                return Ok(Found::Unknown);
            };
            let Some(value) = record.value else { return Ok(Found::Erased) };
            let at = place(&topic, record.partition, record.offset);
            let mut records = session.records();
            let preferences = records.preferences(&value).map_err(|source| OpsError::Wire { what: at, source })?;
            let document = Box::new(PreferencesDocument::of(&preferences));
            Ok(Found::Known { document, partition: record.partition, offset: record.offset })
        })
        .await
}

/// Writes a recipient's choices as their next version and says where they stand.
///
/// # Errors
/// What is wrong with them; what the registry or Kafka refuse.
pub async fn put(
    session: &Session,
    mut document: PreferencesDocument,
    reason: Option<&str>,
) -> Result<(PreferencesDocument, Written), OpsError> {
    if let Some(problem) = document.problem(&Zones::load()) {
        return Err(OpsError::Refused(format!("these preferences cannot be used: {problem}")));
    }
    document.version += 1;
    stamp(session, &mut document);
    let value = session
        .encoders()
        .await?
        .to_vec(&document.as_preferences())
        .map_err(|source| OpsError::Wire { what: "the preferences cannot be written".to_owned(), source })?;
    let producer = Producer::new(session.kafka())?;
    let key = RecipientKey::new(&document.tenant, &document.user_id);
    let details = json!({ "version": document.version });
    audit::record(session, &producer, Action::PrefsSet, key.as_str(), reason, details).await?;
    let topic = session.topics.preferences();
    let record =
        Outgoing { topic: &topic, key: Some(key.as_str().as_bytes()), value: Some(&value), ..Outgoing::default() };
    let written = producer.send(record).await?;
    Ok((document, written))
}

/// Writes many recipients' choices, as they are (their versions too, where given); all are checked before the first
/// is written.
///
/// # Errors
/// Every record that cannot be used, by its number; what the registry or Kafka refuse.
pub async fn import(
    session: &Session,
    mut documents: Vec<PreferencesDocument>,
    reason: Option<&str>,
    mut progress: impl FnMut(),
) -> Result<usize, OpsError> {
    let zones = Zones::load();
    let problem = |(index, document): (usize, &PreferencesDocument)| {
        document.problem(&zones).map(|problem| format!("record {} ({}): {problem}", index + 1, document.user_id))
    };
    let problems: Vec<String> = documents.iter().enumerate().filter_map(problem).collect();
    if !problems.is_empty() {
        let list = problems.join("\n  ");
        return Err(OpsError::Refused(format!(
            "{} records cannot be used, nothing was written:\n  {list}",
            problems.len()
        )));
    }
    let mut encoders = session.encoders().await?;
    let mut ready = Vec::with_capacity(documents.len());
    for document in &mut documents {
        document.version = document.version.max(1);
        stamp(session, document);
        let value = encoders
            .to_vec(&document.as_preferences())
            .map_err(|source| OpsError::Wire { what: format!("the preferences of {}", document.user_id), source })?;
        ready.push((RecipientKey::new(&document.tenant, &document.user_id), value));
    }
    let producer = Producer::new(session.kafka())?;
    let topic = session.topics.preferences();
    let details = json!({ "records": ready.len() });
    audit::record(session, &producer, Action::PrefsImport, &topic, reason, details).await?;
    let (producer, topic) = (&producer, topic.as_str());
    let mut sending = futures::stream::iter(&ready)
        .map(|(key, value)| async move {
            let key = Some(key.as_str().as_bytes());
            producer.send(Outgoing { topic, key, value: Some(value), ..Outgoing::default() }).await
        })
        .buffered(IN_FLIGHT);
    while let Some(written) = sending.next().await {
        written?;
        progress();
    }
    Ok(ready.len())
}

/// Erases a recipient: from then on nothing is sent to them, what they have in the app is taken away, and compaction
/// removes what was there.
///
/// # Errors
/// What Kafka refuses; the audit record is written first. The preferences may be erased all the same, and erasing again
/// does the rest.
pub async fn erase(session: &Session, tenant: &str, user_id: &str, reason: Option<&str>) -> Result<Written, OpsError> {
    let key = RecipientKey::new(tenant, user_id);
    let producer = Producer::new(session.kafka())?;
    audit::record(session, &producer, Action::PrefsErase, key.as_str(), reason, serde_json::Value::Null).await?;
    let topic = session.topics.preferences();
    let tombstone = Outgoing { topic: &topic, key: Some(key.as_str().as_bytes()), ..Outgoing::default() };
    let written = producer.send(tombstone).await?;
    let had = match inbox::find(session, User { tenant, user_id }, None).await {
        Ok(had) => had,
        // An installation without inboxes need not have the topic.
        Err(OpsError::Read(ReadError::NoTopic(_))) => return Ok(written),
        Err(error) => return Err(error),
    };
    let items = had.iter().filter(|place| !place.is_state).count();
    inbox::remove(session, key.as_str(), &had, reason, json!({ "items": items })).await?;
    Ok(written)
}

fn stamp(session: &Session, document: &mut PreferencesDocument) {
    document.updated_at = Some(Moment(session.clock.now()));
    document.updated_by.clone_from(&session.actor);
}
