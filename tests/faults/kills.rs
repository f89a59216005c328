//! Case 1: SIGKILL at every named point of a transaction's life, of a rebalance and of a table's restore.

use std::time::Duration;

use notilog::telemetry::faults::Point;
use rstest::rstest;

use crate::scene::{Brokers, Scene, Seed, Start, assert_exactly_once};

/// Where, and between how many passes of it the kill may come.
const POINTS: [(Point, std::ops::Range<u64>); 10] = [
    (Point::Begun, 1..30),
    (Point::MidProduce, 1..600),
    (Point::Drained, 1..30),
    (Point::OffsetsSent, 1..30),
    (Point::Committed, 1..30),
    (Point::Aborting, 1..4),
    (Point::Aborted, 1..4),
    (Point::Rewinding, 1..4),
    (Point::Assigned, 1..3),
    (Point::Restoring, 1..100),
];

const POISON: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn case_01_killed_at_each_named_point_a_router_loses_nothing_and_doubles_nothing() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("points", Brokers::Shared).await;
    let watch = scene.watch();
    let load = scene.load(600, &[("poison", POISON)]);
    for (point, passes) in POINTS {
        let n = seed.between(passes.start, passes.end);
        println!("killed at pass {n} of {}", point.name());
        scene.router(&Start::default().killed_at(point, n)).end_by_kill().await;
    }
    let _router = scene.router(&Start::default());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, POISON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_01_killed_between_the_records_and_the_offsets() {
    let scene = Scene::new("between", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(400, &[]));
    for n in [9, 4] {
        scene.router(&Start::default().killed_at(Point::Drained, n)).end_by_kill().await;
    }
    let _router = scene.router(&Start::default());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_01_killed_while_the_end_of_a_transaction_is_under_way() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("during", Brokers::Shared).await;
    let watch = scene.watch();
    let load = scene.load(600, &[]);
    for _ in 0..6 {
        let n = seed.between(5, 30);
        let start = Start::default().at(Point::OffsetsSent, &format!("{n}*off->return(kill-soon)"));
        scene.router(&start).end_by_kill().await;
    }
    let _router = scene.router(&Start::default());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}

/// Static members that come back before their session is over get what they had, and the group sees no reason to give out
/// what they gave up (docs/guarantees.md): that waits for another process.
#[rstest]
#[case::of_members_that_come_back_as_new_ones(false)]
#[case::of_static_members_until_another_process_comes(true)]
#[tokio::test(flavor = "multi_thread")]
async fn case_01_killed_while_it_gives_partitions_to_a_process_that_joins(#[case] is_static: bool) {
    let scene = Scene::new("revoked", Brokers::Shared).await;
    let start = |instance| Start::instance(instance).with(&format!("router.static_membership = {is_static}"));
    let watch = scene.watch();
    let load = scene.load(600, &[]);
    let mut first = scene.router(&start("a").killed_at(Point::Revoked, 1));
    first.wait_until_assigned().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _second = scene.router(&start("b"));
    first.end_by_kill().await;
    let mut first = scene.router(&start("a"));
    let _third = if is_static {
        first.wait_until_assigned().await;
        Some(scene.router(&Start::instance("c").with("router.static_membership = false")))
    } else {
        None
    };
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}
