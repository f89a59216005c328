//! Text messages against two providers' HTTP APIs, which their vendors' own SDKs judge, and against npm's message
//! centre. Each row of the tables in docs/channels/sms.md is a case here or beside the code.

use std::sync::Arc;
use std::time::Duration;

use notilog::channel::receipt::{Receipt, ReceiptSink, ReceiptState};
use notilog::channel::sms::http::HttpSms;
use notilog::channel::sms::smpp::Smpp;
use notilog::channel::{Channel, Content, EventFacts, Message, Outcome, Surroundings, Verdict};
use notilog::config::{self, Delay, Preset, Secret, SmsHttp};
use notilog::model::{Channel as ChannelName, Class, NotificationId, Policy, Reason};
use notilog::policy;
use notilog::receipts::Intake;
use notilog::telemetry::clock::Clock;
use notilog::wire::RecordType;
use parking_lot::Mutex;
use rstest::rstest;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, Started, for_tests, unique};
use crate::support::{PATIENCE, World, now, order, person, script_by, with, writer_ids};

/// A number that no other test uses.
pub fn number() -> String {
    let random = uuid::Uuid::parse_str(&unique()).unwrap().as_u128() % 10_000_000_000;
    format!("+49{random:010}")
}

fn message(to: &str, text: &str) -> Message {
    Message {
        id: notilog::telemetry::random::uuid(),
        address: to.to_owned(),
        content: Content::Text { text: text.to_owned(), html: false },
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        event: EventFacts::default(),
    }
}

fn reject(reason: Reason) -> Verdict {
    Verdict::Reject { reason }
}

fn retry(reason: Reason) -> Verdict {
    Verdict::Retry { reason, after: None }
}

fn halt(reason: Reason) -> Verdict {
    Verdict::Halt { reason }
}

/// The two providers' stand-in.
pub struct Providers {
    started: Started,
    pub stand_in: StandIn,
}

impl Providers {
    pub fn start() -> Self {
        let started = Started::python("sms.py", &["--port", "0"]);
        let stand_in = StandIn::at(started.said.parse().unwrap());
        Providers { started, stand_in }
    }

    fn config(&self, preset: Preset) -> SmsHttp {
        let base = &self.stand_in.base;
        let (url, check) = match preset {
            Preset::Twilio => {
                let account = format!("{base}/2010-04-01/Accounts/{{{{ account }}}}");
                (format!("{account}/Messages.json"), format!("{account}.json"))
            }
            _ => (format!("{base}/sms/json"), format!("{base}/account/get-balance")),
        };
        SmsHttp {
            preset,
            url: Some(url),
            check_url: Some(check),
            from: "+15550100".to_owned(),
            account: None,
            username: Some("AC1".to_owned()),
            password: Some(Secret::new("secret-for-tests")),
            token: None,
            headers: [].into(),
            form: [].into(),
            body: None,
            callback_url: None,
            message_id: None,
            error_code: None,
            outcomes: [].into(),
            max_parts: 10,
            ca_file: None,
            timeout: Delay(Duration::from_secs(20)),
        }
    }

    fn channel(&self, preset: Preset) -> HttpSms {
        http(&self.config(preset))
    }

    async fn answers(&self, to: &str, answers: Value) {
        self.stand_in.script("/_script", json!({"to": to.trim_start_matches('+'), "answers": answers})).await;
    }

    pub async fn kept(&self, to: &str) -> Vec<Value> {
        self.stand_in.list("/_messages", &[("to", to.trim_start_matches('+'))]).await
    }

    /// What the vendor's SDK makes of sending the same.
    async fn by_sdk(&self, vendor: &str, to: &str, text: &str) -> Value {
        let line = json!({"vendor": vendor, "to": to, "from": "+15550100", "text": text}).to_string();
        let python = for_tests("test-python").join("bin/python");
        let said = script_by(&python, "sms_sdk.py", &[&self.started.said], line).await;
        serde_json::from_str(said.trim()).unwrap()
    }
}

