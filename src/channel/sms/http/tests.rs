//! What a provider receives, and what settings cannot work.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap as Headers, StatusCode, Uri};
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::channel::{Content, EventFacts};
use crate::config::Delay;
use crate::model::Timestamp;

pub(super) fn custom() -> SmsHttp {
    SmsHttp {
        preset: Preset::None,
        url: Some("https://sms.example.org/send".to_owned()),
        check_url: None,
        from: "Shop".to_owned(),
        account: None,
        username: None,
        password: None,
        token: None,
        headers: [].into(),
        form: [("to".to_owned(), "{{ to }}".to_owned()), ("text".to_owned(), "{{ text }}".to_owned())].into(),
        body: None,
        callback_url: None,
        message_id: None,
        error_code: None,
        outcomes: [].into(),
        max_parts: 3,
        ca_file: None,
        timeout: Delay(Duration::from_secs(20)),
    }
}

fn preset(preset: Preset) -> SmsHttp {
    let (username, password) = (Some("AC1".to_owned()), Some(Secret::new("s3cret")));
    SmsHttp { preset, url: None, form: [].into(), username, password, ..custom() }
}

pub(super) fn twilio() -> SmsHttp {
    preset(Preset::Twilio)
}

pub(super) fn vonage() -> SmsHttp {
    preset(Preset::Vonage)
}

fn message(address: &str, text: &str) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: address.to_owned(),
        content: Content::Text { text: text.to_owned(), html: false },
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        event: EventFacts { expires_at: Some(Timestamp(1_000 * 90)), ..EventFacts::default() },
    }
}

type Requests = Arc<Mutex<Vec<(Uri, Headers, String)>>>;

