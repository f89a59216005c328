//! How fast the preferences table is there again, against a real Kafka and registry (`dev/services up`):
//!
//! 1. restored from its topic, beside a bare librdkafka consumer that only counts the same records;
//! 2. begun with its snapshot;
//! 3. `notilog router` as a process, from its start to the first decision that a reader sees.
//!
//! Rounds of all three kinds take turns, medians are compared. `cargo bench --bench table -- --records 1000000 --rounds 5
//! --json FILE`.
//!
//! With `--sizes 10000,1000000` it asks nobody, and measures what tables of these sizes hold and how fast they answer.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and is told of the services by the environment")]

mod measure;
mod sizes;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use notilog::kafka::table::Origin;
use serde_json::json;

use measure::Restored;
use world::World;

/// As in `notilog`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Options {
    records: u64,
    rounds: usize,
    json: Option<PathBuf>,
    sizes: Vec<usize>,
    /// Of the table that this process fills, and says what came of it.
    rows: Option<usize>,
}

fn options() -> Options {
    let mut options = Options { records: 1_000_000, rounds: 5, json: None, sizes: Vec::new(), rows: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--records" => options.records = value().parse().unwrap(),
            "--rounds" => options.rounds = value().parse().unwrap(),
            "--json" => options.json = Some(PathBuf::from(value())),
            "--sizes" => options.sizes = value().split(',').map(|size| size.parse().unwrap()).collect(),
            "--rows" => options.rows = Some(value().parse().unwrap()),
            // Cargo's own.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    options
}

fn main() {
    let options = options();
    if let Some(rows) = options.rows {
        return sizes::one(rows);
    }
    if !options.sizes.is_empty() {
        return sizes::all(&options.sizes, options.rounds, options.json.as_deref());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(restores(options));
}

async fn restores(options: Options) {
    let world = World::new().await;
    let produced = tokio::task::block_in_place(|| world.produce_preferences(options.records));
    println!("{} preferences, {:.0} B each with key", options.records, ratio(produced, options.records));

    tokio::task::block_in_place(|| world.keep_snapshot());
    let (mut bare, mut topic, mut snapshot, mut memory) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..options.rounds {
        bare.push(measure::bare(&world, options.records));
        let restored = measure::table(&world, false);
        assert_eq!((restored.rows, restored.origin), (options.records, Origin::Topic));
        (memory, _) = (restored.memory, topic.push(restored.took));
        let Restored { took, rows, origin, .. } = measure::table(&world, true);
        assert!(rows == options.records && matches!(origin, Origin::Snapshot { .. }), "{rows} rows, {origin:?}");
        snapshot.push(took);
    }

    let mut router = world.router();
    world.wait_until_all_is_checked();
    router.stop();
    let mut starts = Vec::new();
    for round in 0..options.rounds {
        starts.push(measure::first_decision(&world, round).await);
    }
    report(&options, produced, memory, [bare, topic, snapshot], starts);
}

fn report(
    options: &Options,
    bytes: u64,
    memory: u64,
    [bare, topic, snapshot]: [Vec<Duration>; 3],
    starts: Vec<Duration>,
) {
    let rates = |times: &[Duration]| times.iter().map(|took| rate(options.records, *took)).collect::<Vec<f64>>();
    let (bare, topic, snapshot) = (rates(&bare), rates(&topic), rates(&snapshot));
    let seconds: Vec<f64> = starts.iter().map(Duration::as_secs_f64).collect();
    println!("\nrecords per second      {}      median", "round ".repeat(options.rounds));
    for (what, rates) in [("bare consumer", &bare), ("table, topic", &topic), ("table, snapshot", &snapshot)] {
        let all: Vec<String> = rates.iter().map(|rate| format!("{rate:>9.0}")).collect();
        println!("{what:<16} {} {:>11.0}", all.join(" "), median(rates));
    }
    let (from_topic, from_snapshot) = (median(&topic) / median(&bare), median(&snapshot) / median(&bare));
    let allowed = bytes + 48 * options.records;
    println!("\nfrom the topic      {from_topic:.2} x the bare consumer's rate (to reach: 0.8)");
    println!("from a snapshot     {from_snapshot:.2} x the bare consumer's rate (to reach: 5)");
    println!(
        "first decision      {:.2} s after the start of the process, median; {:.2} s the slowest (to reach: 2)",
        median(&seconds),
        seconds.iter().fold(0.0, |slowest: f64, one| slowest.max(*one)),
    );
    println!("memory              {:.3} x (bytes + 48 B a key) (to reach: 1.1)", ratio(memory, allowed));
    let json = json!({
        "records": options.records, "bytes": bytes, "memory": memory,
        "rates": { "bare": bare, "topic": topic, "snapshot": snapshot },
        "ratios": { "topic": from_topic, "snapshot": from_snapshot, "memory": ratio(memory, allowed) },
        "first_decision_seconds": seconds,
    });
    match &options.json {
        Some(path) => std::fs::write(path, format!("{json:#}\n")).unwrap(),
        None => println!("\n{json}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

fn rate(records: u64, took: Duration) -> f64 {
    ratio(records, 1) / took.as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}
