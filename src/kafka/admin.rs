//! Topics of a cluster: describe, create, alter, raise partitions. Decides nothing: `ops::topics` does.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::util::Timeout;
use serde::Serialize;

use super::acl::{Kind as On, Operation};
use super::client::{Context, Kind, base_config, hear_out, metadata};
use super::denied::{Denied, Right};
use super::native;
use crate::config::Kafka;

/// For one request to the controller or the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often, and how long between, to look whether a change shows.
const SHOWN_TRIES: usize = 100;
const SHOWN_PAUSE: Duration = Duration::from_millis(50);

/// What went wrong with a cluster or a topic.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdminError {
    /// The client cannot even be made.
    #[error("the Kafka client cannot be made: {0}; see [kafka] in the configuration")]
    Client(String),
    /// No broker answers.
    #[error("Kafka at {bootstrap} does not answer: {cause}")]
    Unreachable {
        /// The configured addresses.
        bootstrap: String,
        /// librdkafka's words and what to do.
        cause: String,
    },
    /// The login or a right is refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A request about rights failed.
    #[error("cannot {action}: {cause}")]
    Acls {
        /// What was to be done.
        action: &'static str,
        /// The broker's words and, where it is known, what to do.
        cause: String,
    },
    /// A request about one topic was refused.
    #[error("cannot {action} topic {topic}: {cause}")]
    Refused {
        /// What was to be done.
        action: &'static str,
        /// To which topic.
        topic: String,
        /// The broker's words and, where it is known, what to do.
        cause: String,
    },
}

/// A topic as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of the first partition.
    pub replication: i32,
    /// Partitions that have no leader now.
    pub leaderless: usize,
    /// Effective settings by name.
    pub config: BTreeMap<String, TopicSetting>,
}

/// A topic's setting as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSetting {
    /// Its effective value.
    pub value: String,
    /// Whether it was set on the topic itself; otherwise the broker's default shows through.
    pub own: bool,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicSpec {
    /// Its name, prefix included.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each partition.
    pub replication: i32,
    /// Settings by name.
    pub config: BTreeMap<String, String>,
}

/// A cluster's administration.
pub struct Admin {
    client: AdminClient<Context>,
    /// Asks for metadata: unlike the admin client, it can be made to say why a call failed.
    observer: BaseConsumer<Context>,
    kafka: Kafka,
}

impl Admin {
    /// Makes the clients; does not connect yet.
    pub fn new(kafka: &Kafka) -> Result<Self, AdminError> {
        let failed = |error: KafkaError| AdminError::Client(error.to_string());
        let client =
            base_config(kafka, Kind::Admin, "admin", &[]).create_with_context(Context::default()).map_err(failed)?;
        let observer = base_config(kafka, Kind::Consumer, "admin", &[])
            // librdkafka wants a name even of a consumer that joins no group; nothing is committed under it.
            .set("group.id", format!("{}notilog-admin", kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .create_with_context(Context::default())
            .map_err(failed)?;
        Ok(Admin { client, observer, kafka: kafka.clone() })
    }

    /// How many brokers the cluster has; an error when none can be reached.
    pub async fn brokers(&self) -> Result<usize, AdminError> {
        self.with_metadata(None, |metadata| metadata.brokers().len())
    }

    /// How many members a consumer group has. Blocks.
    pub fn members(&self, group: &str) -> Result<usize, AdminError> {
        self.reach()?;
        let groups =
            self.observer().fetch_group_list(Some(group), REQUEST_TIMEOUT).map_err(|error| self.unreachable(&error))?;
        let found = groups.groups().iter().find(|found| found.name() == group);
        Ok(found.map_or(0, |group| group.members().len()))
    }

    /// Names and partition counts of all topics that start with `prefix`.
    pub async fn list(&self, prefix: &str) -> Result<BTreeMap<String, i32>, AdminError> {
        self.with_metadata(None, |metadata| {
            let topics = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix));
            topics.map(|topic| (topic.name().to_owned(), count(topic.partitions().len()))).collect()
        })
    }

