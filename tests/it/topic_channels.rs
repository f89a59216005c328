//! Channels that are Kafka topics: the inbox and customers' topics. What they write is in the transaction that says SENT,
//! read here with clients that are not notilog's, and judged by CNCF's own SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use notilog::channel::{self, Providers, Surroundings};
use notilog::kafka::admin::Admin;
use notilog::model::{Channel as Name, Class, NotificationId, Policy};
use notilog::policy;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::stand_in::unique;
use crate::support::{PATIENCE, World, now, order, person, script, with};

const INBOX: &str = "topics.channels = [\"inbox\"]\n[channels.inbox]\n";

fn kafka(port: u16) -> String {
    format!(
        r#"topics.channels = ["kafka"]
delivery.tiers = ["1s", "20s"]
delivery.backoff = ["1s", "20s"]
delivery.jitter_percent = 0
[channels.kafka]
topics = ["*customers.{{tenant}}.*"]
[channels.kafka.clusters]
other = {{ bootstrap_servers = "127.0.0.1:{port}" }}
down = {{ bootstrap_servers = "127.0.0.1:1" }}
"#
    )
}

fn policy() -> Policy {
    policy::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

fn channels(world: &World) -> Vec<Providers> {
    channel::build_with(&world.config.channels, &Surroundings::of(&world.config.kafka)).unwrap()
}

/// A recipient with one endpoint, who wants this category by its channel.
fn reachable(user: &str, channel: &str, address: &str, category: &str) -> Value {
    let endpoint = json!({"channel": channel, "address": address, "verified": true, "label": null});
    let choice = json!({category: {"enabled": true, "channels": [channel], "digest": null}});
    with(person(user), json!({"endpoints": [endpoint], "categories": choice}))
}

fn message(user: &str, category: &str, data: Value) -> Value {
    let fields =
        json!({"type": "order.delivered", "category": category, "template": "message", "data": data.to_string()});
    with(order(&unique(), user), fields)
}

/// The statuses of this user's notifications, once one of them is in this state.
async fn until(world: &World, user: &str, state: &str) -> Vec<Value> {
    let of = |records: &[Value]| -> Vec<Value> {
        records.iter().map(|record| record["value"].clone()).filter(|status| status["user_id"] == user).collect()
    };
    let there = |records: &[Value]| of(records).iter().any(|status| status["state"] == state);
    of(&world.read_until(&[world.topics.delivery_status()], there).await)
}

async fn create(world: &World, name: &str, config: &[(&str, &str)]) -> String {
    let name = format!("{}customers.default.{name}", world.topics.prefix());
    world.add_topic(name, 2, config).await
}

/// What `notilog inbox …` prints as JSON.
async fn inbox(world: &World, arguments: &[&str]) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    command.arg("inbox").args(arguments).args(["--output", "json", "--config"]).arg(world.config_file());
    serde_json::from_str(&crate::support::output_of(command, String::new()).await).unwrap()
}

/// An outbound record of an inbox.
fn outbound(world: &World, user: &str, n: usize) -> Value {
    outbound_by(world, (Name::Inbox, "app", "account"), user, n)
}

/// An outbound record of a channel, address and category, decided just now.
fn outbound_by(world: &World, (channel, address, category): (Name, &str, &str), user: &str, n: usize) -> Value {
    let id = NotificationId::derive("default", "shop", &format!("e-{n}"), user, channel.as_str(), address, "");
    json!({"topic": world.topics.outbound(channel, Class::Main), "key": format!("default/{user}"), "value": {
        "notification_id": id.to_string(), "event_id": format!("e-{n}"), "source": "shop", "type": "t",
        "event_time": now(), "tenant": "default", "user_id": user, "category": category, "priority": "NORMAL",
        "channel": channel.as_str(), "address": address, "locale": "en", "timezone": "UTC", "template": "message",
        "data": "{\"title\":\"T\"}", "collapse_key": null, "not_before": null, "expires_at": null,
        "decided_at": now(), "policy_version": "v", "replay_id": null, "siblings": [], "fallback": [],
    }})
}

