//! Routers that hold only the preferences of their partitions: each event once, whoever has its partition.

use std::time::{Duration, Instant};

use notilog::kafka::admin::Admin;
use notilog::model::{Channel, Class};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Program, World, order, person, script, with};

const EVENTS: usize = 3_000;
const USERS: usize = 300;
const RATE: usize = 300;

async fn world(name: &str) -> World {
    let world = World::new(name, "router.table = \"co-partitioned\"\nrouter.tiers = [\"1s\"]\n").await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    world
}

fn start(world: &World, instance: &str) -> Program {
    world.program(&["router", "--set", &format!("router.instance={instance}")])
}

/// The keys that the process holds which was the nth to serve metrics.
async fn keys_held(world: &World, nth: usize) -> u64 {
    let log = world.log();
    let served = log.lines().filter_map(|line| line.split("served address=").nth(1)).nth(nth);
    // It may not have come so far yet.
    let Some(address) = served.map(str::trim) else { return 0 };
    let exposition = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let held = exposition
        .lines()
        .find_map(|line| line.strip_prefix("notilog_table_records{table=\"notify.preferences.part\"} "));
    held.map_or(0, |held| held.parse().unwrap())
}

async fn until_keys_held(world: &World, nth: usize, what: impl Fn(u64) -> bool) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = keys_held(world, nth).await;
        if what(held) {
            return held;
        }
        assert!(Instant::now() < deadline, "{held} keys held\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_preferences_and_one_takes_them_over_while_each_event_is_told_once() {
    let world = world("co-partitioned").await;
    let first = start(&world, "a");
    world.wait_for_log("assigned", 1).await;
    until_keys_held(&world, 0, |held| held == USERS as u64).await;
    let topic = world.topics.events("shop");
    let loading = tokio::spawn(async move {
        let numbers = [0, EVENTS, USERS, RATE].map(|number| number.to_string());
        let arguments = [topic.as_str(), &numbers[0], &numbers[1], &numbers[2], &numbers[3]];
        script("client.py", &[&["load"], &arguments[..]].concat(), String::new()).await
    });
    world.wait_for_end_to_move(&world.topics.decisions()).await;
    let second = start(&world, "b");
    let by_second = until_keys_held(&world, 1, |held| held > 0).await;
    let by_first = until_keys_held(&world, 0, |held| held < USERS as u64).await;
    assert_eq!(by_first + by_second, USERS as u64, "each key is held by one of them");
    first.kill();
    until_keys_held(&world, 1, |held| held == USERS as u64).await;
    loading.await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    // A transaction's end comes to each partition in its own time.
    for topic in [world.topics.decisions(), world.topics.outbound(Channel::Email, Class::Main)] {
        while world.count(std::slice::from_ref(&topic)).await < EVENTS {
            assert!(Instant::now() < deadline, "{}", world.log());
        }
    }
    second.terminate();

    let arguments = [world.topics.prefix(), &EVENTS.to_string(), "email"];
    let found: Value = serde_json::from_str(&script("check_routing.py", &arguments, String::new()).await).unwrap();
    for fault in ["lost", "double", "disordered", "decision_without_outbound", "outbound_without_decision"] {
        assert_eq!(found[fault], 0, "{found}");
    }
    assert_eq!((&found["decisions"], &found["outbound"]), (&EVENTS.into(), &EVENTS.into()), "nobody is unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_not_keyed_by_its_one_recipient_is_a_dead_letter() {
    let world = world("keyed").await;
    let (topic, user) = (world.topics.events("shop"), "u-1");
    let two = with(order("two", user), json!({"recipients": ["u-1", "u-2"]}));
    let records = vec![
        json!({"topic": topic, "key": "default/u-1", "value": order("good", user)}),
        json!({"topic": topic, "key": "A-17", "value": order("by-order", user)}),
        json!({"topic": topic, "value": order("no-key", user)}),
        json!({"topic": topic, "key": "default/u-1", "value": two}),
        // Right for one who waits in a tier, too: a stranger is looked for again, and concluded.
        json!({"topic": topic, "key": "default/nobody", "value": order("stranger", "nobody")}),
    ];
    let elsewhere = (0..3).map(|partition| {
        json!({"topic": topic, "key": "default/u-1", "partition": partition, "value": order(&format!("at-{partition}"), user)})
    });
    world.produce(RecordType::Event, records.into_iter().chain(elsewhere).collect()).await;
    let router = world.program(&["router", "--set", "router.recipient_grace=1s"]);
    let letters = world.read_count(world.topics.dlq_events(), 5).await;
    for letter in &letters {
        assert_eq!(letter["headers"]["notify-reason"], "not_keyed_by_recipient", "{letter}");
    }
    let told = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 2).await;
    let told: Vec<&str> = told.iter().map(|record| record["value"]["event_id"].as_str().unwrap()).collect();
    assert!(told.contains(&"good") && told.iter().any(|id| id.starts_with("at-")), "{told:?}");
    let of_stranger = |decisions: &[Value]| {
        let concluded = |decision: &&Value| {
            decision["value"]["event_id"] == "stranger" && decision["value"]["outcomes"][0]["verdict"] == "SUPPRESSED"
        };
        decisions.iter().any(|decision| concluded(&decision))
    };
    world.read_until(&[world.topics.decisions()], of_stranger).await;
    router.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_events_with_another_number_of_partitions_are_named_at_the_start() {
    let world = world("counted").await;
    let shop = world.topics.events("shop");
    Admin::new(&world.config.kafka).unwrap().raise_partitions(&shop, 5).await.unwrap();
    let mut router = start(&world, "a");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = router.ended() {
            break status;
        }
        assert!(Instant::now() < deadline, "{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.code(), Some(1));
    let log = world.log();
    assert!(log.contains(&format!("`{shop}` has 5")) && log.contains("(3)"), "{log}");
}
