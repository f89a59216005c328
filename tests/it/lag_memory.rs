//! A measurement, not a check of every day: how much memory a router takes while it works through a long lag.
//!
//! `NOTILOG_LAG=2000000 NOTILOG_SECONDS=120 cargo test --test it lag_memory -- --ignored --nocapture`

use std::time::{Duration, Instant};

use crate::support::{World, person, script};

const USERS: usize = 1_000;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[ignore = "takes minutes; a measurement"]
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_lag() {
    let (lag, seconds) = (number("NOTILOG_LAG", 200_000), number("NOTILOG_SECONDS", 60));
    let queue_kib = 8_192;
    let world = World::new("memory", &format!("router.queue_kib = {queue_kib}")).await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let numbers = [0, lag, USERS, 1_000_000].map(|number| number.to_string());
    let topic = world.topics.events("shop");
    let arguments = ["load", topic.as_str(), &numbers[0], &numbers[1], &numbers[2], &numbers[3]];
    script("client.py", &arguments, String::new()).await;
    let mut router = world.program(&["router"]);
    world.wait_for_log("begins for the first time", 1).await;
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(seconds as u64) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(router.ended().is_none(), "{}", world.log());
        samples.push(resident(router.id()));
        println!("after {:3} s: {} KiB resident", begun.elapsed().as_secs(), samples.last().unwrap());
    }
    let routed = world.count(&[world.topics.decisions()]).await;
    let most = samples.iter().max().unwrap();
    println!("lag {lag}, routed {routed}, queue_kib {queue_kib}, most {most} KiB");
    // Prefetched input, the producer's queue, and what a process of this size takes anyway.
    let bound = queue_kib * 2 + 65_536 * 2 + 200_000;
    assert!(*most < bound, "{most} KiB are more than the bound of {bound} KiB");
}
