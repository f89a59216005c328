//! The suppression list: what is on it, put an address there, lift it.
//!
//! Invariant: no address is written anywhere: records and audit records name it by its key alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::json;

use super::audit::{self, Action};
use super::documents::Moment;
use super::session::{OpsError, Session};
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::reader::{self, Scan};
use crate::model::{Channel, Suppression, SuppressionReason};
use crate::suppression::Hashes;

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this tenant only.
    pub tenant: Option<String>,
    /// Of this channel only.
    pub channel: Option<Channel>,
    /// With this reason only.
    pub reason: Option<String>,
    /// Of this address only; needs a channel.
    pub address: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// `tenant/channel/HMAC(address)`.
    pub key: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Option<Moment>,
    /// Who says so.
    pub source: String,
    /// The provider's status code.
    pub code: Option<String>,
    /// Which secret it was hashed with.
    pub key_id: String,
    /// Whether that secret is configured here: if not, the entry has no effect.
    pub key_known: bool,
    /// The notification that led to it.
    pub notification_id: Option<String>,
}

/// An address, as an operator names it.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// By which channel.
    pub channel: Channel,
    /// Itself.
    pub address: &'a str,
}

/// What is on the list, by key.
///
/// # Errors
/// When the topic cannot be read, or an address is asked for and there is no key to find it by.
pub async fn list(session: &Session, filter: Filter) -> Result<Vec<Entry>, OpsError> {
    session
        .blocking(move |session| {
            let hashes =
                Hashes::new(&session.config.suppressions).map_err(|error| OpsError::Refused(error.to_string()))?;
            let wanted = match (&filter.address, filter.channel) {
                (Some(address), Some(channel)) => {
                    let tenant = filter.tenant.as_deref().unwrap_or("default");
                    Some(all_keys(&required(session)?, Address { tenant, channel, address }))
                }
                (Some(_), None) => {
                    return Err(OpsError::Refused("an address is one of a channel: name it too".to_owned()));
                }
                (None, _) => None,
            };
            let known: Vec<String> = hashes.iter().flat_map(Hashes::key_ids).map(str::to_owned).collect();
            let entries = latest(session)?
                .into_iter()
                .filter(|(key, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)) && filter.takes(key));
            let mut records = session.records();
            let entries = entries.map(|(key, value)| match records.suppression(&value) {
                Ok(entry) => shown(key, &entry, &known),
                Err(error) => Entry { reason: format!("unreadable: {error}"), ..unreadable(key) },
            });
            Ok(entries.filter(|entry| filter.reason.as_ref().is_none_or(|reason| *reason == entry.reason)).collect())
        })
        .await
}

/// Puts an address on the list; returns its key.
///
/// # Errors
/// When there is no key to hash it with; what the registry or Kafka refuse.
pub async fn add(session: &Session, address: Address<'_>, why: Option<&str>) -> Result<String, OpsError> {
    let named = required(session)?.key(address.tenant, address.channel, address.address);
    let entry = Suppression {
        reason: SuppressionReason::Manual.into(),
        since: session.clock.now(),
        source: &session.actor,
        key_id: &named.key_id,
        notification_id: None,
        code: None,
    };
    let value = session
        .encoders()
        .await?
        .to_vec(&entry)
        .map_err(|source| OpsError::Wire { what: "the entry cannot be written".to_owned(), source })?;
    let producer = Producer::new(session.kafka())?;
    audit::record(session, &producer, Action::SuppressionsAdd, &named.key, why, json!(null)).await?;
    write(session, &producer, &named.key, Some(&value)).await?;
    Ok(named.key)
}

/// The keys under which an address stands on the list now.
///
/// # Errors
/// When there is no key to find it by, or the topic cannot be read.
pub async fn standing(session: &Session, address: Address<'_>) -> Result<Vec<String>, OpsError> {
    let keys = all_keys(&required(session)?, address);
    session
        .blocking(move |session| {
            let all = latest(session)?;
            Ok(keys.into_iter().filter(|key| all.contains_key(key)).collect())
        })
        .await
}