    /// Those of `names` that exist, with their settings.
    pub async fn describe(&self, names: &[String]) -> Result<BTreeMap<String, TopicState>, AdminError> {
        let mut states = self.with_metadata(None, |metadata| {
            let known = metadata.topics().iter().filter(|topic| names.iter().any(|name| name == topic.name()));
            known.map(|topic| (topic.name().to_owned(), state(topic))).collect::<BTreeMap<_, _>>()
        })?;
        let resources: Vec<_> = states.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        if resources.is_empty() {
            return Ok(states);
        }
        let described = self
            .client
            .describe_configs(&resources, &self.options())
            .await
            .map_err(|error| self.unreachable(&error))?;
        let asked: Vec<String> = states.keys().cloned().collect();
        for (name, resource) in asked.iter().zip(described) {
            let resource = resource.map_err(|code| self.refused("describe", name, code))?;
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier
                && let Some(state) = states.get_mut(&name)
            {
                state.config = resource.entries.into_iter().filter_map(setting).collect();
            }
        }
        Ok(states)
    }

    /// The ids that these topics got when they were created, by name: empty where the broker gives topics none, and
    /// without those that are not there. Blocks.
    pub fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, AdminError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.reach()?;
        native::topic::ids(self.observer(), topics).map_err(|error| AdminError::Refused {
            action: "describe",
            topic: topics.join(", "),
            cause: error.text,
        })
    }

    /// Creates topics, in one request; the results are in the same order. One that exists already is an error.
    pub async fn create(&self, specs: &[&TopicSpec]) -> Vec<Result<(), AdminError>> {
        if specs.is_empty() {
            return Vec::new();
        }
        let new: Vec<NewTopic<'_>> = specs.iter().map(|spec| new_topic(spec)).collect();
        let results = self.client.create_topics(&new, &self.options()).await;
        let refusals: Result<BTreeMap<String, RDKafkaErrorCode>, KafkaError> =
            results.map(|results| results.into_iter().filter_map(Result::err).collect());
        let outcome = |spec: &&TopicSpec| {
            let refusal = refusals.as_ref().map(|refusals| refusals.get(&spec.name).copied()).map_err(Clone::clone);
            self.outcome("create", &spec.name, refusal)
        };
        let outcomes: Vec<Result<(), AdminError>> = specs.iter().map(outcome).collect();
        let created = specs.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let names: Vec<String> = created.map(|(spec, _)| spec.name.clone()).collect();
        self.shown(&names, |states| {
            names.iter().all(|name| states.get(name).is_some_and(|state| state.leaderless == 0))
        })
        .await;
        outcomes
    }

    /// Raises a topic's partition count. Keys move to other partitions.
    pub async fn raise_partitions(&self, topic: &str, to: i32) -> Result<(), AdminError> {
        let new = NewPartitions::new(topic, usize::try_from(to).unwrap_or(0));
        let results = self.client.create_partitions([&new], &self.options()).await;
        self.outcome("add partitions to", topic, results.map(|results| results.into_iter().find_map(failed)))?;
        let all_there = |state: &TopicState| state.partitions >= to && state.leaderless == 0;
        self.shown(&[topic.to_owned()], |states| states.get(topic).is_some_and(all_there)).await;
        Ok(())
    }

    /// Sets `changes` on a topic and leaves its other own settings as they are.
    ///
    /// The protocol call replaces all settings, so that the topic's own ones are read first and written again; a
    /// change that someone else makes at this very moment can be lost.
    pub async fn alter(&self, topic: &str, changes: &BTreeMap<String, String>) -> Result<(), AdminError> {
        let present = self.describe(&[topic.to_owned()]).await?.remove(topic);
        let own = present.into_iter().flat_map(|state| state.config).filter(|(_, setting)| setting.own);
        let mut all: BTreeMap<String, String> = own.map(|(name, setting)| (name, setting.value)).collect();
        all.extend(changes.clone());
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let alter = all.iter().fold(alter, |alter, (name, value)| alter.set(name, value));
        let results = self.client.alter_configs([&alter], &self.options()).await;
        let failed = |result: Result<_, (_, RDKafkaErrorCode)>| result.err().map(|(_, code)| code);
        self.outcome("alter", topic, results.map(|results| results.into_iter().find_map(failed)))?;
        let taken = |state: &TopicState| {
            let shows =
                |(name, value): (&String, &String)| state.config.get(name).is_some_and(|now| now.value == *value);
            changes.iter().all(shows)
        };
        self.shown(&[topic.to_owned()], |states| states.get(topic).is_some_and(taken)).await;
        Ok(())
    }

    /// Deletes topics with all they hold; for tests and for cleaning up after them.
    pub async fn delete(&self, names: &[&str]) -> Result<(), AdminError> {
        let results = self.client.delete_topics(names, &self.options()).await;
        for result in results.map_err(|error| self.unreachable(&error))? {
            if let Err((topic, code)) = result
                && code != RDKafkaErrorCode::UnknownTopicOrPartition
            {
                return Err(self.refused("delete", &topic, code));
            }
        }
        Ok(())
    }

    fn with_metadata<T>(
        &self,
        topic: Option<&str>,
        read: impl FnOnce(&rdkafka::metadata::Metadata) -> T,
    ) -> Result<T, AdminError> {
        metadata(&self.observer, &self.kafka, topic, REQUEST_TIMEOUT)
            .map(|metadata| read(&metadata))
            .map_err(|error| self.unreachable(&error))
    }

    /// Sees to it that the cluster lets this client in, which a request about something else would only time out on.
    pub(super) fn reach(&self) -> Result<(), AdminError> {
        self.with_metadata(None, |_| ())
    }

    pub(super) fn observer(&self) -> &BaseConsumer<Context> {
        &self.observer
    }

    pub(super) fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Takes in what the client has to say about a call that failed.
    pub(super) fn hear_out(&self) {
        hear_out(&self.observer);
    }

    /// What the client reported last, if waiting does not help against it.
    pub(super) fn denied(&self) -> Option<Denied> {
        self.observer.context().diagnostics().denied(&self.kafka)
    }

    fn outcome(
        &self,
        action: &'static str,
        topic: &str,
        result: Result<Option<RDKafkaErrorCode>, KafkaError>,
    ) -> Result<(), AdminError> {
        match result {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(self.refused(action, topic, code)),
            Err(error) => Err(AdminError::Refused { action, topic: topic.to_owned(), cause: self.explain(&error) }),
        }
    }

    fn refused(&self, action: &'static str, topic: &str, code: RDKafkaErrorCode) -> AdminError {
        use RDKafkaErrorCode::{ClusterAuthorizationFailed, TopicAuthorizationFailed};
        if matches!(code, TopicAuthorizationFailed | ClusterAuthorizationFailed) {
            let operation = match action {
                "create" => Operation::Create,
                "delete" => Operation::Delete,
                "alter" => Operation::AlterConfigs,
                "describe" => Operation::DescribeConfigs,
                _ => Operation::Alter,
            };
            return AdminError::Denied(Denied::right(&self.kafka, Right::on(On::Topic, topic, operation)));
        }
        let advice = match code {
            RDKafkaErrorCode::InvalidReplicationFactor => "; lower --replication-factor or add brokers",
            RDKafkaErrorCode::PolicyViolation => {
                "; the cluster's create or alter policy forbids it, see the broker's log"
            }
            RDKafkaErrorCode::InvalidConfig => "; a setting's name or value is not known to this broker",
            _ => "",
        };
        AdminError::Refused { action, topic: topic.to_owned(), cause: format!("{code}{advice}") }
    }

    fn unreachable(&self, error: &KafkaError) -> AdminError {
        let cause = self.explain(error);
        match self.denied() {
            Some(denied) => AdminError::Denied(denied),
            None => AdminError::Unreachable { bootstrap: self.kafka.bootstrap_servers.clone(), cause },
        }
    }

    fn explain(&self, error: &KafkaError) -> String {
        hear_out(&self.observer);
        self.observer.context().diagnostics().explain(error)
    }

    /// Waits until the brokers show what was changed: a change is acknowledged before every broker has heard of it.
    async fn shown(&self, names: &[String], done: impl Fn(&BTreeMap<String, TopicState>) -> bool) {
        for _ in 0..SHOWN_TRIES {
            if self.describe(names).await.is_ok_and(|states| done(&states)) {
                return;
            }
            tokio::time::sleep(SHOWN_PAUSE).await;
        }
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(Timeout::After(REQUEST_TIMEOUT));
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    let new = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
    spec.config.iter().fold(new, |new, (name, value)| new.set(name, value))
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

fn state(topic: &rdkafka::metadata::MetadataTopic) -> TopicState {
    TopicState {
        partitions: count(topic.partitions().len()),
        replication: topic.partitions().first().map_or(0, |partition| count(partition.replicas().len())),
        leaderless: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
        config: BTreeMap::new(),
    }
}

fn setting(entry: ConfigEntry) -> Option<(String, TopicSetting)> {
    let own = entry.source == ConfigSource::DynamicTopic;
    Some((entry.name, TopicSetting { value: entry.value?, own }))
}

fn failed(result: Result<String, (String, RDKafkaErrorCode)>) -> Option<RDKafkaErrorCode> {
    result.err().map(|(_, code)| code)
}
