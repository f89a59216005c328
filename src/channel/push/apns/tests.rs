//! What Apple is sent, how long a provider token lives, and what settings cannot work.

use rstest::rstest;
use web_push_native::p256::SecretKey;
use web_push_native::p256::pkcs8::{EncodePrivateKey as _, LineEnding};

use super::super::samples::{message, silent};
use super::*;
use crate::config::{Delay, Secret};

fn config() -> config::Apns {
    let key = SecretKey::from_slice(&[7; 32]).unwrap().to_pkcs8_pem(LineEnding::LF).unwrap();
    config::Apns {
        key: Secret::new(key.as_str()),
        key_id: "KEY0000001".to_owned(),
        team_id: "TEAM000001".to_owned(),
        topic: "org.example.app".to_owned(),
        api_url: "https://api.push.apple.com".to_owned(),
        ca_file: None,
        timeout: Delay(Duration::from_secs(5)),
    }
}

fn channel(clock: &Clock) -> Apns {
    Apns::new(&config(), clock.clone()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

const DEVICE: &str = "apns:00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

fn header(request: &reqwest::Request, name: &str) -> String {
    request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn a_request_has_the_headers_that_apple_asks_for() {
    let mut message = message(DEVICE);
    message.event.priority = Priority::Critical;
    message.event.expires_at = Some(Timestamp(90_500));
    message.event.collapse_key = Some("order-A-1".to_owned());
    let request = channel(&Clock::manual(Timestamp(0))).request(&message).unwrap().build().unwrap();
    assert_eq!(request.url().path(), format!("/3/device/{}", &DEVICE[5..]));
    assert_eq!(header(&request, "apns-id"), "00000000-0000-0000-0000-000000000007");
    assert_eq!(header(&request, "apns-topic"), "org.example.app");
    assert_eq!(header(&request, "apns-push-type"), "alert");
    assert_eq!(header(&request, "apns-priority"), "10");
    assert_eq!(header(&request, "apns-expiration"), "90");
    assert_eq!(header(&request, "apns-collapse-id"), "order-A-1");
    assert!(header(&request, "authorization").starts_with("bearer eyJ"));
    let payload: Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
    let expected = json!({
        "aps": {"alert": {"title": "Order A-1", "body": "on its way"}, "sound": "default"},
        "order": "A-1", "notification_id": "00000000-0000-0000-0000-000000000007",
    });
    assert_eq!(payload, expected);
}

#[test]
fn data_alone_goes_in_the_background_at_the_priority_for_it() {
    let mut message = silent(DEVICE);
    message.event.priority = Priority::Critical;
    let request = channel(&Clock::manual(Timestamp(0))).request(&message).unwrap().build().unwrap();
    assert_eq!(
        (header(&request, "apns-push-type"), header(&request, "apns-priority")),
        ("background".into(), "5".into())
    );
    let payload: Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
    assert_eq!(payload["aps"], json!({"content-available": 1}));
    assert_eq!(header(&request, "apns-expiration") + &header(&request, "apns-collapse-id"), "", "only if asked for");
}

#[test]
fn data_cannot_replace_what_is_apples() {
    let mut message = silent(DEVICE);
    let crate::channel::Content::Push(push) = &mut message.content else { panic!() };
    push.data.insert("aps".to_owned(), "mine".to_owned());
    assert_eq!(body(&message).unwrap()["aps"], json!({"content-available": 1}));
}

#[test]
fn a_provider_token_is_used_for_forty_minutes_and_a_refused_one_for_twenty() {
    let clock = Clock::manual(Timestamp(1_795_000_000_000));
    let channel = channel(&clock);
    let token = || channel.signer.token(&clock).unwrap();
    let minutes = |minutes: u64| clock.advance(Duration::from_secs(60 * minutes));
    let first = token();
    minutes(39);
    assert_eq!(token(), first);
    minutes(1);
    let second = token();
    assert_ne!(second, first);
    channel.signer.refused();
    minutes(19);
    assert_eq!(token(), second, "Apple wants no more than one in 20 minutes");
    minutes(1);
    assert_ne!(token(), second);
}

#[rstest]
#[case("a", "a")]
#[case(&"k".repeat(64), &"k".repeat(64))]
#[case(&"k".repeat(65), "")]
fn a_collapse_key_fits_into_64_bytes(#[case] key: &str, #[case] expected: &str) {
    let id = collapse_id(key);
    assert!(id.len() <= 64);
    if key.len() <= 64 {
        assert_eq!(id, expected);
    } else {
        assert_eq!(id, Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_ne!(id, collapse_id(&"k".repeat(66)));
    }
    assert_eq!(collapse_id("two words").len(), 64, "a header carries no blank at its ends");
}

#[rstest]
#[case("fcm:00fc13ad")]
#[case("apns:xyz")]
#[case("apns:00fc13ad/../x")]
#[case("apns:")]
fn another_kind_of_address_is_refused(#[case] address: &str) {
    let refused = channel(&Clock::system()).request(&message(address)).err();
    assert_eq!(refused, Some(Verdict::Reject { reason: Reason::AddressRefused }));
}

#[test]
fn every_setting_that_cannot_work_is_named_at_once_and_the_key_is_not_quoted() {
    let config = config::Apns {
        key: Secret::new("-----BEGIN s3cret"),
        topic: "a\nb".to_owned(),
        api_url: "apple".to_owned(),
        ca_file: Some("/no/such.pem".into()),
        ..config()
    };
    let problems = Apns::new(&config, Clock::system()).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["key", "api_url", "topic", "ca_file"].map(|key| format!("channels.push.{key}")));
    assert!(!format!("{problems:?}").contains("s3cret"));
}
