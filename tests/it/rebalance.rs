//! A second process joins under load: nothing is lost or double, and the partitions that stay go on. How long each one
//! stood still is printed; on a machine under load that says nothing, so that nothing is concluded from it here.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use notilog::kafka::admin::Admin;
use notilog::model::{Channel, Class};
use serde_json::Value;

use crate::support::{PATIENCE, World, person, script};

const EVENTS: usize = 6_000;
const USERS: usize = 300;
const RATE: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_stay_go_on_when_a_second_process_joins() {
    let world = World::new("rebalance", "router.commit_interval = \"20ms\"").await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    // More than the members take from each other: whichever moves, some stay.
    Admin::new(&world.config.kafka).unwrap().raise_partitions(&world.topics.events("shop"), 12).await.unwrap();
    let first = world.program(&["router", "--set", "router.instance=a"]);
    world.wait_for_log("begins for the first time", 1).await;
    let topic = world.topics.events("shop");
    let loading = tokio::spawn(async move {
        let numbers = [0, EVENTS, USERS, RATE].map(|number| number.to_string());
        let arguments = [topic.as_str(), &numbers[0], &numbers[1], &numbers[2], &numbers[3]];
        script("client.py", &[&["load"], &arguments[..]].concat(), String::new()).await
    });
    world.wait_for_end_to_move(&world.topics.decisions()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let second = world.program(&["router", "--set", "router.instance=b"]);
    world.wait_for_log("revoked", 1).await;
    loading.await.unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    // A transaction's end comes to each partition in its own time.
    for topic in [world.topics.decisions(), world.topics.outbound(Channel::Email, Class::Main)] {
        while world.count(std::slice::from_ref(&topic)).await < EVENTS {
            assert!(std::time::Instant::now() < deadline, "{}", world.log());
        }
    }
    first.terminate();
    second.terminate();

    let arguments = [world.topics.prefix(), &EVENTS.to_string(), "email"];
    let found: Value = serde_json::from_str(&script("check_routing.py", &arguments, String::new()).await).unwrap();
    for fault in ["lost", "double", "disordered", "decision_without_outbound", "outbound_without_decision"] {
        assert_eq!(found[fault], 0, "{found}");
    }
    for (partition, gap) in longest_gaps(&world).await {
        println!("partition {partition}: longest time between two decisions {gap} ms");
    }
}

/// The longest time between two decisions about events of one input partition, in milliseconds.
async fn longest_gaps(world: &World) -> BTreeMap<i64, i64> {
    let events = world.read(&[world.topics.events("shop")]).await;
    let at: HashMap<&str, i64> = events
        .iter()
        .map(|record| (record["value"]["id"].as_str().unwrap(), record["partition"].as_i64().unwrap()))
        .collect();
    let mut decided: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for decision in world.read(&[world.topics.decisions()]).await {
        let partition = at[decision["value"]["event_id"].as_str().unwrap()];
        decided.entry(partition).or_default().push(decision["timestamp"].as_i64().unwrap());
    }
    let gap = |mut moments: Vec<i64>| {
        moments.sort_unstable();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    };
    decided.into_iter().map(|(partition, moments)| (partition, gap(moments))).collect()
}
