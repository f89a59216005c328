//! Puts events where producers put them, in Avro with the registered schema, after asking the chain's own first rules.

use futures::StreamExt as _;
use serde::Serialize;

use super::documents::EventDocument;
use super::session::{OpsError, Session};
use crate::decide::judge_event;
use crate::kafka::producer::{Outgoing, Producer};
use crate::model::{Event, Policy, RecipientKey, SourceRule, Timestamp};
use crate::telemetry::random;
use crate::wire::{Encoders, names};

/// Records under way at once.
const IN_FLIGHT: usize = 500;

/// What came of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Emitted {
    /// The event's id.
    pub id: String,
    /// Where it was written, prefix included.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Rules to hold events against before they are written.
pub struct Checks {
    /// The operator's policy.
    pub policy: Policy,
    /// What producers may claim.
    pub sources: Vec<SourceRule>,
}

/// An event made ready.
struct Ready {
    id: String,
    key: Option<String>,
    value: Vec<u8>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Writes events to `notify.events.<domain>`, in order for each key; all are checked before the first is written.
///
/// # Errors
/// The first event that the router would refuse, when there are `checks`; what the registry or Kafka refuse.
pub async fn emit(
    session: &Session,
    domain: &str,
    documents: &[EventDocument],
    checks: Option<&Checks>,
    mut progress: impl FnMut(),
) -> Result<Vec<Emitted>, OpsError> {
    let topic = session.topics.events(domain);
    let unprefixed = topic.strip_prefix(session.topics.prefix()).unwrap_or(&topic);
    let now = session.clock.now();
    let mut encoders = session.encoders().await?;
    let mut ready = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        ready.push(make_ready(document, index, unprefixed, checks, now, &mut encoders)?);
    }
    let producer = Producer::new(session.kafka())?;
    let (producer, topic) = (&producer, topic.as_str());
    let mut sending = futures::stream::iter(&ready)
        .map(|event| async move {
            let record = Outgoing {
                topic,
                key: event.key.as_deref().map(str::as_bytes),
                value: Some(&event.value),
                headers: &event.headers,
                partition: None,
            };
            (event, producer.send(record).await)
        })
        .buffered(IN_FLIGHT);
    let mut emitted = Vec::with_capacity(ready.len());
    while let Some((event, written)) = sending.next().await {
        let written = written?;
        progress();
        let (id, topic) = (event.id.clone(), topic.to_owned());
        emitted.push(Emitted { id, topic, partition: written.partition, offset: written.offset });
    }
    Ok(emitted)
}

fn make_ready(
    document: &EventDocument,
    index: usize,
    topic: &str,
    checks: Option<&Checks>,
    now: Timestamp,
    encoders: &mut Encoders,
) -> Result<Ready, OpsError> {
    let id = document.id.clone().unwrap_or_else(|| random::uuid().to_string());
    let data = document.data_text();
    let event = document.as_event(&id, &data, now);
    if let Some(Checks { policy, sources }) = checks
        && let Err(verdict) = judge_event(&event, topic, sources, policy, now)
    {
        return Err(OpsError::Refused(format!(
            "event {} ({id}) would be {} with reason `{}` by rule {} ({}); nothing was written. Mend it, or write it \
             all the same with --unchecked",
            index + 1,
            verdict.verdict,
            verdict.reason,
            verdict.rule.number(),
            crate::model::Rule::question(verdict.rule.number()),
        )));
    }
    let value = encoders
        .to_vec(&event)
        .map_err(|source| OpsError::Wire { what: format!("event {} ({id}) cannot be written", index + 1), source })?;
    let headers = vec![(names::TRACEPARENT.to_owned(), Some(traceparent().into_bytes()))];
    Ok(Ready { key: key_of(&event), value, headers, id })
}

/// The recipient where there is exactly one, so that one person's events keep their order.
fn key_of(event: &Event<'_>) -> Option<String> {
    match event.recipients.as_slice() {
        [user] => Some(RecipientKey::new(event.tenant, user).as_str().to_owned()),
        _ => None,
    }
}

/// A new trace, sampled (W3C Trace Context, version 00).
fn traceparent() -> String {
    let span = random::uuid().simple().to_string();
    format!("00-{}-{}-01", random::uuid().simple(), &span[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TraceParent;

    #[test]
    fn an_emitted_event_starts_a_trace_that_others_can_read() {
        let trace = traceparent();
        assert!(TraceParent::parse(&trace).is_some(), "{trace}");
        assert_ne!(trace, traceparent());
    }

    #[test]
    fn only_a_single_recipient_is_the_key() {
        let mut document: EventDocument = serde_json::from_str(r#"{"recipients":["a/b"]}"#).unwrap();
        assert_eq!(key_of(&document.as_event("i", "", Timestamp(0))).as_deref(), Some("default/a%2Fb"));
        document.recipients.push("c".to_owned());
        assert_eq!(key_of(&document.as_event("i", "", Timestamp(0))), None);
    }
}
