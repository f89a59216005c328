//! The router: shards that join events with preferences and write what follows in one transaction.
//!
//! [`run`] restores the preferences table, keeps the policy bundle in `notify.policies`, starts the shards and
//! supervises them. What a shard does is in `shard.rs`; what follows from one record in `pipeline.rs`.

mod batch;
mod holding;
mod input;
mod metrics;
mod outputs;
mod pace;
mod pipeline;
mod placing;
mod register;
mod shard;
mod standing;
mod supervisor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Config, Delay, TableMode};
use crate::decide::Zones;
use crate::join::{Held, PreferencesTable};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::producer::{Outgoing, ProduceError, Producer};
use crate::kafka::reader::{self, ReadError};
use crate::kafka::rights::RightsWatch;
use crate::kafka::{LagWatch, MissingTopics, Table, TableError, TableSettings, TableState};
use crate::model::{Channel, Policy, Role, Topics};
use crate::policy;
use crate::suppression::{self, SuppressionList};
use crate::telemetry::clock::Clock;
use crate::telemetry::health::{Condition, Readiness};
use crate::wire::{SchemaSource, WriterIds};
use placing::Places;
use register::Register;

/// One record's way through the router without a shard around it. Public for `benches/micro` alone, which measures it
/// as it is instead of a copy.
pub mod parts {
    pub use super::input::Input;
    pub use super::metrics::RouterMetrics;
    pub use super::outputs::{OutputTopics, Outputs};
    pub use super::pipeline::{Pipeline, Rules};
}

pub use standing::{Restart, When};
pub use supervisor::SupervisorError;

/// What the router needs from outside.
pub struct Setup {
    /// All of the configuration.
    pub config: Arc<Config>,
    /// The operator's rules.
    pub policy: Policy,
    /// Where writers' schemas come from.
    pub schemas: Arc<dyn SchemaSource>,
    /// The ids to write with.
    pub writer_ids: WriterIds,
    /// Where the process's preferences table is.
    pub preferences: PreferencesTable,
    /// Time.
    pub clock: Clock,
    /// Where to go on in inputs whose place is lost, when an operator says so.
    pub restart: Restart,
    /// Told how far the router is.
    pub readiness: Readiness,
    /// Cancelled to stop.
    pub stop: CancellationToken,
}

