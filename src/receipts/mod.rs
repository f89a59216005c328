//! Receipts: what providers say became of messages that they took, as statuses.
//!
//! Whichever way a receipt comes in ([`http`], [`mailbox`], a provider's own connection), it first becomes a record of
//! `notify.receipts.inbox`, and only then is it acknowledged. From there on everything is within transactions: a worker
//! looks its message up in `notify.receipts`, writes the status, the message's new state and, for a hard bounce or a
//! complaint, an entry of the suppression list. A receipt that comes before its message is known waits in tiers.
//!
//! Fallback chains are driven here too: what may follow a notification lies in `notify.receipts` under the notification's
//! own id, its time is a receipt that waits in the tiers, and whoever owns the partition of that key alone decides.
//!
//! | module | is |
//! |---|---|
//! | `judge` | what a receipt comes to; pure |
//! | `chain` | whether what follows a notification is written; pure |
//! | `clerk`, `follow`, `book` | what is written, and what is known of messages |
//! | `worker` | the order of things with Kafka |
//! | `intake` | from any way in to the inbox |
//! | [`http`], [`mailbox`], `connection` | ways in |

mod book;
mod chain;
mod clerk;
mod connection;
mod follow;
pub mod http;
mod intake;
mod judge;
pub mod mailbox;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::kafka::admin::{Admin, AdminError};
use crate::kafka::producer::ProduceError;
use crate::kafka::rights::RightsWatch;
use crate::kafka::{
    Assignor, GroupConsumer, LagWatch, MissingTopics, OwnIds, Settings, Table, TableError, TableSettings, TableState,
    TransactionalProducer,
};
use crate::model::{Channel, Role, Topics};
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::health::{Condition, Readiness};
use crate::wire::{Encoders, Records, SchemaSource, WriterIds};
use book::Book;
use clerk::{Clerk, Rules};
use worker::Worker;

pub use intake::{Intake, Received};
pub use worker::WorkerEnd;

/// This many failures in a row are too many.
const MAX_FAILURES: u32 = 10;
/// A worker that ran for so long is well.
const WELL_AFTER: Duration = Duration::from_secs(300);
/// The first pause before a worker is started again; doubles with each failure that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long librdkafka gathers records into a batch.
const LINGER: Duration = Duration::from_millis(2);
/// librdkafka's bound on prefetched records, in KiB.
const QUEUE_KIB: u32 = 16_384;

/// What the role needs from outside.
pub struct Setup {
    /// All of the configuration.
    pub config: Arc<Config>,
    /// Where writers' schemas come from.
    pub schemas: Arc<dyn SchemaSource>,
    /// The ids to write with.
    pub writer_ids: WriterIds,
    /// Time.
    pub clock: Clock,
    /// Told how far the role is.
    pub readiness: Readiness,
    /// Cancelled to stop.
    pub stop: CancellationToken,
}

