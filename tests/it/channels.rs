//! The channels against servers that others wrote: aiosmtpd, telegram-test-api, Standard Webhooks' library for Python.
//! Each row of the tables in docs/channels/ is a case here or, where no such server can be made to do it, beside the
//! code.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use notilog::channel::{self, Channel, Content, Context, EventFacts, Message, Outcome, Templates, Verdict};
use notilog::config::{self, Channels, Delay, Secret, TlsMode};
use notilog::model::{Channel as Name, Reason};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stand_in::{StandIn, unique};
use crate::support::{port, python};

pub fn email() -> config::Email {
    config::Email {
        host: "127.0.0.1".to_owned(),
        port: port("NOTILOG_SMTP_PORT", 2525),
        tls: TlsMode::Starttls,
        ca_file: Some(services().join("data/smtp/ca.pem")),
        username: Some("notilog".to_owned()),
        password: Some(Secret::new("secret-for-tests")),
        from: "Shop <shop@example.com>".to_owned(),
        reply_to: Some("help@example.com".to_owned()),
        max_connections: 5,
        timeout: Delay(Duration::from_secs(20)),
        unsubscribe_url: Some("https://example.com/u?n={notification_id}&r={recipient}&c={category}".to_owned()),
        dkim: Vec::new(),
        attachments: None,
    }
}

fn telegram() -> config::Telegram {
    let token = std::env::var("NOTILOG_TELEGRAM_TOKEN").unwrap_or_else(|_| "123456:TEST".to_owned());
    config::Telegram {
        token: Secret::new(token),
        api_url: StandIn::telegram().base,
        timeout: Delay(Duration::from_secs(20)),
    }
}

fn webhook() -> config::Webhook {
    let secret = std::env::var("NOTILOG_WEBHOOK_SECRET")
        .unwrap_or_else(|_| "whsec_bm90aWxvZy1kZXZlbG9wbWVudC1zZWNyZXQtMDE=".to_owned());
    config::Webhook {
        secrets: [("*".to_owned(), Secret::new(secret))].into(),
        timeout: Delay(Duration::from_secs(20)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
    }
}

/// Where `dev/services` keeps its data.
fn services() -> PathBuf {
    let dir = std::env::var("NOTILOG_SERVICES_DIR").map(PathBuf::from);
    dir.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".services"))
}

fn build(channels: Channels) -> Arc<dyn Channel> {
    Arc::clone(&channel::build(&channels).unwrap()[0].all[0].by)
}

pub fn email_channel(email: config::Email) -> Arc<dyn Channel> {
    build(Channels { email: vec![email.into()], ..Channels::default() })
}

fn telegram_channel(telegram: config::Telegram) -> Arc<dyn Channel> {
    build(Channels { telegram: vec![telegram.into()], ..Channels::default() })
}

fn webhook_channel(webhook: config::Webhook) -> Arc<dyn Channel> {
    build(Channels { webhook: vec![webhook.into()], ..Channels::default() })
}

/// An order that was placed, as the shipped template says it.
pub fn order(channel: Name, address: &str) -> Message {
    let event = EventFacts {
        id: "e-1".to_owned(),
        kind: "order.placed".to_owned(),
        source: "shop/orders".to_owned(),
        time: "2026-11-21T21:05:00Z".to_owned(),
        tenant: "acme".to_owned(),
        user_id: "ada".to_owned(),
        category: "orders".to_owned(),
        ..EventFacts::default()
    };
    let data = json!({
        "order_id": "A-1042", "items": [{"name": "Tee „Earl & Grey“", "qty": 2}], "total": 1079.9, "currency": "EUR",
    });
    let templates = Templates::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates"), "en").unwrap();
    let context = Context { event: &event, data: &data.to_string(), timezone: "Europe/Vienna" };
    let content = templates.render(channel, "order_placed", "de-AT", &context).unwrap();
    Message {
        id: notilog::telemetry::random::uuid(),
        address: address.to_owned(),
        content,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        event,
    }
}

