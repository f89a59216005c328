//! Case 11: delivery dies between a provider's answer and the commit that keeps it. What it repeats is what was under
//! way, under the same id. That nothing is early, whatever clocks do and whoever holds the head, is in
//! tests/it/delivery.rs, tests/it/delivery_kill.rs and the tests of `kafka::heads`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use notilog::model::{Channel, Class, NotificationId};
use notilog::telemetry::faults::Point;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::scene::{Brokers, PATIENCE, Scene, Seed, Start};
use crate::stand_in::{StandIn, unique};
use crate::support::{now, port};

const USERS: usize = 60;
const EACH: usize = 6;
const IN_FLIGHT: usize = 16;
/// Calls that one kill can repeat at most: under way, and answered and not committed (docs/delivery.md).
const REPEATABLE: usize = IN_FLIGHT + IN_FLIGHT / 2;

/// Where delivery is killed: after the provider's 200, and on the way to keep it.
const POINTS: [Point; 5] = [Point::Answered, Point::Drained, Point::OffsetsSent, Point::Answered, Point::Committed];

fn address(user: usize, domain: &str) -> String {
    format!("u-{user}@{domain}.example.org")
}

fn id(user: usize, event: usize, domain: &str) -> String {
    let (event, user_id) = (format!("e-{event}"), format!("u-{user}"));
    let address = address(user, domain);
    NotificationId::derive("default", "shop/orders", &event, &user_id, "email", &address, "").to_string()
}

fn record(scene: &Scene, user: usize, event: usize, domain: &str) -> Value {
    json!({"topic": scene.topics.outbound(Channel::Email, Class::Main), "key": format!("default/u-{user}"), "value": {
        "notification_id": id(user, event, domain), "event_id": format!("e-{event}"), "source": "shop/orders",
        "type": "order.shipped", "event_time": now(), "tenant": "default", "user_id": format!("u-{user}"),
        "category": "orders", "priority": "NORMAL", "channel": "email", "address": address(user, domain),
        "locale": "en", "timezone": "Europe/Berlin", "template": "message", "data": "{\"title\":\"Shipped\"}",
        "collapse_key": null, "not_before": null, "expires_at": null, "decided_at": now() + 600_000,
        "policy_version": "v", "replay_id": null, "siblings": [], "fallback": [],
    }})
}

fn start() -> Start {
    let smtp = port("NOTILOG_SMTP_PORT", 2525);
    Start::default().with(&format!(
        "delivery.static_membership = true\ndelivery.max_in_flight = {IN_FLIGHT}\n\n[channels.email]\n\
         host = \"127.0.0.1\"\nport = {smtp}\ntls = \"none\"\nfrom = \"Shop <shop@example.com>\"\n\
         max_connections = {IN_FLIGHT}"
    ))
}

/// The ids that the mail server took for these addresses.
async fn mailed(domain: &str) -> Vec<String> {
    let ours = |attempt: &Value| {
        let to = attempt["to"][0].as_str()?;
        let id = attempt["message_id"].as_str()?.trim_start_matches('<').split('@').next()?.to_owned();
        to.ends_with(&format!("@{domain}.example.org")).then_some(id)
    };
    StandIn::smtp().list("/attempts", &[]).await.iter().filter_map(ours).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_11_killed_between_the_providers_answer_and_the_commit() {
    let mut seed = Seed::of_environment();
    let (scene, domain) = (Scene::new("answered", Brokers::Shared).await, unique());
    let pairs = || (0..EACH).flat_map(|event| (0..USERS).map(move |user| (user, event)));
    let records = pairs().map(|(user, event)| record(&scene, user, event, &domain)).collect();
    scene.produce(RecordType::Outbound, records).await;
    for point in POINTS {
        let n = if point == Point::Answered { seed.between(5, 40) } else { seed.between(1, 5) };
        println!("killed at pass {n} of {}", point.name());
        scene.program(&["deliver", "--channel", "email"], &start().killed_at(point, n)).end_by_kill().await;
    }
    let _delivery = scene.program(&["deliver", "--channel", "email"], &start());
    let deadline = Instant::now() + PATIENCE;
    let all: BTreeSet<String> = pairs().map(|(user, event)| id(user, event, &domain)).collect();
    let statuses = loop {
        let statuses = scene.read(&[scene.topics.delivery_status()]).await;
        if statuses.len() >= all.len() {
            break statuses;
        }
        assert!(Instant::now() < deadline, "only {} of {} are concluded", statuses.len(), all.len());
    };
    let mut sent = BTreeMap::<String, usize>::new();
    for status in &statuses {
        assert_eq!(status["value"]["state"], "SENT", "{status}");
        *sent.entry(status["value"]["notification_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(sent.keys().cloned().collect::<BTreeSet<_>>(), all, "each is concluded");
    assert!(sent.values().all(|times| *times == 1), "once");
    let mails = mailed(&domain).await;
    assert_eq!(mails.iter().cloned().collect::<BTreeSet<_>>(), all, "a repeat has the same id");
    let repeats = mails.len() - all.len();
    println!("{repeats} repeats after {} kills of at most {REPEATABLE} calls", POINTS.len());
    assert!(repeats <= POINTS.len() * REPEATABLE, "{repeats}");
    assert!(repeats > 0, "a kill right after an answer repeats at least that call: the test would show nothing");
}