/// What compaction will leave: the last value of each key.
async fn compacted(world: &World) -> BTreeMap<String, Value> {
    let mut left = BTreeMap::new();
    for record in world.read(&[world.topics.inbox()]).await {
        left.insert(record["key"].as_str().unwrap().to_owned(), record["value"].clone());
    }
    left.retain(|_, value| !value.is_null());
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_item_comes_into_the_inbox_is_read_and_put_away_and_stays_so_when_it_comes_again() {
    let world = World::new("inbox", INBOX).await;
    let user = unique();
    world.preferences(vec![reachable(&user, "inbox", "app", "account")]).await;
    let router = world.router(policy()).await;
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    let welcome = message(&user, "account", json!({"title": "Welcome", "text": "Hello <Ada>", "url": "/start"}));
    world.event(welcome.clone()).await;
    let status = until(&world, &user, "SENT").await.pop().unwrap();
    assert_eq!((&status["provider"], &status["attempt"]), (&json!("inbox"), &json!(1)));
    let id = status["notification_id"].as_str().unwrap().to_owned();

    let items = world.read_count(world.topics.inbox(), 1).await;
    assert_eq!(items[0]["key"], json!(format!("default/{user}/{id}")));
    let item = &items[0]["value"];
    assert_eq!(
        (&item["title"], &item["body"], &item["link"]),
        (&json!("Welcome"), &json!("Hello <Ada>"), &json!("/start"))
    );

    let listed = inbox(&world, &["ls", &user]).await;
    assert_eq!((&listed[0]["title"], &listed[0]["read_at"]), (&json!("Welcome"), &Value::Null));
    assert_eq!(inbox(&world, &["read", &user, &id]).await["changed"], 1);
    assert_eq!(inbox(&world, &["read", &user, &id]).await["changed"], 0, "it keeps the time it was read");
    let read = inbox(&world, &["ls", &user]).await[0]["read_at"].clone();
    assert!(read.is_string());

    // The producer says it twice, and delivery was stopped meanwhile: it is the same item, and it stays read.
    delivery.stop().await.unwrap();
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    world.event(welcome).await;
    world.read_count(world.topics.inbox(), 3).await;
    let again = inbox(&world, &["ls", &user]).await;
    assert_eq!((again.as_array().unwrap().len(), &again[0]["read_at"]), (1, &read));

    world.event(message(&user, "account", json!({"title": "Another"}))).await;
    world.read_count(world.topics.inbox(), 4).await;
    let listed = inbox(&world, &["ls", &user]).await;
    let titles = [&listed[0], &listed[1]].map(|item| (item["title"].as_str().unwrap(), item["read_at"].is_string()));
    assert_eq!(titles, [("Another", false), ("Welcome", true)], "the newest first");
    assert_eq!(inbox(&world, &["archive", &user, "--every"]).await["changed"], 2);
    assert_eq!(inbox(&world, &["ls", &user]).await, json!([]));
    let all = inbox(&world, &["ls", &user, "--all"]).await;
    assert_eq!((all.as_array().unwrap().len(), &all[1]["read_at"]), (2, &read), "what was read keeps its time");
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_erase_empties_the_inbox_nothing_comes_in_after_it_and_a_sweep_finds_what_was_left() {
    let world = World::new("inbox-erase", INBOX).await;
    let (ada, bob) = (unique(), unique());
    world.preferences([&ada, &bob].map(|user| reachable(user, "inbox", "app", "account")).to_vec()).await;
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    world.produce(RecordType::Outbound, vec![outbound(&world, &ada, 1), outbound(&world, &bob, 1)]).await;
    for user in [&ada, &bob] {
        until(&world, user, "SENT").await;
        assert_eq!(inbox(&world, &["read", user, "--every"]).await["changed"], 1);
    }
    assert_eq!(compacted(&world).await.len(), 4);

    let mut erase = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    erase.args(["prefs", "erase", &ada, "--yes", "--config"]).arg(world.config_file());
    crate::support::output_of(erase, String::new()).await;
    let of_bob = |key: &String| key.starts_with(&format!("default/{bob}/"));
    let left = compacted(&world).await;
    assert!(left.len() == 2 && left.keys().all(of_bob), "items and states of the erased are gone: {left:#?}");

    // Decided before the erase, delivered after it, and well within the time that a decision counts elsewhere.
    world.produce(RecordType::Outbound, vec![outbound(&world, &ada, 2)]).await;
    // Found by its state: records of several partitions come in any order.
    let statuses = until(&world, &ada, "CANCELLED").await;
    let cancelled = statuses.iter().find(|status| status["state"] == "CANCELLED").unwrap();
    assert_eq!(cancelled["reason"], json!("erased"));

    // Written in the very moment of the erase; and bob's, which has expired.
    let item = |user: &str, n: u128, expires_at: Option<i64>| {
        let id = uuid::Uuid::from_u128(n).to_string();
        json!({"topic": world.topics.inbox(), "key": format!("default/{user}/{id}"), "value": {
            "notification_id": id, "event_id": "e", "type": "t", "tenant": "default", "user_id": user,
            "category": "account", "priority": "NORMAL", "title": "T", "body": "", "link": null,
            "created_at": now(), "expires_at": expires_at,
        }})
    };
    world.produce(RecordType::InboxItem, vec![item(&ada, 7, None), item(&bob, 8, Some(now() - 1))]).await;
    let would = inbox(&world, &["sweep", "--dry-run"]).await;
    assert_eq!((&would["removed"], &would["because"]), (&json!(false), &json!({"erased": 1, "expired": 1})));
    assert_eq!(compacted(&world).await.len(), 4, "nothing was removed yet");
    assert_eq!(inbox(&world, &["sweep", "--yes"]).await["records"], json!(2));
    assert_eq!(compacted(&world).await, left);

    assert_eq!(inbox(&world, &["rm", &bob, "--every", "--dry-run"]).await, json!({"removed": false, "items": 1}));
    assert_eq!(inbox(&world, &["rm", &bob, "--every", "--yes"]).await, json!({"removed": true, "items": 1}));
    assert!(compacted(&world).await.is_empty());
    delivery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_item_that_the_topic_does_not_take_is_a_dead_letter_and_stops_nobody() {
    let world = World::new("inbox-small", INBOX).await;
    let small = BTreeMap::from([("max.message.bytes".to_owned(), "400".to_owned())]);
    Admin::new(&world.config.kafka).unwrap().alter(&world.topics.inbox(), &small).await.unwrap();
    let (ada, bob) = (unique(), unique());
    world.preferences([&ada, &bob].map(|user| reachable(user, "inbox", "app", "account")).to_vec()).await;
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    let mut large = outbound(&world, &ada, 1);
    large["value"]["data"] = json!(json!({"title": "T", "text": "x".repeat(1_000)}).to_string());
    let mut nameless = outbound(&world, &bob, 2);
    nameless["value"]["data"] = json!(r#"{"title": " "}"#);
    world.produce(RecordType::Outbound, vec![large, nameless, outbound(&world, &bob, 3)]).await;
    assert_eq!(until(&world, &ada, "DEAD").await[0]["reason"], "too_large");
    let failed = until(&world, &bob, "FAILED").await.into_iter().find(|status| status["state"] == "FAILED");
    assert_eq!(failed.unwrap()["reason"], "message_refused");
    until(&world, &bob, "SENT").await;
    assert_eq!(world.read(&[world.topics.dlq_outbound(Name::Inbox)]).await.len(), 1);
    delivery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_does_not_start_without_the_inbox() {
    let world = World::new("inbox-none", "topics.channels = [\"email\"]\n[channels.inbox]\n").await;
    let refused = world.deliver(policy(), channels(&world)).await.err().unwrap();
    let missing = format!("do not exist: {}", world.topics.inbox());
    assert!(refused.contains(&missing) && refused.contains("topics apply"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_written_once_with_their_status_however_often_delivery_is_killed() {
    const ITEMS: usize = 3_000;
    const KILLS: usize = 3;
    // So few at once that every kill comes long before the last item.
    let slowly = "delivery.static_membership = true\ndelivery.max_in_flight = 16";
    let world = World::new("inbox-kill", &format!("{slowly}\n{INBOX}")).await;
    let user = |n: usize| format!("u-{}", n % 50);
    world.preferences((0..50).map(|n| reachable(&user(n), "inbox", "app", "account")).collect()).await;
    world.produce(RecordType::Outbound, (0..ITEMS).map(|n| outbound(&world, &user(n), n)).collect()).await;
    let before = killed(&world, "inbox", KILLS, ITEMS).await;
    let id = |n: usize| outbound(&world, &user(n), n)["value"]["notification_id"].as_str().unwrap().to_owned();
    let all: BTreeSet<String> = (0..ITEMS).map(id).collect();
    let by_id = |record: &Value| record["value"]["notification_id"].as_str().unwrap().to_owned();
    assert_eq!(once(world.read(&[world.topics.inbox()]).await, &by_id), all);
    assert_eq!(once(world.read(&[world.topics.delivery_status()]).await, &by_id), all);
    println!("{ITEMS} items and statuses once each after {KILLS} kills; {before} before the last start");
}

/// Kills delivery so often in the middle, then lets it finish; how many statuses there were before that.
async fn killed(world: &World, channel: &str, kills: usize, items: usize) -> usize {
    let arguments = ["deliver", "--channel", channel];
    for round in 1..=kills {
        let delivery = world.program(&arguments);
        world.wait_for_log("partitions assigned", round).await;
        world.wait_for_end_to_move(&world.topics.delivery_status()).await;
        delivery.kill();
    }
    let before = world.count(&[world.topics.delivery_status()]).await;
    assert!(before < items, "a kill came after the last item");
    let delivery = world.program(&arguments);
    let deadline = Instant::now() + PATIENCE;
    while world.count(&[world.topics.delivery_status()]).await < items {
        assert!(Instant::now() < deadline, "{}", world.log());
    }
    drop(delivery);
    before
}

/// What these records are about, each of it once.
fn once(records: Vec<Value>, id: &dyn Fn(&Value) -> String) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    records.iter().for_each(|record| *times.entry(id(record)).or_default() += 1);
    assert!(times.values().all(|times| *times == 1), "once");
    times.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_on_a_customers_topic_are_written_once_with_their_status_however_often_delivery_is_killed() {
    const EVENTS: usize = 3_000;
    const KILLS: usize = 3;
    let slowly = "delivery.static_membership = true\ndelivery.max_in_flight = 16";
    let world = World::new("kafka-kill", &format!("{slowly}\n{}", kafka(1))).await;
    let topic = create(&world, "orders", &[]).await;
    let user = |n: usize| format!("u-{}", n % 50);
    world.preferences((0..50).map(|n| reachable(&user(n), "kafka", &topic, "monitoring")).collect()).await;
    let item = |n: usize| outbound_by(&world, (Name::Kafka, &topic, "monitoring"), &user(n), n);
    world.produce(RecordType::Outbound, (0..EVENTS).map(item).collect()).await;
    let before = killed(&world, "kafka", KILLS, EVENTS).await;
    let all: BTreeSet<String> =
        (0..EVENTS).map(|n| item(n)["value"]["notification_id"].as_str().unwrap().to_owned()).collect();
    let by_id = |record: &Value| record["value"]["notification_id"].as_str().unwrap().to_owned();
    assert_eq!(once(world.read(&[world.topics.delivery_status()]).await, &by_id), all);
    let by_event = |record: &Value| {
        let digits = record["raw"].as_str().unwrap().as_bytes().chunks(2);
        let bytes: Vec<u8> =
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(once(world.read(&[topic]).await, &by_event), all);
    println!("{EVENTS} events and statuses once each after {KILLS} kills; {before} before the last start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_notification_is_a_cloud_event_on_a_customers_topic_here_and_elsewhere() {
    let world = World::new("kafka-out", &kafka(crate::support::kafka_port())).await;
    let topic = create(&world, "alerts", &[]).await;
    let (here, there) = (unique(), unique());
    let other = format!("other/{topic}");
    let people = [(&here, topic.as_str()), (&there, other.as_str())];
    world.preferences(people.map(|(user, address)| reachable(user, "kafka", address, "monitoring")).to_vec()).await;
    let router = world.router(policy()).await;
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    for (user, _) in people {
        world.event(message(user, "monitoring", json!({"title": "ü", "n": 1.5}))).await;
        let status = until(&world, user, "SENT").await.pop().unwrap();
        let records = world.read(std::slice::from_ref(&topic)).await;
        let key = format!("default/{user}");
        let mine: Vec<&Value> = records.iter().filter(|record| record["key"] == json!(key)).collect();
        assert_eq!(mine.len(), 1, "{records:#?}");
        let place = format!("{}@{}", mine[0]["partition"], mine[0]["offset"]);
        let named = if user == &there { json!(place) } else { Value::Null };
        assert_eq!(status["provider_message_id"], named);

        let record = json!({"key": key, "value": mine[0]["raw"], "headers": mine[0]["headers"]});
        let judged: Value =
            serde_json::from_str(&script("check_cloudevent.py", &[], record.to_string()).await).unwrap();
        let attributes = &judged["attributes"];
        assert_eq!((&attributes["id"], &attributes["type"]), (&status["notification_id"], &json!("order.delivered")));
        assert_eq!((&attributes["source"], &attributes["subject"]), (&json!("shop/orders"), &json!(user)));
        assert_eq!(attributes["eventid"], status["event_id"]);
        assert_eq!(judged["data"], json!({"title": "ü", "n": 1.5}));
    }
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_topic_that_is_missing_forbidden_too_small_or_out_of_reach_holds_nobody_else() {
    let world = World::new("kafka-no", &kafka(crate::support::kafka_port())).await;
    let good = create(&world, "good", &[]).await;
    let small = create(&world, "small", &[("max.message.bytes", "300")]).await;
    let missing = format!("{}customers.default.later", world.topics.prefix());
    let own = world.topics.preferences();
    let foreign = format!("{}customers.acme.alerts", world.topics.prefix());
    let elsewhere = ["other", "down", "nobody"].map(|cluster| format!("{cluster}/{small}"));
    let addresses = [&good, &small, &missing, &own, &foreign].into_iter().chain(&elsewhere);
    let people: Vec<(String, String)> = addresses.map(|address| (unique(), address.clone())).collect();
    let preferences = people.iter().map(|(user, address)| reachable(user, "kafka", address, "monitoring"));
    world.preferences(preferences.collect()).await;
    let router = world.router(policy()).await;
    let delivery = world.deliver(policy(), channels(&world)).await.unwrap();
    for (user, _) in &people {
        world.event(message(user, "monitoring", json!({"title": "x".repeat(400)}))).await;
    }
    let reason = |statuses: Vec<Value>| statuses.last().unwrap()["reason"].as_str().unwrap().to_owned();
    assert_eq!(reason(until(&world, &people[0].0, "SENT").await), "accepted");
    assert_eq!(reason(until(&world, &people[1].0, "DEAD").await), "too_large");
    let waits = until(&world, &people[2].0, "RETRYING").await;
    assert_eq!(waits[0]["reason"], "topic_missing");
    create(&world, "later", &[]).await;
    assert_eq!(reason(until(&world, &people[3].0, "FAILED").await), "address_forbidden");
    assert_eq!(reason(until(&world, &people[4].0, "FAILED").await), "address_forbidden");
    assert_eq!(reason(until(&world, &people[5].0, "FAILED").await), "too_large");
    assert_eq!(until(&world, &people[6].0, "RETRYING").await[0]["reason"], "interrupted");
    assert_eq!(reason(until(&world, &people[7].0, "DEAD").await), "no_provider");
    let deadline = Instant::now() + PATIENCE;
    while world.count(std::slice::from_ref(&missing)).await == 0 {
        assert!(Instant::now() < deadline, "it is tried again once the topic is there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let letters = world.read(&[world.topics.dlq_outbound(Name::Kafka)]).await;
    let addresses: BTreeSet<&str> = letters.iter().map(|letter| letter["value"]["address"].as_str().unwrap()).collect();
    let expected = BTreeSet::from([small.as_str(), elsewhere[2].as_str()]);
    assert_eq!(addresses, expected, "a dead letter can be put back: it has its value");
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}
