//! Customers' Kafka topics: the notification as a CloudEvent (1.0, JSON, structured mode).
//!
//! The address is `topic` on notilog's own cluster or `cluster/topic` on another one of the configuration. On the own
//! cluster the record is written in the transaction that says SENT: exactly once. On another one it is produced with
//! `acks=all` and idempotence, and at least once: a crash between its acknowledgement and the commit repeats it, under
//! the same CloudEvents id.
//!
//! Invariant: only topics that `topics` allows are written to, never one of notilog's own or Kafka's; a topic belongs to
//! a customer, so that nothing about one halts the channel.

mod outcome;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;

use self::outcome::{produced, stands};
use self::standing::Home;
use super::{Channel, ConfigProblem, Content, Message, Outcome, Produce, Verdict, reject, retry};
use crate::config;
use crate::kafka::admin::Admin;
use crate::kafka::producer::{Outgoing, ProduceError, Producer};
use crate::model::{Channel as ChannelName, Reason, RecipientKey, Topics, glob_matches};

/// Stands for the tenant in a pattern of topics.
const TENANT: &str = "{tenant}";
/// Kafka's limit for a topic's name.
const MAX_NAME: usize = 249;
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// Topics of customers, on any cluster.
pub struct KafkaTopics {
    allowed: Vec<String>,
    own: Topics,
    home: Home,
    clusters: BTreeMap<String, Remote>,
}

/// Another cluster. Its client is made when it is first needed, and anew after one that is of no use any more.
struct Remote {
    kafka: config::Kafka,
    producer: Mutex<Option<Arc<Producer>>>,
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>, with extension attributes for
/// what the specification has no name for.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'a str,
    time: &'a str,
    subject: &'a str,
    datacontenttype: &'static str,
    tenant: &'a str,
    category: &'a str,
    eventid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a RawValue,
}

impl KafkaTopics {
    /// Reads the settings; connects to nothing. `home` is notilog's own cluster; without it nothing is known about its
    /// topics beforehand.
    ///
    /// # Errors
    /// Every setting that cannot work.
    pub fn new(config: &config::KafkaTopics, home: Option<&config::Kafka>) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        for pattern in &config.topics {
            let plain = pattern.replace(TENANT, "").replace('*', "");
            if !plain.is_empty() && !is_name(&plain) {
                let problem =
                    format!("`{pattern}` has characters that no topic has; `*` and `{TENANT}` may stand in it");
                problems.push(ConfigProblem::new("channels.kafka.topics", problem));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let remote = |cluster: &config::KafkaCluster| Remote {
            kafka: config::Kafka {
                bootstrap_servers: cluster.bootstrap_servers.clone(),
                topic_prefix: String::new(),
                properties: cluster.properties.clone(),
            },
            producer: Mutex::default(),
        };
        Ok(KafkaTopics {
            allowed: config.topics.clone(),
            own: Topics::new(home.map_or("", |home| &home.topic_prefix)),
            home: Home::new(home.cloned()),
            clusters: config.clusters.iter().map(|(name, cluster)| (name.clone(), remote(cluster))).collect(),
        })
    }

    /// The topic, if this tenant may be written to it.
    fn topic<'a>(&self, name: &'a str, tenant: &str, remote: bool) -> Result<&'a str, Reason> {
        if !is_name(name) {
            return Err(Reason::AddressRefused);
        }
        // A tenant that a topic cannot be named after has none of its own.
        let tenant = is_name(tenant).then_some(tenant);
        let matches = |pattern: &String| match (pattern.contains(TENANT), tenant) {
            (true, Some(tenant)) => glob_matches(&pattern.replace(TENANT, tenant), name),
            (true, None) => false,
            (false, _) => glob_matches(pattern, name),
        };
        let ours = name.starts_with("__") || (!remote && self.own.owns(name));
        if ours || !self.allowed.iter().any(matches) { Err(Reason::AddressForbidden) } else { Ok(name) }
    }

    async fn to(&self, message: &Message) -> Result<Outcome, Reason> {
        let (cluster, name) = parts(&message.address);
        let remote = cluster.map(|name| self.clusters.get(name).ok_or(Reason::AddressRefused)).transpose()?;
        let topic = self.topic(name, &message.event.tenant, remote.is_some())?;
        let key = RecipientKey::new(&message.event.tenant, &message.event.user_id).as_str().as_bytes().to_vec();
        let value = envelope(message)?;
        let headers = headers(message);
        Ok(match remote {
            Some(remote) => remote.produce(topic, &key, &value, &headers).await,
            None => match stands(self.home.standing(topic).await) {
                Some(result) => Outcome { result, code: None },
                None => {
                    let record = Produce::Topic { topic: topic.to_owned(), key, value, headers };
                    Outcome { result: Verdict::Written { records: vec![record] }, code: None }
                }
            },
        })
    }
}

