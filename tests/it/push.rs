//! Push against Pushy's mock of APNs, npm's push service for browsers, and a stand-in for FCM that google-auth, Google's
//! description of the API and firebase-admin judge. Each row of the tables in docs/channels/push.md is a case here or
//! beside the code.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notilog::channel::push::apns::Apns;
use notilog::channel::push::fcm::Fcm;
use notilog::channel::push::webpush::WebPush;
use notilog::channel::{Channel, Content, EventFacts, Message, Outcome, Push, Verdict};
use notilog::config::{self, Delay, Secret};
use notilog::model::{Policy, Priority, Reason, Timestamp};
use notilog::policy;
use notilog::telemetry::clock::Clock;
use rstest::rstest;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, Started, for_tests, unique};
use crate::support::{World, now, order, person, script_by, with};

fn message(address: &str) -> Message {
    let push = Push {
        title: Some("Order A-1".to_owned()),
        body: Some("Grüße 📦".to_owned()),
        data: [("order".to_owned(), "A-1".to_owned())].into(),
    };
    Message {
        id: notilog::telemetry::random::uuid(),
        address: address.to_owned(),
        content: Content::Push(push),
        traceparent: None,
        event: EventFacts {
            priority: Priority::High,
            expires_at: Some(Timestamp(now() + 600_000)),
            collapse_key: Some("order A-1".to_owned()),
            ..EventFacts::default()
        },
    }
}

fn reject(reason: Reason) -> Verdict {
    Verdict::Reject { reason }
}

fn retry(reason: Reason, after: Option<u64>) -> Verdict {
    Verdict::Retry { reason, after: after.map(Duration::from_secs) }
}

fn halt(reason: Reason) -> Verdict {
    Verdict::Halt { reason }
}

/// The stand-in for Google.
pub struct Google {
    started: Started,
    pub stand_in: StandIn,
}

impl Google {
    pub fn start() -> Self {
        let python = for_tests("test-python").join("bin/python");
        let started = Started::python_of(&python, "fcm.py", &["--port", "0"]);
        Google { stand_in: StandIn::at(started.said.parse().unwrap()), started }
    }

    async fn config(&self) -> config::Fcm {
        config::Fcm {
            service_account: Secret::new(self.stand_in.get("/_account").await.to_string()),
            project: None,
            api_url: self.stand_in.base.clone(),
            timeout: Delay(Duration::from_secs(20)),
        }
    }

    async fn channel(&self) -> Fcm {
        fcm(&self.config().await, Clock::system())
    }

    pub async fn answers(&self, token: &str, answers: Value) {
        self.stand_in.script("/_script", json!({"token": token, "answers": answers})).await;
    }

    pub async fn kept(&self, token: &str) -> Vec<Value> {
        self.stand_in.list("/_messages", &[("token", token)]).await
    }

    async fn count(&self, name: &str) -> u64 {
        self.stand_in.get("/_stats").await[name].as_u64().unwrap_or(0)
    }
}

fn fcm(config: &config::Fcm, clock: Clock) -> Fcm {
    Fcm::new(config, clock).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[tokio::test]
async fn fcm_takes_a_notification_that_googles_own_description_finds_nothing_wrong_with() {
    let (google, token) = (Google::start(), unique());
    let channel = google.channel().await;
    assert_eq!(channel.check().await, Ok(()));
    let message = message(&format!("fcm:{token}"));
    let outcome = channel.deliver(&message).await;
    let Verdict::Sent { provider_message_id: Some(name) } = &outcome.result else { panic!("{outcome:?}") };
    assert!(name.starts_with("projects/notilog-test/messages/"), "{name}");
    let kept = google.kept(&token).await;
    assert_eq!(kept[0]["problems"], json!([]));
    assert_eq!(kept[0]["message"]["notification"], json!({"title": "Order A-1", "body": "Grüße 📦"}));
    assert_eq!(kept[0]["message"]["data"]["notification_id"], json!(message.id));
    assert_eq!(kept[0]["message"]["android"]["collapseKey"], "order A-1");
}

#[rstest]
#[case::gone(json!({"status": 404, "code": "UNREGISTERED"}), reject(Reason::EndpointGone), "UnregisteredError")]
#[case::token(
    json!({"status": 400, "code": "INVALID_ARGUMENT", "field": "message.token"}),
    reject(Reason::AddressRefused), "InvalidArgumentError"
)]
#[case::argument(json!({"status": 400, "code": "INVALID_ARGUMENT"}), reject(Reason::MessageRefused), "InvalidArgumentError")]
#[case::sender(json!({"status": 403, "code": "SENDER_ID_MISMATCH"}), reject(Reason::AddressForbidden), "SenderIdMismatchError")]
#[case::quota(json!({"status": 429, "code": "QUOTA_EXCEEDED"}), retry(Reason::RateLimited, Some(60)), "QuotaExceededError")]
#[case::busy(
    json!({"status": 503, "code": "UNAVAILABLE", "retry_after": 7}),
    retry(Reason::ProviderBusy, Some(7)), "UnavailableError"
)]
#[case::its_fault(json!({"status": 500, "code": "INTERNAL"}), retry(Reason::ProviderError, None), "InternalError")]
#[case::apples_key(
    json!({"status": 401, "code": "THIRD_PARTY_AUTH_ERROR"}),
    retry(Reason::BadCredentials, None), "ThirdPartyAuthError"
)]
#[tokio::test]
async fn fcms_errors_mean_to_us_what_firebase_admin_reads(
    #[case] answer: Value,
    #[case] expected: Verdict,
    #[case] class: &str,
) {
    let (google, token) = (Google::start(), unique());
    google.answers(&token, json!([answer])).await;
    let outcome = google.channel().await.deliver(&message(&format!("fcm:{token}"))).await;
    assert_eq!(outcome, Outcome { result: expected, code: answer["code"].as_str().map(str::to_owned) });
    let python = for_tests("test-python").join("bin/python");
    let said = script_by(&python, "fcm_sdk.py", &[&google.started.said], json!({"token": token}).to_string()).await;
    assert_eq!(serde_json::from_str::<Value>(said.trim()).unwrap()["error"], class);
}

