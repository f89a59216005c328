//! What a push service is sent, and what settings and addresses cannot work. tests/it/push.rs has one that decrypts.

use jsonwebtoken::{DecodingKey, Validation, decode};
use rstest::rstest;
use serde_json::Value;
use web_push_native::p256::SecretKey;

use super::super::samples::message;
use super::*;
use crate::config::{Delay, Secret};
use crate::model::Timestamp;

/// RFC 8292, section 2.4, has no private key; this one is made up.
const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

fn config() -> config::WebPush {
    config::WebPush {
        key: Secret::new(KEY),
        subject: "mailto:push@example.org".to_owned(),
        ttl: Delay(Duration::from_secs(3600)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
        timeout: Delay(Duration::from_secs(5)),
    }
}

fn channel() -> WebPush {
    let clock = Clock::manual(Timestamp(0));
    WebPush::new(&config(), clock).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A browser's side.
fn browser() -> SecretKey {
    SecretKey::from_slice(&[9; 32]).unwrap()
}

fn address(endpoint: &str) -> String {
    let key = URL_SAFE_NO_PAD.encode(browser().public_key().to_encoded_point(false).as_bytes());
    let keys = json!({"p256dh": key, "auth": URL_SAFE_NO_PAD.encode([3; 16])});
    let subscription = json!({"endpoint": endpoint, "expirationTime": null, "keys": keys});
    format!("webpush:{}", URL_SAFE_NO_PAD.encode(subscription.to_string()))
}

fn header(request: &reqwest::Request, name: &str) -> String {
    request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_request_says_how_long_how_urgent_and_who_and_only_the_browser_reads_the_rest() {
    let mut message = message(&address("http://127.0.0.1:9/push/1"));
    message.event.priority = Priority::High;
    message.event.expires_at = Some(Timestamp(90_000));
    message.event.collapse_key = Some("order A-1".to_owned());
    let request = channel().request(&message).unwrap().build().unwrap();
    assert_eq!(header(&request, "ttl"), "90");
    assert_eq!(header(&request, "urgency"), "high");
    assert_eq!(header(&request, "topic").len(), 32);
    assert_eq!(header(&request, "content-encoding"), "aes128gcm");
    let authorization = header(&request, "authorization");
    let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    let point = URL_SAFE_NO_PAD.decode(key).unwrap();
    let public = DecodingKey::from_ec_der(&point);
    let mut expected = Validation::new(Algorithm::ES256);
    expected.set_audience(&["http://127.0.0.1:9"]);
    expected.validate_exp = false;
    let claims = decode::<Value>(token, &public, &expected).unwrap().claims;
    assert_eq!(claims, json!({"aud": "http://127.0.0.1:9", "exp": TOKEN_LIFE, "sub": "mailto:push@example.org"}));

    let body = request.body().unwrap().as_bytes().unwrap().to_vec();
    let read = web_push_native::decrypt(body, &browser(), &Auth::from([3; 16])).unwrap();
    let expected = json!({
        "id": "00000000-0000-0000-0000-000000000007", "title": "Order A-1", "body": "on its way",
        "data": {"order": "A-1", "notification_id": "00000000-0000-0000-0000-000000000007"},
    });
    assert_eq!(serde_json::from_slice::<Value>(&read).unwrap(), expected);
}

#[test]
fn without_an_end_it_is_kept_as_the_settings_say_and_replaces_nothing() {
    let request = channel().request(&message(&address("http://127.0.0.1:9/"))).unwrap().build().unwrap();
    assert_eq!((header(&request, "ttl"), header(&request, "topic")), ("3600".to_owned(), String::new()));
}

#[test]
fn what_no_push_service_takes_is_refused_before_it_is_sent() {
    let mut message = message(&address("http://127.0.0.1:9/"));
    let crate::channel::Content::Push(push) = &mut message.content else { panic!() };
    push.body = Some("x".repeat(4_000));
    assert_eq!(channel().request(&message).err(), Some(Reason::MessageRefused));
}

#[rstest]
#[case::not_base64("webpush:***", Reason::AddressRefused)]
#[case::not_json("webpush:AAAA", Reason::AddressRefused)]
#[case::another_kind("fcm:abc", Reason::AddressRefused)]
#[case::private_network(&address("http://10.0.0.1/"), Reason::AddressForbidden)]
#[case::another_scheme(&address("ftp://127.0.0.1/"), Reason::AddressRefused)]
fn an_address_that_may_not_be_called_is_refused(#[case] address: &str, #[case] reason: Reason) {
    assert_eq!(channel().request(&message(address)).err(), Some(reason));
}

#[rstest]
#[case("a", "a")]
#[case("order-A_1", "order-A_1")]
#[case("abcdefghijklmnopqrstuvwxyz012345", "abcdefghijklmnopqrstuvwxyz012345")]
fn a_topic_that_fits_is_kept(#[case] key: &str, #[case] expected: &str) {
    assert_eq!(topic(key), expected);
}

#[rstest]
#[case("order A-1")]
#[case("abcdefghijklmnopqrstuvwxyz0123456")]
#[case("")]
fn a_topic_that_does_not_becomes_one_that_does(#[case] key: &str) {
    let made = topic(key);
    assert_eq!(made.len(), MAX_TOPIC);
    assert_eq!(topic(&made), made);
}

#[test]
fn every_setting_that_cannot_work_is_named_at_once_and_the_key_is_not_quoted() {
    let config = config::WebPush {
        key: Secret::new("s3cret"),
        subject: "push@example.org".to_owned(),
        allow_networks: vec!["x".to_owned()],
        ..config()
    };
    let problems = WebPush::new(&config, Clock::system()).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["key", "subject", "allow_networks"].map(|key| format!("channels.push.{key}")));
    assert!(!format!("{problems:?}").contains("s3cret"));
}
