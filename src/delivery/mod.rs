//! Delivery: workers that hand outbound records to channels, and write down what came of it.
//!
//! [`run`] restores the preferences table and runs one worker for each channel. A worker's thread (`worker`) does
//! nothing but order the steps; everything that can be decided without Kafka is in modules of its own:
//!
//! | module | decides |
//! |---|---|
//! | `progress`, `ledger` | what is done, what is committed, what is still to be written |
//! | `lanes`, `desk` | whose turn it is |
//! | `providers` | which of a channel's providers a message goes to |
//! | `breaker`, `bucket` | whether a provider may be called |
//! | `wake` | whether a record is due, and still wanted |
//! | `order` | who waits for whom, in categories of strict order |
//! | `collapse` | whether a later one of its collapse key overtook it |
//! | `retry`, `outcome` | what follows an attempt |
//! | `outputs` | the records that say so |
//! | `fallback` | what a conclusion means for what follows the notification |
//! | `aftermath` | what else follows: a suppressed address |
//!
//! Invariant: a provider is called at most once for a record while its partition is owned; a crash repeats at most
//! the calls that were started and not yet committed, under the same idempotency key.

mod aftermath;
mod breaker;
mod bucket;
mod calls;
mod clerk;
mod collapse;
mod committer;
mod desk;
mod failing;
mod fallback;
mod lanes;
mod ledger;
mod order;
mod outcome;
mod outputs;
mod progress;
mod providers;
mod quotas;
mod recall;
mod retry;
#[cfg(test)]
mod samples;
mod status;
mod supervisor;
mod wake;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::channel::{Providers, Templates};
use crate::config::{Config, Mode};
use crate::join::{Held, PreferencesTable};
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::rights::RightsWatch;
use crate::kafka::{TableError, TableState};
use crate::model::{Channel, Policy, Role, Topics};
use crate::suppression::{self, SuppressionList};
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::health::{Condition, Readiness};
use crate::wire::{SchemaSource, WriterIds};
use outputs::Destinations;

pub use supervisor::SupervisorError;
pub use worker::WorkerEnd;

/// How often a provider is asked whether it can be reached.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How long topics may be missing at the start before that is an error.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);

/// What delivery needs from outside.
pub struct Setup {
    /// All of the configuration.
    pub config: Arc<Config>,
    /// The operator's rules.
    pub policy: Policy,
    /// The channels to deliver by; one worker each.
    pub channels: Vec<Providers>,
    /// What notifications say.
    pub templates: Arc<Templates>,
    /// Where writers' schemas come from.
    pub schemas: Arc<dyn SchemaSource>,
    /// The ids to write with.
    pub writer_ids: WriterIds,
    /// Where the process's preferences table is.
    pub preferences: PreferencesTable,
    /// Time.
    pub clock: Clock,
    /// Told how far delivery is.
    pub readiness: Readiness,
    /// Cancelled to stop.
    pub stop: CancellationToken,
}

