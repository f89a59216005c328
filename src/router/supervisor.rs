//! Starts the shards, starts a failed one again after a while, and gives up loudly when that does not help.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::holding::Shares;
use super::metrics::RouterMetrics;
use super::outputs::Outputs;
use super::pipeline::{Pipeline, Rules};
use super::placing::Places;
use super::shard::{Shard, ShardEnd};
use super::{Setup, input, output_topics, rules};
use crate::config::{Delay, TableMode};
use crate::kafka::{
    Assignor, ConsumerFault, GroupConsumer, MissingTopics, OwnIds, Settings, Table, TransactionalProducer,
};
use crate::model::Topics;
use crate::suppression::SuppressionList;
use crate::telemetry::clock::steady_now;
use crate::telemetry::health::Condition;
use crate::wire::{Encoders, Records};

/// This many failures within [`WINDOW`] are too many.
const MAX_FAILURES: usize = 10;
/// See [`MAX_FAILURES`].
const WINDOW: Duration = Duration::from_secs(300);
/// The first pause before a shard is started again; doubles with each failure in the window.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long librdkafka gathers records into a batch: a commit waits at most this for the last one.
const LINGER: Duration = Duration::from_millis(5);
/// So many records are looked at ahead of their turn: enough that the memory's answers for all of them take about as long as for
/// one, and few enough that what came is still in the cache when its turn comes.
const AHEAD: usize = 32;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why supervision ended.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A shard's thread cannot be started.
    #[error("cannot start the thread of shard {shard}: {why}")]
    Thread {
        /// Which.
        shard: usize,
        /// The system's words.
        why: std::io::Error,
    },
    /// Starting again does not help.
    #[error("shard {shard} failed {failures} times within {} minutes, last: {last}", WINDOW.as_secs() / 60)]
    GaveUp {
        /// Which.
        shard: usize,
        /// How often.
        failures: usize,
        /// Why.
        last: ShardEnd,
    },
    /// A shard must not be started again.
    #[error("shard {shard} ended for good: {why}")]
    Ended {
        /// Which.
        shard: usize,
        /// Why.
        why: ShardEnd,
    },
}

/// How often something failed lately, and how long to wait before it is tried again.
#[derive(Debug, Default)]
struct Failures(VecDeque<Instant>);

impl Failures {
    /// Notes a failure; the pause before the next try, or `None` when there were too many.
    fn note(&mut self, now: Instant) -> Option<Duration> {
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        let doublings = u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX).min(16);
        (self.0.len() < MAX_FAILURES).then(|| (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE))
    }
}

/// Whether a shard was there before in this process.
enum Life {
    First,
    /// It failed, and is started again after a pause.
    Another(Duration),
}

/// What shards are made from.
struct Plan<'s> {
    setup: &'s Setup,
    topics: &'s Topics,
    table: Table,
    places: Places,
    rules: Arc<Rules>,
    partitions: Arc<Vec<AtomicUsize>>,
    /// By shard.
    ids: Vec<OwnIds>,
    assigned: Condition,
    stop: Arc<AtomicBool>,
}

/// Runs the shards until `setup.stop` is cancelled or they cannot go on.
pub(super) async fn supervise(
    setup: &Setup,
    topics: &Topics,
    table: Table,
    suppressions: SuppressionList,
    places: Places,
    missing: MissingTopics,
    assigned: Condition,
) -> Result<(), SupervisorError> {
    let shards = setup.config.router.shards.max(1);
    let plan = Plan {
        setup,
        topics,
        table,
        places,
        rules: Arc::new(rules(setup, topics, suppressions, missing)),
        partitions: Arc::new((0..shards).map(|_| AtomicUsize::new(0)).collect()),
        ids: (0..shards).map(|_| OwnIds::default()).collect(),
        assigned,
        stop: Arc::new(AtomicBool::new(false)),
    };
    let (ends, mut ended) = mpsc::unbounded_channel();
    let mut running = 0;
    for shard in 0..shards {
        plan.start(shard, Life::First, ends.clone())?;
        running += 1;
    }
    let result = plan.watch(&mut ended, &ends, &mut running).await;
    plan.stop.store(true, Ordering::SeqCst);
    while running > 0 && ended.recv().await.is_some() {
        running -= 1;
    }
    result
}

