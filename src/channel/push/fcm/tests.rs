//! What FCM is asked, and what settings cannot work. tests/it/push.rs has tokens and answers.

use rstest::rstest;

use super::super::samples::{message, silent};
use super::*;
use crate::config::{Delay, Secret};

#[test]
fn a_notification_has_what_its_app_and_each_platform_need() {
    let mut message = message("fcm:abc_-:1");
    message.event.priority = Priority::High;
    message.event.expires_at = Some(Timestamp(90_000));
    message.event.collapse_key = Some("order A-1".to_owned());
    let body = body(&message, Timestamp(0)).unwrap();
    let expected = json!({"message": {
        "token": "abc_-:1",
        "notification": {"title": "Order A-1", "body": "on its way"},
        "data": {"order": "A-1", "notification_id": "00000000-0000-0000-0000-000000000007"},
        "android": {"priority": "HIGH", "ttl": "90s", "collapseKey": "order A-1"},
        "apns": {"headers": {"apns-expiration": "90", "apns-collapse-id": crate::channel::push::apns::collapse_id("order A-1")}},
        "webpush": {"headers": {"Urgency": "high", "TTL": "90", "Topic": crate::channel::push::webpush::topic("order A-1")}},
    }});
    assert_eq!(body, expected);
}

#[test]
fn data_alone_wakes_the_app_and_shows_nothing() {
    let body = body(&silent("fcm:abc"), Timestamp(0)).unwrap();
    assert!(body["message"].get("notification").is_none(), "{body}");
    assert_eq!(body["message"]["data"]["sync"], "1");
}

#[rstest]
#[case("apns:abc")]
#[case("fcm:")]
#[case("fcm:a/b")]
#[case("abc")]
fn another_kind_of_address_is_refused(#[case] address: &str) {
    assert_eq!(body(&message(address), Timestamp(0)), Err(Reason::AddressRefused));
}

#[rstest]
#[case::no_json("x", &["service_account"])]
#[case::a_user("{\"type\":\"authorized_user\",\"private_key\":\"p\",\"client_email\":\"e\",\"token_uri\":\"https://x\"}", &["service_account"])]
#[case::no_key("{\"type\":\"service_account\",\"private_key\":\"s3cret\",\"client_email\":\"e\",\"token_uri\":\"https://x\"}", &["service_account"])]
fn a_key_file_that_cannot_work_is_named_and_not_quoted(#[case] content: &str, #[case] settings: &[&str]) {
    let config = config::Fcm {
        service_account: Secret::new(content),
        project: Some("p".to_owned()),
        api_url: "https://fcm.googleapis.com".to_owned(),
        timeout: Delay(Duration::from_secs(5)),
    };
    let problems = Fcm::new(&config, Clock::system()).err().unwrap();
    let found: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(found, settings.iter().map(|key| format!("channels.push.{key}")).collect::<Vec<_>>());
    assert!(!format!("{problems:?}").contains("s3cret"));
}

#[test]
fn a_project_is_one_part_of_the_path() {
    let url = send_url("https://fcm.googleapis.com/", "a/b").unwrap();
    assert_eq!(url.as_str(), "https://fcm.googleapis.com/v1/projects/a%2Fb/messages:send");
    assert_eq!(send_url("ftp://x", "p"), None);
}
