//! Fallback chains end to end: push by a stand-in for FCM, texts by a stand-in for Twilio, mail by a scripted SMTP server.
//! What must not come is waited for by what must come later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notilog::channel::{Surroundings, build_with};
use notilog::model::{Channel as Name, Class, NotificationId, Policy, Timestamp};
use notilog::policy;
use notilog::telemetry::clock::Clock;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::delivery::{FAST, states, statuses, until_state};
use crate::push::Google;
use crate::sms::{Providers, number};
use crate::stand_in::unique;
use crate::support::{PATIENCE, Running, World, now, order, person, with};

const SECRET: &str = "whsec_bm90aWxvZy1kZXZlbG9wbWVudC1zZWNyZXQtMDE=";

/// A category whose events go by `first`, and as a text `after` that.
fn policy(first: &str, after: &str) -> Policy {
    let text = format!(
        r#"[categories.orders]
allowed = ["{first}", "sms"]
default = ["{first}", "sms"]
fallback = [{{ channel = "{first}" }}, {{ channel = "sms", after = "{after}" }}]
"#
    );
    policy::from_files(&[(PathBuf::from("orders.toml"), text)]).unwrap()
}

/// A world in which orders go by a first channel and then as a text.
struct Chains {
    world: World,
    google: Google,
    texts: Providers,
    policy: Policy,
    _account: tempfile::NamedTempFile,
}

impl Chains {
    async fn new(name: &str, policy: Policy, more: &str) -> Chains {
        let (google, texts) = (Google::start(), Providers::start());
        let account = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(account.path(), google.stand_in.get("/_account").await.to_string()).unwrap();
        let toml = format!(
            r#"{FAST}{more}
topics.channels = ["push", "sms", "email", "inbox"]
receipts.enabled = true
receipts.tiers = ["1s", "3s"]

[channels.inbox]

[[channels.push]]
kind = "fcm"
service_account = "${{file:{account}}}"
api_url = "{push}"

[[channels.sms]]
kind = "http"
preset = "twilio"
url = "{sms}/2010-04-01/Accounts/{{{{ account }}}}/Messages.json"
username = "AC1"
password = "secret-for-tests"
from = "+15550100"

[channels.email]
host = "127.0.0.1"
port = {smtp}
tls = "none"
from = "shop@example.com"
"#,
            account = account.path().display(),
            push = google.stand_in.base,
            sms = texts.stand_in.base,
            smtp = crate::support::port("NOTILOG_SMTP_PORT", 2525),
        );
        let world = World::new(name, &toml).await;
        Chains { world, google, texts, policy, _account: account }
    }

    async fn deliver(&self, only: &[Name]) -> Running {
        let config = &self.world.config;
        let mut channels = build_with(&config.channels, &Surroundings::of(&config.kafka)).unwrap();
        channels.retain(|providers| only.contains(&providers.channel));
        self.world.deliver(self.policy.clone(), channels).await.unwrap()
    }

    /// All three roles.
    async fn start(&self, only: &[Name]) -> [Running; 3] {
        let (router, delivery) = (self.world.router(self.policy.clone()).await, self.deliver(only).await);
        [router, delivery, self.world.receipts().await]
    }

    async fn event(&self, someone: &Someone) {
        let data = json!({"title": "Shipped", "text": "On its way"}).to_string();
        let event = with(order(&someone.event, &someone.user), json!({"template": "message", "data": data}));
        self.world.event(event).await;
    }

    async fn known(&self, people: &[&Someone]) {
        self.world.preferences(people.iter().map(|someone| someone.preferences()).collect()).await;
    }

    async fn texts(&self, someone: &Someone) -> usize {
        self.texts.kept(&someone.to).await.len()
    }
}

/// Someone with one endpoint on each channel, and an event of theirs.
struct Someone {
    user: String,
    event: String,
    token: String,
    to: String,
}

impl Someone {
    fn new() -> Self {
        Someone { user: unique(), event: unique(), token: unique(), to: number() }
    }

    fn address(&self, channel: &str) -> String {
        match channel {
            "push" => format!("fcm:{}", self.token),
            "sms" => self.to.clone(),
            "inbox" => "app".to_owned(),
            _ => format!("{}@example.org", self.user),
        }
    }

