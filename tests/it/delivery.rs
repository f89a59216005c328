//! Delivery against a real Kafka and registry and a scripted SMTP server: what waits in outbound topics is sent,
//! retried, given up or cancelled, and each of it can be read.

use std::time::Duration;

use notilog::channel::{self, Providers};
use notilog::config::{self, Channels, Delay, TlsMode};
use notilog::kafka::admin::Admin;
use notilog::model::{Channel as Name, Class, NotificationId, Policy};
use notilog::policy;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::channels::email;
use crate::stand_in::{StandIn, unique};
use crate::support::{Running, World, now, person, with};

/// Short tiers, so that a retry is a matter of seconds.
pub const FAST: &str = r#"delivery.tiers = ["1s", "3s"]
delivery.backoff = ["1s", "3s"]
delivery.jitter_percent = 0
delivery.halt_pause = "1s"
delivery.grace = "5s"
"#;

pub fn policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

fn plain(more: config::Email) -> Vec<Providers> {
    let email = config::Email { tls: TlsMode::None, username: None, password: None, ..more };
    channel::build(&Channels { email: vec![email.into()], ..Channels::default() }).unwrap()
}

pub async fn deliver(world: &World) -> Running {
    world.deliver(policy(), plain(email())).await.unwrap_or_else(|error| panic!("delivery ended: {error}"))
}

/// A user, and the address that the SMTP server is scripted for.
pub struct Someone {
    pub user: String,
    pub address: String,
}

impl Someone {
    pub fn new() -> Self {
        let user = unique();
        Someone { address: format!("{user}@example.org"), user }
    }

    pub fn id(&self, event: &str) -> String {
        self.id_at(event, &self.address)
    }

    fn id_at(&self, event: &str, address: &str) -> String {
        NotificationId::derive("default", "shop/orders", event, &self.user, "email", address, "").to_string()
    }

    pub async fn answers(&self, answers: Value) {
        StandIn::smtp().script("/script", json!({"address": self.address, "answers": answers})).await;
    }

    pub async fn mails(&self) -> Vec<Value> {
        StandIn::smtp().list("/messages", &[("address", &self.address)]).await
    }

    async fn attempts(&self) -> Vec<Value> {
        StandIn::smtp().list("/attempts", &[("address", &self.address)]).await
    }

    /// An outbound record as the router writes it.
    pub fn outbound(&self, event: &str) -> Value {
        json!({
            "notification_id": self.id(event), "event_id": event, "source": "shop/orders", "type": "order.shipped",
            "event_time": now(), "tenant": "default", "user_id": self.user, "category": "orders", "priority": "NORMAL",
            "channel": "email", "address": self.address, "locale": "en", "timezone": "Europe/Berlin",
            "template": "message", "data": "{\"title\":\"Shipped\",\"text\":\"On its way\"}", "collapse_key": null,
            "not_before": null, "expires_at": null, "decided_at": now(), "policy_version": "v", "replay_id": null,
            "siblings": [], "fallback": [],
        })
    }

    pub fn item(&self, world: &World, outbound: Value) -> Value {
        let topic = world.topics.outbound(Name::Email, Class::Main);
        json!({"topic": topic, "key": format!("default/{}", self.user), "value": outbound})
    }

    pub async fn send(&self, world: &World, outbound: Value) {
        world.produce(RecordType::Outbound, vec![self.item(world, outbound)]).await;
    }
}

/// The statuses of a notification, in order, until `count` are there.
pub async fn statuses(world: &World, id: &str, count: usize) -> Vec<Value> {
    let of = |records: &[Value]| -> Vec<Value> {
        let mine = records.iter().map(|record| &record["value"]).filter(|value| value["notification_id"] == id);
        mine.cloned().collect()
    };
    let all = world.read_until(&[world.topics.delivery_status()], |records| of(records).len() >= count).await;
    of(&all)
}

/// The statuses of a notification up to the one of this state.
pub async fn until_state(world: &World, id: &str, state: &str) -> Vec<Value> {
    let ends = |records: &[Value]| {
        records.iter().any(|record| record["value"]["notification_id"] == id && record["value"]["state"] == state)
    };
    world.read_until(&[world.topics.delivery_status()], ends).await;
    statuses(world, id, 1).await
}

/// The last status, and how many RETRYING came before it: how often it was tried until the preferences changed.
fn only_the_last_differs(statuses: &[Value]) -> (&Value, usize) {
    let (last, before) = statuses.split_last().unwrap();
    assert!(states(before).iter().all(|state| *state == "RETRYING"), "{statuses:#?}");
    (last, before.len())
}