fn http(config: &SmsHttp) -> HttpSms {
    HttpSms::new(config, Clock::system()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[tokio::test]
async fn twilio_gets_from_us_what_it_gets_from_its_own_sdk() {
    let (providers, to) = (Providers::start(), number());
    let channel = providers.channel(Preset::Twilio);
    assert_eq!(channel.check().await, Ok(()));
    let outcome = channel.deliver(&message(&to, "Grüße & 100 %")).await;
    let Verdict::Sent { provider_message_id: Some(id) } = &outcome.result else { panic!("{outcome:?}") };
    assert!(id.starts_with("SM"), "{id}");
    let by_sdk = providers.by_sdk("twilio", &to, "Grüße & 100 %").await;
    assert_eq!(by_sdk["state"], "queued");
    let kept = providers.kept(&to).await;
    assert_eq!(kept[0]["form"], kept[1]["form"], "ours and the SDK's");
    assert_eq!(kept[0]["path"], kept[1]["path"]);
    assert_eq!(kept[0]["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
}

#[tokio::test]
async fn vonage_gets_from_us_what_it_gets_from_its_own_sdk() {
    let (providers, to) = (Providers::start(), number());
    let channel = providers.channel(Preset::Vonage);
    assert_eq!(channel.check().await, Ok(()));
    let sent = message(&to, "Привет 😀");
    let outcome = channel.deliver(&sent).await;
    assert!(matches!(outcome.result, Verdict::Sent { provider_message_id: Some(_) }), "{outcome:?}");
    assert!(providers.by_sdk("vonage", &to, "Привет 😀").await["sent"].is_string());
    let kept = providers.kept(&to).await;
    let [ours, theirs] = [&kept[0]["form"], &kept[1]["form"]];
    for field in ["from", "to", "text"] {
        assert_eq!(ours[field], theirs[field]);
    }
    assert_eq!(ours["type"], "unicode", "else the text arrives as question marks");
    assert_eq!(ours["client-ref"], sent.id.to_string());
}

#[rstest]
#[case::number(json!([{"status": 400, "code": 21211}]), reject(Reason::AddressRefused), "21211")]
#[case::stopped(json!([{"status": 400, "code": 21610}]), reject(Reason::Blocked), "21610")]
#[case::region(json!([{"status": 400, "code": 21408}]), reject(Reason::AddressForbidden), "21408")]
#[case::unknown(json!([{"status": 400, "code": 29999}]), reject(Reason::MessageRefused), "29999")]
#[case::sender(json!([{"status": 400, "code": 21606}]), halt(Reason::AccountRefused), "21606")]
#[case::slower(json!([{"status": 429, "code": 20429}]), retry(Reason::RateLimited), "20429")]
#[case::its_fault(json!([{"status": 500, "code": 20500}]), retry(Reason::ProviderError), "20500")]
#[tokio::test]
async fn twilios_errors_mean_to_us_what_the_sdk_reads(
    #[case] answers: Value,
    #[case] expected: Verdict,
    #[case] code: &str,
) {
    let (providers, to) = (Providers::start(), number());
    providers.answers(&to, answers).await;
    let outcome = providers.channel(Preset::Twilio).deliver(&message(&to, "x")).await;
    assert_eq!(outcome, Outcome { result: expected, code: Some(code.to_owned()) });
    assert_eq!(providers.by_sdk("twilio", &to, "x").await["code"], code);
}

#[rstest]
#[case::throttled("1", retry(Reason::RateLimited))]
#[case::parameters("3", reject(Reason::MessageRefused))]
#[case::credentials("4", halt(Reason::BadCredentials))]
#[case::its_fault("5", retry(Reason::ProviderError))]
#[case::number("6", reject(Reason::AddressRefused))]
#[case::barred("7", reject(Reason::AddressForbidden))]
#[case::credit("9", halt(Reason::AccountRefused))]
#[tokio::test]
async fn vonages_statuses_within_a_200_mean_to_us_what_the_sdk_reads(#[case] code: &str, #[case] expected: Verdict) {
    let (providers, to) = (Providers::start(), number());
    providers.answers(&to, json!([{"codes": [code]}])).await;
    let outcome = providers.channel(Preset::Vonage).deliver(&message(&to, "x")).await;
    assert_eq!(outcome, Outcome { result: expected, code: Some(code.to_owned()) });
    assert_eq!(providers.by_sdk("vonage", &to, "x").await["code"], code);
}

#[rstest]
#[case::later(json!([{"status": 503, "retry_after": 120}]),
    Verdict::Retry { reason: Reason::ProviderBusy, after: Some(Duration::from_secs(120)) }, "http_503")]
#[case::a_proxys_page(json!([{"status": 200, "body": "<html>"}]), retry(Reason::ProviderError), "http_200")]
#[case::broken(json!(["disconnect"]), retry(Reason::Interrupted), "")]
#[tokio::test]
async fn an_answer_that_is_not_vonages(#[case] answers: Value, #[case] expected: Verdict, #[case] code: &str) {
    let (providers, to) = (Providers::start(), number());
    providers.answers(&to, answers).await;
    let outcome = providers.channel(Preset::Vonage).deliver(&message(&to, "x")).await;
    assert_eq!((outcome.result, outcome.code.unwrap_or_default()), (expected, code.to_owned()));
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_halts_and_fails_the_check() {
    let providers = Providers::start();
    let wrong = SmsHttp { password: Some(Secret::new("wr0ng")), ..providers.config(Preset::Twilio) };
    let nobody = SmsHttp {
        url: Some("http://127.0.0.1:1/x".to_owned()),
        check_url: Some("http://127.0.0.1:1/x".to_owned()),
        ..providers.config(Preset::Vonage)
    };
    for (config, reason) in [(wrong, Reason::BadCredentials), (nobody, Reason::ConnectFailed)] {
        let channel = http(&config);
        assert_eq!(channel.deliver(&message(&number(), "x")).await.result, halt(reason));
        let problem = channel.check().await.unwrap_err();
        assert!(problem.contains("check ") && !problem.contains("wr0ng"), "{problem}");
    }
}

#[tokio::test]
async fn a_provider_too_slow_leaves_the_fate_of_its_message_open() {
    let (providers, to) = (Providers::start(), number());
    let script = json!({"to": to.trim_start_matches('+'), "answers": ["ok"], "delay_ms": 5000});
    providers.stand_in.script("/_script", script).await;
    let config = SmsHttp { timeout: Delay(Duration::from_millis(1500)), ..providers.config(Preset::Twilio) };
    assert_eq!(http(&config).deliver(&message(&to, "x")).await, Outcome { result: retry(Reason::Timeout), code: None });
}

/// Keeps receipts, or refuses the first so many.
#[derive(Default)]
struct Kept {
    receipts: Mutex<Vec<Receipt>>,
    refuse: Mutex<usize>,
}

#[async_trait::async_trait]
impl ReceiptSink for Kept {
    async fn take(&self, receipt: Receipt) -> Result<(), String> {
        let mut refuse = self.refuse.lock();
        if *refuse > 0 {
            *refuse -= 1;
            return Err("not now".to_owned());
        }
        self.receipts.lock().push(receipt);
        Ok(())
    }
}

/// npm's message centre.
struct Smsc {
    _started: Started,
    control: StandIn,
    port: u16,
}

impl Smsc {
    fn start() -> Self {
        let started = Started::node("smsc.js", &["--port", "0", "--control-port", "0"]);
        let ports: Value = serde_json::from_str(&started.said).unwrap();
        let port = |name: &str| u16::try_from(ports[name].as_u64().unwrap()).unwrap();
        Smsc { control: StandIn::at(port("control")), port: port("smpp"), _started: started }
    }

    fn config(&self) -> config::Smpp {
        config::Smpp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: false,
            ca_file: None,
            system_id: "notilog".to_owned(),
            password: Secret::new("secret"),
            system_type: String::new(),
            from: "Shop".to_owned(),
            window: 10,
            enquire_link: Delay(Duration::from_secs(30)),
            receipts: true,
            max_parts: 10,
            timeout: Delay(Duration::from_secs(10)),
        }
    }

    async fn answers(&self, to: &str, answers: Value) {
        self.control.script("/_script", json!({"to": to.trim_start_matches('+'), "answers": answers})).await;
    }

    async fn kept(&self, to: &str) -> Vec<Value> {
        self.control.list("/_messages", &[("to", to.trim_start_matches('+'))]).await
    }

    async fn stats(&self) -> Value {
        self.control.get("/_stats").await
    }

    /// Waits until the message centre says so.
    async fn until(&self, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let stats = self.stats().await;
            if what(&stats) {
                return stats;
            }
            assert!(std::time::Instant::now() < deadline, "{stats}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn smpp(config: &config::Smpp, receipts: &Arc<Kept>) -> Smpp {
    let receipts = Arc::clone(receipts);
    Smpp::new(config, receipts, Clock::system()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[tokio::test]
async fn a_text_arrives_and_its_receipt_comes_back_under_the_same_id() {
    let (smsc, receipts, to) = (Smsc::start(), Arc::new(Kept::default()), number());
    let channel = smpp(&smsc.config(), &receipts);
    assert_eq!(channel.check().await, Ok(()));
    let outcome = channel.deliver(&message(&to, "Grüße: 5 € {ok}")).await;
    let Verdict::Sent { provider_message_id: Some(id) } = &outcome.result else { panic!("{outcome:?}") };
    let kept = smsc.kept(&to).await;
    assert_eq!(kept[0]["text"], "Grüße: 5 € {ok}", "as the message centre's own decoder reads it");
    assert_eq!((&kept[0]["message_id"], &kept[0]["data_coding"]), (&json!(id), &json!(0)));
    assert_eq!((&kept[0]["to_ton"], &kept[0]["to_npi"], &kept[0]["from_ton"]), (&json!(1), &json!(1), &json!(5)));
    let receipt = eventually(|| receipts.receipts.lock().first().cloned()).await;
    assert_eq!((receipt.provider_message_id.as_str(), receipt.state), (id.as_str(), ReceiptState::Delivered));
    let answered = answered(&smsc, id, 1).await;
    assert_eq!(answered[0]["answered"], 0);
}

async fn eventually<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The answers to a message's receipts.
async fn answered(smsc: &Smsc, id: &str, count: usize) -> Vec<Value> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answered = smsc.control.list("/_receipts", &[("message_id", id)]).await;
        if answered.len() >= count {
            return answered;
        }
        assert!(std::time::Instant::now() < deadline, "{answered:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[rstest]
#[case::gsm(&"Grüße und {alles} Gute! ".repeat(12), 0)]
#[case::unicode(&"Привет 😀! ".repeat(15), 8)]
#[tokio::test]
async fn a_long_text_comes_in_parts_that_make_it_again(#[case] text: &str, #[case] coding: u8) {
    let (smsc, to) = (Smsc::start(), number());
    let channel = smpp(&smsc.config(), &Arc::default());
    let outcome = channel.deliver(&message(&to, text)).await;
    let parts = smsc.kept(&to).await;
    assert!(parts.len() >= 2, "{parts:?}");
    let joined: String = parts.iter().map(|part| part["text"].as_str().unwrap()).collect();
    assert_eq!(joined, text);
    assert!(parts.iter().all(|part| part["data_coding"] == coding));
    let headers: Vec<&str> = parts.iter().map(|part| part["udh"].as_str().unwrap()).collect();
    let ends: Vec<String> = (1..=parts.len()).map(|index| format!("{:02x}{index:02x}", parts.len())).collect();
    assert!(headers.iter().zip(&ends).all(|(header, end)| header.ends_with(end.as_str())), "{headers:?}");
    assert_eq!(headers[0][..6], headers[1][..6], "one reference");
    let last = parts.last().unwrap()["message_id"].as_str().unwrap();
    assert_eq!(outcome.result, Verdict::Sent { provider_message_id: Some(last.to_owned()) });
}

#[rstest]
#[case::throttled(json!([88]), retry(Reason::RateLimited), "smpp_0x58")]
#[case::queue_full(json!([20]), retry(Reason::ProviderBusy), "smpp_0x14")]
#[case::system_error(json!([8]), retry(Reason::ProviderError), "smpp_0x08")]
#[case::destination(json!([11]), reject(Reason::AddressRefused), "smpp_0x0b")]
#[case::length(json!([1]), reject(Reason::MessageRefused), "smpp_0x01")]
#[case::source(json!([10]), halt(Reason::AccountRefused), "smpp_0x0a")]
#[case::its_own(json!([1025]), retry(Reason::ProviderError), "smpp_0x401")]
#[case::silence(json!(["silence"]), retry(Reason::Timeout), "")]
#[case::broken(json!(["disconnect"]), retry(Reason::Interrupted), "")]
#[tokio::test]
async fn what_a_message_centre_answers(#[case] answers: Value, #[case] expected: Verdict, #[case] code: &str) {
    let (smsc, to) = (Smsc::start(), number());
    smsc.answers(&to, answers).await;
    let channel = smpp(&config::Smpp { timeout: Delay(Duration::from_secs(2)), ..smsc.config() }, &Arc::default());
    let outcome = channel.deliver(&message(&to, "x")).await;
    assert_eq!((outcome.result, outcome.code.unwrap_or_default()), (expected, code.to_owned()));
    // Whatever it was, the next one finds a session again.
    let deadline = std::time::Instant::now() + PATIENCE;
    while !matches!(channel.deliver(&message(&number(), "y")).await.result, Verdict::Sent { .. }) {
        assert!(std::time::Instant::now() < deadline, "no session any more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_parts_after_a_refused_one_are_not_sent() {
    let (smsc, to) = (Smsc::start(), number());
    smsc.answers(&to, json!([0, 88])).await;
    let outcome = smpp(&smsc.config(), &Arc::default()).deliver(&message(&to, &"a".repeat(400))).await;
    assert_eq!(outcome.result, retry(Reason::RateLimited));
    assert_eq!(smsc.kept(&to).await.len(), 2, "of three");
}

#[rstest]
#[case::failed(json!([13]), Reason::BadCredentials, "smpp_0x0d")]
#[case::password(json!([14]), Reason::BadCredentials, "smpp_0x0e")]
#[case::throttled(json!([88]), Reason::ProviderBusy, "smpp_0x58")]
#[tokio::test]
async fn a_refused_bind_halts_and_is_tried_again_by_itself(
    #[case] binds: Value,
    #[case] reason: Reason,
    #[case] code: &str,
) {
    let smsc = Smsc::start();
    smsc.control.script("/_binds", json!({"answers": binds})).await;
    let channel = smpp(&smsc.config(), &Arc::default());
    let outcome = channel.deliver(&message(&number(), "x")).await;
    assert_eq!(outcome, Outcome { result: halt(reason), code: Some(code.to_owned()) });
    smsc.until(|stats| stats["sessions"] == 1).await;
    assert!(matches!(channel.deliver(&message(&number(), "x")).await.result, Verdict::Sent { .. }));
}

#[tokio::test]
async fn nobody_there_halts_and_fails_the_check() {
    let config = config::Smpp { port: 1, timeout: Delay(Duration::from_secs(2)), ..Smsc::start().config() };
    let channel = smpp(&config, &Arc::default());
    assert_eq!(channel.deliver(&message(&number(), "x")).await.result, halt(Reason::ConnectFailed));
    assert!(channel.check().await.unwrap_err().contains("check `host`"));
}

#[tokio::test]
async fn a_session_that_breaks_comes_back_and_receipts_with_it() {
    let (smsc, receipts) = (Smsc::start(), Arc::new(Kept::default()));
    let channel = smpp(&smsc.config(), &receipts);
    channel.check().await.unwrap();
    smsc.control.delete("/_sessions").await;
    let stats = smsc.until(|stats| stats["binds"] == 2 && stats["sessions"] == 1).await;
    assert_eq!(stats["submits"], 0, "it came back with nothing to send");
    channel.deliver(&message(&number(), "x")).await;
    eventually(|| receipts.receipts.lock().first().cloned()).await;
}

#[tokio::test]
async fn no_more_wait_for_an_answer_than_the_window_holds() {
    let (smsc, to) = (Smsc::start(), number());
    let script = json!({"to": to.trim_start_matches('+'), "answers": [0], "delay_ms": 100});
    smsc.control.script("/_script", script).await;
    let channel = smpp(&config::Smpp { window: 7, ..smsc.config() }, &Arc::default());
    let messages: Vec<Message> = (0..60).map(|n| message(&to, &format!("message {n}"))).collect();
    let outcomes = futures::future::join_all(messages.iter().map(|message| channel.deliver(message))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome.result, Verdict::Sent { .. })), "{outcomes:?}");
    assert_eq!(smsc.stats().await["most_waiting"], 7);
    let texts: std::collections::BTreeSet<String> =
        smsc.kept(&to).await.iter().map(|kept| kept["text"].to_string()).collect();
    assert_eq!(texts.len(), 60, "each once");
}

#[tokio::test]
async fn an_idle_link_is_asked_whether_it_lives_and_let_go_when_the_channel_is() {
    let smsc = Smsc::start();
    let channel =
        smpp(&config::Smpp { enquire_link: Delay(Duration::from_millis(100)), ..smsc.config() }, &Arc::default());
    channel.check().await.unwrap();
    let stats = smsc.until(|stats| stats["enquire_links"].as_u64() >= Some(3)).await;
    assert_eq!(stats["binds"], 1, "one session all the time");
    drop(channel);
    smsc.until(|stats| stats["unbinds"] == 1 && stats["sessions"] == 0).await;
}

#[tokio::test]
async fn a_receipt_that_says_it_failed_comes_with_its_code_even_before_the_answer() {
    let (smsc, receipts, to) = (Smsc::start(), Arc::new(Kept::default()), number());
    let answer = json!({"status": 0, "receipt": "UNDELIV", "err": "069", "receipt_first": true});
    smsc.answers(&to, json!([answer])).await;
    let outcome = smpp(&smsc.config(), &receipts).deliver(&message(&to, "x")).await;
    let receipt = eventually(|| receipts.receipts.lock().first().cloned()).await;
    let sent = Verdict::Sent { provider_message_id: Some(receipt.provider_message_id.clone()) };
    assert_eq!((outcome.result, receipt.state, receipt.code.as_deref()), (sent, ReceiptState::Failed, Some("069")));
}

#[tokio::test]
async fn a_receipt_that_could_not_be_kept_is_refused_for_now() {
    let (smsc, receipts, to) = (Smsc::start(), Arc::new(Kept::default()), number());
    *receipts.refuse.lock() = 1;
    let channel = smpp(&smsc.config(), &receipts);
    let outcome = channel.deliver(&message(&to, "x")).await;
    let Verdict::Sent { provider_message_id: Some(id) } = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(answered(&smsc, &id, 1).await[0]["answered"], 0x64, "ESME_RX_T_APPN: again, later");
    assert!(receipts.receipts.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_alert_becomes_a_text_by_the_second_provider_while_the_first_one_refuses_the_account() {
    let (providers, smsc, to) = (Providers::start(), Smsc::start(), number());
    let toml = format!(
        r#"topics.channels = ["sms"]
delivery.tiers = ["1s", "3s"]
delivery.backoff = ["1s", "3s"]

[[channels.sms]]
kind = "http"
preset = "twilio"
url = "{base}/2010-04-01/Accounts/{{{{ account }}}}/Messages.json"
username = "AC1"
password = "wr0ng"
from = "+15550100"

[[channels.sms]]
kind = "smpp"
priority = 1
host = "127.0.0.1"
port = {port}
system_id = "notilog"
password = "secret"
from = "Alerts"
"#,
        base = providers.stand_in.base,
        port = smsc.port,
    );
    let world = World::new("sms", &toml).await;
    let user = unique();
    let endpoint = json!({"channel": "sms", "address": to, "verified": true, "label": null});
    let monitoring = json!({"monitoring": {"enabled": true, "channels": ["sms"], "digest": null}});
    world.preferences(vec![with(person(&user), json!({"endpoints": [endpoint], "categories": monitoring}))]).await;
    let router = world.router(policy()).await;
    let channels = notilog::channel::build(&world.config.channels).unwrap();
    let delivery = world.deliver(policy(), channels).await.unwrap();
    let data = json!({"service": "checkout", "summary": "p99 > 2 s", "severity": "critical", "state": "firing"});
    let alert = json!({
        "source": "monitoring/rules", "type": "alert.firing", "category": "monitoring", "data": data.to_string(),
    });
    world.event(with(order(&unique(), &user), alert)).await;
    let sent = |records: &[Value]| {
        records.iter().map(|record| &record["value"]).find(|status| status["state"] == "SENT").cloned()
    };
    let records = world.read_until(&[world.topics.delivery_status()], |records| sent(records).is_some()).await;
    let status = sent(&records).unwrap();
    assert_eq!(
        (&status["channel"], &status["provider"], &status["attempt"]),
        (&json!("sms"), &json!("smpp"), &json!(1))
    );
    let kept = smsc.kept(&to).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["text"], "[CRITICAL] checkout: p99 > 2 s (firing)");
    assert_eq!(kept[0]["message_id"], status["provider_message_id"]);
    assert!(
        !format!("{:?}", world.read(&[world.topics.decisions(), world.topics.delivery_status()]).await).contains(&to)
    );
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

fn policy() -> Policy {
    policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_message_centre_says_later_becomes_a_status_under_the_providers_name() {
    let (smsc, arrives, comes_back) = (Smsc::start(), number(), number());
    smsc.answers(&comes_back, json!([{"status": 0, "receipt": "UNDELIV", "err": "069", "receipt_first": true}])).await;
    let toml = format!(
        r#"topics.channels = ["sms"]
receipts.enabled = true
receipts.tiers = ["1s"]

[channels.sms]
name = "carrier"
kind = "smpp"
host = "127.0.0.1"
port = {port}
system_id = "notilog"
password = "secret"
from = "Alerts"
"#,
        port = smsc.port,
    );
    let world = World::new("sms-receipts", &toml).await;
    let config = &world.config;
    let intake = Intake::open(&config.kafka, writer_ids(config).await, Clock::system()).unwrap();
    let around = Surroundings { receipts: Arc::new(intake), home: None };
    let channels = notilog::channel::build_with(&config.channels, &around).unwrap();
    let (delivery, receipts) = (world.deliver(policy(), channels).await.unwrap(), world.receipts().await);
    let outbound = |to: &str| {
        let (user, event) = (unique(), unique());
        let id = NotificationId::derive("default", "monitoring", &event, &user, "sms", to, "").to_string();
        json!({"topic": world.topics.outbound(ChannelName::Sms, Class::Main), "key": format!("default/{user}"), "value": {
            "notification_id": id, "event_id": event, "source": "monitoring", "type": "t", "event_time": now(),
            "tenant": "default", "user_id": user, "category": "monitoring", "priority": "NORMAL", "channel": "sms",
            "address": to, "locale": "en", "timezone": "UTC", "template": "message",
            "data": "{\"title\":\"T\",\"text\":\"x\"}", "collapse_key": null, "not_before": null, "expires_at": null,
            "decided_at": now(), "policy_version": "v", "replay_id": null, "siblings": [], "fallback": [],
        }})
    };
    let items = [&arrives, &comes_back].map(|to| outbound(to));
    let ids = items.each_ref().map(|item| item["value"]["notification_id"].as_str().unwrap().to_owned());
    world.produce(RecordType::Outbound, items.to_vec()).await;
    let records = world.read_count(world.topics.delivery_status(), 4).await;
    let of = |id: &String| {
        let of: Vec<&Value> =
            records.iter().map(|r| &r["value"]).filter(|s| s["notification_id"] == json!(id)).collect();
        of.iter().for_each(|status| assert_eq!(status["provider"], json!("carrier")));
        (of[0]["state"].clone(), of[1]["state"].clone(), of[1]["code"].clone())
    };
    assert_eq!(of(&ids[0]), (json!("SENT"), json!("DELIVERED"), Value::Null));
    assert_eq!(of(&ids[1]), (json!("SENT"), json!("BOUNCED"), json!("069")));
    receipts.stop().await.unwrap();
    delivery.stop().await.unwrap();
}