/// Why the router ended.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// Topics that it writes or reads do not exist.
    #[error("these topics do not exist: {}; run `notilog topics apply`", .0.join(", "))]
    TopicsMissing(Vec<String>),
    /// The table cannot be held in part.
    #[error(
        "router.table = \"co-partitioned\" needs as many partitions in every topic of events as `{table}` has ({partitions}): \
         {}; give them as many, or set router.table = \"whole\"",
        .others.iter().map(|(topic, count)| format!("`{topic}` has {count}")).collect::<Vec<_>>().join(", ")
    )]
    NotCoPartitioned {
        /// The preferences topic.
        table: String,
        /// How many partitions that one has.
        partitions: i32,
        /// The topics that have fewer or more.
        others: Vec<(String, i32)>,
    },
    /// Kafka cannot be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The policy bundle cannot be looked up.
    #[error("reading the policy bundle: {0}")]
    ReadPolicy(#[from] ReadError),
    /// The policy bundle cannot be kept.
    #[error("keeping the policy bundle: {0}")]
    KeepPolicy(#[from] ProduceError),
    /// A table cannot be started.
    #[error(transparent)]
    StartTable(#[from] TableError),
    /// A table cannot be read.
    #[error("the table of {topic} cannot be read: {why}")]
    Table {
        /// Its topic.
        topic: String,
        /// Why.
        why: String,
    },
    /// The suppression list cannot be started.
    #[error(transparent)]
    StartSuppressions(#[from] suppression::StartError),
    /// The suppression list cannot be read.
    #[error("the suppression list cannot be read: {0}")]
    Suppressions(String),
    /// The shards ended.
    #[error(transparent)]
    Shards(#[from] SupervisorError),
}

/// Routes until `setup.stop` is cancelled.
///
/// # Errors
/// [`RouterError`] when it cannot start, or its shards keep failing.
pub fn run(setup: Setup) -> impl Future<Output = Result<(), RouterError>> {
    // Now, and not when first polled: nobody may take the process for ready in between.
    let restored = setup.readiness.condition("router: preferences table");
    let listed = setup.readiness.condition("router: suppression list");
    let known = setup.readiness.condition("router: what is known of the inputs");
    let assigned = setup.readiness.condition("router: partitions");
    route(setup, Conditions { restored, listed, known, assigned })
}

/// What has to hold before events are routed.
struct Conditions {
    restored: Condition,
    listed: Condition,
    known: Condition,
    assigned: Condition,
}

async fn route(setup: Setup, conditions: Conditions) -> Result<(), RouterError> {
    let topics = Topics::new(&setup.config.kafka.topic_prefix);
    let rights = RightsWatch::start(Role::Router, &setup.config, &setup.config.topics.channels, &setup.stop).await?;
    let setup = Setup { stop: rights.stop(), ..setup };
    // Tables are restored while the cluster is asked: that is most of what a start takes.
    let held = match setup.config.router.table {
        TableMode::Whole => setup.preferences.hold(&setup.config, &setup.clock, &conditions.restored)?,
        TableMode::CoPartitioned => setup.preferences.hold_part(&setup.config, &setup.clock, &conditions.restored)?,
    };
    let (suppressions, list_guard) =
        SuppressionList::start(&setup.config.kafka, &setup.config.suppressions, setup.clock.clone())?;
    let settings = TableSettings::new(topics.inputs(), "notify.inputs", setup.clock.clone());
    let inputs = Held::start(&setup.config.kafka, settings, &conditions.known)?;
    let missing = match prepare(&setup, &topics).await {
        Ok(missing) => missing,
        Err(error) => {
            tokio::join!(held.release(), inputs.release());
            return Err(error);
        }
    };
    let restored = restored(&[(&inputs, topics.inputs()), (&held, topics.preferences())], &setup.stop).await;
    let live = match restored {
        Ok(true) => list(&suppressions, &conditions.listed, &setup.stop).await,
        other => other,
    };
    if !matches!(live, Ok(true)) {
        tokio::join!(held.release(), inputs.release());
        rights.end(live.is_err()).await?;
        return live.map(|_| ());
    }
    let places = places(&setup, &topics, inputs.table.clone()).await?;
    let _lag = watch_lag(&setup.config, &topics);
    let ended =
        supervisor::supervise(&setup, &topics, held.table.clone(), suppressions, places, missing, conditions.assigned)
            .await;
    tokio::join!(held.release(), inputs.release());
    // Joins the list's thread.
    let _ = tokio::task::spawn_blocking(move || drop(list_guard)).await;
    // What a client was refused, said with the right's name, goes before how that ended the shards.
    rights.end(ended.is_err()).await?;
    Ok(ended?)
}

/// See [`check_topics`]; and the policy bundle is kept.
async fn prepare(setup: &Setup, topics: &Topics) -> Result<MissingTopics, RouterError> {
    let missing = check_topics(&setup.config, topics).await?;
    keep_policy(&setup.config, topics, &setup.policy).await?;
    Ok(missing)
}

/// Every topic that the router cannot do without is there; returns those of channels that are not. An event for such a
/// channel becomes a dead letter.
async fn check_topics(config: &Config, topics: &Topics) -> Result<MissingTopics, RouterError> {
    let durations = |delays: &[Delay]| delays.iter().map(|delay| delay.0).collect::<Vec<Duration>>();
    let mut needed = needed_topics(topics, &durations(&config.router.tiers));
    if config.suppressions.key.is_some() {
        needed.push(topics.suppressions());
    }
    let present = Admin::new(&config.kafka)?.list(topics.prefix()).await?;
    let missing: Vec<String> = needed.into_iter().filter(|topic| !present.contains_key(topic)).collect();
    if !missing.is_empty() {
        return Err(RouterError::TopicsMissing(missing));
    }
    if config.router.table == TableMode::CoPartitioned {
        check_partitions(topics, &present)?;
    }
    let (names, absent) = (output_topics(config, topics), MissingTopics::default());
    for channel in Channel::ALL {
        let lacking: Vec<&str> = names.of(*channel).filter(|topic| !present.contains_key(*topic)).collect();
        lacking.iter().for_each(|topic| absent.note(topic));
        if !lacking.is_empty() && config.topics.channels.contains(channel) {
            tracing::warn!(
                topics = lacking.join(", "),
                "these topics do not exist: what would go there is a dead letter; run `notilog topics apply`"
            );
        }
    }
    Ok(absent)
}

/// Every topic of events has as many partitions as the preferences, so that one key is in the same partition of each.
fn check_partitions(topics: &Topics, present: &BTreeMap<String, i32>) -> Result<(), RouterError> {
    let (table, events, tiers) = (topics.preferences(), topics.events_prefix(), topics.named("notify.retry.events."));
    let partitions = present.get(&table).copied().unwrap_or(0);
    let is_input = |topic: &str| topic.starts_with(&events) || topic.starts_with(&tiers);
    let others: Vec<(String, i32)> = present
        .iter()
        .filter(|(topic, count)| is_input(topic) && **count != partitions)
        .map(|(topic, count)| (topic.clone(), *count))
        .collect();
    if others.is_empty() { Ok(()) } else { Err(RouterError::NotCoPartitioned { table, partitions, others }) }
}

/// Where outputs go.
fn output_topics(config: &Config, topics: &Topics) -> outputs::OutputTopics {
    let durations = |delays: &[Delay]| delays.iter().map(|delay| delay.0).collect::<Vec<Duration>>();
    outputs::OutputTopics::new(topics, &durations(&config.delivery.tiers), &durations(&config.router.tiers))
}

fn needed_topics(topics: &Topics, event_tiers: &[Duration]) -> Vec<String> {
    let mut needed = vec![
        topics.preferences(),
        topics.policies(),
        topics.inputs(),
        topics.audit(),
        topics.decisions(),
        topics.dlq_events(),
        topics.dlq_preferences(),
    ];
    needed.extend(event_tiers.iter().map(|delay| topics.retry_events(*delay)));
    needed
}

/// Keeps the bundle under its hash, unless it is there: `explain` finds every version ever in use.
async fn keep_policy(config: &Arc<Config>, topics: &Topics, policy: &Policy) -> Result<(), RouterError> {
    let (topic, version, kafka) = (topics.policies(), policy.version.clone(), config.kafka.clone());
    let key = version.clone();
    let (asked, name) = (kafka.clone(), topic.clone());
    let found = tokio::task::spawn_blocking(move || look_up(&asked, &name, key.as_bytes())).await;
    if let Ok(found) = found
        && found?.is_some_and(|record| record.value.is_some())
    {
        return Ok(());
    }
    let bundle = policy::bundle_json(policy);
    let record = Outgoing {
        topic: &topic,
        key: Some(version.as_bytes()),
        value: Some(bundle.as_bytes()),
        ..Outgoing::default()
    };
    Producer::new(&kafka)?.send(record).await?;
    tracing::info!(version, "policy bundle kept");
    Ok(())
}

/// The bundle's record, if there is one. A topic that was only just created may be without a leader for a moment.
fn look_up(kafka: &crate::config::Kafka, topic: &str, key: &[u8]) -> Result<Option<reader::Record>, ReadError> {
    for _ in 0..10 {
        match reader::latest_of_key(kafka, topic, key) {
            Ok(found) => return Ok(found),
            Err(error) => tracing::debug!(%error, "looking the policy bundle up again"),
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    reader::latest_of_key(kafka, topic, key)
}

/// What shards need to find out where partitions begin.
async fn places(setup: &Setup, topics: &Topics, table: Table) -> Result<Places, RouterError> {
    let (kafka, topic) = (setup.config.kafka.clone(), topics.inputs());
    let asked = topic.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let admin = Admin::new(&kafka)?;
        let mut ids = admin.topic_ids(std::slice::from_ref(&asked))?;
        Ok::<_, AdminError>((admin, ids.remove(&asked).unwrap_or_default()))
    });
    let (admin, id) = asking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    if !setup.restart.is_empty() {
        tracing::warn!(
            "--from is given: it counts for every place that is lost from now on, leave it out again when the router runs"
        );
    }
    let kafka = Arc::new(setup.config.kafka.clone());
    Ok(Places {
        register: Register { topic: topic.into(), id: id.into(), table, kafka },
        admin: Arc::new(admin),
        restart: Arc::new(setup.restart.clone()),
        prefix: topics.prefix().into(),
        decisions: topics.decisions().into(),
        audit: topics.audit().into(),
        clock: setup.clock.clone(),
    })
}

/// Waits until these tables of topics are restored; false when stopped before.
async fn restored(tables: &[(&Held, String)], stop: &CancellationToken) -> Result<bool, RouterError> {
    for (held, topic) in tables {
        let failed = |why| RouterError::Table { topic: topic.clone(), why };
        if !held.restored(stop).await.map_err(failed)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until the suppression list is restored, if there is one; false when stopped before.
async fn list(
    suppressions: &SuppressionList,
    listed: &Condition,
    stop: &CancellationToken,
) -> Result<bool, RouterError> {
    loop {
        match suppressions.state() {
            TableState::Live { .. } => break,
            TableState::Failed(why) => return Err(RouterError::Suppressions(why)),
            TableState::Restoring { done, total } => {
                listed.not_ready(format!("{done} of at most {total} records read"));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    if let Some(table) = suppressions.table() {
        tracing::info!(addresses = table.rows(), "suppression list restored");
    }
    listed.ready();
    Ok(true)
}

/// Shows how far the group is behind.
fn watch_lag(config: &Config, topics: &Topics) -> LagWatch {
    let (events, tiers) = (topics.events_prefix(), topics.named("notify.retry.events."));
    let preferences = topics.preferences();
    let reads = move |topic: &str| topic.starts_with(&events) || topic.starts_with(&tiers) || topic == preferences;
    LagWatch::start(&config.kafka, &topics.named(&config.router.group), reads)
}

/// Rules that all shards share.
fn rules(setup: &Setup, topics: &Topics, suppressions: SuppressionList, missing: MissingTopics) -> pipeline::Rules {
    pipeline::Rules {
        suppressions,
        policy: setup.policy.clone(),
        sources: setup.config.source_rules(),
        zones: Zones::load(),
        grace: setup.config.router.recipient_grace.0,
        missing,
        group: topics.named(&setup.config.router.group),
        prefix: topics.prefix().to_owned(),
    }
}