    fn preferences(&self) -> Value {
        let endpoint = |channel: &str| json!({"channel": channel, "address": self.address(channel), "verified": true, "label": null});
        let endpoints = ["push", "sms", "email", "inbox"].map(endpoint);
        with(person(&self.user), json!({"endpoints": endpoints}))
    }

    fn id(&self, channel: &str) -> String {
        let address = self.address(channel);
        NotificationId::derive("default", "shop/orders", &self.event, &self.user, channel, &address, "").to_string()
    }

    /// The push as the router writes it, to be followed by a text.
    fn push(&self, world: &World, after_ms: u64) -> Value {
        json!({"topic": world.topics.outbound(Name::Push, Class::Main), "key": format!("default/{}", self.user), "value": {
            "notification_id": self.id("push"), "event_id": self.event, "source": "shop/orders", "type": "order.shipped",
            "event_time": now(), "tenant": "default", "user_id": self.user, "category": "orders", "priority": "NORMAL",
            "channel": "push", "address": self.address("push"), "locale": "en", "timezone": "UTC",
            "template": "message", "data": "{\"title\":\"T\",\"text\":\"x\"}", "collapse_key": null, "not_before": null,
            "expires_at": null, "decided_at": now(), "policy_version": "v", "replay_id": null, "siblings": [],
            "fallback": [{"channel": "sms", "address": self.to, "after_ms": after_ms}],
        }})
    }

    /// That the app showed it, as a record.
    fn seen(&self, world: &World) -> Value {
        let id = self.id("push");
        json!({"topic": world.topics.receipts_inbox(), "key": format!(":notification/{id}"), "value": {
            "provider": ":notification", "message_id": id, "state": "DELIVERED", "permanent": false, "code": null,
            "occurred_at": null, "received_at": now(), "source": "test",
        }})
    }
}

async fn stop(roles: [Running; 3]) {
    for role in roles {
        role.stop().await.unwrap();
    }
}

/// When a notification was SENT, by its status.
fn sent_at(statuses: &[Value]) -> i64 {
    statuses.iter().find(|status| status["state"] == "SENT").unwrap()["occurred_at"].as_i64().unwrap()
}

