//! Which topics may be written to, and what is written. What Kafka does with it is in `tests/it/topic_channels.rs`.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::channel::EventFacts;

fn config() -> config::KafkaTopics {
    let clusters = [(
        "acme".to_owned(),
        config::KafkaCluster { bootstrap_servers: "127.0.0.1:1".to_owned(), properties: BTreeMap::new() },
    )];
    config::KafkaTopics {
        topics: vec!["customers.{tenant}.*".to_owned(), "shared".to_owned()],
        clusters: clusters.into(),
    }
}

fn message(address: &str, tenant: &str) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: address.to_owned(),
        content: Content::Json(r#"{"order": "A-1", "n": 1.0}"#.to_owned()),
        traceparent: Some("00-1-2-01".to_owned()),
        event: EventFacts {
            id: "e-1".to_owned(),
            kind: "order.shipped".to_owned(),
            source: "shop/orders".to_owned(),
            time: "2026-11-21T21:05:00Z".to_owned(),
            tenant: tenant.to_owned(),
            user_id: "ada/1".to_owned(),
            category: "orders".to_owned(),
            ..EventFacts::default()
        },
    }
}

async fn deliver(config: &config::KafkaTopics, message: &Message) -> Verdict {
    KafkaTopics::new(config, None).unwrap().deliver(message).await.result
}

#[tokio::test]
async fn a_notification_is_a_cloud_event_keyed_by_its_recipient() {
    let verdict = deliver(&config(), &message(" customers.acme.orders ", "acme")).await;
    let Verdict::Written { records } = verdict else { panic!("{verdict:?}") };
    let [Produce::Topic { topic, key, value, headers }] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((topic.as_str(), key.as_slice()), ("customers.acme.orders", &b"acme/ada%2F1"[..]));
    let expected = json!({
        "specversion": "1.0", "id": "00000000-0000-0000-0000-000000000007", "source": "shop/orders",
        "type": "order.shipped", "time": "2026-11-21T21:05:00Z", "subject": "ada/1",
        "datacontenttype": "application/json", "tenant": "acme", "category": "orders", "eventid": "e-1",
        "traceparent": "00-1-2-01", "data": {"order": "A-1", "n": 1.0},
    });
    assert_eq!(serde_json::from_slice::<Value>(value).unwrap(), expected);
    let content_type = ("content-type".to_owned(), b"application/cloudevents+json; charset=UTF-8".to_vec());
    assert_eq!(headers[0], content_type);
    assert_eq!(headers[1].0, "traceparent");
}

#[rstest]
#[case::another_tenants("customers.other.orders", "acme", Reason::AddressForbidden)]
#[case::a_tenant_that_is_a_pattern("customers.other.orders", "*", Reason::AddressForbidden)]
#[case::not_listed("payments", "acme", Reason::AddressForbidden)]
#[case::of_kafka("__consumer_offsets", "acme", Reason::AddressForbidden)]
#[case::no_name("customers.acme.a b", "acme", Reason::AddressRefused)]
#[case::empty("", "acme", Reason::AddressRefused)]
#[case::dots("..", "acme", Reason::AddressRefused)]
#[case::too_long(&format!("customers.acme.{}", "x".repeat(240)), "acme", Reason::AddressRefused)]
#[case::unknown_cluster("nobody/customers.acme.orders", "acme", Reason::AddressRefused)]
#[case::two_clusters("acme/acme/shared", "acme", Reason::AddressRefused)]
#[tokio::test]
async fn other_topics_are_out_of_reach(#[case] address: &str, #[case] tenant: &str, #[case] reason: Reason) {
    assert_eq!(deliver(&config(), &message(address, tenant)).await, Verdict::Reject { reason });
}

#[rstest]
#[case("notify.preferences", "")]
#[case("dlq.notify.events", "")]
#[case("acme.notify.events.shop", "acme.")]
#[tokio::test]
async fn our_own_topics_are_out_of_reach_whatever_is_allowed(#[case] topic: &str, #[case] prefix: &str) {
    let all = config::KafkaTopics { topics: vec!["*".to_owned()], ..config() };
    let home = config::Kafka {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        topic_prefix: prefix.to_owned(),
        properties: BTreeMap::new(),
    };
    let channel = KafkaTopics::new(&all, Some(&home)).unwrap();
    let refused = Verdict::Reject { reason: Reason::AddressForbidden };
    assert_eq!(channel.deliver(&message(topic, "acme")).await.result, refused);
}

#[rstest]
#[case("shared", true)]
#[case("acme/shared", true)]
#[case(" acme/shared ", true)]
#[case("other/shared", false)]
#[case("/shared", false)]
fn a_provider_takes_topics_of_the_clusters_it_knows(#[case] address: &str, #[case] taken: bool) {
    assert_eq!(KafkaTopics::new(&config(), None).unwrap().accepts(address), taken);
}

#[tokio::test]
async fn content_of_another_channel_is_not_an_event() {
    let text = Content::Text { text: "x".to_owned(), html: false };
    let message = Message { content: text, ..message("shared", "acme") };
    assert_eq!(deliver(&config(), &message).await, Verdict::Reject { reason: Reason::TemplateFailed });
}

#[test]
fn a_pattern_that_no_topic_matches_is_named() {
    let wrong = config::KafkaTopics { topics: vec!["customers/*".to_owned()], ..config() };
    let problems = KafkaTopics::new(&wrong, None).err().unwrap();
    assert_eq!(problems[0].setting, "channels.kafka.topics");
}