/// Takes entries off the list.
///
/// # Errors
/// What Kafka refuses; the audit record is written first.
pub async fn lift(session: &Session, keys: &[String], why: Option<&str>) -> Result<(), OpsError> {
    let producer = Producer::new(session.kafka())?;
    for key in keys {
        audit::record(session, &producer, Action::SuppressionsLift, key, why, json!(null)).await?;
        write(session, &producer, key, None).await?;
    }
    Ok(())
}

/// The encoded entry of an address, under whichever of the configured secrets it stands; `None` when there is none, or
/// no secret. Blocking.
///
/// # Errors
/// When the topic cannot be read.
pub fn value_of(session: &Session, tenant: &str, channel: Channel, address: &str) -> Result<Option<Vec<u8>>, OpsError> {
    let Ok(Some(hashes)) = Hashes::new(&session.config.suppressions) else { return Ok(None) };
    let topic = session.topics.suppressions();
    for key in all_keys(&hashes, Address { tenant, channel, address }) {
        let record = reader::latest_of_key(session.kafka(), &topic, key.as_bytes())?;
        if let Some(value) = record.and_then(|record| record.value) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

impl Filter {
    fn takes(&self, key: &str) -> bool {
        let mut parts = key.splitn(3, '/');
        let (tenant, channel) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let tenant = percent_encoding::percent_decode_str(tenant).decode_utf8_lossy();
        self.tenant.as_ref().is_none_or(|wanted| *wanted == tenant)
            && self.channel.is_none_or(|wanted| wanted.as_str() == channel)
    }
}

fn required(session: &Session) -> Result<Hashes, OpsError> {
    match Hashes::new(&session.config.suppressions) {
        Ok(Some(hashes)) => Ok(hashes),
        Ok(None) => Err(OpsError::Refused(
            "there is no suppression list: set suppressions.key to the secret that the roles hash addresses with"
                .to_owned(),
        )),
        Err(error) => Err(OpsError::Refused(error.to_string())),
    }
}

fn all_keys(hashes: &Hashes, address: Address<'_>) -> Vec<String> {
    hashes.keys(address.tenant, address.channel, address.address).map(|named| named.key).collect()
}

/// The newest value of each key that stands.
fn latest(session: &Session) -> Result<BTreeMap<String, Vec<u8>>, OpsError> {
    let topic = session.topics.suppressions();
    let mut latest = BTreeMap::new();
    session.scan(Scan { topic: &topic, ..Scan::default() }, |record| {
        let key = record.key.and_then(|key| String::from_utf8(key).ok());
        match (key, record.value) {
            (Some(key), Some(value)) => drop(latest.insert(key, value)),
            (Some(key), None) => drop(latest.remove(&key)),
            (None, _) => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(latest)
}

fn shown(key: String, entry: &Suppression<'_>, known: &[String]) -> Entry {
    Entry {
        key,
        reason: entry.reason.as_str().to_owned(),
        since: Some(Moment(entry.since)),
        source: entry.source.to_owned(),
        code: entry.code.map(str::to_owned),
        key_id: entry.key_id.to_owned(),
        key_known: known.iter().any(|id| id == entry.key_id),
        notification_id: entry.notification_id.map(|id| id.to_string()),
    }
}

fn unreadable(key: String) -> Entry {
    Entry {
        key,
        reason: String::new(),
        since: None,
        source: String::new(),
        code: None,
        key_id: String::new(),
        key_known: false,
        notification_id: None,
    }
}

async fn write(session: &Session, producer: &Producer, key: &str, value: Option<&[u8]>) -> Result<(), OpsError> {
    let topic = session.topics.suppressions();
    producer.send(Outgoing { topic: &topic, key: Some(key.as_bytes()), value, ..Outgoing::default() }).await?;
    Ok(())
}