impl Remote {
    async fn produce(&self, topic: &str, key: &[u8], value: &[u8], headers: &[(String, Vec<u8>)]) -> Outcome {
        let Ok(producer) = self.producer() else {
            return Outcome { result: retry(Reason::ConnectFailed), code: None };
        };
        let headers: Vec<(String, Option<Vec<u8>>)> =
            headers.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        let record = Outgoing { topic, key: Some(key), value: Some(value), headers: &headers, partition: None };
        let sent = producer.send(record).await;
        if matches!(sent, Err(ProduceError::Denied(_))) || producer.is_broken() {
            self.give_up(&producer);
        }
        Outcome { result: produced(sent), code: None }
    }

    fn producer(&self) -> Result<Arc<Producer>, ProduceError> {
        let mut current = self.producer.lock();
        if let Some(producer) = &*current {
            return Ok(Arc::clone(producer));
        }
        let made = Arc::new(Producer::new(&self.kafka)?);
        *current = Some(Arc::clone(&made));
        Ok(made)
    }

    /// The next record gets another client, unless it has one already.
    fn give_up(&self, producer: &Arc<Producer>) {
        let mut current = self.producer.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer)) {
            *current = None;
        }
    }
}

#[async_trait::async_trait]
impl Channel for KafkaTopics {
    fn name(&self) -> ChannelName {
        ChannelName::Kafka
    }

    fn provider(&self) -> &'static str {
        "kafka"
    }

    /// A topic of notilog's own cluster, or one of a cluster that this provider knows.
    fn accepts(&self, address: &str) -> bool {
        parts(address).0.is_none_or(|cluster| self.clusters.contains_key(cluster))
    }

    /// A topic is one customer's.
    fn is_shared(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let rejected = |reason| Outcome { result: reject(reason), code: None };
        self.to(message).await.unwrap_or_else(rejected)
    }

    /// Whether the other clusters can be reached; the own one is asked all the time.
    async fn check(&self) -> Result<(), String> {
        for (name, remote) in &self.clusters {
            let asked = async { Admin::new(&remote.kafka)?.brokers().await };
            if let Err(error) = asked.await {
                return Err(format!("cluster `{name}`: {error}; check [channels.kafka.clusters.{name}]"));
            }
        }
        Ok(())
    }
}

/// The cluster, if it is another one, and the topic.
fn parts(address: &str) -> (Option<&str>, &str) {
    let address = address.trim();
    address.split_once('/').map_or((None, address), |(cluster, topic)| (Some(cluster), topic))
}

fn envelope(message: &Message) -> Result<Vec<u8>, Reason> {
    let Content::Json(data) = &message.content else { return Err(Reason::TemplateFailed) };
    let event = &message.event;
    let data: &RawValue = serde_json::from_str(data).map_err(|_| Reason::TemplateFailed)?;
    let envelope = CloudEvent {
        specversion: "1.0",
        // Unique for source and id, as the specification wants: one event makes many notifications.
        id: message.id.to_string(),
        source: &event.source,
        r#type: &event.kind,
        time: &event.time,
        subject: &event.user_id,
        datacontenttype: "application/json",
        tenant: &event.tenant,
        category: &event.category,
        eventid: &event.id,
        traceparent: message.traceparent.as_deref(),
        data,
    };
    serde_json::to_vec(&envelope).map_err(|_| Reason::TemplateFailed)
}

fn headers(message: &Message) -> Vec<(String, Vec<u8>)> {
    let mut headers = vec![("content-type".to_owned(), CONTENT_TYPE.as_bytes().to_vec())];
    headers.extend(message.traceparent.iter().map(|trace| ("traceparent".to_owned(), trace.as_bytes().to_vec())));
    headers
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