fn retry(reason: Reason) -> Verdict {
    Verdict::Retry { reason, after: None }
}

fn reject(reason: Reason) -> Verdict {
    Verdict::Reject { reason }
}

fn halt(reason: Reason) -> Verdict {
    Verdict::Halt { reason }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let address = format!("{}@example.org", unique());
    let channel = email_channel(email());
    let message = order(Name::Email, &address);
    let outcome = channel.deliver(&message).await;
    let message_id = format!("<{}@example.com>", message.id);
    let sent = Verdict::Sent { provider_message_id: Some(message_id.clone()) };
    assert_eq!(outcome, Outcome { result: sent, code: Some("250".to_owned()) });

    let kept = StandIn::smtp().list("/messages", &[("address", &address)]).await;
    assert_eq!(kept.len(), 1);
    let mail = &kept[0];
    assert_eq!(mail["message_id"], json!(message_id));
    assert_eq!((&mail["tls"], &mail["authenticated"]), (&json!(true), &json!(true)));
    let Content::Mail { text, html, .. } = &message.content else { panic!("not a mail") };
    let unix = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
    assert_eq!(unix(mail["text"].as_str().unwrap()), unix(text));
    assert_eq!(unix(mail["html"].as_str().unwrap()), unix(html.as_ref().unwrap()));
    let header = |name: &str| {
        let headers = mail["headers"].as_array().unwrap();
        let found: Vec<&str> =
            headers.iter().filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0].to_owned()
    };
    assert_eq!(header("Subject"), "Deine Bestellung A-1042 ist da");
    assert_eq!(header("From"), "Shop <shop@example.com>");
    assert_eq!(header("To"), address);
    assert_eq!(header("Reply-To"), "help@example.com");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let url = format!("<https://example.com/u?n={}&r=acme%2Fada&c=orders>", message.id);
    assert_eq!(header("List-Unsubscribe"), url);
    assert!(header("Date").ends_with("+0000"));
}

#[rstest]
#[case::busy(json!([421]), "data", retry(Reason::ProviderBusy), "421 4.3.2")]
#[case::greylisted(json!([450]), "data", retry(Reason::ProviderBusy), "450 4.2.1")]
#[case::later(json!([451]), "data", retry(Reason::ProviderBusy), "451 4.7.1")]
#[case::storage(json!([452]), "data", retry(Reason::ProviderBusy), "452 4.2.2")]
#[case::greylisted_early(json!([450]), "rcpt", retry(Reason::ProviderBusy), "450 4.2.1")]
#[case::no_user_early(json!([550]), "rcpt", reject(Reason::AddressRefused), "550 5.1.1")]
#[case::not_local(json!([551]), "rcpt", reject(Reason::AddressRefused), "551")]
#[case::bad_mailbox(json!(["553 5.1.3 bad address syntax"]), "rcpt", reject(Reason::AddressRefused), "553 5.1.3")]
#[case::no_user(json!([550]), "data", reject(Reason::AddressRefused), "550 5.1.1")]
#[case::policy(json!(["550 5.7.1 blocked by policy"]), "rcpt", reject(Reason::MessageRefused), "550 5.7.1")]
#[case::full(json!([552]), "data", reject(Reason::MessageRefused), "552 5.2.2")]
#[case::spam(json!([554]), "data", reject(Reason::MessageRefused), "554 5.7.1")]
#[case::spam_without_a_code(json!(["550 looks like spam"]), "data", reject(Reason::MessageRefused), "550")]
#[case::authenticate(json!(["530 5.7.0 authentication required"]), "rcpt", halt(Reason::BadCredentials), "530 5.7.0")]
#[case::our_sender(json!(["550 5.1.8 bad sender domain"]), "rcpt", halt(Reason::BadCredentials), "550 5.1.8")]
#[case::lost_after_content(json!(["disconnect"]), "data", retry(Reason::Interrupted), "")]
#[case::lost_before_content(json!(["disconnect"]), "rcpt", retry(Reason::Interrupted), "")]
#[tokio::test]
async fn what_a_mail_server_answers(
    #[case] answers: Value,
    #[case] stage: &str,
    #[case] expected: Verdict,
    #[case] code: &str,
) {
    let address = format!("{}@example.org", unique());
    let stand_in = StandIn::smtp();
    stand_in.script("/script", json!({"address": address, "answers": answers, "stage": stage})).await;
    let channel = email_channel(email());
    let outcome = channel.deliver(&order(Name::Email, &address)).await;
    assert_eq!(outcome.result, expected);
    assert_eq!(outcome.code.unwrap_or_default(), code);
    assert!(stand_in.list("/messages", &[("address", &address)]).await.is_empty());
    let other = channel.deliver(&order(Name::Email, &format!("{}@example.org", unique()))).await;
    assert_eq!(other.code.as_deref(), Some("250"), "the next mail is not touched by it");
}

