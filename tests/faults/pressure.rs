//! Case 9: a broker that is slow to write, and a long queue behind it: memory is bounded by configuration, not by lag.

use std::time::Duration;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Scene, Start, assert_exactly_once};

/// `NOTILOG_LAG` and `NOTILOG_SECONDS` make a longer measurement of it.
const LAG: usize = 20_000;
const SECONDS: usize = 24;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// What may come on top, between the first and the second half of the time that is watched: an allocator's slack.
const SLACK_KIB: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn case_09_a_slow_broker_and_much_lag_do_not_let_memory_grow() {
    let scene = Scene::new("pressure", Brokers::Shared).await;
    let watch = scene.watch();
    let (lag, seconds) = (number("NOTILOG_LAG", LAG), number("NOTILOG_SECONDS", SECONDS));
    let events = scene.load(lag, &[("events", lag)]).wait().await;
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    proxy.fail(Api::Produce, usize::MAX, Fault::Slow(Duration::from_millis(250)), |_| true);
    let start = Start::default().through(proxy.bootstrap()).with("router.queue_kib = 4096");
    let mut router = scene.router(&start);
    router.wait_until_assigned().await;
    let mut resident = Vec::new();
    for _ in 0..seconds * 2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        resident.push(router.resident_kib());
    }
    let (first, second) = resident.split_at(resident.len() / 2);
    let most = |half: &[u64]| half.iter().copied().max().unwrap();
    println!("resident at most {} KiB, then {} KiB, with {events} events of lag", most(first), most(second));
    assert!(most(second) <= most(first) + SLACK_KIB, "{resident:?}");
    proxy.heal();
    assert_exactly_once(&watch.verdict(events, 0).await);
}
