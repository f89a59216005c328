//! A channel with several providers, one that is left alone, and one that is a sandbox: against a real Kafka,
//! by real SMTP where an answer is enough, by a scripted provider where its moment matters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use notilog::channel::{self, Channel, Message, Outcome, Provider, Providers, Verdict};
use notilog::config::{self, Channels, Common, Delay, Mode, RateLimit, RecipientLimit, TlsMode};
use notilog::model::{Channel as Name, Reason};
use notilog::telemetry::metrics;
use notilog::wire::RecordType;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::channels::email;
use crate::delivery::{FAST, Someone, person_at, policy, states};
use crate::stand_in::unique;
use crate::support::World;

/// The SMTP stand-in at a port, under a name.
fn smtp(name: &str, priority: u32, port: Option<u16>) -> config::Provider<config::Email> {
    let plain = config::Email { tls: TlsMode::None, username: None, password: None, ..email() };
    let settings = config::Email { port: port.unwrap_or(plain.port), ..plain };
    config::Provider { common: Common { name: Some(name.to_owned()), priority, ..Common::default() }, settings }
}

fn build(email: Vec<config::Provider<config::Email>>) -> Vec<Providers> {
    channel::build(&Channels { email, ..Channels::default() }).unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn people(count: usize) -> Vec<Someone> {
    (0..count).map(|_| Someone::new()).collect()
}

async fn send(world: &World, people: &[Someone]) {
    let items = people.iter().map(|someone| someone.item(world, someone.outbound("e-1"))).collect();
    world.produce(RecordType::Outbound, items).await;
}

/// All statuses once there are as many of this state as people.
pub async fn all_until(world: &World, state: &str, count: usize) -> Vec<Value> {
    let of = |records: &[Value]| records.iter().filter(|record| record["value"]["state"] == state).count();
    let records = world.read_until(&[world.topics.delivery_status()], |records| of(records) >= count).await;
    records.into_iter().map(|record| record["value"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_down_is_passed_over_for_the_next_and_costs_nobody_an_attempt() {
    let (world, people) = (World::new("failover", FAST).await, people(20));
    send(&world, &people).await;
    let providers = build(vec![smtp("main", 0, Some(free_port())), smtp("spare", 1, None)]);
    let delivery = world.deliver(policy(), providers).await.unwrap();
    let sent = all_until(&world, "SENT", people.len()).await;
    delivery.stop().await.unwrap();
    assert_eq!(states(&sent), vec!["SENT"; people.len()]);
    assert!(sent.iter().all(|status| status["provider"] == "spare" && status["attempt"] == 1), "{sent:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_unknown_outcome_nobody_but_the_one_that_was_asked_is_asked_again() {
    let (world, people) = (World::new("pinned", FAST).await, people(12));
    world.preferences(people.iter().map(|someone| person_at(someone, &someone.address)).collect()).await;
    for someone in &people {
        someone.answers(json!(["disconnect", 451, 250])).await;
    }
    send(&world, &people).await;
    let delivery = world.deliver(policy(), build(vec![smtp("one", 0, None), smtp("two", 0, None)])).await.unwrap();
    let all = all_until(&world, "SENT", people.len()).await;
    let tiers = [1, 3].map(|s| world.topics.outbound_tier(Name::Email, Duration::from_secs(s)));
    let waited = world.read(&tiers).await;
    delivery.stop().await.unwrap();
    let mut first = BTreeSet::new();
    for someone in &people {
        let id = someone.id("e-1");
        let mine: Vec<&Value> = all.iter().filter(|status| status["notification_id"] == id.as_str()).collect();
        let asked: BTreeSet<&str> = mine.iter().map(|status| status["provider"].as_str().unwrap()).collect();
        assert_eq!((mine.len(), asked.len()), (3, 1), "{mine:#?}");
        first.extend(asked.into_iter().map(str::to_owned));
    }
    assert_eq!(first.len(), 2, "both have their share");
    assert!(waited.iter().all(|record| record["headers"]["notify-provider"].is_string()), "{waited:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_and_whoever_is_not_allowed_get_a_status_and_no_mail() {
    let (world, people) = (World::new("sandbox", FAST).await, people(2));
    let world = world.with_config(|config| config.delivery.allow_recipients = vec![format!("*/{}", people[0].user)]);
    send(&world, &people).await;
    let delivery = world.deliver(policy(), build(vec![smtp("main", 0, None)])).await.unwrap();
    let statuses = all_until(&world, "SENT", 2).await;
    delivery.stop().await.unwrap();
    for status in &statuses {
        let allowed = status["user_id"] == people[0].user.as_str();
        let expected = if allowed { ("main", "accepted") } else { ("sandbox:main", "sandboxed") };
        assert_eq!((&status["provider"], &status["reason"]), (&json!(expected.0), &json!(expected.1)));
    }
    assert_eq!((people[0].mails().await.len(), people[1].mails().await.len()), (1, 0));

    let (world, ada) = (World::new("sandboxed", FAST).await, Someone::new());
    send(&world, std::slice::from_ref(&ada)).await;
    let mut sandbox = smtp("main", 0, Some(free_port()));
    sandbox.common.mode = Mode::Sandbox;
    let delivery = world.deliver(policy(), build(vec![sandbox])).await.unwrap();
    let statuses = all_until(&world, "SENT", 1).await;
    delivery.stop().await.unwrap();
    assert_eq!(statuses[0]["provider"], "sandbox:main");
}

/// What a call comes to, by its number and its message.
type Answers = dyn Fn(usize, &Message) -> Verdict + Send + Sync;

/// How long a call takes.
type Latency = dyn Fn(&Message) -> Duration + Send + Sync;

/// A provider whose answers depend on when, and to whom.
pub struct Scripted {
    name: String,
    /// Its answers are of itself, and not of a customer's endpoint.
    shared: bool,
    answers: Box<Answers>,
    latency: Box<Latency>,
    calls: AtomicUsize,
    /// The calls in their order: for whom, about which event, and when they began.
    pub begun: Mutex<Vec<Begun>>,
}

pub type Begun = (String, String, Instant);

impl Scripted {
    pub fn new(latency: Duration, answers: impl Fn(usize, &Message) -> Verdict + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Scripted::build(true, move |_| latency, answers))
    }

    /// One that stands for customers' endpoints.
    fn of_customers(answers: impl Fn(usize, &Message) -> Verdict + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Scripted::build(false, |_| Duration::ZERO, answers))
    }

    /// One that is slower for some.
    pub fn slow(
        latency: impl Fn(&Message) -> Duration + Send + Sync + 'static,
        answers: impl Fn(usize, &Message) -> Verdict + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Scripted::build(true, latency, answers))
    }

    fn build(
        shared: bool,
        latency: impl Fn(&Message) -> Duration + Send + Sync + 'static,
        answers: impl Fn(usize, &Message) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Scripted {
            name: format!("scripted-{}", unique()),
            shared,
            answers: Box::new(answers),
            latency: Box::new(latency),
            calls: AtomicUsize::new(0),
            begun: Mutex::default(),
        }
    }

    pub fn providers(self: &Arc<Self>, limit: Option<RateLimit>) -> Vec<Providers> {
        let only = Providers::only(Arc::clone(self) as Arc<dyn Channel>);
        vec![Providers { all: only.all.into_iter().map(|one| Provider { limit, ..one }).collect(), ..only }]
    }
}

#[async_trait::async_trait]
impl Channel for Scripted {
    fn name(&self) -> Name {
        Name::Email
    }

    fn provider(&self) -> &str {
        &self.name
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        #[expect(clippy::disallowed_methods, reason = "a test measures")]
        self.begun.lock().push((message.event.user_id.clone(), message.event.id.clone(), Instant::now()));
        tokio::time::sleep((self.latency)(message)).await;
        Outcome { result: (self.answers)(call, message), code: None }
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

pub fn sent() -> Verdict {
    Verdict::Sent { provider_message_id: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_429_opens_the_breaker_once_and_costs_nobody_an_attempt() {
    let exposition = metrics::install().unwrap();
    let (world, people) = (World::new("storm", FAST).await, people(200));
    world.preferences(people.iter().map(|someone| person_at(someone, &someone.address)).collect()).await;
    let too_many = Verdict::Retry { reason: Reason::RateLimited, after: None };
    // As many as are under way at once when it begins.
    let provider =
        Scripted::new(Duration::from_millis(50), move |call, _| if call < 200 { too_many.clone() } else { sent() });
    send(&world, &people).await;
    let delivery = world.deliver(policy(), provider.providers(None)).await.unwrap();
    let statuses = all_until(&world, "SENT", people.len()).await;
    delivery.stop().await.unwrap();
    let sent: Vec<&Value> = statuses.iter().filter(|status| status["state"] == "SENT").collect();
    assert_eq!(sent.len(), people.len());
    assert!(sent.iter().all(|status| status["attempt"] == 1), "{sent:#?}");
    let opened =
        format!("notilog_breaker_changes_total{{channel=\"email\",provider=\"{}\",to=\"open\"}} 1", provider.name);
    let text = exposition.render();
    assert!(text.contains(&opened), "{opened} in\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_and_drops_nothing() {
    let (world, people) = (World::new("limit", FAST).await, people(60));
    let provider = Scripted::new(Duration::ZERO, |_, _| sent());
    let limit = RateLimit { per_second: 20, burst: Some(10) };
    send(&world, &people).await;
    let delivery = world.deliver(policy(), provider.providers(Some(limit))).await.unwrap();
    let statuses = all_until(&world, "SENT", people.len()).await;
    delivery.stop().await.unwrap();
    assert_eq!(statuses.len(), people.len());
    let mut at: Vec<Instant> = provider.begun.lock().iter().map(|(_, _, at)| *at).collect();
    at.sort();
    // Never too early: the 60th is no sooner than the 50 after the burst take.
    assert!(*at.last().unwrap() - at[0] >= Duration::from_millis(2_400), "{:?}", *at.last().unwrap() - at[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_who_had_enough_waits_and_the_others_do_not() {
    const PER: Duration = Duration::from_millis(1_500);
    let (world, others) = (World::new("recipient-limit", FAST).await, people(20));
    let ada = Someone::new();
    let limit = RecipientLimit { count: 1, per: Delay(PER), burst: None };
    let world = world.with_config(|config| config.delivery.recipient_limit = Some(limit));
    let provider = Scripted::new(Duration::ZERO, |_, _| sent());
    let items = ["e-1", "e-2", "e-3"].iter().map(|event| ada.item(&world, ada.outbound(event))).collect();
    world.produce(RecordType::Outbound, items).await;
    send(&world, &others).await;
    let delivery = world.deliver(policy(), provider.providers(None)).await.unwrap();
    let statuses = all_until(&world, "SENT", 3 + others.len()).await;
    delivery.stop().await.unwrap();
    assert!(statuses.iter().all(|status| status["attempt"] == 1), "{statuses:#?}");
    let begun = provider.begun.lock();
    let of_ada: Vec<(usize, &Begun)> = begun.iter().enumerate().filter(|(_, (user, ..))| *user == ada.user).collect();
    let events: Vec<&str> = of_ada.iter().map(|(_, (_, event, _))| event.as_str()).collect();
    assert_eq!(events, ["e-1", "e-2", "e-3"]);
    for pair in of_ada.windows(2) {
        let apart = pair[1].1.2 - pair[0].1.2;
        assert!(apart >= PER - Duration::from_millis(5), "{apart:?}");
    }
    assert_eq!(of_ada[2].0, 2 + others.len(), "everybody else came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_only_fails_is_disabled_with_a_status() {
    let key = "suppressions.key = \"a secret of these tests\"\n";
    let (world, ada) =
        (World::new("disabled", &format!("{key}{FAST}delivery.disable_after = \"1s\"\n")).await, Someone::new());
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let busy = Verdict::Retry { reason: Reason::ProviderBusy, after: None };
    let endpoint = Scripted::of_customers(move |_, _| busy.clone());
    let mut policy = policy();
    policy.categories.values_mut().for_each(|category| category.max_attempts = 2);
    let items = (0..6).map(|n| ada.item(&world, ada.outbound(&format!("e-{n}")))).collect();
    world.produce(RecordType::Outbound, items).await;
    let delivery = world.deliver(policy, endpoint.providers(None)).await.unwrap();
    let is_over = |record: &&Value| ["DEAD", "CANCELLED"].contains(&record["value"]["state"].as_str().unwrap());
    let statuses = world
        .read_until(&[world.topics.delivery_status()], |records| records.iter().filter(is_over).count() >= 6)
        .await;
    let entries = world.read_count(world.topics.suppressions(), 1).await;
    delivery.stop().await.unwrap();
    let of = |reason: &str| -> Vec<&Value> {
        statuses.iter().map(|record| &record["value"]).filter(|status| status["reason"] == reason).collect()
    };
    // The tenth failure, a second after the first. What waits then is cancelled once the list tells, and until then it
    // has its time anew.
    let [disabled] = of("endpoint_disabled")[..] else { panic!("{statuses:#?}") };
    let (exhausted, suppressed) = (of("attempts_exhausted").len(), of("address_suppressed").len());
    assert!(exhausted >= 3 && exhausted + suppressed == 5, "{statuses:#?}");
    assert_eq!((&disabled["state"], &disabled["attempt"]), (&json!("DEAD"), &json!(2)));
    let entry = &entries[0]["value"];
    assert_eq!((&entry["reason"], &entry["notification_id"]), (&json!("dead_endpoint"), &disabled["notification_id"]));
    assert_eq!(world.count(&[world.topics.suppressions()]).await, 1);
}
