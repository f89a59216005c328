//! Case 5: the group moves under an open transaction.

use std::time::Duration;

use notilog::telemetry::faults::Point;

use crate::scene::{Brokers, Scene, Seed, Start, assert_exactly_once};

#[tokio::test(flavor = "multi_thread")]
async fn case_05_processes_that_join_and_leave_in_quick_succession() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("storm", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(400, &[]));
    let dynamic = |instance: &str| Start::instance(instance).with("router.static_membership = false");
    let mut stays = scene.router(&dynamic("a"));
    stays.wait_until_assigned().await;
    for turn in 0..6 {
        let mut guest = scene.router(&dynamic(&format!("guest-{}", turn % 2)));
        tokio::time::sleep(Duration::from_millis(seed.between(700, 3_000))).await;
        // Politely, and not.
        if turn % 3 == 2 {
            guest.kill();
        } else {
            guest.signal("TERM");
            let status = guest.end().await;
            assert!(status.success(), "{status}: {}", guest.log());
        }
    }
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(stays.ended().is_none(), "{}", stays.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_05_a_shard_that_is_too_slow_to_poll_loses_its_partitions_and_writes_nothing_more() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("slow", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    // librdkafka wants it above its own default session time-out where a client of another kind has that.
    let limit = "kafka.properties.\"max.poll.interval.ms\" = \"11000\"\n\
                 kafka.properties.\"session.timeout.ms\" = \"10000\"\nrouter.static_membership = false";
    let n = seed.between(200, 800);
    let slow = Start::instance("a").with(limit).at(Point::MidProduce, &format!("{n}*off->1*sleep(14000)"));
    let mut slow = scene.router(&slow);
    slow.wait_until_assigned().await;
    let mut other = scene.router(&Start::instance("b").with(limit));
    other.wait_until_assigned().await;
    tokio::time::sleep(Duration::from_secs(22)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    drop((slow, other));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_05_told_to_end_in_the_middle_of_a_transaction_it_ends_well() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("term", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(400, &[]));
    for point in [Point::MidProduce, Point::Drained, Point::OffsetsSent, Point::Begun] {
        let n = seed.between(10, 50);
        let mut router = scene.router(&Start::default().at(point, &format!("{n}*off->1*return(term)")));
        let status = router.end().await;
        assert!(status.success(), "{status} after SIGTERM at {}: {}", point.name(), router.log());
    }
    let _router = scene.router(&Start::default());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}
