//! Finds an event's decisions and what they were made from, and has them explained.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::explain::{Evidence, Explanation, explain};
use super::session::{OpsError, Session, place};
use super::suppressions;
use crate::decide::Zones;
use crate::kafka::reader::{self, Record, Scan};
use crate::model::{
    Decision, DecisionOutcome, Endpoint, Open, Policy, Preferences, PreferencesRef, Reason, Suppression, endpoint_hash,
    event_key,
};
use crate::policy;
use crate::wire::Records;

/// Which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// Its source; without it every partition is searched, and events of any source are found.
    pub source: Option<String>,
}

/// Explains every decision about an event, in the order in which they were written: several, if it waited or was
/// replayed.
///
/// # Errors
/// When a topic cannot be read, or no record of a decision can be decoded.
pub async fn explained(session: &Session, event: EventName) -> Result<Vec<Explanation>, OpsError> {
    session
        .blocking(move |session| {
            let mut records = session.records();
            let zones = Zones::load();
            let mut policies = HashMap::new();
            let mut found = Vec::new();
            for record in decisions(session, &event, &mut records)? {
                found.push(explained_record(session, &record, &mut records, &mut policies, &zones)?);
            }
            Ok(found)
        })
        .await
}

/// The records about the event.
fn decisions(session: &Session, event: &EventName, records: &mut Records) -> Result<Vec<Record>, OpsError> {
    let topic = session.topics.decisions();
    let key = event.source.as_deref().map(|source| {
        let mut key = String::new();
        event_key(&mut key, &event.tenant, source, &event.id);
        key
    });
    let mut found = Vec::new();
    let scan = Scan { topic: &topic, key: key.as_deref().map(str::as_bytes), ..Scan::default() };
    session.scan(scan, |record| {
        let is_it = record
            .value
            .as_deref()
            .and_then(|value| records.decision(value).ok())
            .is_some_and(|decision| decision.event_id == event.id && decision.tenant == event.tenant);
        if is_it {
            found.push(record);
        }
        ControlFlow::Continue(())
    })?;
    found.sort_by_key(|record| (record.timestamp, record.partition, record.offset));
    Ok(found)
}

fn explained_record(
    session: &Session,
    record: &Record,
    records: &mut Records,
    policies: &mut HashMap<String, Option<Policy>>,
    zones: &Zones,
) -> Result<Explanation, OpsError> {
    let at = place(&record.topic, record.partition, record.offset);
    let value = record.value.as_deref().unwrap_or_default();
    let decision = records.decision(value).map_err(|source| OpsError::Wire { what: at, source })?;
    let values = preference_values(session, &decision)?;
    let decoded: Vec<(PreferencesRef, Preferences<'_>)> =
        values.iter().filter_map(|(place, value)| Some((*place, records.preferences(value).ok()?))).collect();
    if !policies.contains_key(decision.policy_version) {
        policies.insert(decision.policy_version.to_owned(), bundle(session, decision.policy_version)?);
    }
    let policy = policies.get(decision.policy_version).and_then(Option::as_ref);
    let entries = suppression_values(session, &decision, &decoded)?;
    let entries = entries.iter().filter_map(|(hash, value)| Some((hash.clone(), records.suppression(value).ok()?)));
    let suppressions: Vec<(String, Suppression<'_>)> = entries.collect();
    Ok(explain(&decision, &Evidence { preferences: &decoded, suppressions: &suppressions, policy, zones }))
}

/// The preferences records that the decision points at, as far as the topic still has them.
fn preference_values(session: &Session, decision: &Decision<'_>) -> Result<Vec<(PreferencesRef, Vec<u8>)>, OpsError> {
    let topic = session.topics.preferences();
    let mut places: Vec<PreferencesRef> = decision.outcomes.iter().filter_map(|outcome| outcome.preferences).collect();
    places.sort_by_key(|place| (place.partition, place.offset, place.version));
    places.dedup();
    let mut values = Vec::new();
    for place in places {
        let record = reader::record_at(session.kafka(), &topic, place.partition, place.offset)?;
        values.extend(record.and_then(|record| record.value).map(|value| (place, value)));
    }
    Ok(values)
}

/// The entries of the suppression list that stand against endpoints of the decision now, by endpoint hash: found by the
/// addresses in the preferences that it was made from. None without the key that addresses are hashed with.
fn suppression_values(
    session: &Session,
    decision: &Decision<'_>,
    preferences: &[(PreferencesRef, Preferences<'_>)],
) -> Result<Vec<(String, Vec<u8>)>, OpsError> {
    let suppressed = |outcome: &&DecisionOutcome<'_>| outcome.reason == Open::Known(Reason::AddressSuppressed);
    let mut values = Vec::new();
    for outcome in decision.outcomes.iter().filter(suppressed) {
        let (Some(hash), Some(place)) = (&outcome.endpoint_hash, outcome.preferences) else { continue };
        let Some((_, record)) = preferences.iter().find(|(known, _)| *known == place) else { continue };
        let hash_of = |endpoint: &Endpoint<'_>| {
            endpoint_hash(record.tenant, record.user_id, endpoint.channel.as_str(), endpoint.address)
        };
        let endpoint = record.endpoints.iter().find(|endpoint| hash_of(endpoint) == *hash);
        let Some((channel, address)) =
            endpoint.and_then(|endpoint| Some((endpoint.channel.known()?, endpoint.address)))
        else {
            continue;
        };
        let found = suppressions::value_of(session, record.tenant, channel, address)?;
        values.extend(found.map(|value| (hash.to_string(), value)));
    }
    Ok(values)
}

fn bundle(session: &Session, version: &str) -> Result<Option<Policy>, OpsError> {
    let record = reader::latest_of_key(session.kafka(), &session.topics.policies(), version.as_bytes())?;
    let text = record.and_then(|record| record.value).and_then(|value| String::from_utf8(value).ok());
    Ok(text.and_then(|text| policy::from_bundle_json(&text).ok()))
}
