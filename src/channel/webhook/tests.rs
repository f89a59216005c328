//! What an endpoint receives, and what it can and cannot make us do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::channel::EventFacts;
use crate::config::Delay;
use crate::model::Timestamp;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

type Requests = Arc<Mutex<Vec<(HeaderMap, String)>>>;

async fn endpoint(
    answer: impl Fn(usize) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> (String, Requests) {
    let requests = Requests::default();
    let handler = move |State(requests): State<Requests>, headers: HeaderMap, body: String| async move {
        let number = {
            let mut requests = requests.lock();
            requests.push((headers, body));
            requests.len()
        };
        answer(number)
    };
    let app = Router::new().fallback(handler).with_state(requests.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, requests)
}

fn config() -> config::Webhook {
    config::Webhook {
        secrets: [("*".to_owned(), Secret::new(SECRET))].into(),
        timeout: Delay(Duration::from_secs(20)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
    }
}

fn channel(config: &config::Webhook) -> Webhook {
    Webhook::new(config, Clock::manual(Timestamp(1_795_000_000_999))).unwrap()
}

fn message(url: &str, tenant: &str) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: url.to_owned(),
        content: Content::Json(r#"{"a":"ü"}"#.to_owned()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        event: EventFacts { tenant: tenant.to_owned(), ..EventFacts::default() },
    }
}

async fn deliver(config: &config::Webhook, url: &str) -> Outcome {
    channel(config).deliver(&message(url, "acme")).await
}

fn reject_of(reason: Reason) -> Outcome {
    Outcome { result: Verdict::Reject { reason }, code: None }
}

fn retry_of(reason: Reason) -> Outcome {
    Outcome { result: Verdict::Retry { reason, after: None }, code: None }
}

#[tokio::test]
async fn the_request_carries_what_receivers_check_and_trace() {
    let (url, requests) = endpoint(|_| StatusCode::NO_CONTENT.into_response()).await;
    let outcome = deliver(&config(), &url).await;
    assert_eq!(
        outcome,
        Outcome { result: Verdict::Sent { provider_message_id: None }, code: Some("http_204".to_owned()) }
    );
    let (headers, body) = requests.lock()[0].clone();
    assert_eq!(body, r#"{"a":"ü"}"#);
    let get = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(get("webhook-id"), "00000000-0000-0000-0000-000000000007");
    assert_eq!(get("webhook-timestamp"), "1795000000");
    assert_eq!(get("content-type"), "application/json");
    assert_eq!(get("user-agent"), concat!("notilog/", env!("CARGO_PKG_VERSION")));
    assert_eq!(get("traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let expected = Signer::new(SECRET).unwrap().sign(get("webhook-id"), 1_795_000_000, body.as_bytes()).unwrap();
    assert_eq!(get("webhook-signature"), expected);
}

#[tokio::test]
async fn each_tenant_has_its_own_secret_and_one_without_waits_for_it() {
    let (url, requests) = endpoint(|_| StatusCode::OK.into_response()).await;
    let own = "whsec_b3duLXNlY3JldC1vZi1hY21lLWluYy0wMTIzNDU2Nw==";
    let secrets = [("acme".to_owned(), Secret::new(own))].into();
    let channel = channel(&config::Webhook { secrets, ..config() });
    channel.deliver(&message(&url, "acme")).await;
    let signature = requests.lock()[0].0.get("webhook-signature").unwrap().to_str().unwrap().to_owned();
    let sign = |secret| {
        Signer::new(secret).unwrap().sign(&Uuid::from_u128(7).to_string(), 1_795_000_000, r#"{"a":"ü"}"#.as_bytes())
    };
    assert_eq!(signature, sign(own).unwrap());
    assert_eq!(channel.deliver(&message(&url, "other")).await, retry_of(Reason::BadCredentials));
    assert_eq!(requests.lock().len(), 1, "nothing leaves unsigned");
}

#[tokio::test]
async fn while_a_secret_is_changed_both_sign() {
    let (url, requests) = endpoint(|_| StatusCode::OK.into_response()).await;
    let new = "whsec_b3duLXNlY3JldC1vZi1hY21lLWluYy0wMTIzNDU2Nw==";
    let secrets = [("acme".to_owned(), Secret::new(format!("{new}\n{SECRET}")))].into();
    channel(&config::Webhook { secrets, ..config() }).deliver(&message(&url, "acme")).await;
    let signatures = requests.lock()[0].0.get("webhook-signature").unwrap().to_str().unwrap().to_owned();
    let sign = |secret| {
        let id = Uuid::from_u128(7).to_string();
        Signer::new(secret).unwrap().sign(&id, 1_795_000_000, r#"{"a":"ü"}"#.as_bytes()).unwrap()
    };
    assert_eq!(signatures, format!("{} {}", sign(new), sign(SECRET)));
}

#[rstest]
#[case::not_a_url("hooks", Reason::AddressRefused)]
#[case::another_scheme("ftp://example.org/", Reason::AddressRefused)]
#[case::file("file:///etc/passwd", Reason::AddressRefused)]
#[case::credentials("http://user:secret@127.0.0.1/", Reason::AddressRefused)]
#[case::user_only("http://user@127.0.0.1/", Reason::AddressRefused)]
#[case::private("http://10.0.0.1/", Reason::AddressForbidden)]
#[case::metadata("http://169.254.169.254/latest", Reason::AddressForbidden)]
#[case::v6("http://[::1]/", Reason::AddressForbidden)]
#[tokio::test]
async fn what_may_not_be_called_is_refused(#[case] url: &str, #[case] reason: Reason) {
    assert_eq!(deliver(&config(), url).await, reject_of(reason));
}

#[tokio::test]
async fn a_name_that_leads_to_us_is_refused_when_it_resolves() {
    let (url, requests) = endpoint(|_| StatusCode::OK.into_response()).await;
    let url = url.replace("127.0.0.1", "localhost");
    let strict = config::Webhook { allow_networks: Vec::new(), ..config() };
    assert_eq!(deliver(&strict, &url).await, reject_of(Reason::AddressForbidden));
    assert!(requests.lock().is_empty());
    assert_eq!(deliver(&config(), &url).await.code.as_deref(), Some("http_200"));
}

#[tokio::test]
async fn plain_http_is_refused_unless_allowed() {
    let strict = config::Webhook { allow_http: false, ..config() };
    assert_eq!(deliver(&strict, "http://127.0.0.1:1/").await, reject_of(Reason::AddressForbidden));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (inner, reached) = endpoint(|_| StatusCode::OK.into_response()).await;
    let location = inner.clone();
    let (url, _) =
        endpoint(move |_| (StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())]).into_response()).await;
    let outcome = deliver(&config(), &url).await;
    assert_eq!(outcome.result, Verdict::Retry { reason: Reason::ProviderError, after: None });
    assert_eq!(outcome.code.as_deref(), Some("http_307"));
    assert!(reached.lock().is_empty());
}

#[tokio::test]
async fn an_endpoint_may_ask_for_time() {
    let (url, _) = endpoint(|_| (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "90")]).into_response()).await;
    let expected = Verdict::Retry { reason: Reason::ProviderBusy, after: Some(Duration::from_secs(90)) };
    assert_eq!(deliver(&config(), &url).await.result, expected);
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let (url, _) = endpoint(move |_| {
        let counter = counter.clone();
        let endless = futures::stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(vec![b'x'; 16 * 1024])
        });
        Body::from_stream(endless).into_response()
    })
    .await;
    let outcome = deliver(&config(), &url).await;
    assert_eq!(outcome.code.as_deref(), Some("http_200"), "what counts is the status");
    let read = sent.load(Ordering::SeqCst) * 16 / 1024;
    assert!(read < 32, "the server could send {read} MiB");
}