#[tokio::test]
async fn a_mail_that_is_put_off_twice_arrives_once_under_the_same_id() {
    let address = format!("{}@example.org", unique());
    let stand_in = StandIn::smtp();
    stand_in.script("/script", json!({"address": address, "answers": [451, 451, 250]})).await;
    let channel = email_channel(email());
    let message = order(Name::Email, &address);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(channel.deliver(&message).await.code.unwrap());
    }
    assert_eq!(codes, ["451 4.7.1", "451 4.7.1", "250"]);
    let attempts = stand_in.list("/attempts", &[("address", &address)]).await;
    let ids: Vec<&Value> = attempts.iter().map(|attempt| &attempt["message_id"]).collect();
    assert_eq!(ids, [&json!(format!("<{}@example.com>", message.id)); 3]);
    assert_eq!(stand_in.list("/messages", &[("address", &address)]).await.len(), 1);
}

#[tokio::test]
async fn a_mail_server_too_slow_leaves_the_fate_of_its_mail_open_and_no_other() {
    let address = format!("{}@example.org", unique());
    let stand_in = StandIn::smtp();
    stand_in.script("/script", json!({"address": address, "answers": [250], "delay_ms": 4000})).await;
    let channel = email_channel(config::Email { timeout: Delay(Duration::from_millis(2000)), ..email() });
    let slow = channel.deliver(&order(Name::Email, &address)).await;
    assert_eq!(slow, Outcome { result: retry(Reason::Interrupted), code: None });
    for _ in 0..3 {
        let next = channel.deliver(&order(Name::Email, &format!("{}@example.org", unique()))).await;
        assert_eq!(next.code.as_deref(), Some("250"), "an answer to another mail must not be taken for its own");
    }
}

#[tokio::test]
async fn many_mails_at_once_each_arrive_once() {
    let domain = format!("{}.example.org", unique());
    let channel = email_channel(email());
    let messages: Vec<Message> = (0..100).map(|n| order(Name::Email, &format!("u{n}@{domain}"))).collect();
    let outcomes = futures::future::join_all(messages.iter().map(|message| channel.deliver(message))).await;
    for (message, outcome) in messages.iter().zip(outcomes) {
        assert_eq!(outcome.code.as_deref(), Some("250"), "{outcome:?}");
        let kept = StandIn::smtp().list("/messages", &[("address", &message.address)]).await;
        let ids: Vec<&Value> = kept.iter().map(|mail| &mail["message_id"]).collect();
        assert_eq!(ids, [&json!(format!("<{}@example.com>", message.id))]);
    }
}