async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What an app's backend posts.
async fn report(port: u16, id: &str, secret: &str) -> u16 {
    let body = json!({"notification_id": id, "state": "seen"}).to_string();
    let at = now() / 1_000;
    let signature = standardwebhooks::Webhook::new(secret).unwrap().sign("msg_1", at, body.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("http://127.0.0.1:{port}/receipts/shop")).body(body);
    let signed = request
        .header(standardwebhooks::HEADER_WEBHOOK_ID, "msg_1")
        .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, at)
        .header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature);
    signed.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_saw_the_push_gets_no_text_and_who_did_not_gets_one_and_not_before_its_time() {
    let port = free_port().await;
    let hook = format!(
        "receipts.listen = \"127.0.0.1:{port}\"\n\
         receipts.hooks.shop = {{ kind = \"app\", provider = \"shop\", secret = \"{SECRET}\" }}\n"
    );
    let chains = Chains::new("fallback", policy("push", "4s"), &hook).await;
    let (ada, bob) = (Someone::new(), Someone::new());
    chains.known(&[&ada, &bob]).await;
    let roles = chains.start(&[Name::Push, Name::Sms]).await;
    chains.event(&ada).await;
    statuses(&chains.world, &ada.id("push"), 1).await;
    assert_eq!(report(port, &ada.id("push"), "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA==").await, 403);
    // Said twice, as apps do.
    for _ in 0..2 {
        assert_eq!(report(port, &ada.id("push"), SECRET).await, 204);
    }
    let told = statuses(&chains.world, &ada.id("push"), 2).await;
    assert_eq!(states(&told), ["SENT", "DELIVERED"]);
    assert_eq!((&told[1]["reason"], &told[1]["provider"]), (&json!("seen"), &json!("fcm")));

    chains.event(&bob).await;
    let text = until_state(&chains.world, &bob.id("sms"), "SENT").await;
    assert_eq!((&text[0]["fallback_of"], &text[0]["event_id"]), (&json!(bob.id("push")), &json!(bob.event)));
    let push = statuses(&chains.world, &bob.id("push"), 1).await;
    assert!(sent_at(&text) >= sent_at(&push) + 4_000, "{push:#?} {text:#?}");
    assert_eq!(push[0]["fallback_of"], Value::Null);
    // Seen after all: told, and no second text.
    assert_eq!(report(port, &bob.id("push"), SECRET).await, 204);
    assert_eq!(states(&statuses(&chains.world, &bob.id("push"), 2).await), ["SENT", "DELIVERED"]);

    let decisions = chains.world.read(&[chains.world.topics.decisions()]).await;
    let mine = decisions.iter().find(|decision| decision["value"]["event_id"] == json!(bob.event)).unwrap();
    let concluded =
        |outcome: &Value| ["channel", "verdict", "reason", "notification_id"].map(|name| outcome[name].clone());
    let mut outcomes: Vec<[Value; 4]> = mine["value"]["outcomes"].as_array().unwrap().iter().map(concluded).collect();
    outcomes.sort_by_key(|outcome| outcome[0].to_string());
    let push = [json!("push"), json!("ROUTED"), json!("routed"), json!(bob.id("push"))];
    let sms = [json!("sms"), json!("STANDBY"), json!("fallback"), json!(bob.id("sms"))];
    assert_eq!(outcomes, [push, sms]);
    stop(roles).await;
    // Ada's time was up before Bob's.
    assert_eq!((chains.texts(&ada).await, chains.texts(&bob).await), (0, 1));
    assert_eq!(chains.google.kept(&ada.token).await.len(), 1);
    assert_eq!(chains.world.count(&[chains.world.topics.outbound(Name::Sms, Class::Main)]).await, 1);
    assert_eq!(chains.world.count(&[chains.world.topics.delivery_status()]).await, 5);
    assert_eq!(chains.world.count(&[chains.world.topics.dlq_receipts()]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_push_that_fails_is_followed_at_once_and_only_by_what_is_wanted_still() {
    let chains = Chains::new("fallback-fails", policy("push", "1h"), "").await;
    let (ada, bob) = (Someone::new(), Someone::new());
    chains.known(&[&ada, &bob]).await;
    for someone in [&ada, &bob] {
        chains.google.answers(&someone.token, json!([{"status": 404, "code": "UNREGISTERED"}])).await;
    }
    let router = chains.world.router(chains.policy.clone()).await;
    chains.event(&ada).await;
    chains.event(&bob).await;
    chains.world.read_count(chains.world.topics.outbound(Name::Push, Class::Main), 2).await;
    // Decided with texts; before one is sent, Bob wants none any more.
    chains.world.preferences(vec![with(bob.preferences(), json!({"channels": {"sms": false}, "version": 2}))]).await;
    let (delivery, receipts) = (chains.deliver(&[Name::Push, Name::Sms]).await, chains.world.receipts().await);
    let text = until_state(&chains.world, &ada.id("sms"), "SENT").await;
    assert_eq!(text[0]["fallback_of"], json!(ada.id("push")));
    let push = statuses(&chains.world, &ada.id("push"), 1).await;
    assert_eq!((&push[0]["state"], &push[0]["reason"]), (&json!("FAILED"), &json!("endpoint_gone")));
    let not_wanted = until_state(&chains.world, &bob.id("sms"), "CANCELLED").await;
    assert_eq!(
        (&not_wanted[0]["reason"], &not_wanted[0]["fallback_of"]),
        (&json!("opted_out_channel"), &json!(bob.id("push")))
    );
    stop([router, delivery, receipts]).await;
    assert_eq!((chains.texts(&ada).await, chains.texts(&bob).await), (1, 0));
    assert_eq!(chains.world.count(&[chains.world.topics.outbound(Name::Sms, Class::Main)]).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_opts_out_while_the_push_waits_to_be_seen_gets_no_text() {
    let chains = Chains::new("fallback-out", policy("push", "5s"), "").await;
    let ada = Someone::new();
    chains.known(&[&ada]).await;
    let roles = chains.start(&[Name::Push, Name::Sms]).await;
    chains.event(&ada).await;
    let push = statuses(&chains.world, &ada.id("push"), 1).await;
    chains.world.preferences(vec![with(ada.preferences(), json!({"channels": {"sms": false}, "version": 2}))]).await;
    let text = until_state(&chains.world, &ada.id("sms"), "CANCELLED").await;
    assert_eq!((&text[0]["reason"], text.len()), (&json!("opted_out_channel"), 1));
    assert!(text[0]["occurred_at"].as_i64().unwrap() >= sent_at(&push) + 5_000);
    stop(roles).await;
    assert_eq!(chains.texts(&ada).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mail_that_comes_back_is_followed_at_once_and_one_that_arrived_even_before_its_sent_is_not() {
    let chains = Chains::new("fallback-mail", policy("email", "6s"), "").await;
    let (ada, bob) = (Someone::new(), Someone::new());
    chains.known(&[&ada, &bob]).await;
    let receipt = |someone: &Someone, state: &str| {
        let id = format!("{}@example.com", someone.id("email"));
        json!({"topic": chains.world.topics.receipts_inbox(), "key": format!("smtp/{id}"), "value": {
            "provider": "smtp", "message_id": id, "state": state, "permanent": false, "code": null,
            "occurred_at": null, "received_at": now(), "source": "test",
        }})
    };
    let roles = chains.start(&[Name::Email, Name::Sms]).await;
    // It is there before the mail is sent.
    chains.world.produce(RecordType::Receipt, vec![receipt(&ada, "DELIVERED")]).await;
    let tier = chains.world.topics.receipts_tier(Duration::from_secs(1));
    chains.world.read_until(&[tier], |waiting| !waiting.is_empty()).await;
    chains.event(&ada).await;
    chains.event(&bob).await;
    let mail = statuses(&chains.world, &bob.id("email"), 1).await;
    // Twice, as message centres do.
    chains.world.produce(RecordType::Receipt, vec![receipt(&bob, "BOUNCED"), receipt(&bob, "BOUNCED")]).await;
    let text = until_state(&chains.world, &bob.id("sms"), "SENT").await;
    assert_eq!(text[0]["fallback_of"], json!(bob.id("email")));
    assert_eq!(states(&statuses(&chains.world, &bob.id("email"), 2).await), ["SENT", "BOUNCED"]);
    assert_eq!(states(&until_state(&chains.world, &ada.id("email"), "DELIVERED").await), ["SENT", "DELIVERED"]);

    // Both times are up once a third one's, who heard nothing, is.
    let cara = Someone::new();
    chains.known(&[&cara]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    chains.event(&cara).await;
    until_state(&chains.world, &cara.id("sms"), "SENT").await;
    stop(roles).await;
    assert!(sent_at(&mail) > 0);
    let texts = [chains.texts(&ada).await, chains.texts(&bob).await, chains.texts(&cara).await];
    assert_eq!(texts, [0, 1, 1]);
    assert_eq!(chains.world.count(&[chains.world.topics.outbound(Name::Sms, Class::Main)]).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_read_in_the_app_is_not_sent_as_a_text() {
    let chains = Chains::new("fallback-inbox", policy("inbox", "5s"), "").await;
    let (ada, bob) = (Someone::new(), Someone::new());
    chains.known(&[&ada, &bob]).await;
    let roles = chains.start(&[Name::Inbox, Name::Sms]).await;
    chains.event(&ada).await;
    statuses(&chains.world, &ada.id("inbox"), 1).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    command.args(["inbox", "read", &ada.user, &ada.id("inbox"), "--output", "json", "--config"]);
    command.arg(chains.world.config_file());
    crate::support::output_of(command, String::new()).await;
    let told = statuses(&chains.world, &ada.id("inbox"), 2).await;
    assert_eq!(states(&told), ["SENT", "DELIVERED"]);
    assert_eq!(told[1]["reason"], "seen");
    chains.event(&bob).await;
    let text = until_state(&chains.world, &bob.id("sms"), "SENT").await;
    let item = statuses(&chains.world, &bob.id("inbox"), 1).await;
    assert!(sent_at(&text) >= sent_at(&item) + 5_000);
    stop(roles).await;
    assert_eq!((chains.texts(&ada).await, chains.texts(&bob).await), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clock_that_jumps_ahead_brings_nothing_forward() {
    let chains = Chains::new("fallback-clock", policy("push", "5m"), "").await;
    let ada = Someone::new();
    chains.known(&[&ada]).await;
    let clock = Clock::manual(Timestamp(now()));
    let receipts = chains.world.receipts_by(clock.clone()).await;
    let (router, delivery) = (chains.world.router(chains.policy.clone()).await, chains.deliver(&[Name::Push]).await);
    chains.event(&ada).await;
    statuses(&chains.world, &ada.id("push"), 1).await;
    let (long, texts) = (
        chains.world.topics.receipts_tier(Duration::from_secs(3)),
        chains.world.topics.outbound(Name::Sms, Class::Main),
    );
    chains.world.read_count(long.clone(), 1).await;
    clock.jump(3_600_000);
    // Its tiers' time passes: it hops on, and goes nowhere else.
    for hops in 2..4 {
        clock.advance(Duration::from_secs(10));
        chains.world.read_count(long.clone(), hops).await;
    }
    assert_eq!(chains.world.count(std::slice::from_ref(&texts)).await, 0);
    let deadline = Instant::now() + PATIENCE;
    while chains.world.count(std::slice::from_ref(&texts)).await == 0 {
        assert!(Instant::now() < deadline, "five minutes and an hour have passed");
        clock.advance(Duration::from_secs(30));
    }
    assert!(clock.steady().0 >= now() + 200_000, "not by the clock that jumped");
    stop([router, delivery, receipts]).await;
    assert_eq!(chains.world.count(&[texts]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_often_receipts_are_killed_what_follows_is_written_once_and_never_early() {
    const PEOPLE: usize = 160;
    const ROUNDS: usize = 4;
    const AFTER_MS: u64 = 6_000;
    let chains = Chains::new("fallback-kill", policy("push", "6s"), "").await;
    let world = &chains.world;
    let people: Vec<Someone> = (0..PEOPLE).map(|_| Someone::new()).collect();
    chains.known(&people.iter().collect::<Vec<_>>()).await;
    // Some of their phones are gone: what follows does not wait.
    let gone: Vec<&Someone> = people.iter().skip(1).step_by(10).collect();
    for someone in &gone {
        chains.google.answers(&someone.token, json!([{"status": 404, "code": "UNREGISTERED"}])).await;
    }
    let delivery = chains.deliver(&[Name::Push]).await;
    let arguments = ["receipts", "--set", "receipts.commit_interval=20ms"];
    let texts = world.topics.outbound(Name::Sms, Class::Main);
    let mut seed = crate::kill::seed();
    let mut starts = 0;
    for part in people.chunks(PEOPLE / ROUNDS) {
        let program = world.program(&arguments);
        starts += 1;
        world.wait_for_log("partitions assigned", starts).await;
        // Every third one sees it; every sixth says so twice.
        world.produce(RecordType::Outbound, part.iter().map(|someone| someone.push(world, AFTER_MS)).collect()).await;
        let seen = part.iter().step_by(3).chain(part.iter().step_by(6)).map(|someone| someone.seen(world)).collect();
        world.produce(RecordType::Receipt, seen).await;
        // While time is running, ...
        tokio::time::sleep(Duration::from_millis(seed.between(0, 3_000))).await;
        program.kill();
        let program = world.program(&arguments);
        starts += 1;
        // Until then the end moves by what the one that was killed had begun.
        world.wait_for_log("partitions assigned", starts).await;
        // ... and when it is up: as soon as the first of what follows is there, unless all were there before.
        world.end_moves_within(&texts, Duration::from_millis(AFTER_MS)).await;
        tokio::time::sleep(Duration::from_millis(seed.between(0, 60))).await;
        program.kill();
    }
    let program = world.program(&arguments);
    let unseen = people.chunks(PEOPLE / ROUNDS).flat_map(|part| part.iter().enumerate()).filter(|(n, _)| n % 3 != 0);
    let mut expected: Vec<String> =
        unseen.map(|(_, someone)| someone).chain(gone.iter().copied()).map(|someone| someone.id("push")).collect();
    expected.sort();
    expected.dedup();
    let deadline = Instant::now() + PATIENCE * 2;
    while world.count(std::slice::from_ref(&texts)).await < expected.len() {
        assert!(Instant::now() < deadline, "{}", world.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Whoever would be early or double by now is.
    tokio::time::sleep(Duration::from_secs(8)).await;
    program.kill();
    delivery.stop().await.unwrap();
    let sent: BTreeMap<String, i64> = world
        .read(&[world.topics.delivery_status()])
        .await
        .iter()
        .filter(|record| record["value"]["state"] == "SENT")
        .map(|record| {
            (
                record["value"]["notification_id"].as_str().unwrap().to_owned(),
                record["value"]["occurred_at"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(sent.len(), PEOPLE - gone.len());
    // On a machine that was too slow for its part, a word that came when the time was as good as up: it may come too late.
    let too_late: BTreeSet<String> = world
        .read(&[world.topics.receipts_inbox()])
        .await
        .iter()
        .filter_map(|record| {
            let id = record["value"]["message_id"].as_str().unwrap().to_owned();
            let up = sent.get(&id)? + i64::try_from(AFTER_MS).unwrap() - 1_000;
            (record["timestamp"].as_i64().unwrap() >= up).then_some(id)
        })
        .collect();
    let mut found: Vec<String> = Vec::new();
    for record in world.read(&[texts]).await {
        let of = record["value"]["fallback_of"].as_str().unwrap().to_owned();
        let written = record["timestamp"].as_i64().unwrap();
        if let Some(sent) = sent.get(&of) {
            assert!(written >= sent + i64::try_from(AFTER_MS).unwrap(), "early by {} ms", sent + 6_000 - written);
        }
        found.push(of);
    }
    found.sort();
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "none twice");
    let counts = |id: &String| !too_late.contains(id);
    found.retain(counts);
    expected.retain(counts);
    assert_eq!(found, expected, "each once; {} words came too late", too_late.len());
    println!("{} of {PEOPLE} followed once each after {} kills", found.len(), ROUNDS * 2);
}

/// The finding that `doctor` has about chains.
async fn found(world: &World, policies: &std::path::Path, enabled: bool) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    command.args(["doctor", "--output", "json", "--set", &format!("policies.dir={}", policies.display())]);
    command.args(["--set", &format!("receipts.enabled={enabled}"), "--config"]).arg(world.config_file());
    let said = command.output().unwrap().stdout;
    let findings: Vec<Value> = serde_json::from_slice(&said).unwrap();
    findings.into_iter().find(|finding| finding["check"] == "fallback").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_without_a_receipts_role_are_warned_of() {
    let world = World::new("fallback-warn", "topics.channels = [\"push\", \"sms\"]\n").await;
    let policies = tempfile::tempdir().unwrap();
    let chained = "[categories.orders]\nallowed = ['push', 'sms']\ndefault = ['push', 'sms']\n\
                   fallback = [{ channel = 'push' }, { channel = 'sms', after = '5m' }]\n";
    std::fs::write(policies.path().join("orders.toml"), chained).unwrap();
    let check = |enabled: bool| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
        command.args(["config", "check", "--output", "json"]);
        command.args(["--set", &format!("policies.dir={}", policies.path().display())]);
        command.args(["--set", &format!("receipts.enabled={enabled}"), "--config"]).arg(world.config_file());
        let said = command.output().unwrap();
        assert!(said.status.success());
        serde_json::from_slice::<Value>(&said.stdout).unwrap()["warnings"].clone()
    };
    assert_eq!(check(true), json!([]));
    let warning = check(false)[0].as_str().unwrap().to_owned();
    assert!(warning.contains("(orders)") && warning.contains("receipts.enabled is false"), "{warning}");

    let off = found(&world, policies.path(), false).await;
    assert_eq!((&off["severity"], &off["found"]), (&json!("fault"), &json!(warning)));
    let nobody = found(&world, policies.path(), true).await;
    assert_eq!(nobody["severity"], "notice");
    assert!(nobody["found"].as_str().unwrap().contains("no receipts role runs"), "{nobody}");
    let receipts = world.with_config(|config| config.receipts.enabled = true).receipts().await;
    let well = found(&world, policies.path(), true).await;
    assert_eq!(well["severity"], "ok", "{well}");
    receipts.stop().await.unwrap();
}
