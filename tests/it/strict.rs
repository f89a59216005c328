//! Strict order on a real Kafka and SMTP server: through retries in tiers, kill -9 and rebalances no notification of a
//! recipient passes one before it, other recipients are not held up, and nobody else pays for it.

use std::collections::BTreeSet;

use notilog::channel::{self, Providers};
use notilog::config::{self, Channels, TlsMode};
use notilog::model::{Channel as Name, Class, Ordering, Policy};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::channels::email;
use crate::delivery::{Someone, person_at, policy, states, statuses, until_state};
use crate::support::{Running, World, port, with};

/// A tier, long enough that whoever passed would be seen to.
const SLOW: &str = r#"delivery.tiers = ["20s"]
delivery.backoff = ["20s"]
delivery.jitter_percent = 0
delivery.grace = "5s"
"#;

fn strict() -> Policy {
    let mut policy = policy();
    policy.categories.get_mut("orders").unwrap().ordering = Ordering::Strict;
    policy
}

fn plain() -> Vec<Providers> {
    let email = config::Email { tls: TlsMode::None, username: None, password: None, ..email() };
    channel::build(&Channels { email: vec![email.into()], ..Channels::default() }).unwrap()
}

async fn deliver(world: &World, policy: Policy) -> Running {
    world.deliver(policy, plain()).await.unwrap_or_else(|error| panic!("delivery ended: {error}"))
}

/// Events `from..=to`, one after the other.
async fn send(world: &World, people: &[Someone], from: usize, to: usize) {
    let of = |event: usize| people.iter().map(move |person| person.item(world, person.outbound(&format!("e-{event}"))));
    world.produce(RecordType::Outbound, (from..=to).flat_map(of).collect()).await;
}

/// Waits until each of these events is SENT to each of these people.
async fn until_sent(world: &World, people: &[Someone], count: usize) {
    let sent = |records: &[Value]| records.iter().filter(|record| record["value"]["state"] == "SENT").count();
    world.read_until(&[world.topics.delivery_status()], |records| sent(records) >= people.len() * count).await;
}

/// The events whose mails arrived, in their order.
async fn arrived(person: &Someone, count: usize) -> Vec<String> {
    let ids: Vec<String> = (1..=count).map(|event| person.id(&format!("e-{event}"))).collect();
    let event_of = |mail: &Value| {
        let message_id = mail["message_id"].as_str().unwrap();
        let event = ids.iter().position(|id| message_id.contains(id)).expect("one that was sent");
        format!("e-{}", event + 1)
    };
    person.mails().await.iter().map(event_of).collect()
}

fn in_order(count: usize) -> Vec<String> {
    (1..=count).map(|event| format!("e-{event}")).collect()
}