#[rstest]
#[case::password(config::Email { password: Some(Secret::new("wrong")), ..email() }, Reason::BadCredentials, "535 5.7.8")]
#[case::unknown_ca(config::Email { ca_file: None, ..email() }, Reason::ConnectFailed, "")]
#[case::no_tls_there(config::Email { tls: TlsMode::Tls, ..email() }, Reason::ConnectFailed, "")]
#[case::nobody_there(config::Email { port: 1, ..email() }, Reason::ConnectFailed, "")]
#[case::no_such_name(config::Email { host: "smtp.invalid".to_owned(), ..email() }, Reason::ConnectFailed, "")]
#[tokio::test]
async fn a_mail_server_that_cannot_be_used_halts_the_channel(
    #[case] email: config::Email,
    #[case] reason: Reason,
    #[case] code: &str,
) {
    let channel = email_channel(config::Email { timeout: Delay(Duration::from_secs(5)), ..email });
    let outcome = channel.deliver(&order(Name::Email, "ada@example.org")).await;
    assert_eq!(outcome.result, halt(reason));
    assert_eq!(outcome.code.unwrap_or_default(), code);
    let problem = channel.check().await.unwrap_err();
    assert!(problem.contains("check `") && !problem.contains("wrong\""), "{problem}");
}

#[tokio::test]
async fn a_mail_server_in_order_passes_the_check() {
    assert_eq!(email_channel(email()).check().await, Ok(()));
    let plain = config::Email { tls: TlsMode::None, username: None, password: None, ..email() };
    assert_eq!(email_channel(plain).check().await, Ok(()));
}

#[tokio::test]
async fn tls_from_the_first_byte_works_like_starttls() {
    let tls = services().join("data/smtp");
    let mut front = Command::new(python())
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/tls_front.py"))
        .args([tls.join("server.pem"), tls.join("server.key")])
        .arg(email().port.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(front.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let config = config::Email { tls: TlsMode::Tls, port: port.trim().parse().unwrap(), ..email() };
    let address = format!("{}@example.org", unique());
    let outcome = email_channel(config).deliver(&order(Name::Email, &address)).await;
    front.kill().unwrap();
    front.wait().unwrap();
    assert_eq!(outcome.code.as_deref(), Some("250"), "{outcome:?}");
    assert_eq!(StandIn::smtp().list("/messages", &[("address", &address)]).await.len(), 1);
}

/// A chat that no other test uses.
fn chat() -> String {
    (Uuid::parse_str(&unique()).unwrap().as_u128() % 1_000_000_000_000).to_string()
}

#[tokio::test]
async fn a_telegram_message_arrives_in_the_users_language() {
    let chat = chat();
    let channel = telegram_channel(telegram());
    assert_eq!(channel.check().await, Ok(()));
    let outcome = channel.deliver(&order(Name::Telegram, &chat)).await;
    let Verdict::Sent { provider_message_id: Some(id) } = outcome.result else { panic!("{outcome:?}") };
    let kept = StandIn::telegram().list("/_messages", &[("chat_id", &chat)]).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["message_id"].to_string(), id);
    assert_eq!(kept[0]["parse_mode"], "HTML");
    let text = "🛒 <b>Danke für deine Bestellung!</b>\nA-1042 · 1.079,90\u{a0}€\n\n2 × Tee „Earl &amp; Grey“";
    assert_eq!(kept[0]["text"], text);
}

#[rstest]
#[case::slow_down(
    json!([{"status": 429, "retry_after": 3}]),
    Verdict::Retry { reason: Reason::RateLimited, after: Some(Duration::from_secs(3)) },
    "http_429"
)]
#[case::too_many(json!([429]), retry(Reason::RateLimited), "http_429")]
#[case::blocked(json!([403]), reject(Reason::Blocked), "http_403")]
#[case::kicked(
    json!([{"status": 403, "description": "Forbidden: bot was kicked from the group chat"}]),
    reject(Reason::Blocked),
    "http_403"
)]
#[case::deactivated(
    json!([{"status": 403, "description": "Forbidden: user is deactivated"}]),
    reject(Reason::Blocked),
    "http_403"
)]
#[case::no_chat(json!([400]), reject(Reason::AddressRefused), "http_400")]
#[case::entities(
    json!([{"status": 400, "description": "Bad Request: can't parse entities: Unsupported start tag \"x\""}]),
    reject(Reason::MessageRefused),
    "http_400"
)]
#[case::no_rights(
    json!([{"status": 400, "description": "Bad Request: not enough rights to send text messages to the chat"}]),
    reject(Reason::Blocked),
    "http_400"
)]
#[case::unauthorized(json!([401]), halt(Reason::BadCredentials), "http_401")]
#[case::no_such_bot(json!([404]), halt(Reason::BadCredentials), "http_404")]
#[case::broken(json!([500]), retry(Reason::ProviderError), "http_500")]
#[case::gateway(json!([502]), retry(Reason::ProviderError), "http_502")]
#[case::lost(json!(["disconnect"]), retry(Reason::Interrupted), "")]
#[tokio::test]
async fn what_telegram_answers(#[case] answers: Value, #[case] expected: Verdict, #[case] code: &str) {
    let chat = chat();
    StandIn::telegram().script("/_script", json!({"chat_id": chat, "answers": answers})).await;
    let outcome = telegram_channel(telegram()).deliver(&order(Name::Telegram, &chat)).await;
    assert_eq!(outcome.result, expected);
    assert_eq!(outcome.code.unwrap_or_default(), code);
}

