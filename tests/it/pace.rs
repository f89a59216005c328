//! How fast delivery uses a provider that is slow, and what dead endpoints cost the others: a measurement, and the two
//! bounds that are asked of it. Of one partition, since concurrency is by recipient and not by partition.
//!
//! `NOTILOG_TEST_ROUNDS=3 dev/test --test it pace:: -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use notilog::channel::{Message, Verdict};
use notilog::kafka::partition_of;
use notilog::model::Reason;
use notilog::telemetry::metrics;
use notilog::wire::RecordType;

use crate::delivery::{FAST, Someone, person_at, policy};
use crate::providers::{Begun, Scripted, all_until, sent};
use crate::support::{PARTITIONS, PATIENCE, World};

const IN_FLIGHT: usize = 128;
const LATENCY: Duration = Duration::from_millis(200);
const RECIPIENTS: usize = 1_000;
/// Notifications of each.
const EACH: usize = 5;
/// How long a dead endpoint lets us wait before it fails.
const DEADLY: Duration = Duration::from_secs(1);
/// Of the recipients, in the second run of a round.
const DEAD: usize = 10;

/// What one run came to.
#[derive(Debug, Clone, Copy)]
struct Run {
    calls: usize,
    per_second: f64,
    /// Transactions a second, and how long one took in the middle.
    commits: f64,
    commit: Duration,
    /// Between two calls of a recipient who is not dead.
    p50: Duration,
    p99: Duration,
}

impl Run {
    /// The part of what the latency allows.
    fn share(&self) -> f64 {
        self.per_second / (count(IN_FLIGHT) / LATENCY.as_secs_f64())
    }

    fn print(&self, name: &str) {
        let Run { calls, per_second, commits, commit, p50, p99 } = self;
        let share = self.share();
        println!(
            "| {name} | {calls} | {per_second:.0} | {share:.2} | {commits:.0} | {commit:.0?} | {p50:.2?} | {p99:.2?} |"
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn count(count: usize) -> f64 {
    count as f64
}

/// The transactions of delivery in this process so far, and the seconds they took.
fn commits() -> (f64, f64) {
    let text = metrics::install().unwrap().render();
    let of = |name: &str| {
        let line = format!("notilog_commit_seconds_{name}{{role=\"deliver\"}} ");
        text.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0.0)
    };
    (of("count"), of("sum"))
}

/// One partition's recipients.
fn of_one_partition(count: usize) -> Vec<Someone> {
    let on_first = |someone: &Someone| {
        let key = format!("default/{}", someone.user);
        partition_of(key.as_bytes(), PARTITIONS) == 0
    };
    std::iter::repeat_with(Someone::new).filter(on_first).take(count).collect()
}

/// A provider that keeps the `gone` waiting and then fails, and counts what it took.
fn provider(gone: BTreeSet<String>) -> (Arc<Scripted>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let busy = Verdict::Retry { reason: Reason::ProviderBusy, after: None };
    let dead = gone.clone();
    let latency = move |message: &Message| if dead.contains(&message.event.user_id) { DEADLY } else { LATENCY };
    let answer = move |_, message: &Message| {
        if gone.contains(&message.event.user_id) {
            return busy.clone();
        }
        counter.fetch_add(1, Ordering::SeqCst);
        sent()
    };
    (Scripted::slow(latency, answer), taken)
}

async fn measure(dead: usize) -> Run {
    let world = World::new("pace", FAST).await;
    let world = world.with_config(|config| {
        config.delivery.max_in_flight = IN_FLIGHT;
        // A dead endpoint is no storm here: what it costs the others is what is asked.
        config.delivery.breaker.at_least = u32::MAX;
    });
    let people = of_one_partition(RECIPIENTS);
    let gone: BTreeSet<String> = people.iter().take(dead).map(|someone| someone.user.clone()).collect();
    let (provider, taken) = provider(gone.clone());
    world.preferences(people.iter().map(|someone| person_at(someone, &someone.address)).collect()).await;
    let events: Vec<String> = (0..EACH).map(|event| format!("e-{event}")).collect();
    let items = events.iter().flat_map(|event| people.iter().map(move |someone| (someone, event)));
    let items = items.map(|(someone, event)| someone.item(&world, someone.outbound(event))).collect();
    world.produce(RecordType::Outbound, items).await;

    let before = commits();
    let delivery = world.deliver(policy(), provider.providers(None)).await.unwrap();
    let (wanted, deadline) = ((RECIPIENTS - dead) * EACH, Instant::now() + PATIENCE * 4);
    // Not by reading statuses: that would take from the machine what is measured.
    while taken.load(Ordering::SeqCst) < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted}", taken.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = commits();
    let last = Instant::now();
    all_until(&world, "SENT", wanted).await;
    delivery.stop().await.unwrap();
    let begun = provider.begun.lock();
    assert_eq!(taken.load(Ordering::SeqCst), wanted, "each once");
    judge(&begun, &gone, &events, last, (after.0 - before.0, after.1 - before.1))
}

/// The order of each recipient's calls holds; how long they took.
fn judge(begun: &[Begun], gone: &BTreeSet<String>, events: &[String], last: Instant, commits: (f64, f64)) -> Run {
    let mut by_user: BTreeMap<&str, Vec<(&str, Instant)>> = BTreeMap::new();
    for (user, event, at) in begun.iter().filter(|(user, _, _)| !gone.contains(user)) {
        by_user.entry(user).or_default().push((event, *at));
    }
    for (user, calls) in &by_user {
        assert!(calls.iter().map(|(event, _)| *event).eq(events.iter().map(String::as_str)), "order of {user}");
    }
    let mut gaps: Vec<Duration> =
        by_user.values().flat_map(|calls| calls.windows(2).map(|pair| pair[1].1 - pair[0].1)).collect();
    gaps.sort();
    let within: Vec<Instant> = begun.iter().map(|call| call.2).filter(|at| *at + LATENCY <= last).collect();
    let (first, end) = (*within.iter().min().unwrap(), *within.iter().max().unwrap() + LATENCY);
    let took = (end - first).as_secs_f64();
    Run {
        calls: within.len(),
        per_second: count(within.len()) / took,
        commits: commits.0 / took,
        commit: Duration::from_secs_f64(commits.1 / commits.0.max(1.0)),
        p50: gaps[gaps.len() / 2],
        p99: gaps[gaps.len() * 99 / 100],
    }
}

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; takes a minute for each three rounds, and wants a machine to itself"]
async fn a_slow_provider_is_used_to_the_full_and_dead_endpoints_slow_nobody_else() {
    let rounds = std::env::var("NOTILOG_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let ideal = count(IN_FLIGHT) / LATENCY.as_secs_f64();
    println!("at most {IN_FLIGHT} calls at once of {LATENCY:?} each: {ideal:.0} calls/s");
    println!("| run | calls | calls/s | of that | commits/s | one commit | p50 of a recipient's next | p99 |");
    println!("|---|---|---|---|---|---|---|---|");
    let (mut shares, mut ratios) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let alone = measure(0).await;
        alone.print(&format!("{round}, all well"));
        let beside = measure(DEAD).await;
        beside.print(&format!("{round}, {DEAD} dead"));
        shares.push(alone.share());
        ratios.push(beside.p99.as_secs_f64() / alone.p99.as_secs_f64());
    }
    let (share, ratio) = (median(shares), median(ratios));
    println!(
        "medians of {rounds} rounds: {share:.2} of what is possible; p99 beside {DEAD} dead is {ratio:.2} of without"
    );
    assert!(share >= 0.9, "{share}");
    assert!(ratio <= 1.1, "{ratio}");
}