#[tokio::test]
async fn many_pushes_at_once_fetch_one_token_and_a_withdrawn_one_is_replaced() {
    let google = Google::start();
    google.stand_in.script("/_tokens", json!({"answers": [], "delay_ms": 200})).await;
    let channel = google.channel().await;
    let messages: Vec<Message> = (0..20).map(|_| message(&format!("fcm:{}", unique()))).collect();
    let outcomes = futures::future::join_all(messages.iter().map(|message| channel.deliver(message))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome.result, Verdict::Sent { .. })), "{outcomes:?}");
    assert_eq!(google.count("granted").await, 1);
    google.stand_in.script("/_withdraw", json!({})).await;
    assert_eq!(channel.deliver(&messages[0]).await.result, halt(Reason::BadCredentials));
    assert!(matches!(channel.deliver(&messages[0]).await.result, Verdict::Sent { .. }), "with another one");
}

#[tokio::test]
async fn a_token_is_fetched_anew_before_its_end_and_the_old_one_serves_while_that_fails() {
    let google = Google::start();
    // The wall clock is real, as the token service looks at it; only time passes faster.
    let clock = Clock::manual(Timestamp(now()));
    google.stand_in.script("/_tokens", json!({"answers": [], "expires_in": 1000})).await;
    let channel = fcm(&google.config().await, clock.clone());
    let sent =
        async || matches!(channel.deliver(&message(&format!("fcm:{}", unique()))).await.result, Verdict::Sent { .. });
    assert!(sent().await);
    clock.advance(Duration::from_secs(740));
    clock.jump(-740_000);
    assert!(sent().await);
    assert_eq!(google.count("granted").await, 1, "not before three quarters of its life");
    google.stand_in.script("/_tokens", json!({"answers": [{"status": 500}], "expires_in": 1000})).await;
    clock.advance(Duration::from_secs(20));
    clock.jump(-20_000);
    assert!(sent().await, "the old one holds still");
    google.stand_in.script("/_tokens", json!({"answers": [], "expires_in": 1000})).await;
    assert!(sent().await);
    assert_eq!(google.count("granted").await, 2);
}

#[rstest]
#[case::refused(json!([{"status": 400}]), Reason::BadCredentials, "")]
#[case::its_fault(json!([{"status": 503}]), Reason::ProviderError, "http_503")]
#[tokio::test]
async fn without_a_token_the_provider_is_left_alone(
    #[case] answers: Value,
    #[case] reason: Reason,
    #[case] code: &str,
) {
    let google = Google::start();
    google.stand_in.script("/_tokens", json!({"answers": answers})).await;
    let channel = google.channel().await;
    let outcome = channel.deliver(&message("fcm:abc")).await;
    assert_eq!((outcome.result, outcome.code.unwrap_or_default()), (halt(reason), code.to_owned()));
    assert!(!channel.check().await.unwrap_err().contains("PRIVATE"), "says what to do and quotes nothing");
}