/// Why the role ended.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptsError {
    /// Delivery does not say which messages it sent.
    #[error("receipts are switched off: set receipts.enabled for this role and for delivery")]
    Disabled,
    /// Topics that it reads or writes do not exist.
    #[error("these topics do not exist: {}; run `notilog topics apply`", .0.join(", "))]
    TopicsMissing(Vec<String>),
    /// Topics do not belong together.
    #[error(
        "`{topic}` has {found} partitions and `{inbox}` has {expected}: a message's receipts would be with different workers; run `notilog topics plan`"
    )]
    PartitionsDiffer {
        /// The topic that differs.
        topic: String,
        /// Its partitions.
        found: i32,
        /// The inbox.
        inbox: String,
        /// The inbox's partitions.
        expected: i32,
    },
    /// Kafka cannot be asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The table cannot be started.
    #[error(transparent)]
    StartTable(#[from] TableError),
    /// The inbox cannot be written to.
    #[error(transparent)]
    Producer(#[from] ProduceError),
    /// Receipts cannot be taken by HTTP.
    #[error(transparent)]
    Http(#[from] http::HttpError),
    /// The worker ended.
    #[error("receipts ended: {0}")]
    Worker(WorkerEnd),
    /// The worker's thread cannot be started.
    #[error("cannot start the thread of receipts: {0}")]
    Thread(std::io::Error),
}

/// Takes receipts until `setup.stop` is cancelled.
///
/// # Errors
/// [`ReceiptsError`] when it cannot start, or its worker keeps failing.
pub fn run(setup: Setup) -> impl Future<Output = Result<(), ReceiptsError>> + Send {
    // Now, and not when first polled: nobody may take the process for ready in between.
    let table = setup.readiness.condition("receipts: messages");
    let partitions = setup.readiness.condition("receipts: partitions");
    take(setup, table, partitions)
}

async fn take(setup: Setup, restored: Condition, partitions: Condition) -> Result<(), ReceiptsError> {
    if !setup.config.receipts.enabled {
        return Err(ReceiptsError::Disabled);
    }
    let topics = Topics::new(&setup.config.kafka.topic_prefix);
    let rights = RightsWatch::start(Role::Receipts, &setup.config, &setup.config.topics.channels, &setup.stop).await?;
    let setup = Setup { stop: rights.stop(), ..setup };
    check_topics(&setup.config, &topics).await?;
    let settings = TableSettings::new(topics.receipts(), "notify.receipts", setup.clock.clone());
    let (table, guard) = Table::start(&setup.config.kafka, settings)?;
    let ended = with_table(&setup, &topics, table, &restored, partitions).await;
    // Joins the table's threads.
    let _ = tokio::task::spawn_blocking(move || drop(guard)).await;
    rights.end(ended.is_err()).await?;
    ended
}

async fn with_table(
    setup: &Setup,
    topics: &Topics,
    table: Table,
    restored: &Condition,
    partitions: Condition,
) -> Result<(), ReceiptsError> {
    loop {
        match table.state() {
            TableState::Live { .. } => break,
            TableState::Failed(why) => return Err(ReceiptsError::Worker(WorkerEnd::Table(why))),
            TableState::Restoring { done, total } => {
                restored.not_ready(format!("{done} of at most {total} records read"));
            }
        }
        tokio::select! {
            () = setup.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    tracing::info!(messages = table.rows(), bytes = table.bytes(), "sent messages restored");
    restored.ready();
    let intake = Intake::open(&setup.config.kafka, setup.writer_ids, setup.clock.clone())?;
    let server = http::serve(&setup.config.receipts, intake.clone(), setup.stop.clone()).await?;
    let mailboxes = mailbox::watch(&setup.config.receipts, &intake, &setup.stop);
    let result = supervise(setup, topics, table, partitions).await;
    if let Some(server) = server {
        server.ended().await;
    }
    for mailbox in mailboxes {
        mailbox.abort();
    }
    result
}

/// What is read together: the inbox and its tiers.
fn family(config: &Config, topics: &Topics) -> Vec<String> {
    let tiers = config.receipts.tiers.iter().map(|delay| topics.receipts_tier(delay.0));
    std::iter::once(topics.receipts_inbox()).chain(tiers).collect()
}

/// What is read: besides, what users have read in the app.
fn inputs(config: &Config, topics: &Topics) -> Vec<String> {
    let marks = config.topics.channels.contains(&Channel::Inbox).then(|| topics.inbox());
    family(config, topics).into_iter().chain(marks).collect()
}

async fn check_topics(config: &Config, topics: &Topics) -> Result<(), ReceiptsError> {
    let family = family(config, topics);
    let mut needed = vec![topics.receipts(), topics.delivery_status(), topics.suppressions(), topics.dlq_receipts()];
    needed.extend(inputs(config, topics));
    let present = Admin::new(&config.kafka)?.list(topics.prefix()).await?;
    let missing: Vec<String> = needed.into_iter().filter(|topic| !present.contains_key(topic)).collect();
    if !missing.is_empty() {
        return Err(ReceiptsError::TopicsMissing(missing));
    }
    equal_partitions(&family, &present)
}

/// One worker owns the same partition number of the inbox and its tiers.
fn equal_partitions(inputs: &[String], present: &BTreeMap<String, i32>) -> Result<(), ReceiptsError> {
    let count = |topic: &String| present.get(topic).copied().unwrap_or(0);
    let Some(inbox) = inputs.first() else { return Ok(()) };
    match inputs.iter().find(|topic| count(topic) != count(inbox)) {
        None => Ok(()),
        Some(topic) => Err(ReceiptsError::PartitionsDiffer {
            topic: topic.clone(),
            found: count(topic),
            inbox: inbox.clone(),
            expected: count(inbox),
        }),
    }
}

/// Everything that workers are made from, again and again.
struct Recipe {
    config: Arc<Config>,
    topics: Topics,
    table: Table,
    schemas: Arc<dyn SchemaSource>,
    writer_ids: WriterIds,
    clock: Clock,
    assigned: Condition,
    ids: OwnIds,
    stop: Arc<AtomicBool>,
}

/// Runs a worker on a thread of its own until told to stop, or it is no use.
async fn supervise(setup: &Setup, topics: &Topics, table: Table, assigned: Condition) -> Result<(), ReceiptsError> {
    let group = topics.named(&setup.config.receipts.group);
    let read = inputs(&setup.config, topics);
    let lag = LagWatch::start(&setup.config.kafka, &group, move |topic: &str| read.iter().any(|input| input == topic));
    let stop = Arc::new(AtomicBool::new(false));
    let recipe = Recipe {
        config: Arc::clone(&setup.config),
        topics: topics.clone(),
        table,
        schemas: Arc::clone(&setup.schemas),
        writer_ids: setup.writer_ids,
        clock: setup.clock.clone(),
        assigned,
        ids: OwnIds::default(),
        stop: Arc::clone(&stop),
    };
    let (sender, mut ended) = tokio::sync::mpsc::channel(1);
    std::thread::Builder::new()
        .name("receipts".to_owned())
        .spawn(move || {
            let running = std::panic::AssertUnwindSafe(|| recipe.keep_running());
            let end = std::panic::catch_unwind(running).unwrap_or(WorkerEnd::Panicked);
            // The supervisor is gone only when the process is ending.
            let _ = sender.blocking_send(end);
        })
        .map_err(ReceiptsError::Thread)?;
    let end = tokio::select! {
        () = setup.stop.cancelled() => {
            stop.store(true, Ordering::SeqCst);
            ended.recv().await
        }
        end = ended.recv() => end,
    };
    let _ = tokio::task::spawn_blocking(move || drop(lag)).await;
    match end {
        Some(WorkerEnd::Stopped) | None => Ok(()),
        Some(end) => Err(ReceiptsError::Worker(end)),
    }
}

impl Recipe {
    fn keep_running(&self) -> WorkerEnd {
        let mut failures = 0u32;
        loop {
            let began = steady_now();
            // The first of a process takes its id over from whoever had it, which is what a replacement is for.
            let end = match self.worker(failures == 0) {
                Ok(worker) => worker.run(),
                Err(end) => end,
            };
            self.assigned.not_ready("the worker is not running");
            failures = if began.elapsed() >= WELL_AFTER { 1 } else { failures + 1 };
            if !end.may_restart() || failures >= MAX_FAILURES || self.stop.load(Ordering::SeqCst) {
                return end;
            }
            let pause = (FIRST_PAUSE * 2u32.pow(failures.saturating_sub(1).min(10))).min(LONGEST_PAUSE);
            tracing::error!(%end, ?pause, "receipts failed; they are started again after a pause");
            sleep_unless_stopped(steady_now() + pause, &self.stop);
        }
    }

    fn worker(&self, takes_over: bool) -> Result<Worker, WorkerEnd> {
        let settings = &self.config.receipts;
        let group = self.topics.named(&settings.group);
        let id = format!("{group}-{}", settings.instance);
        let consumer = GroupConsumer::subscribe(&Settings {
            kafka: &self.config.kafka,
            group: &group,
            topics: &inputs(&self.config, &self.topics),
            name: &id,
            is_static: false,
            ids: self.ids.clone(),
            assignor: Assignor::Range,
            queue_kib: QUEUE_KIB,
            split: |_| true,
            tells_ends: true,
            ahead: 1,
        })?;
        let rules = Rules {
            topics: self.topics.clone(),
            group,
            tiers: settings.tiers.iter().map(|delay| delay.0).collect(),
            patience: settings.patience.0,
        };
        let (config, missing) = (Arc::clone(&self.config), MissingTopics::default());
        let connect = move || TransactionalProducer::connect(&config.kafka, &id, LINGER, missing.clone());
        Ok(Worker {
            consumer,
            takes_over,
            connect: Box::new(connect),
            clerk: Clerk::new(
                rules,
                Records::new(Arc::clone(&self.schemas)),
                Encoders::new(self.writer_ids),
                self.clock.clone(),
                Book::new(self.table.clone()),
            ),
            table: self.table.clone(),
            commit_interval: settings.commit_interval.0,
            clock: self.clock.clone(),
            assigned: self.assigned.clone(),
            stop: Arc::clone(&self.stop),
        })
    }
}

fn sleep_unless_stopped(until: Instant, stop: &AtomicBool) {
    while steady_now() < until && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_that_differs_is_named() {
        let inputs = ["notify.receipts.inbox", "notify.receipts.retry.10s"].map(str::to_owned);
        let mut present: BTreeMap<String, i32> = inputs.iter().map(|topic| (topic.clone(), 6)).collect();
        assert!(equal_partitions(&inputs, &present).is_ok());
        present.insert(inputs[1].clone(), 3);
        let error = equal_partitions(&inputs, &present).unwrap_err().to_string();
        assert!(error.contains("`notify.receipts.retry.10s` has 3 partitions"), "{error}");
    }
}
