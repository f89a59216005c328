//! What is sent to the Bot API, what is not, and what never shows.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::channel::EventFacts;
use crate::config::{Delay, Secret};
use crate::telemetry::clock::steady_now;

const TOKEN: &str = "4711:hidden_Token-1";

type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A Bot API that always gives this answer, after this time.
async fn api(status: u16, answer: &'static str, delay: Duration) -> (String, Calls) {
    let calls = Calls::default();
    let handler = move |State(calls): State<Calls>, uri: Uri, body: String| async move {
        calls.lock().push((uri.path().to_owned(), serde_json::from_str(&body).unwrap_or_default()));
        tokio::time::sleep(delay).await;
        (StatusCode::from_u16(status).unwrap(), answer)
    };
    let app = Router::new().fallback(handler).with_state(calls.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tg/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, calls)
}

fn channel(api_url: &str) -> Telegram {
    patient(api_url, Duration::from_secs(9))
}

fn patient(api_url: &str, timeout: Duration) -> Telegram {
    let timeout = Delay(timeout);
    Telegram::new(&config::Telegram { token: Secret::new(TOKEN), api_url: api_url.to_owned(), timeout }).unwrap()
}

fn message(address: &str, text: &str, html: bool) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: address.to_owned(),
        content: Content::Text { text: text.to_owned(), html },
        traceparent: None,
        event: EventFacts::default(),
    }
}