#[tokio::test]
async fn a_telegram_too_slow_is_left() {
    let chat = chat();
    StandIn::telegram().script("/_script", json!({"chat_id": chat, "delay_ms": 4000})).await;
    let channel = telegram_channel(config::Telegram { timeout: Delay(Duration::from_millis(500)), ..telegram() });
    let outcome = channel.deliver(&order(Name::Telegram, &chat)).await;
    assert_eq!(outcome, Outcome { result: retry(Reason::Timeout), code: None });
}

#[tokio::test]
async fn a_wrong_token_halts_the_channel_and_does_not_show() {
    let channel = telegram_channel(config::Telegram { token: Secret::new("99:hidden"), ..telegram() });
    let outcome = channel.deliver(&order(Name::Telegram, &chat())).await;
    assert_eq!(outcome.result, halt(Reason::BadCredentials));
    let problem = channel.check().await.unwrap_err();
    assert!(problem.contains("refuses the token") && !problem.contains("hidden"), "{problem}");
}

/// A hook that no other test uses: path and URL.
fn hook() -> (String, String) {
    let path = format!("/hook/{}", unique());
    let url = format!("{}{path}", StandIn::webhook().base);
    (path, url)
}

#[tokio::test]
async fn a_webhook_is_verified_by_the_library_of_another_language() {
    let (path, url) = hook();
    let message = order(Name::Webhook, &url);
    let outcome = webhook_channel(webhook()).deliver(&message).await;
    let sent = Verdict::Sent { provider_message_id: None };
    assert_eq!(outcome, Outcome { result: sent, code: Some("http_200".to_owned()) });
    let kept = StandIn::webhook().list("/_requests", &[("path", &path)]).await;
    assert_eq!(kept.len(), 1);
    let request = &kept[0];
    assert_eq!((&request["verified"], &request["error"]), (&json!(true), &Value::Null));
    assert_eq!(request["webhook_id"], json!(message.id.to_string()));
    assert_eq!(request["headers"]["traceparent"], json!(message.traceparent));
    assert_eq!(request["headers"]["content-type"], "application/json");
    let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["type"], "order.placed");
    assert_eq!(body["timestamp"], "2026-11-21T21:05:00Z");
    assert_eq!(body["data"]["items"][0]["name"], "Tee „Earl & Grey“");
}

#[tokio::test]
async fn a_webhook_signed_with_another_secret_is_not_verified() {
    let (path, url) = hook();
    let secret = "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=";
    StandIn::webhook().script("/_script", json!({"path": path, "secret": secret})).await;
    let refused = webhook_channel(webhook()).deliver(&order(Name::Webhook, &url)).await;
    assert_eq!(refused, Outcome { result: retry(Reason::MessageRefused), code: Some("http_401".to_owned()) });
    let secrets = [("acme".to_owned(), Secret::new(secret)), ("*".to_owned(), webhook().secrets["*"].clone())];
    let own = webhook_channel(config::Webhook { secrets: secrets.into(), ..webhook() });
    assert_eq!(own.deliver(&order(Name::Webhook, &url)).await.code.as_deref(), Some("http_200"));
}

