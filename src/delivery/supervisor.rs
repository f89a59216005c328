//! Starts one worker for each channel, starts a failed one again after a while, and gives up loudly when that does
//! not help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::breaker::{self, Storm};
use super::bucket::Rate;
use super::calls::Calls;
use super::clerk::{Clerk, Rules};
use super::committer::Committer;
use super::desk::{Desk, Terms};
use super::outputs::Destinations;
use super::providers::Rank;
use super::recall::Recall;
use super::retry::Backoff;
use super::status::Status;
use super::worker::{Times, Worker, WorkerEnd};
use super::{ChannelConditions, Setup};
use crate::channel::{Provider, Providers, Templates};
use crate::config::{self, Config, Delay};
use crate::decide::Zones;
use crate::kafka::{Assignor, GroupConsumer, LagWatch, OwnIds, Settings, Table};
use crate::model::{Channel, Topics};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::{Clock, steady_now};
use crate::telemetry::health::Condition;
use crate::wire::{Encoders, Records, SchemaSource, WriterIds};

/// This many failures in a row are too many.
const MAX_FAILURES: u32 = 10;
/// A worker that ran for so long is well: what failed before does not count any more.
const WELL_AFTER: Duration = Duration::from_secs(300);
/// The first pause before a worker is started again; doubles with each failure that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// librdkafka's bound on prefetched records of a worker, in KiB.
const QUEUE_KIB: u32 = 16_384;

/// Why a channel's worker ended for good.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Its thread cannot be started.
    #[error("cannot start the thread of channel {channel}: {why}")]
    Thread {
        /// Which.
        channel: Channel,
        /// The system's words.
        why: std::io::Error,
    },
    /// Starting again does not help, or must not be tried.
    #[error("delivery by {channel} ended: {why}")]
    Ended {
        /// Which.
        channel: Channel,
        /// Why.
        why: WorkerEnd,
    },
}

/// Everything that workers of one channel are made from, again and again.
struct Recipe {
    config: Arc<Config>,
    providers: Providers,
    templates: Arc<Templates>,
    rules: Arc<Rules>,
    schemas: Arc<dyn SchemaSource>,
    writer_ids: WriterIds,
    table: Table,
    clock: Clock,
    runtime: Handle,
    partitions: Condition,
    halted: Condition,
    ids: OwnIds,
    stop: Arc<AtomicBool>,
}

/// Where a channel's records go, from the configuration.
pub(super) fn destinations(config: &Config, channel: Channel) -> Destinations {
    let topics = Topics::new(&config.kafka.topic_prefix);
    Destinations {
        group: topics.named(&format!("{}-{}", config.delivery.group, channel)),
        channel,
        tiers: durations(&config.delivery.tiers),
        topics,
    }
}

/// Runs a worker for each channel until `setup.stop` is cancelled or one of them cannot go on.
pub(super) async fn supervise(
    setup: &Setup,
    table: &Table,
    suppressions: &SuppressionList,
    conditions: &[ChannelConditions],
) -> Result<(), SupervisorError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let mut running = 0;
    let mut lags = Vec::new();
    for (providers, conditions) in setup.channels.iter().zip(conditions) {
        let recipe = recipe(setup, providers, (table, suppressions), conditions, &stop);
        let destinations = recipe.rules.destinations.clone();
        let inputs = destinations.inputs();
        let reads = move |topic: &str| inputs.iter().any(|input| input == topic);
        lags.push(LagWatch::start(&setup.config.kafka, &destinations.group, reads));
        start(recipe, ends.clone())?;
        running += 1;
    }
    let first = tokio::select! {
        () = setup.stop.cancelled() => None,
        Some(end) = ended.recv() => {
            running -= 1;
            Some(end)
        }
    };
    stop.store(true, Ordering::SeqCst);
    let mut result = first.map_or(Ok(()), into_result);
    while running > 0 {
        let Some(end) = ended.recv().await else { break };
        running -= 1;
        result = result.and(into_result(end));
    }
    // Joins a thread that may be asking a broker.
    let _ = tokio::task::spawn_blocking(move || drop(lags)).await;
    result
}

type End = (Channel, WorkerEnd);

fn into_result((channel, why): End) -> Result<(), SupervisorError> {
    match why {
        WorkerEnd::Stopped => Ok(()),
        why => Err(SupervisorError::Ended { channel, why }),
    }
}

fn recipe(
    setup: &Setup,
    providers: &Providers,
    (table, suppressions): (&Table, &SuppressionList),
    conditions: &ChannelConditions,
    stop: &Arc<AtomicBool>,
) -> Recipe {
    let delivery = &setup.config.delivery;
    let rules = Rules {
        policy: setup.policy.clone(),
        zones: Zones::load(),
        suppressions: suppressions.clone(),
        receipts: setup.config.receipts.enabled,
        backoff: Backoff { steps: durations(&delivery.backoff), jitter_percent: delivery.jitter_percent },
        destinations: destinations(&setup.config, providers.channel),
        providers: providers.clone(),
        allow_recipients: delivery.allow_recipients.clone(),
        disable_after: delivery.disable_after.map(|after| after.0),
    };
    Recipe {
        config: Arc::clone(&setup.config),
        providers: providers.clone(),
        templates: Arc::clone(&setup.templates),
        rules: Arc::new(rules),
        schemas: Arc::clone(&setup.schemas),
        writer_ids: setup.writer_ids,
        table: table.clone(),
        clock: setup.clock.clone(),
        runtime: Handle::current(),
        partitions: conditions.partitions.clone(),
        halted: conditions.halted.clone(),
        ids: OwnIds::default(),
        stop: Arc::clone(stop),
    }
}