#[rstest]
#[case::silence(None, Reason::Timeout)]
#[case::a_stump(Some("HTTP/1.1 2"), Reason::Interrupted)]
#[case::nothing(Some(""), Reason::Interrupted)]
#[case::not_http(Some("220 smtp.example.org\r\n\r\n"), Reason::Interrupted)]
#[tokio::test]
async fn an_endpoint_that_breaks_off_is_tried_again(#[case] answer: Option<&'static str>, #[case] reason: Reason) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = socket.read(&mut request).await;
        match answer {
            Some(answer) => drop(socket.write_all(answer.as_bytes()).await),
            None => tokio::time::sleep(Duration::from_secs(3600)).await,
        }
    });
    let timeout = if answer.is_none() { Duration::from_millis(500) } else { Duration::from_secs(20) };
    let config = config::Webhook { timeout: Delay(timeout), ..config() };
    assert_eq!(deliver(&config, &url).await, retry_of(reason));
}

#[rstest]
#[case::closed_port("http://127.0.0.1:1/")]
#[case::unknown_name("http://nowhere.invalid/")]
#[tokio::test]
async fn an_endpoint_that_is_not_there_is_tried_again_and_holds_nobody(#[case] url: &str) {
    assert_eq!(deliver(&config(), url).await, retry_of(Reason::ConnectFailed));
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while socket.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let answer = "HTTP/1.1 500 no\r\ncontent-length: 5\r\n\r\nsorry";
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let channel = channel(&config());
    for _ in 0..3 {
        let outcome = channel.deliver(&message(&url, "acme")).await;
        assert_eq!(outcome.code.as_deref(), Some("http_500"));
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[test]
fn all_settings_that_cannot_work_are_named_at_once_and_no_secret_is_quoted() {
    let secrets = [
        ("a".to_owned(), Secret::new("hidden!")),
        ("b".to_owned(), Secret::new("whsec_aGlkZGVu")),
        ("c".to_owned(), Secret::new(SECRET)),
        ("d".to_owned(), Secret::new(format!("{SECRET} {SECRET} {SECRET}"))),
    ];
    let wrong = config::Webhook { secrets: secrets.into(), allow_networks: vec!["10.0.0.0/64".to_owned()], ..config() };
    let problems = Webhook::new(&wrong, Clock::system()).err().unwrap();
    let named: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    let secrets = ["a", "b", "d"].map(|tenant| format!("channels.webhook.secrets.\"{tenant}\""));
    assert_eq!(named[..3], secrets);
    assert_eq!(named[3..], ["channels.webhook.allow_networks"]);
    assert!(!format!("{problems:?}").contains("hidden") && !format!("{problems:?}").contains("aGlkZGVu"));
}
