//! Where a chat's message goes, and what it can and cannot make us do. The answers are beside the table in `outcome`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::channel::EventFacts;
use crate::channel::markup::Document;
use crate::config::Delay;

type Requests = Arc<Mutex<Vec<(Uri, Value)>>>;

async fn endpoint(
    status: StatusCode,
    headers: &[(&'static str, &'static str)],
    body: &'static str,
) -> (String, Requests) {
    let requests = Requests::default();
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let handler = move |State(requests): State<Requests>, uri: Uri, sent: String| {
        let headers = headers.clone();
        async move {
            requests.lock().push((uri, serde_json::from_str(&sent).unwrap()));
            (status, headers, body).into_response()
        }
    };
    let app = Router::new().fallback(handler).with_state(requests.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

fn config() -> config::Chat {
    config::Chat {
        timeout: Delay(Duration::from_secs(20)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
    }
}

fn message(address: &str, text: &str) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: address.to_owned(),
        content: Content::Markup(Document::markdown(text)),
        traceparent: None,
        event: EventFacts::default(),
    }
}

async fn deliver(config: &config::Chat, address: &str) -> Outcome {
    Chat::new(config, Clock::system()).unwrap().deliver(&message(address, "**hi**")).await
}

#[rstest]
#[case("https://hooks.slack.com/services/T/B/x", Some(Service::Slack))]
#[case("https://hooks.slack-gov.com/services/T/B/x", Some(Service::Slack))]
#[case("https://discord.com/api/webhooks/1/x", Some(Service::Discord))]
#[case("https://ptb.discord.com/api/webhooks/1/x", Some(Service::Discord))]
#[case("https://discordapp.com/api/webhooks/1/x", Some(Service::Discord))]
#[case("https://prod-12.westeurope.logic.azure.com:443/workflows/x?sig=y", Some(Service::Teams))]
#[case("https://d.1f.environment.api.powerplatform.com/powerautomate/x?sig=y", Some(Service::Teams))]
#[case("mattermost:https://chat.example.org/hooks/x", Some(Service::Mattermost))]
#[case("slack:https://rocket.example.org/hooks/x", Some(Service::Slack))]
#[case(" discord:https://proxy.example.org/x ", Some(Service::Discord))]
#[case("teams:https://flow.example.org/x", Some(Service::Teams))]
#[case("https://chat.example.org/hooks/x", None)]
#[case("https://nothooks.slack.com.example.org/x", None)]
#[case("https://evildiscord.com/x", None)]
#[case("https://acme.webhook.office.com/webhookb2/x", None)]
#[case("teams:https://acme.webhook.office.com/webhookb2/x", None)]
#[case("https://outlook.office.com/webhook/x", None)]
#[case("irc:https://example.org/", None)]
#[case("#general", None)]
fn a_prefix_or_the_host_tells_the_service(#[case] address: &str, #[case] expected: Option<Service>) {
    assert_eq!(Service::of(address).map(|(service, _)| service), expected);
}

#[tokio::test]
async fn discord_is_asked_for_the_messages_id() {
    let (url, requests) = endpoint(StatusCode::OK, &[], r#"{"id": "113"}"#).await;
    let outcome = deliver(&config(), &format!("discord:{url}?thread_id=5")).await;
    let sent = Verdict::Sent { provider_message_id: Some("113".to_owned()) };
    assert_eq!(outcome, Outcome { result: sent, code: Some("http_200".to_owned()) });
    let (uri, body) = requests.lock()[0].clone();
    assert_eq!(uri.query(), Some("thread_id=5&wait=true"));
    assert_eq!(body["content"], "**hi**");
}

#[tokio::test]
async fn a_chat_may_ask_for_time() {
    let (url, _) = endpoint(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "30")], "rate_limited").await;
    let after = Some(Duration::from_secs(30));
    let expected =
        Outcome { result: Verdict::Retry { reason: Reason::RateLimited, after }, code: Some("http_429".to_owned()) };
    assert_eq!(deliver(&config(), &format!("slack:{url}")).await, expected);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (inner, reached) = endpoint(StatusCode::OK, &[], "ok").await;
    let location: &'static str = inner.leak();
    let (url, _) = endpoint(StatusCode::TEMPORARY_REDIRECT, &[("location", location)], "").await;
    let outcome = deliver(&config(), &format!("slack:{url}")).await;
    assert_eq!(outcome.result, Verdict::Retry { reason: Reason::ProviderError, after: None });
    assert!(reached.lock().is_empty());
}

#[rstest]
#[case::not_said("http://127.0.0.1/hooks/x", Reason::AddressRefused)]
#[case::not_a_url("slack:hooks", Reason::AddressRefused)]
#[case::credentials("slack:http://a:b@127.0.0.1/", Reason::AddressRefused)]
#[case::private("slack:http://10.0.0.1/", Reason::AddressForbidden)]
#[case::metadata("discord:http://169.254.169.254/", Reason::AddressForbidden)]
#[tokio::test]
async fn what_may_not_be_called_is_refused(#[case] address: &str, #[case] reason: Reason) {
    assert_eq!(deliver(&config(), address).await, Outcome { result: Verdict::Reject { reason }, code: None });
}

#[tokio::test]
async fn plain_http_and_our_own_networks_are_refused_unless_allowed() {
    let (url, requests) = endpoint(StatusCode::OK, &[], "ok").await;
    let refused = Outcome { result: Verdict::Reject { reason: Reason::AddressForbidden }, code: None };
    let plain = config::Chat { allow_http: false, ..config() };
    assert_eq!(deliver(&plain, &format!("slack:{url}")).await, refused);
    let strict = config::Chat { allow_networks: Vec::new(), ..config() };
    let named = url.replace("127.0.0.1", "localhost");
    assert_eq!(deliver(&strict, &format!("slack:{named}")).await, refused);
    assert!(requests.lock().is_empty());
}

#[tokio::test]
async fn nothing_to_say_is_not_said() {
    let chat = Chat::new(&config(), Clock::system()).unwrap();
    let outcome = chat.deliver(&message("slack:http://127.0.0.1:1/", " \n")).await;
    assert_eq!(outcome, Outcome { result: Verdict::Reject { reason: Reason::MessageRefused }, code: None });
    let (subject, text) = ("x".to_owned(), "x".to_owned());
    let mail = Content::Mail { subject, text, html: None, attachments: serde_json::Value::Null };
    let outcome = chat.deliver(&Message { content: mail, ..message("slack:http://127.0.0.1:1/", "") }).await;
    assert_eq!(outcome, Outcome { result: Verdict::Reject { reason: Reason::TemplateFailed }, code: None });
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_tried_again_and_holds_nobody() {
    let expected = Outcome { result: Verdict::Retry { reason: Reason::ConnectFailed, after: None }, code: None };
    assert_eq!(deliver(&config(), "slack:http://127.0.0.1:1/").await, expected);
}

#[test]
fn settings_that_cannot_work_are_named() {
    let wrong = config::Chat { allow_networks: vec!["10.0.0.0/99".to_owned()], ..config() };
    let problems = Chat::new(&wrong, Clock::system()).err().unwrap();
    assert_eq!(problems[0].setting, "channels.chat.allow_networks");
    assert!(json!(problems[0].problem).to_string().contains("10.0.0.0/99"));
}
