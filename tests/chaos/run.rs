//! One run: lives, events, load and judge side by side, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::Arguments;
use crate::proxy::{Fault, Proxy};
use crate::scene::{Brokers, FAULTS, Process, Scene, Start, on_pass};
use crate::schedule::{Event, Fate, Life, Schedule};

/// Each so manieth event makes a transaction fail; a prime, so that they are of many recipients and partitions.
const POISON: usize = 1_499;
/// After so many events some are written that are aborted.
const GHOSTS: usize = 500;

/// A point that was not reached within this after the process got partitions: it is killed all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(6);

/// How long a process may take to get partitions before its life goes on regardless.
const ASSIGNMENT: Duration = Duration::from_secs(15);

/// A request that was held comes this much later.
const LATE: Duration = Duration::from_secs(2);

/// What happened, for the table at the end.
#[derive(Default)]
struct Tally {
    kills: BTreeMap<String, usize>,
    others: BTreeMap<String, usize>,
    /// Processes that ended otherwise than they were made to, with their last words.
    surprises: Vec<String>,
}

impl Tally {
    fn kill(&mut self, how: impl Into<String>) {
        *self.kills.entry(how.into()).or_default() += 1;
    }

    fn other(&mut self, what: impl Into<String>) {
        *self.others.entry(what.into()).or_default() += 1;
    }
}

struct Run {
    scene: Scene,
    proxy: Proxy,
    shards: usize,
    until: Instant,
    tally: Mutex<Tally>,
}

/// Runs a schedule; true when the judge found nothing.
pub async fn run(arguments: &Arguments, seed: u64, schedule: Schedule) -> bool {
    let scene = Scene::new("chaos", Brokers::Faults).await;
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let (watch, load) = (scene.watch(), scene.load(arguments.rate, &[("poison", POISON), ("ghosts", GHOSTS)]));
    let began = Instant::now();
    let until = began + Duration::from_secs(arguments.seconds);
    let run = Arc::new(Run { scene, proxy, shards: arguments.shards, until, tally: Mutex::default() });
    let hash = schedule.hash();
    let mut tasks = JoinSet::new();
    for (number, lives) in schedule.lives.into_iter().enumerate() {
        let run = Arc::clone(&run);
        tasks.spawn(async move { run.live(number, &lives).await });
    }
    let events = Arc::clone(&run);
    tasks.spawn(async move { events.happen(began, &schedule.events).await });
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    run.proxy.heal();
    run.proxy.forget_held();
    let events = load.finish().await;
    println!("{events} events are written; the routers go on undisturbed");
    // Not as static members: where one was killed in the middle of a rebalance, partitions may be without an owner
    // until the next one (docs/guarantees.md).
    let start = |number| run.scene.router(&run.start(number, false));
    let routers: Vec<Process> = (0..arguments.processes).map(start).collect();
    let verdict = watch.verdict(events, POISON).await;
    let well = run.report(&verdict, began.elapsed());
    println!("seed {seed}, schedule {hash}: {}", if well { "nothing lost, nothing double" } else { "FAILED" });
    if !well {
        println!("logs of the processes: {}", run.scene.keep());
    }
    drop(routers);
    well
}