pub fn states(statuses: &[Value]) -> Vec<&str> {
    statuses.iter().map(|status| status["state"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_takes_is_sent_once_with_the_notifications_id() {
    let (world, ada) = (World::new("sent", FAST).await, Someone::new());
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    let statuses = statuses(&world, &ada.id("e-1"), 1).await;
    delivery.stop().await.unwrap();

    assert_eq!(states(&statuses), ["SENT"]);
    let status = &statuses[0];
    assert_eq!((&status["attempt"], &status["reason"]), (&json!(1), &json!("accepted")));
    assert_eq!((&status["run"], &status["event_id"]), (&json!(0), &json!("e-1")));
    assert!(status["provider_message_id"].is_string() || status["provider_message_id"].is_null());
    let mails = ada.mails().await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0]["message_id"].as_str().unwrap().contains(&ada.id("e-1")), "{mails:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_provider_is_asked_again_after_each_tiers_delay_and_not_before() {
    let (world, ada) = (World::new("retry", FAST).await, Someone::new());
    ada.answers(json!([451, 451, 250])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    let statuses = statuses(&world, &ada.id("e-1"), 3).await;
    delivery.stop().await.unwrap();

    assert_eq!(states(&statuses), ["RETRYING", "RETRYING", "SENT"]);
    let attempts: Vec<i64> = statuses.iter().map(|status| status["attempt"].as_i64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(statuses[0]["code"], "451 4.7.1");
    let at: Vec<i64> = ada.attempts().await.iter().map(|attempt| attempt["at"].as_i64().unwrap()).collect();
    assert_eq!(at.len(), 3);
    assert!(at[1] - at[0] >= 1_000 && at[2] - at[1] >= 3_000, "{at:?}");
    for (status, next) in statuses.iter().zip(&at[1..]) {
        assert!(status["next_attempt_at"].as_i64().unwrap() <= *next, "{at:?} {status:#?}");
    }
    assert_eq!(ada.mails().await.len(), 1, "the mail arrives once");

    let tiers = [1, 3].map(|s| world.topics.outbound_tier(Name::Email, Duration::from_secs(s)));
    let waited = world.read(&tiers).await;
    let headers: Vec<&Value> = waited.iter().map(|record| &record["headers"]).collect();
    assert_eq!(headers.len(), 2);
    for (header, attempt) in headers.iter().zip(["1", "2"]) {
        assert_eq!(header["notify-attempt"], attempt);
        assert_eq!(header["notify-original-topic"], world.topics.outbound(Name::Email, Class::Main));
        assert_eq!(header["notify-original-offset"], "0");
        assert_eq!(header["notify-error-code"], "provider_busy");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_fails_at_once_and_for_good() {
    let (world, ada) = (World::new("refused", FAST).await, Someone::new());
    ada.answers(json!([550])).await;
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    let statuses = statuses(&world, &ada.id("e-1"), 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    delivery.stop().await.unwrap();
    assert_eq!(states(&statuses), ["FAILED"]);
    assert_eq!(ada.attempts().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_unsubscribes_while_it_waits_gets_nothing() {
    let (world, ada) = (World::new("unsubscribed", FAST).await, Someone::new());
    ada.answers(json!([451])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    let out = json!({"categories": {"orders": {"enabled": false, "channels": null, "digest": null}}, "version": 2});
    world.preferences(vec![with(person_at(&ada, &ada.address), out)]).await;
    let statuses = until_state(&world, &ada.id("e-1"), "CANCELLED").await;
    delivery.stop().await.unwrap();
    let (last, retries) = only_the_last_differs(&statuses);
    assert_eq!((&last["state"], &last["reason"]), (&json!("CANCELLED"), &json!("opted_out_category")));
    assert_eq!((&last["provider"], &last["attempt"]), (&json!(""), &json!(retries)));
    assert_eq!(ada.attempts().await.len(), retries);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_while_it_waits_gets_it_at_the_new_address() {
    let (world, ada) = (World::new("moved", FAST).await, Someone::new());
    ada.answers(json!([451])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let delivery = deliver(&world).await;
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    let moved = Someone { address: format!("{}@new.example.org", ada.user), user: ada.user.clone() };
    world.preferences(vec![person_at(&ada, &moved.address)]).await;
    let new = statuses(&world, &moved.id("e-1"), 1).await;
    let old = until_state(&world, &ada.id("e-1"), "CANCELLED").await;
    delivery.stop().await.unwrap();
    let (last, _) = only_the_last_differs(&old);
    assert_eq!((&last["state"], &last["reason"]), (&json!("CANCELLED"), &json!("superseded")));
    assert_eq!(states(&new), ["SENT"]);
    assert_eq!((ada.mails().await.len(), moved.mails().await.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_outbound_record_goes_to_the_dead_letters_and_stops_nobody() {
    let (world, ada) = (World::new("poison", FAST).await, Someone::new());
    let topic = world.topics.outbound(Name::Email, Class::Main);
    let key = format!("default/{}", ada.user);
    let misplaced = with(ada.outbound("e-0"), json!({"channel": "telegram"}));
    world
        .produce(
            RecordType::Outbound,
            vec![
                json!({"topic": topic, "key": key, "raw": "6e6f74206176726f"}),
                json!({"topic": topic, "key": key, "raw": "00ffffff0001"}),
                json!({"topic": topic, "key": key}),
                ada.item(&world, misplaced),
                json!({"topic": topic, "key": key, "value": ada.outbound("e-1"), "headers": {"notify-attempt": "x"}}),
                ada.item(&world, ada.outbound("e-2")),
            ],
        )
        .await;
    let delivery = deliver(&world).await;
    statuses(&world, &ada.id("e-2"), 1).await;
    let dead = world.read_count(world.topics.dlq_outbound(Name::Email), 5).await;
    delivery.stop().await.unwrap();

    let mut reasons: Vec<(String, String)> = dead
        .iter()
        .map(|record| {
            let header = |name: &str| record["headers"][name].as_str().unwrap().to_owned();
            assert_eq!(header("__dlq.errors.topic"), topic);
            assert_eq!(record["key"], key);
            (header("__dlq.errors.offset"), header("notify-reason"))
        })
        .collect();
    reasons.sort();
    let expected = ["not_an_outbound", "unknown_schema", "not_an_outbound", "not_an_outbound", "not_an_outbound"];
    assert_eq!(reasons.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(), expected, "{dead:#?}");
    assert_eq!(dead.iter().filter(|record| record["raw"] == "6e6f74206176726f").count(), 1, "the bytes as they came");
    assert_eq!(ada.mails().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_missing_is_a_dead_letter_with_a_status() {
    let (world, ada) = (World::new("template", FAST).await, Someone::new());
    let delivery = deliver(&world).await;
    ada.send(&world, with(ada.outbound("e-1"), json!({"template": "nowhere"}))).await;
    let statuses = statuses(&world, &ada.id("e-1"), 1).await;
    let dead = world.read_count(world.topics.dlq_outbound(Name::Email), 1).await;
    delivery.stop().await.unwrap();
    assert_eq!((states(&statuses), &statuses[0]["reason"]), (vec!["DEAD"], &json!("template_missing")));
    assert_eq!(dead[0]["headers"]["notify-reason"], "template_missing");
    assert_eq!(ada.attempts().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempt_that_fails_makes_a_dead_letter() {
    let (world, ada) = (World::new("exhausted", FAST).await, Someone::new());
    ada.answers(json!([451, 451, 451, 451, 451, 451])).await;
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let mut policy = policy();
    policy.categories.get_mut("orders").unwrap().max_attempts = 2;
    let delivery = world.deliver(policy, plain(email())).await.unwrap();
    ada.send(&world, ada.outbound("e-1")).await;
    let statuses = statuses(&world, &ada.id("e-1"), 2).await;
    let dead = world.read_count(world.topics.dlq_outbound(Name::Email), 1).await;
    delivery.stop().await.unwrap();
    assert_eq!(states(&statuses), ["RETRYING", "DEAD"]);
    assert_eq!(statuses[1]["reason"], "attempts_exhausted");
    assert_eq!(dead[0]["headers"]["__dlq.errors.delivery.count"], "2");
    assert_eq!(dead[0]["value"]["event_id"], "e-1", "the original bytes");
    assert_eq!(ada.attempts().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_tier_does_not_take_is_dead_and_stops_nobody() {
    let (world, ada, bob) = (World::new("large", FAST).await, Someone::new(), Someone::new());
    let admin = Admin::new(&world.config.kafka).unwrap();
    for tier in &world.config.delivery.tiers {
        let small = [("max.message.bytes".to_owned(), "1000".to_owned())].into();
        admin.alter(&world.topics.outbound_tier(Name::Email, tier.0), &small).await.unwrap();
    }
    ada.answers(json!([451])).await;
    let data = json!({"title": "Shipped", "text": "x".repeat(2_000)}).to_string();
    let delivery = deliver(&world).await;
    ada.send(&world, with(ada.outbound("e-1"), json!({ "data": data }))).await;
    let dead = statuses(&world, &ada.id("e-1"), 1).await;
    bob.send(&world, bob.outbound("e-2")).await;
    let sent = statuses(&world, &bob.id("e-2"), 1).await;
    let letters = world.read_count(world.topics.dlq_outbound(Name::Email), 1).await;
    delivery.stop().await.unwrap();
    assert_eq!((states(&dead), &dead[0]["reason"]), (vec!["DEAD"], &json!("too_large")));
    assert_eq!(states(&sent), ["SENT"]);
    assert_eq!(letters[0]["headers"]["notify-reason"], "too_large");
    assert_eq!(letters[0]["headers"]["__dlq.errors.topic"], world.topics.outbound(Name::Email, Class::Main));
    assert_eq!(ada.attempts().await.len(), 1, "it is not sent again while its record cannot be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_costs_no_attempt_and_loses_nothing() {
    let (world, people) = (World::new("halt", FAST).await, [(); 10].map(|()| Someone::new()));
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let down = plain(config::Email { port: nobody, ..email() });
    let items = people.iter().map(|someone| someone.item(&world, someone.outbound("e-1"))).collect();
    world.produce(RecordType::Outbound, items).await;
    let (halted, readiness) = world.start_delivery(policy(), down).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.count(&[world.topics.delivery_status()]).await, 0, "nothing is concluded");
    let waiting = readiness.waiting();
    assert_eq!(waiting["deliver email: not halted"], "halted: connect_failed", "{waiting:?}");
    halted.stop().await.unwrap();

    let delivery = deliver(&world).await;
    let statuses = world.read_count(world.topics.delivery_status(), people.len()).await;
    delivery.stop().await.unwrap();
    let values: Vec<Value> = statuses.iter().map(|record| record["value"].clone()).collect();
    assert_eq!(states(&values), ["SENT"; 10]);
    assert!(values.iter().all(|status| status["attempt"] == 1), "{values:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_recipient_holds_nobody_up_and_is_not_sent_to_again_after_a_restart() {
    let (world, slow) = (World::new("slow", FAST).await, Someone::new());
    StandIn::smtp().script("/script", json!({"address": slow.address, "answers": [250], "delay_ms": 8_000})).await;
    let people: Vec<Someone> = (0..100).map(|_| Someone::new()).collect();
    let mut items = vec![slow.item(&world, slow.outbound("e-1"))];
    items.extend(people.iter().map(|someone| someone.item(&world, someone.outbound("e-1"))));
    world.produce(RecordType::Outbound, items).await;
    let first = deliver(&world).await;
    world.read_count(world.topics.delivery_status(), people.len()).await;
    // The grace of 5 s is shorter than the provider: this call is given up, and made again.
    first.stop().await.unwrap();

    StandIn::smtp().script("/script", json!({"address": slow.address, "answers": [250]})).await;
    let second = deliver(&world).await;
    let all = world.read_count(world.topics.delivery_status(), people.len() + 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    second.stop().await.unwrap();
    assert_eq!(all.len(), people.len() + 1);
    for someone in &people {
        assert_eq!(someone.attempts().await.len(), 1, "what was complete is not sent again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_and_go_send_each_notification_once() {
    let world = World::new("rebalance", FAST).await;
    let people: Vec<Someone> = (0..600).map(|_| Someone::new()).collect();
    let first = deliver(&world).await;
    let mut workers = vec![first];
    for part in people.chunks(300) {
        let items = part.iter().map(|someone| someone.item(&world, someone.outbound("e-1"))).collect();
        world.produce(RecordType::Outbound, items).await;
        let other = world.with_config(|config| config.delivery.instance = format!("w-{}", workers.len()));
        workers.push(other.deliver(policy(), plain(email())).await.unwrap());
    }
    workers.remove(0).stop().await.unwrap();
    world.read_count(world.topics.delivery_status(), people.len()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
    assert_eq!(world.count(&[world.topics.delivery_status()]).await, people.len());
    let mut sent_twice = 0;
    for someone in &people {
        sent_twice += usize::from(someone.attempts().await.len() != 1);
    }
    assert_eq!(sent_twice, 0, "who stops finishes what it started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_with_what_to_do() {
    let world = World::new("missing", "delivery.tiers = [\"1s\", \"3s\"]").await;
    let other = world.with_config(|config| config.delivery.tiers = vec![Delay(Duration::from_secs(7))]);
    let error = other.deliver(policy(), plain(email())).await.unwrap_err();
    assert!(error.contains("notify.outbound.email.retry.7s") && error.contains("notilog topics apply"), "{error}");
}

pub fn person_at(someone: &Someone, address: &str) -> Value {
    let endpoint = json!([{"channel": "email", "address": address, "verified": true, "label": null}]);
    with(person(&someone.user), json!({ "endpoints": endpoint }))
}
