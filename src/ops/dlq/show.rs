//! One letter for people: headers, and its value decoded where it can be.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::letter::Letter;
use super::{Filter, each};
use crate::ops::documents::Moment;
use crate::ops::session::{OpsError, Session};
use crate::wire::{Records, WireError};

/// Whether personal data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personal {
    /// Addresses and contents are `***`.
    Masked,
    /// Everything as it is.
    Revealed,
}

/// A letter, for output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// The dead-letter topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written.
    pub written_at: Option<Moment>,
    /// The original key.
    pub key: Option<String>,
    /// The reason code.
    pub reason: String,
    /// All headers.
    pub headers: Map<String, Value>,
    /// The record's type, when it could be decoded.
    pub record: Option<&'static str>,
    /// The decoded value.
    pub value: Option<Value>,
    /// Why it could not be decoded, and how long it is.
    pub undecodable: Option<String>,
}

/// The letter at a place.
///
/// # Errors
/// When there is none, or the topic cannot be read.
pub async fn show(
    session: &Session,
    topic: &str,
    partition: i32,
    offset: i64,
    personal: Personal,
) -> Result<Shown, OpsError> {
    let topic = topic.to_owned();
    session
        .blocking(move |session| {
            let filter = Filter { at: Some((partition, offset)), ..Filter::default() };
            let mut found = None;
            each(session, &topic, &filter, |letter| found = Some(letter))?;
            let letter = found.ok_or_else(|| {
                OpsError::Refused(format!(
                    "there is no letter at {topic}[{partition}]@{offset}; `notilog dlq ls` counts what there is"
                ))
            })?;
            Ok(shown(letter, &mut session.records(), personal))
        })
        .await
}

fn shown(letter: Letter, records: &mut Records, personal: Personal) -> Shown {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes that are not text)", bytes.len()),
    };
    let headers = letter.headers.iter().map(|(name, value)| {
        let value = value.as_deref().map_or(Value::Null, |value| Value::String(text(value)));
        (name.clone(), value)
    });
    let value = letter.value.as_deref().unwrap_or_default();
    let (record, value, undecodable) = match decode(value, records) {
        Ok((record, mut decoded)) => {
            if personal == Personal::Masked {
                mask(&mut decoded);
            }
            (Some(record), Some(decoded), None)
        }
        Err(error) => (None, None, Some(format!("{error} ({} bytes)", value.len()))),
    };
    Shown {
        headers: headers.collect(),
        key: letter.key.as_deref().map(text),
        topic: letter.topic,
        partition: letter.partition,
        offset: letter.offset,
        written_at: letter.written_at.map(Moment),
        reason: letter.reason,
        record,
        value,
        undecodable,
    }
}

/// Whatever record it is, by the writer's schema.
fn decode(value: &[u8], records: &mut Records) -> Result<(&'static str, Value), WireError> {
    let error = match records.event(value) {
        Ok(event) => return Ok(("Event", json!(event))),
        Err(error) => error,
    };
    if !matches!(error, WireError::WrongRecord { .. }) {
        return Err(error);
    }
    if let Ok(outbound) = records.outbound(value) {
        return Ok(("Outbound", json!(outbound)));
    }
    records.preferences(value).map(|preferences| ("Preferences", json!(preferences)))
}

/// What may tell where someone is reached or what they are told.
fn mask(value: &mut Value) {
    // `outbound`: a whole notification within a receipt.
    const PERSONAL: &[&str] = &["address", "data", "label", "outbound"];
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if PERSONAL.contains(&key.as_str()) && !value.is_null() {
                    *value = Value::String("***".to_owned());
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_contents_are_masked_at_every_depth() {
        let mut value = json!({
            "user_id": "ada", "address": "a@example.org", "data": "{\"iban\":1}",
            "fallback": [{ "address": "b@example.org", "after_ms": 1 }],
            "endpoints": [{ "address": "c@example.org", "label": null }]
        });
        mask(&mut value);
        let text = value.to_string();
        assert!(!text.contains("example.org") && !text.contains("iban"), "{text}");
        assert!(text.contains("ada") && text.contains("after_ms"));
    }
}
