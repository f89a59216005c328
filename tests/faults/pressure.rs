//! Case 9: a broker that is slow to write, and a long queue behind it: memory is bounded by configuration, not by lag.

use std::time::Duration;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Scene, Start, assert_exactly_once};

const LAG: usize = 20_000;

/// What may come on top, between the first and the second half of the time that is watched: an allocator's slack.
const SLACK_KIB: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn case_09_a_slow_broker_and_much_lag_do_not_let_memory_grow() {
    let scene = Scene::new("pressure", Brokers::Shared).await;
    let watch = scene.watch();
    let events = scene.load(20_000, &[("events", LAG)]).wait().await;
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    proxy.fail(Api::Produce, usize::MAX, Fault::Slow(Duration::from_millis(250)), |_| true);
    let start = Start::default().through(proxy.bootstrap()).with("router.queue_kib = 4096");
    let mut router = scene.router(&start);
    router.wait_until_assigned().await;
    let mut resident = Vec::new();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        resident.push(router.resident_kib());
    }
    let (first, second) = resident.split_at(resident.len() / 2);
    let most = |half: &[u64]| half.iter().copied().max().unwrap();
    println!("resident at most {} KiB, then {} KiB, with {LAG} events of lag", most(first), most(second));
    assert!(most(second) <= most(first) + SLACK_KIB, "{resident:?}");
    proxy.heal();
    assert_exactly_once(&watch.verdict(events, 0).await);
}