fn start(recipe: Recipe, ends: tokio::sync::mpsc::UnboundedSender<End>) -> Result<(), SupervisorError> {
    let channel = recipe.providers.channel;
    std::thread::Builder::new()
        .name(format!("deliver-{channel}"))
        .spawn(move || {
            let running = std::panic::AssertUnwindSafe(|| keep_running(&recipe));
            let end = std::panic::catch_unwind(running).unwrap_or(WorkerEnd::Panicked);
            // The supervisor is gone only when the process is ending.
            let _ = ends.send((channel, end));
        })
        .map(|_| ())
        .map_err(|why| SupervisorError::Thread { channel, why })
}

/// Runs workers one after the other until told to stop or it is no use.
fn keep_running(recipe: &Recipe) -> WorkerEnd {
    let mut failures = 0;
    loop {
        let began = steady_now();
        // The first of a process takes its id over from whoever had it, which is what a replacement is for.
        let end = match recipe.worker(failures == 0) {
            Ok(worker) => worker.run(),
            Err(end) => end,
        };
        recipe.partitions.not_ready("the worker is not running");
        failures = if began.elapsed() >= WELL_AFTER { 1 } else { failures + 1 };
        if !end.may_restart() || failures >= MAX_FAILURES || recipe.stop.load(Ordering::SeqCst) {
            return end;
        }
        let pause = pause_after(failures);
        tracing::error!(channel = %recipe.providers.channel, %end, ?pause, "delivery failed; it is started again after a pause");
        sleep_unless_stopped(steady_now() + pause, &recipe.stop);
    }
}

fn pause_after(failures: u32) -> Duration {
    (FIRST_PAUSE * 2u32.pow(failures.saturating_sub(1).min(10))).min(LONGEST_PAUSE)
}

fn sleep_unless_stopped(until: Instant, stop: &AtomicBool) {
    while steady_now() < until && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Recipe {
    fn worker(&self, takes_over: bool) -> Result<Worker, WorkerEnd> {
        let delivery = &self.config.delivery;
        let destinations = self.rules.destinations.clone();
        let id = format!("{}-{}", destinations.group, delivery.instance);
        let committer = Committer::new(&self.config.kafka, &id, takes_over);
        let consumer = GroupConsumer::subscribe(&Settings {
            kafka: &self.config.kafka,
            group: &destinations.group,
            topics: &destinations.inputs(),
            name: &id,
            is_static: delivery.static_membership,
            ids: self.ids.clone(),
            assignor: Assignor::Range,
            queue_kib: QUEUE_KIB,
            split: |_| true,
            tells_ends: false,
            ahead: 1,
        })?;
        let (sender, reports) = mpsc::channel();
        let records = Records::new(Arc::clone(&self.schemas));
        Ok(Worker {
            consumer,
            committer,
            desk: Desk::new(delivery.max_in_flight, &self.terms(), per_recipient(delivery)),
            clerk: Clerk::new(
                Arc::clone(&self.rules),
                self.table.clone(),
                records.clone(),
                Encoders::new(self.writer_ids),
                self.clock.clone(),
            ),
            kafka: self.config.kafka.clone(),
            recall: Recall::new(&self.config.kafka, destinations.clone(), records.clone()),
            calls: Calls::new(
                self.runtime.clone(),
                self.providers.clone(),
                Arc::clone(&self.templates),
                records,
                sender,
            ),
            reports,
            destinations,
            table: self.table.clone(),
            suppressions: self.rules.suppressions.clone(),
            clock: self.clock.clone(),
            times: Times {
                commit_interval: delivery.commit_interval.0,
                // What has room beside the calls under way.
                commit_records: (delivery.max_in_flight / 2).max(1),
                grace: delivery.grace.0,
            },
            status: Status::new(&self.providers, self.partitions.clone(), self.halted.clone()),
            stop: Arc::clone(&self.stop),
        })
    }
}

impl Recipe {
    fn terms(&self) -> Vec<Terms> {
        let delivery = &self.config.delivery;
        let storm = Storm {
            window: delivery.breaker.window.0,
            share_percent: delivery.breaker.share_percent,
            at_least: delivery.breaker.at_least,
        };
        let terms = |provider: &Provider| Terms {
            rank: Rank { priority: provider.priority, weight: provider.weight },
            breaker: breaker::Settings {
                pause: delivery.halt_pause.0,
                storm: provider.by.is_shared().then_some(storm),
            },
            rate: provider.limit.map(|limit| {
                Rate::new(limit.per_second, Duration::from_secs(1), limit.burst.unwrap_or(limit.per_second))
            }),
        };
        self.providers.all.iter().map(terms).collect()
    }
}

fn per_recipient(delivery: &config::Delivery) -> Option<Rate> {
    delivery.recipient_limit.map(|limit| Rate::new(limit.count, limit.per.0, limit.burst.unwrap_or(limit.count)))
}

fn durations(delays: &[Delay]) -> Vec<Duration> {
    delays.iter().map(|delay| delay.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<Duration> = (1..=9).map(pause_after).collect();
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[8], LONGEST_PAUSE);
    }

    #[test]
    fn a_worker_that_was_told_to_stop_is_no_failure() {
        let channel = Channel::Email;
        assert!(into_result((channel, WorkerEnd::Stopped)).is_ok());
        let error =
            into_result((channel, WorkerEnd::Table("the preferences table failed: gone".to_owned()))).unwrap_err();
        assert_eq!(error.to_string(), "delivery by email ended: the preferences table failed: gone");
    }
}
