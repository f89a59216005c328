//! Chats: from an event on a topic to the webhook that a team made, and what each answer comes to. The receiver keeps
//! what it is sent; whether a card is one is for Microsoft's own renderer to say.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use notilog::channel::{self, Providers};
use notilog::config::{self, Channels, Delay};
use notilog::model::Policy;
use notilog::policy;
use rstest::rstest;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, unique};
use crate::support::{World, node_modules, order, output_of, person, with};

const CHAT: &str = r#"topics.channels = ["chat"]
delivery.tiers = ["1s", "3s"]
delivery.backoff = ["1s", "3s"]
delivery.jitter_percent = 0
"#;

fn policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

fn chat() -> Vec<Providers> {
    let chat = config::Chat {
        timeout: Delay(Duration::from_secs(20)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
    };
    channel::build(&Channels { chat: vec![chat.into()], ..Channels::default() }).unwrap()
}

/// A hook that no other test uses: path, and address for this service.
fn hook(service: &str) -> (String, String) {
    let path = format!("/hook/{}", unique());
    let address = format!("{service}:{}{path}", StandIn::webhook().base);
    (path, address)
}

fn member(user: &str, address: &str) -> Value {
    let endpoint = json!({"channel": "chat", "address": address, "verified": true, "label": null});
    let monitoring = json!({"monitoring": {"enabled": true, "channels": ["chat"], "digest": null}});
    with(person(user), json!({"endpoints": [endpoint], "categories": monitoring}))
}

fn alert(user: &str) -> Value {
    let data = json!({
        "service": "<!channel> @everyone", "summary": "p99 **high** & rising", "severity": "critical", "state": "firing",
        "url": "https://status.example.org/i/1?a=1&b=2",
    });
    let fields = json!({
        "source": "monitoring/rules", "type": "alert.firing", "category": "monitoring", "data": data.to_string(),
    });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alert_reaches_four_kinds_of_chat_and_calls_nobody_by_name() {
    let world = World::new("chat", CHAT).await;
    let mut sent = Vec::new();
    for (service, answer) in [
        ("slack", json!({"status": 200, "body": "ok"})),
        ("mattermost", json!({"status": 200, "body": "ok"})),
        ("discord", json!({"status": 200, "body": "{\"id\": \"1134567890123456789\"}"})),
        ("teams", json!(202)),
    ] {
        let (path, address) = hook(service);
        StandIn::webhook().script("/_script", json!({"path": path, "answers": [answer]})).await;
        let user = format!("{service}-{}", unique());
        world.preferences(vec![member(&user, &address)]).await;
        sent.push((service, path, user));
    }
    let router = world.router(policy()).await;
    let delivery = world.deliver(policy(), chat()).await.unwrap();
    for (_, _, user) in &sent {
        world.event(alert(user)).await;
    }
    let mut bodies = Vec::new();
    for (service, path, user) in &sent {
        let status = until(&world, user, "SENT").await.pop().unwrap();
        assert_eq!((&status["channel"], &status["provider"]), (&json!("chat"), &json!("chat")));
        let id = if *service == "discord" { json!("1134567890123456789") } else { Value::Null };
        assert_eq!(status["provider_message_id"], id);
        let kept = StandIn::webhook().list("/_requests", &[("path", path)]).await;
        assert_eq!(kept.len(), 1);
        bodies.push(serde_json::from_str::<Value>(kept[0]["body"].as_str().unwrap()).unwrap());
    }
    let [slack, mattermost, discord, teams] = bodies.as_slice() else { panic!("four of them") };
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.starts_with("🔥 *&lt;!channel&gt; @everyone*: p99 **high** &amp; rising\n\n• Severity: critical"),
        "{text}"
    );
    assert!(text.ends_with("<https://status.example.org/i/1?a=1&amp;b=2|Open the alert>"), "{text}");
    let text = mattermost["text"].as_str().unwrap();
    assert!(text.starts_with("🔥 **&lt;!channel&gt; @everyone**: p99 \\*\\*high\\*\\* & rising"), "{text}");
    assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
    assert!(discord["content"].as_str().unwrap().contains("[Open the alert](https://status.example.org/i/1?a=1&b=2)"));
    let judged = judged(teams).await;
    assert_eq!(judged["problems"], json!([]), "{teams}");
    assert_eq!(judged["text"][0], "🔥 <!channel> @everyone: p99 **high** & rising");
    // The address is a secret: it is in the preferences and the outbound record, and nowhere else.
    let told = world.read(&[world.topics.delivery_status(), world.topics.decisions()]).await;
    for (_, path, _) in &sent {
        assert!(!format!("{told:?}").contains(path));
    }
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

/// What Microsoft's renderer says of a message for Teams.
async fn judged(message: &Value) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/check_card.js");
    let mut command = Command::new("node");
    command.arg(script).env("NODE_PATH", node_modules());
    serde_json::from_str(&output_of(command, message.to_string()).await).unwrap()
}

#[rstest]
#[case::slack_gone("slack", json!([{"status": 404, "body": "no_service"}]), &["FAILED"], "address_refused")]
#[case::slack_archived("slack", json!([{"status": 410, "body": "channel_is_archived"}]), &["FAILED"], "address_refused")]
#[case::slack_prohibited("slack", json!([{"status": 403, "body": "action_prohibited"}]), &["FAILED"], "blocked")]
#[case::slack_payload("slack", json!([{"status": 400, "body": "invalid_payload"}]), &["FAILED"], "message_refused")]
#[case::slack_limit(
    "slack",
    json!([{"status": 429, "retry_after": 1, "body": "rate_limited"}, {"status": 200, "body": "ok"}]),
    &["RETRYING", "SENT"],
    "accepted"
)]
#[case::discord_limit(
    "discord",
    json!([{"status": 429, "body": "{\"retry_after\": 1.2, \"global\": false}"}, {"status": 200, "body": "{\"id\": \"7\"}"}]),
    &["RETRYING", "SENT"],
    "accepted"
)]
#[case::discord_gone("discord", json!([{"status": 404, "body": "{\"code\": 10015}"}]), &["FAILED"], "address_refused")]
#[case::mattermost_gone(
    "mattermost",
    json!([{"status": 400, "body": "{\"id\": \"web.incoming_webhook.invalid.app_error\"}"}]),
    &["FAILED"],
    "address_refused"
)]
#[case::teams_gone(
    "teams",
    json!([{"status": 404, "body": "{\"error\": {\"code\": \"WorkflowNotFound\"}}"}]),
    &["FAILED"],
    "address_refused"
)]
#[case::teams_busy("teams", json!([503, 202]), &["RETRYING", "SENT"], "accepted")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_chat_answers(
    #[case] service: &str,
    #[case] answers: Value,
    #[case] states: &[&str],
    #[case] reason: &str,
) {
    let world = World::new("chat", CHAT).await;
    let (path, address) = hook(service);
    StandIn::webhook().script("/_script", json!({"path": path, "answers": answers})).await;
    let user = unique();
    world.preferences(vec![member(&user, &address)]).await;
    let router = world.router(policy()).await;
    let delivery = world.deliver(policy(), chat()).await.unwrap();
    world.event(alert(&user)).await;
    let statuses = until(&world, &user, states.last().unwrap()).await;
    let found: Vec<&str> = statuses.iter().map(|status| status["state"].as_str().unwrap()).collect();
    assert_eq!(found, states);
    assert_eq!(statuses.last().unwrap()["reason"], reason);
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}