#[tokio::test]
async fn html_is_announced_and_a_number_is_sent_as_a_number() {
    let (url, calls) = api(200, r#"{"ok":true,"result":{"message_id":42}}"#, Duration::ZERO).await;
    let outcome = channel(&url).deliver(&message(" -100123 ", "<b>Hi</b>", true)).await;
    assert_eq!(outcome.result, Verdict::Sent { provider_message_id: Some("42".to_owned()) });
    assert_eq!(outcome.code.as_deref(), Some("http_200"));
    let expected = json!({"chat_id": -100_123, "text": "<b>Hi</b>", "parse_mode": "HTML"});
    assert_eq!(*calls.lock(), [(format!("/tg/bot{TOKEN}/SendMessage"), expected)]);
}

#[tokio::test]
async fn plain_text_is_not_parsed_and_a_channel_goes_by_its_name() {
    let (url, calls) = api(200, r#"{"ok":true,"result":{"message_id":42}}"#, Duration::ZERO).await;
    channel(&url).deliver(&message("@news", "1 < 2", false)).await;
    assert_eq!(calls.lock()[0].1, json!({"chat_id": "@news", "text": "1 < 2"}));
}

#[tokio::test]
async fn markdown_is_sent_as_html_and_cut_where_telegram_ends() {
    let (url, calls) = api(200, r#"{"ok":true,"result":{"message_id":42}}"#, Duration::ZERO).await;
    let markdown = |text: &str| Content::Markup(crate::channel::markup::Document::markdown(text));
    let short = Message { content: markdown("**Tee & Co.** (1 < 2)"), ..message("7", "", false) };
    channel(&url).deliver(&short).await;
    assert_eq!(
        calls.lock()[0].1,
        json!({"chat_id": 7, "text": "<b>Tee &amp; Co.</b> (1 &lt; 2)", "parse_mode": "HTML"})
    );
    let long = Message { content: markdown(&format!("**{}**", "<".repeat(5000))), ..message("7", "", false) };
    channel(&url).deliver(&long).await;
    let text = format!("<b>{}…</b>", "&lt;".repeat(4095));
    assert_eq!(calls.lock()[1].1["text"], text);
}

#[tokio::test]
async fn buttons_are_an_inline_keyboard_of_links() {
    let (url, calls) = api(200, r#"{"ok":true,"result":{"message_id":42}}"#, Duration::ZERO).await;
    let button = |text: &str| Button { text: text.to_owned(), url: "https://example.org/?a=1&b=2".parse().unwrap() };
    let inner = Box::new(Content::Text { text: "<b>Hi</b>".to_owned(), html: true });
    let rows = vec![vec![button("Track")], vec![button("Yes"), button("No")]];
    let content = Content::WithButtons { message: inner, rows };
    channel(&url).deliver(&Message { content, ..message("7", "", false) }).await;
    let drawn = |text: &str| json!({"text": text, "url": "https://example.org/?a=1&b=2"});
    let keyboard = json!({"inline_keyboard": [[drawn("Track")], [drawn("Yes"), drawn("No")]]});
    let expected = json!({"chat_id": 7, "text": "<b>Hi</b>", "parse_mode": "HTML", "reply_markup": keyboard});
    assert_eq!(calls.lock()[0].1, expected);
}

#[rstest]
#[case::empty("", "x", Reason::AddressRefused)]
#[case::name("ada", "x", Reason::AddressRefused)]
#[case::no_name("@", "x", Reason::AddressRefused)]
#[case::path("@a/../b", "x", Reason::AddressRefused)]
#[case::nothing_to_say("7", " \n", Reason::MessageRefused)]
#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anyone_is_called(
    #[case] address: &str,
    #[case] text: &str,
    #[case] reason: Reason,
) {
    let (url, calls) = api(200, "", Duration::ZERO).await;
    let outcome = channel(&url).deliver(&message(address, text, false)).await;
    assert_eq!(outcome, Outcome { result: Verdict::Reject { reason }, code: None });
    assert!(calls.lock().is_empty());
}

#[rstest]
#[case::just_fits(&"ü".repeat(4096), false, true)]
#[case::one_more(&"ü".repeat(4097), false, false)]
#[case::tags_are_free(&format!("<b>{}</b>", "x".repeat(4096)), true, true)]
#[case::entities_are_one(&"&lt;".repeat(4096), true, true)]
#[case::too_many_entities(&"&#39;".repeat(4097), true, false)]
#[case::a_lone_ampersand(&"& ".repeat(2048), true, true)]
#[tokio::test]
async fn the_limit_is_of_what_is_seen(#[case] text: &str, #[case] html: bool, #[case] sent: bool) {
    let (url, calls) = api(200, r#"{"ok":true,"result":{"message_id":42}}"#, Duration::ZERO).await;
    let outcome = channel(&url).deliver(&message("7", text, html)).await;
    assert_eq!(calls.lock().len(), usize::from(sent), "{outcome:?}");
    assert_eq!(outcome.result == Verdict::Reject { reason: Reason::MessageRefused }, !sent);
}

#[tokio::test]
async fn an_error_of_the_server_holds_nobody_up() {
    let (url, _) = api(502, "<html>Bad Gateway</html>", Duration::ZERO).await;
    let started = steady_now();
    let outcome = channel(&url).deliver(&message("7", "x", false)).await;
    assert_eq!(outcome.result, Verdict::Retry { reason: Reason::ProviderError, after: None });
    assert_eq!(outcome.code.as_deref(), Some("http_502"));
    assert!(started.elapsed() < Duration::from_secs(8), "not held for 10 s");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left() {
    let (url, _) = api(200, "", Duration::from_secs(3600)).await;
    let channel = patient(&url, Duration::from_millis(300));
    let outcome = channel.deliver(&message("7", "x", false)).await;
    assert_eq!(outcome, Outcome { result: Verdict::Retry { reason: Reason::Timeout, after: None }, code: None });
}

#[tokio::test]
async fn the_token_never_shows() {
    let closed = "http://127.0.0.1:1/";
    let channel = channel(closed);
    let outcome = channel.deliver(&message("7", "x", false)).await;
    assert_eq!(outcome, Outcome { result: Verdict::Halt { reason: Reason::ConnectFailed }, code: None });
    let problem = channel.check().await.unwrap_err();
    assert!(problem.contains("127.0.0.1 cannot be reached") && !problem.contains("hidden"), "{problem}");

    let (url, _) = api(401, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#, Duration::ZERO).await;
    let problem = super::tests::channel(&url).check().await.unwrap_err();
    assert!(problem.contains("refuses the token") && !problem.contains("hidden"), "{problem}");

    let wrong = config::Telegram {
        token: Secret::new("hidden token"),
        api_url: "ftp://x".to_owned(),
        timeout: Delay(Duration::from_secs(1)),
    };
    let problems = Telegram::new(&wrong).err().unwrap();
    let settings: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["channels.telegram.token", "channels.telegram.api_url"]);
    assert!(!format!("{problems:?}").contains("hidden"));
}