#[tokio::test]
async fn another_project_than_the_accounts_is_refused() {
    let google = Google::start();
    let config = config::Fcm { project: Some("other".to_owned()), ..google.config().await };
    let outcome = fcm(&config, Clock::system()).deliver(&message("fcm:abc")).await;
    assert_eq!(outcome.result, halt(Reason::BadCredentials));
}

/// Pushy's mock of Apple's service.
struct Apple {
    _started: Started,
    control: StandIn,
    said: Value,
}

impl Apple {
    fn start() -> Self {
        let folder = certificates();
        let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
        let arguments = [
            "--certificate",
            certificate.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
            "--topic",
            "org.example.app",
        ];
        let started = Started::java("Apns.java", "test-java", &arguments);
        let said: Value = serde_json::from_str(&started.said).unwrap();
        let control = StandIn::at(u16::try_from(said["control"].as_u64().unwrap()).unwrap());
        Apple { _started: started, control, said }
    }

    fn config(&self) -> config::Apns {
        let text = |name: &str| self.said[name].as_str().unwrap().to_owned();
        config::Apns {
            key: Secret::new(text("key")),
            key_id: text("key_id"),
            team_id: text("team_id"),
            topic: "org.example.app".to_owned(),
            api_url: format!("https://localhost:{}", self.said["port"]),
            ca_file: Some(certificates().join("ca.pem")),
            timeout: Delay(Duration::from_secs(20)),
        }
    }

    async fn device(&self) -> String {
        let token = unique() + &unique();
        self.control.get(&format!("/_tokens?token={token}")).await;
        token
    }
}

/// Where the stand-ins' certificates are.
fn certificates() -> PathBuf {
    let ca = std::env::var("NOTILOG_SMTP_CA").map(PathBuf::from);
    let ca = ca.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".services/data/smtp/ca.pem"));
    ca.parent().unwrap().to_owned()
}