impl Run {
    fn start(&self, number: usize, is_static: bool) -> Start {
        Start::instance(number)
            .through(self.proxy.bootstrap())
            .with(&format!("router.shards = {}\nrouter.static_membership = {is_static}", self.shards))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// One life after the other.
    async fn live(&self, number: usize, lives: &[Life]) {
        for life in lives {
            if self.is_over() {
                return;
            }
            let start = self.start(number, life.is_static);
            match life.fate {
                Fate::KilledAt { point, pass, soon } => {
                    let action = if soon { "return(kill-soon)" } else { "return(kill)" };
                    let start = start.at(point, &on_pass(pass, action));
                    self.until_killed(self.scene.router(&start), life.fate, LONGEST_LIFE).await;
                }
                Fate::Killed { after } => {
                    let process = self.assigned(self.scene.router(&start)).await;
                    tokio::time::sleep(after).await;
                    self.kill(process, life.fate.to_string());
                }
                Fate::Stopped { after, span } => {
                    let process = self.assigned(self.scene.router(&start)).await;
                    tokio::time::sleep(after).await;
                    process.try_signal("STOP");
                    tokio::time::sleep(span).await;
                    process.try_signal("CONT");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    self.kill(process, life.fate.to_string());
                }
                Fate::Told { after } => {
                    let mut process = self.assigned(self.scene.router(&start)).await;
                    tokio::time::sleep(after).await;
                    process.try_signal("TERM");
                    self.tally.lock().other("SIGTERM");
                    if process.end_within(Duration::from_secs(30)).await.is_none() {
                        self.surprise(&mut process, "does not end after SIGTERM");
                        self.kill(process, "no end after SIGTERM");
                    } else {
                        self.look(&mut process);
                    }
                }
            }
        }
    }

    /// Waits for the kill that the process was told of at its start.
    async fn until_killed(&self, process: Process, fate: Fate, patience: Duration) {
        let mut process = self.assigned(process).await;
        if process.end_within(patience).await.is_none() {
            return self.kill(process, format!("at any time ({fate} did not come)"));
        }
        if process.was_killed() {
            self.tally.lock().kill(fate.to_string());
        } else {
            self.look(&mut process);
        }
    }

    fn kill(&self, mut process: Process, how: impl Into<String>) {
        if process.ended().is_some() {
            return self.look(&mut process);
        }
        process.kill();
        self.tally.lock().kill(how);
    }

    /// A process that ended by itself, though nobody asked it to.
    fn look(&self, process: &mut Process) {
        let Some(status) = process.ended() else { return };
        if !status.success() && !process.was_killed() {
            self.surprise(process, &status.to_string());
        }
    }

    fn surprise(&self, process: &mut Process, what: &str) {
        let log = process.log();
        let last = log.lines().rev().find(|line| line.contains("error") || line.contains("ERROR")).unwrap_or_default();
        let mut tally = self.tally.lock();
        tally.other("ended by itself");
        tally.surprises.push(format!("{what}: {last}"));
    }

    async fn assigned(&self, mut process: Process) -> Process {
        let deadline = Instant::now() + ASSIGNMENT;
        while !process.log().contains("assigned") && process.ended().is_none() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process
    }

    /// What happens to all, when it is due.
    async fn happen(&self, began: Instant, events: &[(Duration, Event)]) {
        for (at, event) in events {
            tokio::time::sleep_until((began + *at).into()).await;
            match *event {
                Event::Network { api, fault, times } => {
                    self.tally.lock().other(format!("{api:?} {fault:?}"));
                    self.proxy.fail(api, times, fault, |request| request.client.starts_with("notilog"));
                    if matches!(fault, Fault::Hold | Fault::HoldAndClose) {
                        tokio::time::sleep(LATE).await;
                        self.proxy.release_all().await;
                    }
                }
                Event::Broker { back } => {
                    self.tally.lock().other("broker killed");
                    self.scene.brokers.services("kill", &["faults_kafka"]).await;
                    tokio::time::sleep(back).await;
                    self.scene.brokers.services("up", &[]).await;
                }
            }
        }
    }

    /// Prints what happened; true when the judge found nothing.
    fn report(&self, verdict: &Value, took: Duration) -> bool {
        let tally = self.tally.lock();
        println!("\nSIGKILL                                  times");
        for (how, times) in &tally.kills {
            println!("  {how:<38} {times:>5}");
        }
        println!("  {:<38} {:>5}", "in all", tally.kills.values().sum::<usize>());
        println!("other faults");
        for (what, times) in &tally.others {
            println!("  {what:<38} {times:>5}");
        }
        for surprise in &tally.surprises {
            println!("  ended by itself: {surprise}");
        }
        println!("\nthe judge, after {} s:\n{verdict}", took.as_secs());
        FAULTS.iter().all(|fault| verdict[*fault] == 0) && !tally.kills.is_empty()
    }
}
