//! The router's inputs: which it has begun, which are held, and holding and resuming them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::json;

use super::audit::{self, Action};
use super::session::{OpsError, Session};
use crate::kafka::admin::Admin;
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::reader::Scan;
use crate::model::{Hold, InputKey};

/// An input topic of the router's group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// The topic, prefix included.
    pub topic: String,
    /// Partitions that the router has begun.
    pub partitions: usize,
    /// Set while it is held.
    pub hold: Option<Hold>,
}

/// The full name of a topic that an operator named by its domain, or with or without the prefix.
pub fn topic_named(session: &Session, name: &str) -> String {
    let prefix = session.topics.prefix();
    match name {
        full if !prefix.is_empty() && full.starts_with(prefix) => full.to_owned(),
        bare if bare.starts_with("notify.") => session.topics.named(bare),
        domain => session.topics.events(domain),
    }
}

fn group(session: &Session) -> String {
    session.topics.named(&session.config.router.group)
}

/// All that `notify.inputs` knows of this installation's router group, by topic.
///
/// # Errors
/// When the topic cannot be read.
pub async fn list(session: &Session) -> Result<Vec<Input>, OpsError> {
    let records = session
        .blocking(|session| {
            let (topic, mut records) = (session.topics.inputs(), BTreeMap::new());
            session.scan(Scan { topic: &topic, ..Scan::default() }, |record| {
                if let Some(key) = record.key.as_deref().and_then(InputKey::parse) {
                    match record.value {
                        Some(value) => drop(records.insert(key, value)),
                        None => drop(records.remove(&key)),
                    }
                }
                ControlFlow::Continue(())
            })?;
            Ok(records)
        })
        .await?;
    Ok(inputs(&group(session), records))
}

fn inputs(ours: &str, records: BTreeMap<InputKey, Vec<u8>>) -> Vec<Input> {
    let mut inputs: BTreeMap<String, Input> = BTreeMap::new();
    let mut input = |topic: &str, change: &dyn Fn(&mut Input)| {
        let new = || Input { topic: topic.to_owned(), partitions: 0, hold: None };
        change(inputs.entry(topic.to_owned()).or_insert_with(new));
    };
    for (key, value) in records {
        match key {
            InputKey::Known { group, topic, .. } if group == ours => input(&topic, &|input| input.partitions += 1),
            InputKey::Hold { group, topic } if group == ours => {
                input(&topic, &|input| input.hold = Some(Hold::read(&value)));
            }
            InputKey::Known { .. } | InputKey::Hold { .. } | InputKey::Group(_) => {}
        }
    }
    inputs.into_values().collect()
}

/// Holds a topic: the router takes nothing more of it, its offsets stay where they are.
///
/// # Errors
/// When there is no such topic, it is held already, or Kafka refuses.
pub async fn hold(session: &Session, topic: &str, why: Option<&str>) -> Result<(), OpsError> {
    if !Admin::new(session.kafka())?.list(topic).await?.contains_key(topic) {
        return Err(OpsError::Refused(format!("there is no topic {topic}; `notilog inputs ls` lists what is read")));
    }
    if held(session, topic).await?.is_some() {
        return Err(OpsError::Refused(format!("{topic} is held already; see `notilog inputs ls`")));
    }
    let hold = Hold {
        since: session.clock.now().to_string(),
        by: session.actor.clone(),
        reason: why.map(str::to_owned),
        dead: 0,
        seen: 0,
    };
    let value = serde_json::to_vec(&hold).map_err(|error| OpsError::Refused(error.to_string()))?;
    write(session, Action::InputsHold, topic, why, Some(&value)).await
}

/// Lets a held topic go on, from where the router's group stands in it.
///
/// # Errors
/// When it is not held, or Kafka refuses.
pub async fn resume(session: &Session, topic: &str, why: Option<&str>) -> Result<(), OpsError> {
    if held(session, topic).await?.is_none() {
        return Err(OpsError::Refused(format!("{topic} is not held; `notilog inputs ls` lists what is")));
    }
    write(session, Action::InputsResume, topic, why, None).await
}

/// The hold of a topic, if it is held.
///
/// # Errors
/// When `notify.inputs` cannot be read.
pub async fn held(session: &Session, topic: &str) -> Result<Option<Hold>, OpsError> {
    Ok(list(session).await?.into_iter().find(|input| input.topic == topic).and_then(|input| input.hold))
}

async fn write(
    session: &Session,
    action: Action,
    topic: &str,
    why: Option<&str>,
    value: Option<&[u8]>,
) -> Result<(), OpsError> {
    let producer = Producer::new(session.kafka())?;
    let group = group(session);
    audit::record(session, &producer, action, topic, why, json!({ "group": group })).await?;
    let (inputs, key) = (session.topics.inputs(), InputKey::hold(&group, topic).to_string());
    let record = Outgoing { topic: &inputs, key: Some(key.as_bytes()), value, ..Outgoing::default() };
    producer.send(record).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_listed_with_their_partitions_and_holds_of_this_group_only() {
        let hold = |by: &str| format!("{{\"since\":\"2026-11-25T12:00:00Z\",\"by\":\"{by}\"}}").into_bytes();
        let records = [
            (InputKey::known("ours", "shop", 0), b"{}".to_vec()),
            (InputKey::known("ours", "shop", 1), b"{}".to_vec()),
            (InputKey::known("theirs", "shop", 2), b"{}".to_vec()),
            (InputKey::hold("ours", "shop"), hold("ada")),
            (InputKey::hold("theirs", "bank"), hold("eve")),
            (InputKey::hold("ours", "bank"), b"not JSON".to_vec()),
            (InputKey::Group("ours".to_owned()), b"{}".to_vec()),
        ];
        let inputs = inputs("ours", records.into());
        assert_eq!(
            inputs.iter().map(|input| (&*input.topic, input.partitions)).collect::<Vec<_>>(),
            [("bank", 0), ("shop", 2)]
        );
        assert!(inputs[0].hold.is_some(), "a hold that cannot be read holds");
        assert_eq!(inputs[1].hold.as_ref().unwrap().by, "ada");
    }
}