impl Plan<'_> {
    /// Restarts shards as they end, until told to stop or it is no use.
    async fn watch(
        &self,
        ended: &mut mpsc::UnboundedReceiver<(usize, ShardEnd)>,
        ends: &mpsc::UnboundedSender<(usize, ShardEnd)>,
        running: &mut usize,
    ) -> Result<(), SupervisorError> {
        let mut failures: Vec<Failures> = self.partitions.iter().map(|_| Failures::default()).collect();
        loop {
            let (shard, end) = tokio::select! {
                () = self.setup.stop.cancelled() => return Ok(()),
                Some(end) = ended.recv() => end,
            };
            *running -= 1;
            self.assigned(shard)(0);
            if matches!(end, ShardEnd::Stopped) {
                continue;
            }
            if !end.may_restart() {
                return Err(SupervisorError::Ended { shard, why: end });
            }
            let Some(pause) = failures[shard].note(steady_now()) else {
                return Err(SupervisorError::GaveUp { shard, failures: MAX_FAILURES, last: end });
            };
            tracing::error!(shard, %end, ?pause, "shard failed; it is started again after a pause");
            self.start(shard, Life::Another(pause), ends.clone())?;
            *running += 1;
        }
    }

    fn start(
        &self,
        number: usize,
        life: Life,
        ends: mpsc::UnboundedSender<(usize, ShardEnd)>,
    ) -> Result<(), SupervisorError> {
        let (recipe, pause) = match life {
            Life::First => (self.recipe(number, true), Duration::ZERO),
            Life::Another(pause) => (self.recipe(number, false), pause),
        };
        let stop = Arc::clone(&self.stop);
        std::thread::Builder::new()
            .name(format!("router-{number}"))
            .spawn(move || {
                sleep_unless_stopped(pause, &stop);
                // A shard that panics ends like one that fails; without this nobody would notice.
                let work = std::panic::AssertUnwindSafe(|| recipe().map_or_else(ShardEnd::Consumer, Shard::run));
                let panicked = |_| ShardEnd::Internal("it panicked; the cause was written to stderr".to_owned());
                let end = std::panic::catch_unwind(work).unwrap_or_else(panicked);
                // The supervisor is gone only when the process is ending.
                let _ = ends.send((number, end));
            })
            .map(|_| ())
            .map_err(|why| SupervisorError::Thread { shard: number, why })
    }

    /// How to make a shard, on its own thread.
    fn recipe(
        &self,
        number: usize,
        takes_over: bool,
    ) -> impl FnOnce() -> Result<Shard, ConsumerFault> + Send + 'static {
        let config = Arc::clone(&self.setup.config);
        let (topics, table, rules) = (self.topics.clone(), self.table.clone(), Arc::clone(&self.rules));
        let (clock, schemas, ids) = (self.setup.clock.clone(), Arc::clone(&self.setup.schemas), self.setup.writer_ids);
        let (stop, assigned, places) = (Arc::clone(&self.stop), self.assigned(number), self.places.clone());
        let own_ids = self.ids[number].clone();
        move || {
            let durations = |delays: &[Delay]| delays.iter().map(|delay| delay.0).collect::<Vec<Duration>>();
            let event_tiers = durations(&config.router.tiers);
            let mut inputs = vec![topics.events_pattern(), topics.preferences()];
            inputs.extend(event_tiers.iter().map(|delay| topics.retry_events(*delay)));
            let id = topics.named(&format!("{}-{}-{number}", config.router.group, config.router.instance));
            let consumer = GroupConsumer::subscribe(&Settings {
                kafka: &config.kafka,
                group: &rules.group,
                topics: &inputs,
                name: &id,
                is_static: config.router.static_membership,
                ids: own_ids,
                assignor: match config.router.table {
                    TableMode::Whole => Assignor::CooperativeSticky,
                    TableMode::CoPartitioned => Assignor::Range,
                },
                queue_kib: config.router.queue_kib,
                split: input::is_event_tier,
                tells_ends: false,
                ahead: AHEAD,
            })?;
            let outputs = Outputs::new(output_topics(&config, &topics), Encoders::new(ids));
            let records = Records::new(schemas);
            let metrics = RouterMetrics::default();
            let suppressions = rules.suppressions.clone();
            let missing = rules.missing.clone();
            let pipeline = Pipeline::new(rules, clock.clone(), table.clone(), records, outputs, metrics);
            let (commit_interval, max_records) =
                (config.router.commit_interval.0, config.router.max_transaction_records);
            Ok(Shard {
                number,
                consumer,
                pipeline,
                table,
                suppressions,
                shares: Shares::new(config.router.hold_share_percent, config.router.hold_window.0),
                connect: Box::new(move || TransactionalProducer::connect(&config.kafka, &id, LINGER, missing.clone())),
                takes_over,
                places,
                commit_interval,
                max_records,
                clock,
                metrics: RouterMetrics::default(),
                assigned,
                stop,
            })
        }
    }

    /// What a shard calls with the number of its partitions: ready once any shard has one.
    fn assigned(&self, number: usize) -> Arc<dyn Fn(usize) + Send + Sync> {
        let (partitions, condition) = (Arc::clone(&self.partitions), self.assigned.clone());
        Arc::new(move |count| {
            partitions[number].store(count, Ordering::SeqCst);
            if partitions.iter().any(|count| count.load(Ordering::SeqCst) > 0) {
                condition.ready();
            } else {
                condition.not_ready("no partition is assigned");
            }
        })
    }
}

fn sleep_unless_stopped(pause: Duration, stop: &AtomicBool) {
    let until = steady_now() + pause;
    while steady_now() < until && !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20).min(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_too_many_failures_in_the_window_are_the_end() {
        let (mut failures, start) = (Failures::default(), steady_now());
        let pauses: Vec<_> = (0..10).map(|n| failures.note(start + Duration::from_secs(n))).collect();
        assert_eq!(pauses[..3], [Some(FIRST_PAUSE), Some(FIRST_PAUSE * 2), Some(FIRST_PAUSE * 4)]);
        assert_eq!(pauses[8], Some(LONGEST_PAUSE));
        assert_eq!(pauses[9], None);
    }

    #[test]
    fn old_failures_are_forgotten() {
        let (mut failures, start) = (Failures::default(), steady_now());
        for n in 0..9 {
            failures.note(start + Duration::from_secs(n));
        }
        assert_eq!(failures.note(start + WINDOW + Duration::from_secs(20)), Some(FIRST_PAUSE));
    }
}
