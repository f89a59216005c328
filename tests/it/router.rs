//! The router against a real Kafka and registry: what goes in as events comes out as outbound records, decisions and
//! dead letters, each once.

use notilog::kafka::admin::Admin;
use notilog::model::{Channel, Class, Policy};
use notilog::policy;
use notilog::wire::RecordType;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Valve, World, now, order, person, registry_port, with};

const FAST: &str = r#"router.tiers = ["1s", "10s"]
router.recipient_grace = "3s"
"#;

fn example_policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

/// The only outcome of the only decision.
fn only_outcome(decisions: &[Value]) -> &Value {
    assert_eq!(decisions.len(), 1, "{decisions:#?}");
    let outcomes = decisions[0]["value"]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
    &outcomes[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_becomes_an_outbound_record_and_a_decision_that_names_the_preferences() {
    let world = World::new("routed", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    world.event(order("e-1", "ada")).await;
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 1).await;
    let decisions = world.read_count(world.topics.decisions(), 1).await;
    router.stop().await.unwrap();

    assert_eq!(outbound.len(), 1);
    assert_eq!(outbound[0]["key"], "default/ada");
    let value = &outbound[0]["value"];
    assert_eq!(value["address"], "ada@example.org");
    assert_eq!(value["template"], "order_shipped");
    assert_eq!(value["policy_version"], example_policy().version);
    let outcome = only_outcome(&decisions);
    assert_eq!(decisions[0]["key"], "default/shop%2Forders/e-1");
    assert_eq!(
        (&outcome["verdict"], &outcome["reason"], &outcome["rule"]),
        (&json!("ROUTED"), &json!("routed"), &json!(13))
    );
    assert_eq!(outcome["notification_id"], value["notification_id"]);
    assert_eq!(outcome["preferences"]["version"], 1);
    let policies = world.read_count(world.topics.policies(), 1).await;
    assert_eq!(policies[0]["key"], example_policy().version);
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_events_go_to_the_urgent_topic_with_their_trace_context() {
    let world = World::new("urgent", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = json!({
        "topic": world.topics.events("shop"), "value": with(order("e-1", "ada"), json!({"priority": "CRITICAL"})),
        "headers": {"traceparent": traceparent},
    });
    world.produce(RecordType::Event, vec![event]).await;
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Urgent), 1).await;
    router.stop().await.unwrap();
    assert_eq!(outbound[0]["headers"], json!({"traceparent": traceparent}));
    assert!(world.read(&[world.topics.outbound(Channel::Email, Class::Main)]).await.is_empty());
}

#[rstest]
#[case::no_category(json!({"category": ""}), "no_category", true)]
#[case::unknown_channel(json!({"channels": ["email", "pigeon"]}), "unknown_channel", true)]
#[case::invalid_data(json!({"data": "{\"a\":"}), "invalid_data", true)]
#[case::data_is_no_object(json!({"data": "[1]"}), "invalid_data", true)]
#[case::nobody(json!({"recipients": []}), "no_recipients", true)]
#[case::too_many(json!({"recipients": (0..1_001).map(|n| format!("u{n}")).collect::<Vec<_>>()}), "too_many_recipients", true)]
#[case::an_audience(json!({"recipients": [], "audience": "everyone"}), "unsupported", false)]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_breaks_the_contract_is_rejected_with_its_reason_and_kept(
    #[case] change: Value,
    #[case] reason: &str,
    #[case] dead: bool,
) {
    let world = World::new("broken", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    world.event(with(order("bad", "ada"), change)).await;
    world.event(order("good", "ada")).await;
    let decisions = world.read_count(world.topics.decisions(), 2).await;
    let outbound = world.read(&[world.topics.outbound(Channel::Email, Class::Main)]).await;
    let letters = world.read(&[world.topics.dlq_events()]).await;
    router.stop().await.unwrap();

    let bad = decisions.iter().find(|decision| decision["value"]["event_id"] == "bad").unwrap();
    let outcome = only_outcome(std::slice::from_ref(bad));
    assert_eq!((&outcome["verdict"], &outcome["reason"]), (&json!("REJECTED"), &json!(reason)));
    assert_eq!(outbound.len(), 1, "the good one passes");
    assert_eq!(letters.len(), usize::from(dead));
    for letter in &letters {
        assert_eq!(letter["headers"]["notify-reason"], reason);
        assert_eq!(letter["headers"]["__dlq.errors.topic"], world.topics.events("shop"));
        assert_eq!(letter["headers"]["__dlq.errors.offset"], "0");
        assert_eq!(letter["value"]["id"], "bad", "the original bytes");
    }
}

#[rstest]
#[case::not_framed("7b7d", "not_an_event")]
#[case::unknown_schema("007fffffff00", "unknown_schema")]
#[case::empty("", "not_an_event")]
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_event_are_dead_letters_and_stop_nothing(#[case] raw: &str, #[case] reason: &str) {
    let world = World::new("bytes", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    let bad = json!({"topic": world.topics.events("shop"), "key": "k", "raw": raw});
    world.produce(RecordType::Event, vec![bad]).await;
    world.event(order("good", "ada")).await;
    world.read_count(world.topics.outbound(Channel::Email, Class::Main), 1).await;
    let letters = world.read_count(world.topics.dlq_events(), 1).await;
    router.stop().await.unwrap();
    assert_eq!(letters[0]["headers"]["notify-reason"], reason);
    assert_eq!(letters[0]["raw"], raw);
    assert!(!letters[0]["headers"]["__dlq.errors.message"].as_str().unwrap().is_empty());
}

/// rust-rdkafka panics on such a header; Kafka takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_no_text_is_left_out_and_stops_nothing() {
    let world = World::new("header", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    let name = [0xff, 0xfe].to_vec();
    #[expect(unsafe_code, reason = "librdkafka takes any bytes for a name, and rust-rdkafka has a `str` there")]
    // SAFETY: it is only ever copied as bytes, by `CString::new`.
    let name = unsafe { std::str::from_utf8_unchecked(&name) };
    let topic = world.topics.events("shop");
    let headers = OwnedHeaders::new()
        .insert(Header { key: name, value: Some("?") })
        .insert(Header { key: "traceparent", value: Some("kept") });
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &world.config.kafka.bootstrap_servers).create().unwrap();
    producer.send(BaseRecord::to(&topic).key("k").payload("no event").headers(headers)).unwrap();
    producer.flush(PATIENCE).unwrap();
    world.event(order("good", "ada")).await;
    world.read_count(world.topics.outbound(Channel::Email, Class::Main), 1).await;
    let letters = world.read_count(world.topics.dlq_events(), 1).await;
    router.stop().await.unwrap();
    assert_eq!(letters[0]["headers"]["traceparent"], "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_type_is_a_dead_letter_that_names_both() {
    let world = World::new("type", FAST).await;
    let router = world.router(example_policy()).await;
    let wrong = json!({"topic": world.topics.events("shop"), "key": "k", "value": person("ada")});
    world.produce(RecordType::Preferences, vec![wrong]).await;
    let letters = world.read_count(world.topics.dlq_events(), 1).await;
    router.stop().await.unwrap();
    let message = letters[0]["headers"]["__dlq.errors.message"].as_str().unwrap();
    assert!(message.contains("notilog.v1.Preferences") && message.contains("notilog.v1.Event"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_and_the_decision_says_so_after_the_grace() {
    let world = World::new("stranger", FAST).await;
    let router = world.router(example_policy()).await;
    world.event(order("e-1", "nobody")).await;
    let decisions = world.read_count(world.topics.decisions(), 2).await;
    router.stop().await.unwrap();
    let verdicts: Vec<_> = decisions.iter().map(|d| d["value"]["outcomes"][0]["verdict"].clone()).collect();
    assert_eq!(verdicts, ["DEFERRED", "SUPPRESSED"]);
    let decided = |n: usize| decisions[n]["value"]["decided_at"].as_i64().unwrap();
    assert_eq!(decisions[1]["value"]["outcomes"][0]["reason"], "unknown_recipient");
    assert!(decided(1) - decided(0) >= 3_000, "not before the grace is over");
    assert!(world.read(&[world.topics.outbound(Channel::Email, Class::Main)]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_that_arrive_within_the_grace_are_used_and_the_known_are_not_told_twice() {
    let world = World::new("signup", "router.tiers = [\"1s\"]\nrouter.recipient_grace = \"30s\"").await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    world.event(with(order("e-1", ""), json!({"recipients": ["ada", "newcomer"]}))).await;
    let topic = world.topics.outbound(Channel::Email, Class::Main);
    world.read_count(topic.clone(), 1).await;
    world.preferences(vec![person("newcomer")]).await;
    let outbound = world.read_count(topic.clone(), 2).await;
    world.read_count(world.topics.decisions(), 2).await;
    router.stop().await.unwrap();
    let mut told: Vec<_> = outbound.iter().map(|record| record["value"]["user_id"].as_str().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, ["ada", "newcomer"]);
    assert_eq!(world.read(&[topic]).await.len(), 2, "nobody is told twice");
    let waited = world.read(&[world.topics.retry_events(std::time::Duration::from_secs(1))]).await;
    assert_eq!(waited[0]["headers"]["notify-recipients"], "1");
    assert_eq!(waited[0]["headers"]["notify-original-topic"], world.topics.events("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_time_zone_sends_nothing_and_the_record_goes_to_its_dlq_once() {
    let world = World::new("zone", FAST).await;
    world.preferences(vec![with(person("ada"), json!({"timezone": "Mars/Olympus"}))]).await;
    let router = world.router(example_policy()).await;
    world.event(order("e-1", "ada")).await;
    let decisions = world.read_count(world.topics.decisions(), 1).await;
    let letters = world.read_count(world.topics.dlq_preferences(), 1).await;
    router.stop().await.unwrap();
    let outcome = only_outcome(&decisions);
    assert_eq!((&outcome["verdict"], &outcome["reason"]), (&json!("SUPPRESSED"), &json!("invalid_preferences")));
    assert_eq!(outcome["preferences"]["offset"], 0, "the decision names the record");
    assert_eq!(letters.len(), 1);
    let message = letters[0]["headers"]["__dlq.errors.message"].as_str().unwrap();
    assert!(message.contains("timezone") && !message.contains("Mars"), "no word of the recipient's: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_recipient_gets_nothing() {
    let world = World::new("erased", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let tombstone = json!({"topic": world.topics.preferences(), "key": "default/ada"});
    world.produce(RecordType::Preferences, vec![tombstone]).await;
    let router = world.router(example_policy()).await;
    world.event(order("e-1", "ada")).await;
    let decisions = world.read_count(world.topics.decisions(), 1).await;
    router.stop().await.unwrap();
    assert_eq!(only_outcome(&decisions)["reason"], "erased");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_may_claim_only_what_it_is_bound_to() {
    let sources = r#"
[[sources]]
topics = ["notify.events.shop"]
tenants = ["default"]
max_priority = "NORMAL"
"#;
    let world = World::new("trust", &format!("{FAST}{sources}")).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    world.event(with(order("tenant", "ada"), json!({"tenant": "acme"}))).await;
    world.event(with(order("priority", "ada"), json!({"priority": "HIGH"}))).await;
    world.event(order("fine", "ada")).await;
    let decisions = world.read_count(world.topics.decisions(), 3).await;
    router.stop().await.unwrap();
    for decision in &decisions {
        let expected = if decision["value"]["event_id"] == "fine" { "routed" } else { "not_allowed" };
        assert_eq!(decision["value"]["outcomes"][0]["reason"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_defer_to_a_tier_with_the_moment_of_the_next_decision() {
    let world = World::new("quiet", FAST).await;
    let always = json!({"quiet_hours": [{"days": [], "from": "00:00", "to": "23:59"}], "timezone": ""});
    world.preferences(vec![with(person("ada"), always)]).await;
    let router = world.router(example_policy()).await;
    world.event(order("e-1", "ada")).await;
    let decisions = world.read_count(world.topics.decisions(), 1).await;
    router.stop().await.unwrap();
    let outcome = only_outcome(&decisions);
    // One minute a day is not quiet.
    if outcome["verdict"] == "ROUTED" {
        return;
    }
    assert_eq!((&outcome["verdict"], &outcome["reason"]), (&json!("DEFERRED"), &json!("quiet_hours")));
    let until = outcome["until"].as_i64().unwrap();
    assert!(until > now());
    let tiers: Vec<String> =
        world.config.delivery.tiers.iter().map(|delay| world.topics.outbound_tier(Channel::Email, delay.0)).collect();
    let parked = world.read(&tiers).await;
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0]["headers"]["notify-not-before-ms"], until.to_string());
    assert_eq!(parked[0]["value"]["notification_id"], outcome["notification_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_cannot_be_written_is_found_among_many_and_becomes_a_dead_letter() {
    let world = World::new("poison", FAST).await;
    // The push topic does not exist in this world; one of a hundred events wants it.
    let ada = with(
        person("ada"),
        json!({"endpoints": [
            {"channel": "email", "address": "ada@example.org", "verified": true, "label": null},
            {"channel": "push", "address": "token", "verified": true, "label": null},
        ]}),
    );
    world.preferences(vec![ada]).await;
    let events: Vec<Value> = (0..100)
        .map(|n| {
            let channels = if n == 57 { json!({"channels": ["push"]}) } else { json!({"channels": ["email"]}) };
            let chosen = with(order(&format!("e-{n}"), "ada"), channels);
            json!({"topic": world.topics.events("shop"), "key": "k", "value": chosen})
        })
        .collect();
    world.produce(RecordType::Event, events).await;
    world
        .preferences(vec![with(
            person("ada"),
            json!({
            "categories": {"orders": {"enabled": true, "channels": ["email", "push"], "digest": null}},
            "endpoints": [
                {"channel": "email", "address": "ada@example.org", "verified": true, "label": null},
                {"channel": "push", "address": "token", "verified": true, "label": null},
            ]}),
        )])
        .await;
    let router = world.router(example_policy()).await;
    let letters = world.read_count(world.topics.dlq_events(), 1).await;
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 99).await;
    let decisions = world.read_count(world.topics.decisions(), 100).await;
    router.stop().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["value"]["id"], "e-57");
    assert_eq!(letters[0]["headers"]["notify-reason"], "topic_missing");
    assert_eq!((outbound.len(), decisions.len()), (99, 100), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_topics_are_named_at_start() {
    let world = World::new("topics", "router.tiers = [\"1s\"]").await;
    let broken = world.with_config(|config| {
        config.router.tiers.push(notilog::config::Delay(std::time::Duration::from_secs(77)));
    });
    let error = broken.try_router(example_policy()).await.unwrap_err();
    assert!(error.contains("notify.retry.events.77s") && error.contains("notilog topics apply"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_outbound_record_would_be_too_large_becomes_a_dead_letter() {
    let world = World::new("large", FAST).await;
    world.preferences(vec![person("ada")]).await;
    let limit = [("max.message.bytes".to_owned(), "10000".to_owned())].into();
    Admin::new(&world.config.kafka)
        .unwrap()
        .alter(&world.topics.outbound(Channel::Email, Class::Main), &limit)
        .await
        .unwrap();
    let text = "x".repeat(20_000);
    world.event(with(order("large", "ada"), json!({"data": format!("{{\"text\":\"{text}\"}}")}))).await;
    world.event(order("small", "ada")).await;
    let router = world.router(example_policy()).await;
    let letters = world.read_count(world.topics.dlq_events(), 1).await;
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 1).await;
    let decisions = world.read_count(world.topics.decisions(), 2).await;
    router.stop().await.unwrap();
    assert_eq!((letters[0]["value"]["id"].as_str(), outbound.len()), (Some("large"), 1));
    assert_eq!(letters[0]["headers"]["notify-reason"], "too_large");
    assert_eq!(outbound[0]["value"]["event_id"], "small");
    let large = decisions.iter().find(|decision| decision["value"]["event_id"] == "large").unwrap();
    assert_eq!(large["value"]["outcomes"][0]["reason"], "too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_is_down_events_wait_and_none_is_lost_or_dead() {
    let registry = Valve::open(registry_port()).await;
    let url = format!("registry.url = \"http://127.0.0.1:{}/apis/ccompat/v7\"\n", registry.port);
    let world = World::new("outage", &format!("{FAST}{url}registry.timeout = \"1s\"")).await;
    world.preferences(vec![person("ada")]).await;
    let router = world.router(example_policy()).await;
    registry.shut();
    let events = (0..10)
        .map(|n| json!({"topic": world.topics.events("shop"), "key": "k", "value": order(&format!("e-{n}"), "ada")}));
    world.produce(RecordType::Event, events.collect()).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let silent = [world.topics.decisions(), world.topics.dlq_events(), world.topics.dlq_preferences()];
    assert_eq!(world.count(&silent).await, 0, "nothing is concluded without the writer's schema");
    registry.reopen();
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 10).await;
    router.stop().await.unwrap();
    let ids: Vec<_> = outbound.iter().map(|record| record["value"]["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..10).map(|n| format!("e-{n}")).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(world.count(&[world.topics.dlq_events(), world.topics.dlq_preferences()]).await, 0);
}