/// Why delivery ended.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// There is nothing to deliver by.
    #[error("no channel is configured; add a section `[channels.<name>]` to notilog.toml")]
    NoChannel,
    /// Topics that it reads or writes do not exist.
    #[error("these topics do not exist: {}; run `notilog topics apply`", .0.join(", "))]
    TopicsMissing(Vec<String>),
    /// The topics of a channel do not belong together.
    #[error(
        "`{topic}` has {found} partitions and `{main}` has {expected}: a recipient's records would be with different \
         workers; run `notilog topics plan`"
    )]
    PartitionsDiffer {
        /// The topic that differs.
        topic: String,
        /// Its partitions.
        found: i32,
        /// The channel's main topic.
        main: String,
        /// The main topic's partitions.
        expected: i32,
    },
    /// Kafka cannot be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The preferences table cannot be started.
    #[error(transparent)]
    StartTable(#[from] TableError),
    /// A table cannot be read.
    #[error("the {what} cannot be read: {why}")]
    Table {
        /// Which.
        what: &'static str,
        /// The table's words.
        why: String,
    },
    /// The suppression list cannot be started.
    #[error(transparent)]
    StartSuppressions(#[from] suppression::StartError),
    /// A worker ended.
    #[error(transparent)]
    Workers(#[from] SupervisorError),
}

/// What has to hold before delivery is ready. All of it is registered before anything is done, so that no process
/// looks ready because nobody has asked yet.
struct Conditions {
    table: Condition,
    suppressions: Condition,
    channels: Vec<ChannelConditions>,
}

struct ChannelConditions {
    provider: Condition,
    partitions: Condition,
    halted: Condition,
}

impl Conditions {
    fn register(setup: &Setup) -> Self {
        let of = |providers: &Providers| {
            let condition = |what: &str| setup.readiness.condition(format!("deliver {}: {what}", providers.channel));
            ChannelConditions {
                provider: condition("provider"),
                partitions: condition("partitions"),
                halted: condition("not halted"),
            }
        };
        Conditions {
            table: setup.readiness.condition("deliver: preferences table"),
            suppressions: setup.readiness.condition("deliver: suppression list"),
            channels: setup.channels.iter().map(of).collect(),
        }
    }
}

/// Delivers until `setup.stop` is cancelled. Must be awaited on a multi-threaded runtime: calls run on it.
///
/// # Errors
/// [`DeliveryError`] when it cannot start, or a worker keeps failing.
pub fn run(setup: Setup) -> impl Future<Output = Result<(), DeliveryError>> + Send {
    let conditions = Conditions::register(&setup);
    deliver(setup, conditions)
}

async fn deliver(setup: Setup, conditions: Conditions) -> Result<(), DeliveryError> {
    if setup.channels.is_empty() {
        return Err(DeliveryError::NoChannel);
    }
    let topics = Topics::new(&setup.config.kafka.topic_prefix);
    let channels: Vec<_> = setup.channels.iter().map(|providers| providers.channel).collect();
    let rights = RightsWatch::start(Role::Deliver, &setup.config, &channels, &setup.stop).await?;
    let setup = Setup { stop: rights.stop(), ..setup };
    check_topics(&setup, &topics).await?;
    let held = setup.preferences.hold(&setup.config, &setup.clock, &conditions.table)?;
    let (suppressions, list_guard) =
        SuppressionList::start(&setup.config.kafka, &setup.config.suppressions, setup.clock.clone())?;
    let restored = restored(&held, &suppressions, &conditions, &setup.stop).await;
    if !matches!(restored, Ok(true)) {
        held.release().await;
        rights.end(restored.is_err()).await?;
        return restored.map(|_| ());
    }
    let watched = setup.channels.iter().zip(&conditions.channels);
    let checks: Vec<_> = watched
        .map(|(providers, conditions)| tokio::spawn(watch(providers.clone(), conditions.provider.clone())))
        .collect();
    let ended = supervisor::supervise(&setup, &held.table, &suppressions, &conditions.channels).await;
    for check in checks {
        check.abort();
    }
    held.release().await;
    // Joins the list's thread.
    let _ = tokio::task::spawn_blocking(move || drop(list_guard)).await;
    // What a client was refused, said with the right's name, goes before how that ended the workers.
    rights.end(ended.is_err()).await?;
    Ok(ended?)
}

/// Everything that is read and written must be there, and the topics of a channel belong together. A topic that was
/// just created may be unknown to a broker for a moment.
async fn check_topics(setup: &Setup, topics: &Topics) -> Result<(), DeliveryError> {
    let admin = Admin::new(&setup.config.kafka)?;
    let deadline = steady_now() + TOPIC_PATIENCE;
    loop {
        match check_present(setup, topics, &admin.list(topics.prefix()).await?) {
            Err(DeliveryError::TopicsMissing(_)) if steady_now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            checked => return checked,
        }
    }
}

fn check_present(setup: &Setup, topics: &Topics, present: &BTreeMap<String, i32>) -> Result<(), DeliveryError> {
    let all: Vec<Destinations> =
        setup.channels.iter().map(|providers| supervisor::destinations(&setup.config, providers.channel)).collect();
    let mut needed = vec![topics.preferences(), topics.delivery_status()];
    if setup.config.suppressions.key.is_some() {
        needed.push(topics.suppressions());
    }
    if setup.config.receipts.enabled {
        needed.push(topics.receipts());
        needed.extend(
            all.iter().any(|destinations| destinations.channel == Channel::Sms).then(|| topics.receipts_inbox()),
        );
    }
    for destinations in &all {
        needed.extend((destinations.channel == Channel::Inbox).then(|| topics.inbox()));
        needed.extend(destinations.inputs());
        needed.push(destinations.grave());
        needed.extend(setup.policy.any_strict().then(|| topics.lanes(destinations.channel)));
    }
    let missing: Vec<String> = needed.into_iter().filter(|topic| !present.contains_key(topic)).collect();
    if !missing.is_empty() {
        return Err(DeliveryError::TopicsMissing(missing));
    }
    all.iter().try_for_each(|destinations| {
        let mut together = destinations.inputs();
        together.extend(setup.policy.any_strict().then(|| topics.lanes(destinations.channel)));
        check_partitions(&together, present)
    })
}

/// All topics of a channel that belong together have as many partitions as the first of them.
fn check_partitions(inputs: &[String], present: &BTreeMap<String, i32>) -> Result<(), DeliveryError> {
    let count = |topic: &String| present.get(topic).copied().unwrap_or(0);
    let Some(main) = inputs.first() else { return Ok(()) };
    match inputs.iter().find(|topic| count(topic) != count(main)) {
        None => Ok(()),
        Some(topic) => Err(DeliveryError::PartitionsDiffer {
            topic: topic.clone(),
            found: count(topic),
            main: main.clone(),
            expected: count(main),
        }),
    }
}

/// Waits until table and list are restored; false when stopped before.
async fn restored(
    held: &Held,
    suppressions: &SuppressionList,
    conditions: &Conditions,
    stop: &CancellationToken,
) -> Result<bool, DeliveryError> {
    let failed = |why| DeliveryError::Table { what: "preferences table", why };
    if !held.restored(stop).await.map_err(failed)? {
        return Ok(false);
    }
    restore("suppression list", || suppressions.state(), &conditions.suppressions, stop).await
}

/// Waits until a table is restored; false when stopped before.
async fn restore(
    what: &'static str,
    state: impl Fn() -> TableState,
    restored: &Condition,
    stop: &CancellationToken,
) -> Result<bool, DeliveryError> {
    loop {
        match state() {
            TableState::Live { .. } => break,
            TableState::Failed(why) => return Err(DeliveryError::Table { what, why }),
            TableState::Restoring { done, total } => {
                restored.not_ready(format!("{done} of at most {total} records read"));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    tracing::info!(what, "restored");
    restored.ready();
    Ok(true)
}

/// Asks a channel's providers now and then whether they can be reached, and says so in readiness: one is enough. What is
/// a customer's own makes no process unready.
async fn watch(providers: Providers, condition: Condition) {
    loop {
        let mut unreachable = Vec::new();
        for provider in providers.all.iter().filter(|provider| provider.mode == Mode::Live) {
            if let Err(why) = provider.by.check().await {
                tracing::warn!(channel = %providers.channel, provider = %provider.name, why, "the provider cannot be reached");
                unreachable.extend(provider.by.is_shared().then_some(why));
            }
        }
        if unreachable.len() < providers.all.len() {
            condition.ready();
        } else {
            condition.not_ready(unreachable.join("; "));
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> Vec<String> {
        ["notify.outbound.email", "notify.outbound.email.urgent"].map(str::to_owned).to_vec()
    }

    #[test]
    fn topics_of_a_channel_have_equal_partitions() {
        let present = inputs().into_iter().map(|topic| (topic, 6)).collect();
        assert!(check_partitions(&inputs(), &present).is_ok());
    }

    #[test]
    fn the_topic_that_differs_is_named() {
        let mut present: BTreeMap<String, i32> = inputs().into_iter().map(|topic| (topic, 6)).collect();
        present.insert("notify.outbound.email.urgent".to_owned(), 3);
        let error = check_partitions(&inputs(), &present).unwrap_err().to_string();
        assert!(error.contains("`notify.outbound.email.urgent` has 3 partitions"), "{error}");
        assert!(error.contains("topics plan"), "{error}");
    }
}
