//! A process that stands still for longer than its session and its transaction may last. When a replacement took over
//! meanwhile, nothing of what it held is ever visible and it ends; when nobody did, it goes on by itself.

use std::time::{Duration, Instant};

use notilog::kafka::admin::Admin;
use rstest::rstest;
use serde_json::Value;

use crate::support::{PATIENCE, Program, World, person, script};

const EVENTS: usize = 6_000;
/// More than are routed in a few seconds.
const MANY: usize = 40_000;
const USERS: usize = 100;
/// Events a second: more come for all of the time that the process stands still.
const RATE: usize = 150;
/// Longer than the session (10 s) and, after that, the transaction (10 s) last.
const STALL: Duration = Duration::from_secs(25);

async fn load(world: &World, events: usize, rate: usize) -> tokio::task::JoinHandle<String> {
    let topic = world.topics.events("shop");
    let loading = tokio::spawn(async move {
        let numbers = [0, events, USERS, rate].map(|number| number.to_string());
        let arguments = [topic.as_str(), &numbers[0], &numbers[1], &numbers[2], &numbers[3]];
        script("client.py", &[&["load"], &arguments[..]].concat(), String::new()).await
    });
    world.wait_for_end_to_move(&world.topics.events("shop")).await;
    world.wait_for_end_to_move(&world.topics.decisions()).await;
    loading
}

async fn each_event_was_routed_once(world: &World, events: usize, loading: tokio::task::JoinHandle<String>) {
    loading.await.unwrap();
    let deadline = Instant::now() + PATIENCE * 2;
    while world.count(&[world.topics.decisions()]).await < events {
        assert!(Instant::now() < deadline, "{}", world.log());
    }
    let arguments = [world.topics.prefix(), &events.to_string(), "email"];
    let found: Value = serde_json::from_str(&script("check_routing.py", &arguments, String::new()).await).unwrap();
    println!("{found}");
    for fault in ["lost", "double", "disordered", "decision_without_outbound", "outbound_without_decision"] {
        assert_eq!(found[fault], 0, "{found}");
    }
    assert_eq!((&found["decisions"], &found["outbound"]), (&events.into(), &events.into()));
}

async fn end(program: &mut Program, world: &World) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = program.ended() {
            return status;
        }
        assert!(Instant::now() < deadline, "it did not end\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[rstest]
#[case::of_static_members("true")]
#[case::of_dynamic_members("false")]
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_ends_nothing_of_it_is_visible_and_its_replacement_lives_on(#[case] is_static: &str) {
    let toml = format!("router.static_membership = {is_static}\nrouter.commit_interval = \"50ms\"");
    let world = World::new("zombie", &toml).await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let mut zombie = world.program(&["router"]);
    world.wait_for_log("begins for the first time", 1).await;
    let loading = load(&world, EVENTS, RATE).await;
    zombie.signal("STOP");
    let stopped = Instant::now();
    let mut replacement = world.program(&["router"]);
    world.wait_for_end_to_move(&world.topics.decisions()).await;
    tokio::time::sleep(STALL.saturating_sub(stopped.elapsed())).await;
    zombie.signal("CONT");
    assert_eq!(end(&mut zombie, &world).await.code(), Some(1), "{}", world.log());
    assert!(replacement.ended().is_none(), "{}", world.log());
    each_event_was_routed_once(&world, EVENTS, loading).await;
    assert!(replacement.ended().is_none(), "{}", world.log());
}

#[rstest]
#[case::of_static_members("true")]
#[case::of_dynamic_members("false")]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_merely_stood_still_goes_on(#[case] is_static: &str) {
    let toml = format!("router.static_membership = {is_static}\nrouter.commit_interval = \"50ms\"");
    let world = World::new("still", &toml).await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let mut router = world.program(&["router"]);
    world.wait_for_log("begins for the first time", 1).await;
    let loading = load(&world, EVENTS, RATE).await;
    router.signal("STOP");
    tokio::time::sleep(STALL).await;
    router.signal("CONT");
    each_event_was_routed_once(&world, EVENTS, loading).await;
    assert!(router.ended().is_none(), "{}", world.log());
}

#[rstest]
#[case::of_static_members("true")]
#[case::of_dynamic_members("false")]
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_takes_nothing_of_the_others_with_it(#[case] is_static: &str) {
    // Long transactions, one after the other, so that one is open when the partitions of the deleted topic are taken away.
    let toml = format!("router.static_membership = {is_static}\nrouter.commit_interval = \"2s\"\nrouter.shards = 1");
    let world = World::new("gone", &toml).await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let admin = Admin::new(&world.config.kafka).unwrap();
    let bank = world.add_topic(world.topics.events("bank"), 2, &[]).await;
    let mut router = world.program(&["router"]);
    world.wait_for_log("begins for the first time", 1).await;
    let loading = load(&world, MANY, 1_000_000).await;
    admin.delete(&[&bank]).await.unwrap();
    world.wait_for_log("lost=true", 1).await;
    each_event_was_routed_once(&world, MANY, loading).await;
    assert!(router.ended().is_none(), "{}", world.log());
}