async fn several(world: &World, count: usize, answers: Value) -> Vec<Someone> {
    let people: Vec<Someone> = (0..count).map(|_| Someone::new()).collect();
    for person in &people {
        person.answers(answers.clone()).await;
    }
    world.preferences(people.iter().map(|person| person_at(person, &person.address)).collect()).await;
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_wait_behind_a_parked_head_and_others_do_not() {
    let world = World::new("strict", SLOW).await;
    let ada = several(&world, 1, json!([451, 250])).await;
    let others = several(&world, 5, json!([250])).await;
    let relaxed = several(&world, 1, json!([451, 250])).await;
    let delivery = deliver(&world, strict()).await;
    let marketing = with(relaxed[0].outbound("e-1"), json!({"category": "marketing"}));
    relaxed[0].send(&world, marketing).await;
    send(&world, &ada, 1, 3).await;
    send(&world, &others, 1, 3).await;
    until_sent(&world, &others, 3).await;
    assert_eq!(arrived(&ada[0], 3).await, in_order(0), "the head still waits, and so do its followers");
    until_state(&world, &ada[0].id("e-3"), "SENT").await;
    until_state(&world, &relaxed[0].id("e-1"), "SENT").await;
    delivery.stop().await.unwrap();

    assert_eq!(arrived(&ada[0], 3).await, in_order(3));
    assert_eq!(states(&statuses(&world, &ada[0].id("e-1"), 2).await), ["RETRYING", "SENT"]);
    for follower in ["e-2", "e-3"] {
        let told = statuses(&world, &ada[0].id(follower), 2).await;
        assert_eq!(states(&told), ["WAITING", "SENT"], "that it waits is said once");
        assert_eq!((&told[0]["reason"], &told[1]["attempt"]), (&json!("strict_order"), &json!(1)));
    }
    let first = world.topics.outbound(Name::Email, Class::Main);
    let ours = |record: &&Value| record["key"] == json!(format!("default/{}", ada[0].user));
    let offset = |record: &Value| record["offset"].as_u64().unwrap();
    let written: Vec<u64> = world.read(&[first]).await.iter().filter(ours).map(offset).collect();
    let tier = world.topics.outbound_tier(Name::Email, std::time::Duration::from_secs(20));
    let waited: BTreeSet<u64> = world.read(&[tier]).await.iter().filter(ours).map(seq).collect();
    assert_eq!(
        waited,
        written.iter().map(|offset| (offset + 1) << 16).collect(),
        "the place is where it was first written"
    );
    let lanes = world.read(&[world.topics.lanes(Name::Email)]).await;
    assert!(lanes.iter().all(|lane| ours(&lane)), "nobody else pays for it: {lanes:#?}");
    assert!(lanes.len() >= 2 && lanes.last().unwrap()["value"].is_null(), "in the end nobody waits: {lanes:#?}");
}

fn seq(record: &Value) -> u64 {
    record["headers"]["notify-lane-seq"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_ends_without_being_sent_lets_the_next_go() {
    let world = World::new("strict-ends", &SLOW.replace("20s", "5s")).await;
    let ada = several(&world, 1, json!([451, 550, 451, 250])).await;
    let delivery = deliver(&world, strict()).await;
    send(&world, &ada, 1, 3).await;
    until_state(&world, &ada[0].id("e-3"), "SENT").await;
    delivery.stop().await.unwrap();
    assert_eq!(states(&statuses(&world, &ada[0].id("e-1"), 2).await), ["RETRYING", "FAILED"]);
    assert_eq!(states(&statuses(&world, &ada[0].id("e-2"), 3).await), ["WAITING", "RETRYING", "SENT"]);
    assert_eq!(arrived(&ada[0], 3).await, ["e-2", "e-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_category_that_is_strict_no_more_lets_go_whoever_waits() {
    let world = World::new("strict-relaxed", SLOW).await;
    let ada = several(&world, 1, json!([451, 451, 250])).await;
    let before = deliver(&world, strict()).await;
    send(&world, &ada, 1, 2).await;
    until_state(&world, &ada[0].id("e-2"), "WAITING").await;
    before.stop().await.unwrap();
    let mut relaxed = policy();
    relaxed.categories.get_mut("account").unwrap().ordering = Ordering::Strict;
    let after = deliver(&world, relaxed).await;
    until_sent(&world, &ada, 2).await;
    after.stop().await.unwrap();
    assert_eq!(arrived(&ada[0], 2).await, ["e-2", "e-1"], "the head was tried again, and held nobody up");
    let lanes = world.read(&[world.topics.lanes(Name::Email)]).await;
    assert!(lanes.last().unwrap()["value"].is_null(), "{lanes:#?}");
}

/// The program's configuration, and its policy in a folder of its own.
fn config() -> String {
    let smtp = port("NOTILOG_SMTP_PORT", 2525);
    format!(
        r#"delivery.static_membership = true
{SLOW}
[channels.email]
host = "127.0.0.1"
port = {smtp}
tls = "none"
from = "Shop <shop@example.com>"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_heads_are_parked_leaves_the_order_to_its_successor() {
    let world = World::new("strict-kill", &config()).await;
    let policies = world.folder.path().join("policies");
    std::fs::create_dir(&policies).unwrap();
    let orders =
        "[categories.orders]\nallowed = ['email']\ndefault = ['email']\nordering = 'strict'\nmax_attempts = 20\n";
    std::fs::write(policies.join("orders.toml"), orders).unwrap();
    let dir = policies.display().to_string();
    let start = || world.program_with(&["deliver", "--channel", "email"], &[("NOTILOG__POLICIES__DIR", dir.as_str())]);

    let people = several(&world, 8, json!([451, 250])).await;
    let delivery = start();
    send(&world, &people, 1, 2).await;
    world.read_count(world.topics.delivery_status(), people.len() * 2).await;
    delivery.kill();
    send(&world, &people, 3, 4).await;
    let delivery = start();
    until_sent(&world, &people, 4).await;
    drop(delivery);
    for person in &people {
        let mut mails = arrived(person, 4).await;
        // What was under way at the kill may come twice.
        mails.dedup();
        assert_eq!(mails, in_order(4), "{}", world.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_while_partitions_change_hands() {
    let world = World::new("strict-rebalance", SLOW).await;
    let people = several(&world, 12, json!([451, 250])).await;
    let first = deliver(&world, strict()).await;
    send(&world, &people, 1, 2).await;
    world.read_count(world.topics.delivery_status(), people.len() * 2).await;
    let other = world.with_config(|config| config.delivery.instance = "other".to_owned());
    let second = deliver(&other, strict()).await;
    send(&world, &people, 3, 4).await;
    world.read_count(world.topics.delivery_status(), people.len() * 4).await;
    first.stop().await.unwrap();
    send(&world, &people, 5, 5).await;
    until_sent(&world, &people, 5).await;
    second.stop().await.unwrap();
    for person in &people {
        assert_eq!(arrived(person, 5).await, in_order(5));
    }
}