#[tokio::test]
async fn while_a_secret_is_changed_receivers_of_either_verify() {
    let new = "whsec_YW5vdGhlci1zZWNyZXQtb2YtMjQtYnl0ZXM=";
    let both = format!("{new} {}", webhook().secrets["*"].reveal());
    let changing =
        webhook_channel(config::Webhook { secrets: [("*".to_owned(), Secret::new(both))].into(), ..webhook() });
    let (_, of_old) = hook();
    let (path, of_new) = hook();
    StandIn::webhook().script("/_script", json!({"path": path, "secret": new})).await;
    for url in [of_old, of_new] {
        let outcome = changing.deliver(&order(Name::Webhook, &url)).await;
        assert_eq!(outcome.code.as_deref(), Some("http_200"), "{url}");
    }
}

#[rstest]
#[case::accepted(json!([202]), Verdict::Sent { provider_message_id: None }, "http_202")]
#[case::redirect(
    json!([{"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}]),
    retry(Reason::ProviderError),
    "http_302"
)]
#[case::bad_request(json!([400]), retry(Reason::MessageRefused), "http_400")]
#[case::not_found(json!([404]), retry(Reason::MessageRefused), "http_404")]
#[case::request_timeout(json!([408]), retry(Reason::ProviderBusy), "http_408")]
#[case::too_early(json!([425]), retry(Reason::ProviderBusy), "http_425")]
#[case::gone(json!([410]), reject(Reason::AddressRefused), "http_410")]
#[case::too_many(
    json!([{"status": 429, "retry_after": 2}]),
    Verdict::Retry { reason: Reason::RateLimited, after: Some(Duration::from_secs(2)) },
    "http_429"
)]
#[case::next_year(
    json!([{"status": 503, "headers": {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}}]),
    Verdict::Retry { reason: Reason::ProviderBusy, after: Some(Duration::from_secs(86_400)) },
    "http_503"
)]
#[case::broken(json!([500]), retry(Reason::ProviderError), "http_500")]
#[case::gateway(json!([504]), retry(Reason::ProviderError), "http_504")]
#[case::lost(json!(["disconnect"]), retry(Reason::Interrupted), "")]
#[tokio::test]
async fn what_an_endpoint_answers(#[case] answers: Value, #[case] expected: Verdict, #[case] code: &str) {
    let (path, url) = hook();
    StandIn::webhook().script("/_script", json!({"path": path, "answers": answers})).await;
    let outcome = webhook_channel(webhook()).deliver(&order(Name::Webhook, &url)).await;
    assert_eq!(outcome.result, expected);
    assert_eq!(outcome.code.unwrap_or_default(), code);
    let kept = StandIn::webhook().list("/_requests", &[("path", &path)]).await;
    assert_eq!(kept.len(), 1, "one call is one request");
    assert_eq!(kept[0]["verified"], json!(true));
}

#[tokio::test]
async fn an_endpoint_too_slow_is_tried_again() {
    let (path, url) = hook();
    StandIn::webhook().script("/_script", json!({"path": path, "answers": [{"status": 200, "delay_ms": 4000}]})).await;
    let channel = webhook_channel(config::Webhook { timeout: Delay(Duration::from_millis(500)), ..webhook() });
    let outcome = channel.deliver(&order(Name::Webhook, &url)).await;
    assert_eq!(outcome, Outcome { result: retry(Reason::Timeout), code: None });
}

#[tokio::test]
async fn our_own_networks_are_out_of_reach_unless_allowed() {
    let (path, url) = hook();
    let channel = webhook_channel(config::Webhook { allow_networks: Vec::new(), ..webhook() });
    for url in [url.clone(), url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")] {
        let outcome = channel.deliver(&order(Name::Webhook, &url)).await;
        assert_eq!(outcome, Outcome { result: reject(Reason::AddressForbidden), code: None });
    }
    assert!(StandIn::webhook().list("/_requests", &[("path", &path)]).await.is_empty());
}