fn apns(config: &config::Apns) -> Apns {
    Apns::new(config, Clock::system()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[tokio::test]
async fn apple_takes_takes_back_and_refuses_as_its_documents_say() {
    // One server for all rows: a Java process each would cost more than all of them.
    let apple = Apple::start();
    let channel = apns(&apple.config());
    assert_eq!(channel.check().await, Ok(()));

    let device = apple.device().await;
    let sent = message(&format!("apns:{device}"));
    let outcome = channel.deliver(&sent).await;
    let id = Verdict::Sent { provider_message_id: Some(sent.id.to_string()) };
    assert_eq!(outcome, Outcome { result: id, code: Some("http_200".to_owned()) });
    let kept = apple.control.list("/_messages", &[("token", &device)]).await;
    let expected = json!({
        "apns-id": sent.id, "apns-topic": "org.example.app", "apns-push-type": "alert", "apns-priority": "10",
        "apns-expiration": (sent.event.expires_at.unwrap().0 / 1000).to_string(),
        "apns-collapse-id": kept[0]["headers"]["apns-collapse-id"],
    });
    assert_eq!(kept[0]["headers"], expected);
    assert_eq!(kept[0]["payload"]["aps"]["alert"], json!({"title": "Order A-1", "body": "Grüße 📦"}));

    let gone = apple.device().await;
    apple.control.get(&format!("/_tokens?token={gone}&gone=1795000000000")).await;
    let outcome = channel.deliver(&message(&format!("apns:{gone}"))).await;
    let code = Some("Unregistered since 2026-11-18T11:06:40.000Z".to_owned());
    assert_eq!(outcome, Outcome { result: reject(Reason::EndpointGone), code });

    let outcome = channel.deliver(&message(&format!("apns:{}", unique() + &unique()))).await;
    assert_eq!(outcome.result, reject(Reason::AddressRefused), "{outcome:?}");

    let mut large = message(&format!("apns:{device}"));
    let Content::Push(push) = &mut large.content else { panic!() };
    push.body = Some("x".repeat(5_000));
    let outcome = channel.deliver(&large).await;
    let expected = Outcome { result: reject(Reason::MessageRefused), code: Some("PayloadTooLarge".to_owned()) };
    assert_eq!(outcome, expected);

    for (scripted, expected, code) in [
        ("TOO_MANY_REQUESTS", retry(Reason::RateLimited, None), "TooManyRequests"),
        ("SERVICE_UNAVAILABLE", retry(Reason::ProviderBusy, None), "ServiceUnavailable"),
        ("SHUTDOWN", retry(Reason::ProviderBusy, None), "Shutdown"),
        ("INTERNAL_SERVER_ERROR", retry(Reason::ProviderError, None), "InternalServerError"),
        ("BAD_COLLAPSE_ID", reject(Reason::MessageRefused), "BadCollapseId"),
        ("EXPIRED_PROVIDER_TOKEN", halt(Reason::BadCredentials), "ExpiredProviderToken"),
    ] {
        apple.control.get(&format!("/_script?token={device}&reason={scripted}")).await;
        let outcome = channel.deliver(&message(&format!("apns:{device}"))).await;
        assert_eq!(outcome, Outcome { result: expected, code: Some(code.to_owned()) });
    }

    let mut silent = message(&format!("apns:{device}"));
    silent.content = Content::Push(Push { data: [("sync".to_owned(), "1".to_owned())].into(), ..Push::default() });
    assert!(matches!(channel.deliver(&silent).await.result, Verdict::Sent { .. }));

    let other = config::Apns { topic: "org.example.other".to_owned(), ..apple.config() };
    let outcome = apns(&other).deliver(&message(&format!("apns:{device}"))).await;
    assert!(matches!(outcome.result, Verdict::Halt { .. } | Verdict::Reject { .. }), "{outcome:?}");
    let stranger = config::Apns { key_id: "UNKNOWN001".to_owned(), ..apple.config() };
    let outcome = apns(&stranger).deliver(&message(&format!("apns:{device}"))).await;
    assert_eq!(outcome.result, halt(Reason::BadCredentials), "{outcome:?}");
    let nobody = config::Apns { api_url: "https://localhost:1".to_owned(), ..apple.config() };
    assert_eq!(apns(&nobody).deliver(&message(&format!("apns:{device}"))).await.result, halt(Reason::ConnectFailed));
    assert!(apns(&nobody).check().await.unwrap_err().contains("check `api_url`"));
}

/// npm's push service for browsers.
struct PushService {
    _started: Started,
    stand_in: StandIn,
}

/// 32 bytes that anyone may know.
const VAPID: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
/// Its public half, as the browser is told it.
const VAPID_PUBLIC: &str = "BB4YUy_UdUwC8wQdnHXOszuD_9gax85P6ILMscmLxYlupGwxHE4v9A3ZajZT5uRURdMt_khuztdcepDGoYiBwKM";

impl PushService {
    fn start() -> Self {
        let started = Started::node("webpush.js", &["--port", "0"]);
        PushService { stand_in: StandIn::at(started.said.parse().unwrap()), _started: started }
    }

    /// A browser's subscription: the address, and the name that the service knows it by.
    async fn subscribe(&self) -> (String, String) {
        let options = json!({"userVisibleOnly": "true", "applicationServerKey": VAPID_PUBLIC});
        let answer = self.stand_in.post("/subscribe", &options).await;
        let subscription = &answer["data"];
        let hash = subscription["clientHash"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let json = json!({"endpoint": subscription["endpoint"], "expirationTime": null, "keys": subscription["keys"]});
        (format!("webpush:{}", URL_SAFE_NO_PAD.encode(json.to_string())), hash)
    }

    async fn read(&self, hash: &str) -> Vec<Value> {
        let answer = self.stand_in.post("/get-notifications", &json!({"clientHash": hash})).await;
        let messages = answer["data"]["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap()).collect()
    }
}

fn webpush(key: &str) -> WebPush {
    let config = config::WebPush {
        key: Secret::new(key),
        subject: "mailto:push@example.org".to_owned(),
        ttl: Delay(Duration::from_secs(3600)),
        allow_networks: vec!["127.0.0.0/8".to_owned()],
        allow_http: true,
        timeout: Delay(Duration::from_secs(20)),
    };
    WebPush::new(&config, Clock::system()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[tokio::test]
async fn a_browser_reads_what_was_encrypted_for_it() {
    let service = PushService::start();
    let (address, hash) = service.subscribe().await;
    let message = message(&address);
    let outcome = webpush(VAPID).deliver(&message).await;
    let sent = Verdict::Sent { provider_message_id: None };
    assert_eq!(outcome, Outcome { result: sent, code: Some("http_201".to_owned()) });
    let expected = json!({
        "id": message.id, "title": "Order A-1", "body": "Grüße 📦",
        "data": {"order": "A-1", "notification_id": message.id},
    });
    assert_eq!(service.read(&hash).await, [expected]);
    let requests = service.stand_in.list("/_requests", &[("hash", &hash)]).await;
    let headers = &requests[0]["headers"];
    assert_eq!((&headers["urgency"], headers["topic"].as_str().unwrap().len()), (&json!("high"), 32));
    let ttl: u64 = headers["ttl"].as_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn an_expired_subscription_is_gone_and_a_foreign_key_is_refused() {
    let service = PushService::start();
    let (address, hash) = service.subscribe().await;
    let stranger = webpush("CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg");
    assert_eq!(stranger.deliver(&message(&address)).await.result, reject(Reason::MessageRefused));
    service.stand_in.post_empty(&format!("/expire-subscription/{hash}")).await;
    let outcome = webpush(VAPID).deliver(&message(&address)).await;
    let expected = Outcome { result: reject(Reason::EndpointGone), code: Some("http_410".to_owned()) };
    assert_eq!(outcome, expected);
    assert!(service.read(&hash).await.is_empty());
}

#[rstest]
#[case::no_such(json!({"status": 404}), reject(Reason::EndpointGone), "http_404")]
#[case::large(json!({"status": 413}), reject(Reason::MessageRefused), "http_413")]
#[case::our_key(json!({"status": 403}), retry(Reason::BadCredentials, None), "http_403")]
#[case::slower(json!({"status": 429, "retry_after": 120}), retry(Reason::RateLimited, Some(120)), "http_429")]
#[case::its_fault(json!({"status": 500}), retry(Reason::ProviderError, None), "http_500")]
#[case::later(json!({"status": 503}), retry(Reason::ProviderBusy, None), "http_503")]
#[case::broken(json!("disconnect"), retry(Reason::Interrupted, None), "")]
#[tokio::test]
async fn what_a_push_service_answers(#[case] answer: Value, #[case] expected: Verdict, #[case] code: &str) {
    let service = PushService::start();
    let (address, hash) = service.subscribe().await;
    service.stand_in.script("/_script", json!({"hash": hash, "answers": [answer]})).await;
    let outcome = webpush(VAPID).deliver(&message(&address)).await;
    assert_eq!((outcome.result, outcome.code.unwrap_or_default()), (expected, code.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shipped_order_reaches_each_device_by_the_provider_of_its_kind() {
    let (google, service, token) = (Google::start(), PushService::start(), unique());
    let (browser, hash) = service.subscribe().await;
    let account = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(account.path(), google.stand_in.get("/_account").await.to_string()).unwrap();
    let toml = format!(
        r#"topics.channels = ["push"]
delivery.tiers = ["1s", "3s"]
delivery.backoff = ["1s", "3s"]

[[channels.push]]
kind = "fcm"
service_account = "${{file:{account}}}"
api_url = "{base}"

[[channels.push]]
kind = "webpush"
key = "{VAPID}"
subject = "mailto:push@example.org"
allow_networks = ["127.0.0.0/8"]
allow_http = true
"#,
        account = account.path().display(),
        base = google.stand_in.base,
    );
    let world = World::new("push", &toml).await;
    let user = unique();
    let gone = unique();
    google.answers(&gone, json!([{"status": 404, "code": "UNREGISTERED"}])).await;
    let addresses = [format!("fcm:{token}"), browser, format!("fcm:{gone}")];
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"channel": "push", "address": address, "verified": true, "label": null}))
        .collect();
    let orders = json!({"orders": {"enabled": true, "channels": ["push"], "digest": null}});
    world.preferences(vec![with(person(&user), json!({"endpoints": endpoints, "categories": orders}))]).await;
    let router = world.router(policy()).await;
    let channels = notilog::channel::build(&world.config.channels).unwrap();
    let delivery = world.deliver(policy(), channels).await.unwrap();
    let data = json!({"order_id": "A-1042", "items": [], "carrier": "DHL", "tracking": "JD0146"});
    world.event(with(order(&unique(), &user), json!({"data": data.to_string()}))).await;
    let ends = ["SENT", "FAILED", "DEAD"];
    let ended = |records: &[Value]| -> Vec<Value> {
        let statuses = records.iter().map(|record| record["value"].clone());
        statuses.filter(|status| ends.iter().any(|state| status["state"] == *state)).collect()
    };
    let records = world.read_until(&[world.topics.delivery_status()], |records| ended(records).len() >= 3).await;
    let mut found: Vec<(String, String, String)> = ended(&records)
        .iter()
        .map(|status| ["provider", "state", "reason"].map(|name| status[name].as_str().unwrap().to_owned()).into())
        .collect();
    found.sort();
    let expected = [("fcm", "FAILED", "endpoint_gone"), ("fcm", "SENT", "accepted"), ("webpush", "SENT", "accepted")];
    assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    let kept = google.kept(&token).await;
    let said = json!({"title": "Order A-1042 is on its way", "body": "With DHL: JD0146"});
    assert_eq!((kept.len(), &kept[0]["message"]["notification"]), (1, &said));
    let read = service.read(&hash).await;
    assert_eq!((&read[0]["title"], &read[0]["body"]), (&said["title"], &said["body"]));
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

fn policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}
