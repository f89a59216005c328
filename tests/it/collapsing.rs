//! What waits is not sent after a later notification of its collapse key, on a real Kafka and SMTP server; and the later
//! one always is.

use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::delivery::{Someone, deliver, person_at, states, statuses, until_state};
use crate::stand_in::StandIn;
use crate::support::{World, with};

/// One tier, long enough that something can happen meanwhile.
const SLOW: &str = r#"delivery.tiers = ["20s"]
delivery.backoff = ["20s"]
delivery.jitter_percent = 0
delivery.grace = "5s"
"#;

fn collapsing(someone: &Someone, event: &str, key: &str) -> Value {
    with(someone.outbound(event), json!({"collapse_key": key}))
}

/// Sends one that is answered "later", and then, once it waits, another one.
async fn one_and_then(world: &World, someone: &Someone, first: Value, second: Value) {
    let id = first["notification_id"].as_str().unwrap().to_owned();
    someone.answers(json!([451, 250])).await;
    world.preferences(vec![person_at(someone, &someone.address)]).await;
    someone.send(world, first).await;
    statuses(world, &id, 1).await;
    someone.send(world, second).await;
}

fn events(mails: &[Value]) -> Vec<String> {
    mails.iter().map(|mail| mail["message_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_by_a_later_one_of_its_key_once_and_nothing_else_is() {
    let (world, ada, bob) = (World::new("collapse", SLOW).await, Someone::new(), Someone::new());
    let delivery = deliver(&world).await;
    let (first, second) = (collapsing(&ada, "e-1", "order-1"), collapsing(&ada, "e-2", "order-1"));
    one_and_then(&world, &ada, first, second).await;
    one_and_then(&world, &bob, collapsing(&bob, "e-1", "order-1"), collapsing(&bob, "e-2", "order-2")).await;
    until_state(&world, &bob.id("e-1"), "SENT").await;
    until_state(&world, &ada.id("e-1"), "CANCELLED").await;
    delivery.stop().await.unwrap();

    let superseded = statuses(&world, &ada.id("e-1"), 2).await;
    assert_eq!(states(&superseded), ["RETRYING", "CANCELLED"]);
    assert_eq!((&superseded[1]["reason"], &superseded[1]["provider"]), (&json!("superseded"), &json!("")));
    assert_eq!(states(&statuses(&world, &ada.id("e-2"), 1).await), ["SENT"]);
    assert_eq!(ada.mails().await.len(), 1);
    assert!(events(&ada.mails().await)[0].contains(&ada.id("e-2")), "the later one");
    assert_eq!(bob.mails().await.len(), 2, "another key is another matter, and so is another recipient");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_knows_what_was_overtaken_before() {
    let (world, ada) = (World::new("collapse-restart", SLOW).await, Someone::new());
    let before = deliver(&world).await;
    let (first, second) = (collapsing(&ada, "e-1", "order-1"), collapsing(&ada, "e-2", "order-1"));
    one_and_then(&world, &ada, first, second).await;
    until_state(&world, &ada.id("e-2"), "SENT").await;
    before.stop().await.unwrap();
    assert_eq!(states(&statuses(&world, &ada.id("e-1"), 1).await), ["RETRYING"], "it still waits");
    let after = deliver(&world).await;
    world.read_count(world.topics.delivery_status(), 3).await;
    after.stop().await.unwrap();
    assert_eq!(states(&statuses(&world, &ada.id("e-1"), 2).await), ["RETRYING", "CANCELLED"]);
    assert_eq!(ada.mails().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_that_wait_in_their_lane_only_the_last_of_each_key_is_sent() {
    let (world, ada) = (World::new("collapse-lane", SLOW).await, Someone::new());
    StandIn::smtp().script("/script", json!({"address": ada.address, "answers": [250], "delay_ms": 1_500})).await;
    let mut items = vec![ada.item(&world, ada.outbound("e-0"))];
    items.extend(["e-1", "e-2", "e-3"].map(|event| ada.item(&world, collapsing(&ada, event, "order-1"))));
    world.produce(RecordType::Outbound, items).await;
    let delivery = deliver(&world).await;
    world.read_count(world.topics.delivery_status(), 4).await;
    delivery.stop().await.unwrap();
    for (event, ends) in [("e-0", "SENT"), ("e-1", "CANCELLED"), ("e-2", "CANCELLED"), ("e-3", "SENT")] {
        assert_eq!(states(&statuses(&world, &ada.id(event), 1).await), [ends], "{event}");
    }
    assert_eq!(ada.mails().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_that_had_the_later_one_does_not_get_the_earlier_one() {
    let (world, ada) = (World::new("collapse-moved", SLOW).await, Someone::new());
    let moved = Someone { address: format!("{}@new.example.org", ada.user), user: ada.user.clone() };
    let delivery = deliver(&world).await;
    ada.answers(json!([451, 250])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    ada.send(&world, collapsing(&ada, "e-1", "order-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    world.preferences(vec![person_at(&ada, &moved.address)]).await;
    ada.send(&world, collapsing(&moved, "e-2", "order-1")).await;
    until_state(&world, &ada.id("e-1"), "CANCELLED").await;
    delivery.stop().await.unwrap();
    assert_eq!(world.count(&[world.topics.delivery_status()]).await, 3, "no other notification took its place");
    assert_eq!((ada.mails().await.len(), moved.mails().await.len()), (0, 1));
}
