//! Where inputs begin: what is new starts at its earliest record, and what was lost stops the router until an operator
//! says where to go on. Groups and records are deleted by a client that is not ours.

use std::path::PathBuf;
use std::time::Duration;

use notilog::kafka::admin::Admin;
use notilog::model::{Policy, Timestamp};
use notilog::policy;
use notilog::router::{Restart, When};
use notilog::wire::RecordType;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, now, order, person, script};

fn example_policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

fn group(world: &World) -> String {
    world.topics.named(&world.config.router.group)
}

async fn delete_group(world: &World) {
    script("client.py", &["delete-group", &group(world)], String::new()).await;
}

/// A world in which the router routed some events and was stopped.
async fn routed(name: &str, events: usize) -> World {
    let world = World::new(name, "router.tiers = [\"1s\"]").await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    send(&world, "shop", 0..events).await;
    world.read_count(world.topics.decisions(), events).await;
    router.stop().await.unwrap();
    world
}

async fn send(world: &World, domain: &str, numbers: std::ops::Range<usize>) {
    let event = |n: usize| {
        let key = format!("k-{n}");
        json!({"topic": world.topics.events(domain), "key": key, "value": order(&format!("{domain}-{n}"), "ada")})
    };
    world.produce(RecordType::Event, numbers.map(event).collect()).await;
}

