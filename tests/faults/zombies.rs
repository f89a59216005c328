//! Case 2: a process that stands still for longer than its session and its transaction last, while another takes over,
//! and then goes on as if nothing had been.

use std::time::Duration;

use notilog::kafka::admin::Admin;
use notilog::telemetry::faults::Point;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Process, Scene, Seed, Start, assert_exactly_once};

/// Longer than the session (10 s) and the transaction's time (10 s), and the coordinator looks every 10 s.
const STANDSTILL: Duration = Duration::from_secs(24);

/// Starts a router that stops itself at a point.
async fn zombie_at(scene: &Scene, start: &Start, point: Point, n: u64) -> Process {
    let mut zombie = scene.router(&start.clone().at(point, &format!("{n}*off->1*return(stop)")));
    zombie.wait_for_log(&format!("at {}", point.name()), 1).await;
    zombie.wait_until_stopped().await;
    zombie
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_what_a_zombie_left_open_is_never_visible_when_another_instance_took_over() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("zombie", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    let dynamic = |instance: &str| Start::instance(instance).with("router.static_membership = false");
    let zombie = zombie_at(&scene, &dynamic("a"), Point::MidProduce, seed.between(200, 1_000)).await;
    let _successor = scene.router(&dynamic("b"));
    tokio::time::sleep(STANDSTILL).await;
    zombie.signal("CONT");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_what_a_zombie_was_about_to_commit_is_never_visible_when_its_own_successor_runs() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("fenced", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    let zombie = zombie_at(&scene, &Start::instance("a"), Point::OffsetsSent, seed.between(20, 60)).await;
    // The same instance, as an orchestrator starts it that takes the first one for dead.
    let mut successor = scene.router(&Start::instance("a"));
    successor.wait_until_assigned().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    zombie.signal("CONT");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let events = load.finish().await;
    let verdict = watch.verdict(events, 0).await;
    assert_exactly_once(&verdict);
    assert!(successor.ended().is_none(), "the newer one lives: {}", successor.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_a_fenced_process_ends_and_does_not_take_its_id_back() {
    let scene = Scene::new("twice", Brokers::Shared).await;
    // More than the second takes of all partitions: the first has events to route, and finds out.
    Admin::new(&scene.config.kafka).unwrap().raise_partitions(&scene.topics.events("shop"), 12).await.unwrap();
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    // Two live processes under one instance: the second fences the first, and that is the end of it. Of one shard each: a
    // second shard of the first might take up its id later than that of the second, and be the newer one.
    let dynamic = Start::instance("a").with("router.static_membership = false").with("router.shards = 1");
    let mut first = scene.router(&dynamic);
    first.wait_until_assigned().await;
    let mut second = scene.router(&dynamic);
    let status = first.end().await;
    assert_eq!(status.code(), Some(1), "{}", first.log());
    assert!(first.log().contains("taken over by a newer producer"), "{}", first.log());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(second.ended().is_none(), "the newer one lives: {}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_a_static_zombie_does_not_take_its_name_back_when_its_session_is_over() {
    let scene = Scene::new("name", Brokers::Shared).await;
    let watch = scene.watch();
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let start = Start::instance("a");
    let mut zombie = scene.router(&start.clone().through(proxy.bootstrap()));
    zombie.wait_until_assigned().await;
    // Both shards have committed where their partitions begin: the first thing that a successor would fence.
    proxy.wait_for_seen(Api::EndTxn, 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Nobody tells it that its name went to another: it finds out by itself that its session is over, and librdkafka
    // would join anew then, with no id, whom a group lets in under any name.
    proxy.fail(Api::Heartbeat, usize::MAX, Fault::Hold, |_| true);
    let mut successor = scene.router(&start);
    successor.wait_until_assigned().await;
    let status = zombie.end().await;
    assert_eq!(status.code(), Some(1), "{}", zombie.log());
    assert!(zombie.log().contains("has a newer member under this one's name"), "{}", zombie.log());
    proxy.forget_held();
    let load = scene.load(300, &[]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(successor.ended().is_none(), "the newer one lives: {}", successor.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_a_static_member_that_takes_its_session_for_over_and_was_not_replaced_goes_on() {
    let scene = Scene::new("alone", Brokers::Shared).await;
    let watch = scene.watch();
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let mut router = scene.router(&Start::instance("a").through(proxy.bootstrap()));
    router.wait_until_assigned().await;
    let load = scene.load(300, &[]);
    // To the group it is as alive as can be, and has the name under its old id: only the answers are lost. While it looks
    // whether another has the name, librdkafka asks for it without an id, which the group takes for an attempt to steal it.
    proxy.fail(Api::Heartbeat, usize::MAX, Fault::LoseAnswer, |_| true);
    proxy.fail(Api::ListGroups, usize::MAX, Fault::Slow(Duration::from_secs(5)), |_| true);
    router.wait_for_log("lost=true", 2).await;
    proxy.heal();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(router.log().contains("FencedInstanceId"), "it was refused as a thief: {}", router.log());
    assert!(router.ended().is_none(), "{}", router.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_02_a_zombie_whose_records_never_left_does_not_end_its_successors_transactions() {
    let scene = Scene::new("never-left", Brokers::Shared).await;
    let watch = scene.watch();
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let start = Start::instance("a").with("router.shards = 1");
    let mut zombie = scene.router(&start.clone().through(proxy.bootstrap()));
    zombie.wait_until_assigned().await;
    proxy.wait_for_seen(Api::InitProducerId, 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Its coordinator does not come to know of its first transaction, so that there is nothing to end once its records
    // are too old: all that is left of an abort is the request for a new epoch.
    proxy.fail(Api::Versions, usize::MAX, Fault::Close, |request| request.client.contains("transactional"));
    proxy.cut(Api::InitProducerId);
    let load = scene.load(300, &[]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    zombie.signal("STOP");
    let mut successor = scene.router(&start);
    successor.wait_until_assigned().await;
    tokio::time::sleep(STANDSTILL).await;
    proxy.heal();
    zombie.signal("CONT");
    let status = zombie.end().await;
    assert_eq!(status.code(), Some(1), "{}", zombie.log());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(successor.ended().is_none(), "the newer one lives: {}", successor.log());
}
