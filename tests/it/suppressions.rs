//! The suppression list end to end: a hard bounce puts an address there, the router and waiting notifications obey it,
//! an operator lifts it; read with a client that is not ours.

use notilog::model::Channel;
use notilog::policy;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::cli::Cli;
use crate::delivery::{FAST, Someone, deliver, person_at, states, statuses, until_state};
use crate::support::{World, with};

const KEY: &str = "suppressions.key = \"a secret of these tests\"\n";

fn policy() -> notilog::model::Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

async fn world(name: &str) -> World {
    World::new(name, &format!("{KEY}{FAST}")).await
}

/// An event that the template `message` has words for.
fn order(id: &str, user: &str) -> Value {
    let data = json!({"title": "Shipped", "text": "On its way"}).to_string();
    with(crate::support::order(id, user), json!({"template": "message", "data": data}))
}

/// The outcomes of an event's decision, once it is there.
async fn outcomes(world: &World, event: &str) -> Vec<Value> {
    let of = |records: &[Value]| records.iter().find(|record| record["value"]["event_id"] == event).cloned();
    let all = world.read_until(&[world.topics.decisions()], |records| of(records).is_some()).await;
    of(&all).unwrap()["value"]["outcomes"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_bounced_gets_nothing_more_until_it_is_lifted() {
    let (world, ada) = (world("bounced").await, Someone::new());
    ada.answers(json!(["550 5.1.1 no such user"])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let (router, delivery) = (world.router(policy()).await, deliver(&world).await);
    world.event(order("e-1", &ada.user)).await;
    let first = statuses(&world, &ada.id("e-1"), 1).await;
    assert_eq!((states(&first), &first[0]["code"]), (vec!["FAILED"], &json!("550 5.1.1")), "{first:#?}");

    let entries = world.read_count(world.topics.suppressions(), 1).await;
    let (key, entry) = (entries[0]["key"].as_str().unwrap(), &entries[0]["value"]);
    assert!(key.starts_with("default/email/") && !key.contains(&ada.user), "{key}");
    assert_eq!((&entry["reason"], &entry["source"]), (&json!("hard_bounce"), &json!("deliver/smtp")));
    assert_eq!((&entry["code"], &entry["notification_id"]), (&json!("550 5.1.1"), &json!(ada.id("e-1"))));

    // Even a mandatory category keeps away; the table may be a moment behind.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let mandatory = json!({"category": "security", "type": "login.new_device", "channels": ["email"]});
    world.event(with(order("e-2", &ada.user), mandatory)).await;
    let second = outcomes(&world, "e-2").await;
    assert_eq!((&second[0]["verdict"], &second[0]["reason"]), (&json!("SUPPRESSED"), &json!("address_suppressed")));
    assert_eq!((&second[0]["rule"], second.len()), (&json!(9), 1));
    let explained = Cli::of(&world).run(&["explain", "e-2"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("suppressions: reason = hard_bounce"), "{explained}");
    assert!(explained.contains("suppressions: source = deliver/smtp"), "{explained}");

    let why = ["--why", "the mailbox is back", "--yes"];
    let lifted = Cli::of(&world).run(&[&["suppressions", "lift", "email", &ada.address], &why[..]].concat());
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    ada.answers(json!([250])).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    world.event(order("e-3", &ada.user)).await;
    assert_eq!(states(&statuses(&world, &ada.id("e-3"), 1).await), ["SENT"]);
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();

    let entries = world.read(&[world.topics.suppressions()]).await;
    assert_eq!((entries.len(), &entries[1]["raw"], &entries[1]["key"]), (2, &Value::Null, &json!(key)));
    let audit = world.read(&[world.topics.audit()]).await;
    let audit = hex(audit[0]["raw"].as_str().unwrap());
    assert!(audit.contains("suppressions-lift") && audit.contains(key) && !audit.contains(&ada.address), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_address_that_was_put_on_the_list_is_cancelled() {
    let (world, ada) = (world("wake").await, Someone::new());
    ada.answers(json!([451])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    // Spelled otherwise, and the same mailbox.
    let address = ada.address.to_uppercase();
    let added = Cli::of(&world).run(&["suppressions", "add", "email", &address, "--why", "asked by phone"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let all = until_state(&world, &ada.id("e-1"), "CANCELLED").await;
    delivery.stop().await.unwrap();
    let last = all.last().unwrap();
    assert_eq!((&last["state"], &last["reason"]), (&json!("CANCELLED"), &json!("address_suppressed")));
    assert!(ada.mails().await.is_empty());
    let entries = world.read(&[world.topics.suppressions()]).await;
    assert_eq!((&entries[0]["value"]["reason"], &entries[0]["value"]["source"]), (&json!("manual"), &json!("tester")));

    let listed = Cli::of(&world).run(&["suppressions", "ls", "--output", "json", "--channel", "email"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["reason"], &listed[0]["key_known"]), (&json!("manual"), &json!(true)), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_suppresses_all_the_same() {
    let (world, ada) = (world("garbled").await, Someone::new());
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let added = Cli::of(&world).run(&["suppressions", "add", "email", &ada.address, "--output", "json"]);
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let garbled = json!({"topic": world.topics.suppressions(), "key": added["key"], "raw": "6e6f7065"});
    world.produce(RecordType::Suppression, vec![garbled]).await;
    let router = world.router(policy()).await;
    world.event(order("e-1", &ada.user)).await;
    let outcomes = outcomes(&world, "e-1").await;
    router.stop().await.unwrap();
    assert_eq!(outcomes[0]["reason"], "address_suppressed");
    assert_eq!(world.count(&[world.topics.outbound(Channel::Email, notilog::model::Class::Main)]).await, 0);
}

fn hex(text: &str) -> String {
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}