fn ids(decisions: &[Value]) -> Vec<&str> {
    let mut ids: Vec<&str> = decisions.iter().map(|record| record["value"]["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The value of a record that is no Avro.
fn json_of(record: &Value) -> Value {
    let hex = record["raw"].as_str().unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    serde_json::from_slice(&(0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>()).unwrap()
}

/// The same world with an operator's word.
fn told(world: &World, restart: Restart) -> World {
    let mut told = world.with_config(|_| {});
    told.restart = Restart { actor: "grace".to_owned(), ..restart };
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_lost_its_offsets_stops_and_goes_on_from_where_an_operator_says() {
    let world = routed("places", 12).await;
    delete_group(&world).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let moment = Timestamp(now());
    send(&world, "shop", 12..14).await;

    let error = world.try_router(example_policy()).await.unwrap_err();
    for said in ["committed offset is gone", "notify.events.shop[0,1,2]", "notilog router --from", "latest", "earliest"]
    {
        assert!(error.contains(said), "{said} is not in: {error}");
    }
    assert_eq!(world.count(&[world.topics.decisions()]).await, 12, "nothing was routed again");

    let restart = Restart { all: Some(When::At(moment)), ..Restart::default() };
    let router = told(&world, restart).router(example_policy()).await;
    let decisions = world.read_count(world.topics.decisions(), 14).await;
    router.stop().await.unwrap();
    assert_eq!(ids(&decisions).len(), 14, "each once: {:?}", ids(&decisions));
    let audit = world.read(&[world.topics.audit()]).await;
    let shop = audit.iter().map(json_of).filter(|record| record["target"] == world.topics.events("shop"));
    let shop: Vec<Value> = shop.collect();
    assert_eq!(shop.len(), 3, "each partition is accounted for: {shop:#?}");
    assert_eq!((&shop[0]["who"], &shop[0]["action"]), (&json!("grace"), &json!("router-from")));

    let router = world.router(example_policy()).await;
    send(&world, "shop", 14..15).await;
    world.read_count(world.topics.decisions(), 15).await;
    router.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_deleted_unread_stop_the_router() {
    let world = routed("unread", 6).await;
    send(&world, "shop", 6..30).await;
    let topic = world.topics.events("shop");
    script("client.py", &["delete-records", &topic, "8"], String::new()).await;
    let error = world.try_router(example_policy()).await.unwrap_err();
    assert!(error.contains("deleted unread") && error.contains(&format!("--from {topic}=earliest")), "{error}");

    let restart = Restart { topics: [(topic, When::Earliest)].into(), ..Restart::default() };
    let router = told(&world, restart).router(example_policy()).await;
    world.read_until(&[world.topics.decisions()], |decisions| ids(decisions).contains(&"shop-29")).await;
    router.stop().await.unwrap();
    let decisions = world.read(&[world.topics.decisions()]).await;
    let ids = ids(&decisions);
    let mut unique = ids.clone();
    unique.dedup();
    assert_eq!(ids, unique, "none twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_name_does_not_start_over_where_someone_routed_before() {
    let world = routed("renamed", 3).await;
    let renamed = world.with_config(|config| config.router.group = "renamed".to_owned());
    let error = renamed.try_router(example_policy()).await.unwrap_err();
    assert!(error.contains("router.group"), "{error}");
    assert_eq!(world.count(&[world.topics.decisions()]).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_topics_added_partitions_and_topics_created_anew_start_at_their_earliest_record() {
    let world = routed("fresh", 3).await;
    let admin = Admin::new(&world.config.kafka).unwrap();
    let bank = world.add_topic(world.topics.events("bank"), 1, &[]).await;
    send(&world, "bank", 0..2).await;
    // A record of the added partition, from before the router knows that there is one.
    admin.raise_partitions(&world.topics.events("shop"), 4).await.unwrap();
    let added = json!({"topic": world.topics.events("shop"), "partition": 3, "value": order("added", "ada")});
    world.produce(RecordType::Event, vec![added]).await;

    let router = world.router(example_policy()).await;
    let decisions = world.read_count(world.topics.decisions(), 6).await;
    router.stop().await.unwrap();
    assert_eq!(ids(&decisions), ["added", "bank-0", "bank-1", "shop-0", "shop-1", "shop-2"]);

    admin.delete(&[&bank]).await.unwrap();
    while admin.list(&bank).await.unwrap().contains_key(&bank) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    world.add_topic(bank, 1, &[]).await;
    send(&world, "bank", 2..4).await;
    let router = world.router(example_policy()).await;
    let decisions = world.read_count(world.topics.decisions(), 8).await;
    router.stop().await.unwrap();
    assert_eq!(ids(&decisions)[1..5], ["bank-0", "bank-1", "bank-2", "bank-3"]);
}

/// Nobody can tell where a topic's partitions start, because the group's offsets there are in an open transaction.
struct Held {
    file: PathBuf,
    task: tokio::task::JoinHandle<String>,
}

impl Held {
    async fn hold(world: &World, topic: String) -> Held {
        let file = world.config_file().with_file_name("held");
        let arguments = [group(world), topic, file.display().to_string()];
        let task = tokio::spawn(async move {
            let [group, topic, file] = &arguments;
            script("client.py", &["hold-offsets", group, topic, file], String::new()).await
        });
        tokio::time::timeout(PATIENCE, async {
            while !file.exists() {
                assert!(!task.is_finished(), "the client ended");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("the offsets are held");
        Held { file, task }
    }

    async fn let_go(self) {
        std::fs::remove_file(&self.file).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_goes_before_it_is_known_where_others_start_takes_nothing_of_them_away() {
    let world = World::new("goes", "router.shards = 1").await;
    world.preferences(vec![person("ada")]).await;
    let bank = world.add_topic(world.topics.events("bank"), 2, &[]).await;
    let router = world.program(&["router"]);
    send(&world, "bank", 0..1).await;
    world.read_count(world.topics.decisions(), 1).await;
    // It sees the new topic only when nobody can tell any more where that starts.
    router.signal("STOP");
    let held = Held::hold(&world, world.add_topic(world.topics.events("news"), 2, &[]).await).await;
    router.signal("CONT");
    world.wait_for_log(" assigned", 2).await;
    Admin::new(&world.config.kafka).unwrap().delete(&[&bank]).await.unwrap();
    world.wait_for_log("lost=true", 1).await;
    held.let_go().await;
    send(&world, "news", 0..3).await;
    let decisions = world.read_count(world.topics.decisions(), 4).await;
    assert_eq!(ids(&decisions), ["bank-0", "news-0", "news-1", "news-2"]);
    assert!(!world.log().contains("shard failed"), "{}", world.log());
}

#[rstest]
#[case::of_some_partitions("whole")]
#[case::of_all_partitions("co-partitioned")]
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_comes_before_it_is_known_where_the_others_start_takes_nothing_of_them_away(#[case] table: &str) {
    let world = World::new("comes", &format!("router.shards = 1\nrouter.table = \"{table}\"")).await;
    world.preferences(vec![person("ada")]).await;
    let held = Held::hold(&world, world.topics.events("shop")).await;
    let _router = world.program(&["router"]);
    world.wait_for_log(" assigned", 1).await;
    world.add_topic(world.topics.events("bank"), 2, &[]).await;
    world.wait_for_log(" assigned", 2).await;
    send(&world, "bank", 0..2).await;
    if table == "whole" {
        world.read_count(world.topics.decisions(), 2).await;
    }
    held.let_go().await;
    send(&world, "shop", 0..3).await;
    let decisions = world.read_count(world.topics.decisions(), 5).await;
    assert_eq!(ids(&decisions), ["bank-0", "bank-1", "shop-0", "shop-1", "shop-2"]);
    assert!(!world.log().contains("shard failed"), "{}", world.log());
}