/// A provider that takes everything.
async fn provider() -> (String, Requests) {
    let requests = Requests::default();
    let take = |State(requests): State<Requests>, uri: Uri, headers: Headers, body: String| async move {
        requests.lock().push((uri, headers, body));
        (StatusCode::CREATED, r#"{"sid":"SM1"}"#)
    };
    let app = Router::new().fallback(take).with_state(requests.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, requests)
}

fn channel(config: &SmsHttp) -> HttpSms {
    HttpSms::new(config, Clock::manual(Timestamp(0))).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn fields(body: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn twilio_gets_its_form_under_the_accounts_path() {
    let (base, requests) = provider().await;
    let url = Some(format!("{base}/2010-04-01/Accounts/{{{{ account }}}}/Messages.json"));
    let config = SmsHttp { url, callback_url: Some("https://n.example.org/r?a=1&b".to_owned()), ..twilio() };
    let outcome = channel(&config).deliver(&message("+49 170 1234567", "Grüße & =1%")).await;
    assert_eq!(outcome.result, Verdict::Sent { provider_message_id: Some("SM1".to_owned()) });
    let (uri, headers, body) = requests.lock()[0].clone();
    assert_eq!(uri.path(), "/2010-04-01/Accounts/AC1/Messages.json");
    assert_eq!(headers["authorization"], "Basic QUMxOnMzY3JldA==");
    assert_eq!(headers["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let expected = [
        ("Body", "Grüße & =1%"),
        ("From", "Shop"),
        ("StatusCallback", "https://n.example.org/r?a=1&b"),
        ("To", "+491701234567"),
        ("ValidityPeriod", "90"),
    ];
    assert_eq!(fields(&body), pairs(&expected));
}

#[tokio::test]
async fn a_messaging_service_stands_in_its_own_field() {
    let (base, requests) = provider().await;
    let config = SmsHttp { url: Some(base), from: "MG0123".to_owned(), ..twilio() };
    channel(&config).deliver(&message("+491701234567", "x")).await;
    let body = requests.lock()[0].2.clone();
    assert!(body.contains("MessagingServiceSid=MG0123") && !body.contains("From="), "{body}");
}

#[tokio::test]
async fn vonage_gets_digits_and_is_told_of_what_gsm_lacks() {
    let (base, requests) = provider().await;
    let channel = channel(&SmsHttp { url: Some(format!("{base}/sms/json")), ..vonage() });
    channel.deliver(&message("+491701234567", "Hi")).await;
    channel.deliver(&message("+491701234567", "Привет")).await;
    let bodies: Vec<String> = requests.lock().iter().map(|(.., body)| body.clone()).collect();
    let id = Uuid::from_u128(7).to_string();
    let expected = |text, kind| {
        let fields = [
            ("client-ref", id.as_str()),
            ("from", "Shop"),
            ("text", text),
            ("to", "491701234567"),
            ("ttl", "90000"),
            ("type", kind),
        ];
        pairs(&fields)
    };
    assert_eq!(fields(&bodies[0]), expected("Hi", "text"));
    assert_eq!(fields(&bodies[1]), expected("Привет", "unicode"));
}

#[tokio::test]
async fn a_json_body_and_a_url_cannot_be_broken_by_a_text() {
    let (base, requests) = provider().await;
    let config = SmsHttp {
        url: Some(format!("{base}/send?ref={{{{ text }}}}")),
        form: [].into(),
        body: Some(r#"{"to": {{ to }}, "text": {{ text }}, "parts": {{ parts }}}"#.to_owned()),
        token: Some(Secret::new("t0ken")),
        headers: [("X-Api-Key".to_owned(), Secret::new("k3y"))].into(),
        ..custom()
    };
    channel(&config).deliver(&message("+491701234567", "\", \"admin\": true, \"&a=b #")).await;
    let (uri, headers, body) = requests.lock()[0].clone();
    assert_eq!(uri.query(), Some("ref=%22%2C%20%22admin%22%3A%20true%2C%20%22%26a%3Db%20%23"));
    assert_eq!(headers["authorization"], "Bearer t0ken");
    assert_eq!(headers["x-api-key"], "k3y");
    assert_eq!(headers["content-type"], "application/json");
    let expected = json!({"to": "+491701234567", "text": "\", \"admin\": true, \"&a=b #", "parts": 1});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), expected);
}

#[rstest]
#[case::no_number("ada", "x", Reason::AddressRefused)]
#[case::nothing_to_say("+491701234567", " \n", Reason::MessageRefused)]
#[case::more_parts_than_allowed("+491701234567", &"a".repeat(460), Reason::MessageRefused)]
#[tokio::test]
async fn what_cannot_be_sent_reaches_no_provider(#[case] address: &str, #[case] text: &str, #[case] reason: Reason) {
    let (base, requests) = provider().await;
    let outcome = channel(&SmsHttp { url: Some(base), ..custom() }).deliver(&message(address, text)).await;
    assert_eq!(outcome, Outcome { result: Verdict::Reject { reason }, code: None });
    assert!(requests.lock().is_empty());
}

#[test]
fn every_setting_that_cannot_work_is_named_at_once_and_no_secret_is_quoted() {
    let config = SmsHttp {
        url: Some("{{ bse }}/x".to_owned()),
        check_url: Some("ftp://x".to_owned()),
        form: [("text".to_owned(), "{{ txt }}".to_owned())].into(),
        message_id: Some("sid".to_owned()),
        username: Some("u".to_owned()),
        token: Some(Secret::new("t0ken")),
        headers: [("a b".to_owned(), Secret::new("k3y"))].into(),
        ca_file: Some("/no/such.pem".into()),
        ..custom()
    };
    let problems = HttpSms::new(&config, Clock::system()).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    let expected = ["url", "check_url", "form.text", "message_id", "username", "headers", "ca_file"];
    assert_eq!(settings, expected.map(|key| format!("channels.sms.{key}")));
    let text = format!("{problems:?}");
    assert!(!text.contains("t0ken") && !text.contains("k3y"), "{text}");
}

#[test]
fn a_provider_without_url_or_fields_cannot_be_spoken_to() {
    let config = SmsHttp { url: None, form: [].into(), ..custom() };
    let problems = HttpSms::new(&config, Clock::system()).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["channels.sms.url", "channels.sms.form"]);
}
