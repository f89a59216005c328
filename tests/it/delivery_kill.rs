//! kill -9 of delivery in the middle of its calls, at moments that a seed chooses: nothing is lost, each notification
//! has one SENT, and what is sent again is no more than what was under way, under the same Message-ID.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use notilog::model::{Channel as Name, Class, NotificationId};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::kill::seed;
use crate::stand_in::{StandIn, unique};
use crate::support::{PATIENCE, Program, World, now, person, port, with};

const USERS: usize = 250;
const EACH: usize = 8;
/// Kills, unless `NOTILOG_TEST_KILLS` says how many.
const KILLS: usize = 5;
const IN_FLIGHT: usize = 32;
/// Calls that one kill can repeat at most: under way, and answered and not committed (docs/delivery.md).
const REPEATABLE: usize = IN_FLIGHT + IN_FLIGHT / 2;

fn config() -> String {
    let smtp = port("NOTILOG_SMTP_PORT", 2525);
    format!(
        r#"delivery.static_membership = true
delivery.max_in_flight = {IN_FLIGHT}
delivery.tiers = ["1s", "3s"]
delivery.backoff = ["1s", "3s"]

[channels.email]
host = "127.0.0.1"
port = {smtp}
tls = "none"
from = "Shop <shop@example.com>"
max_connections = {IN_FLIGHT}
"#
    )
}

/// The notifications of a domain that no other test uses: recipient n gets e-0, e-1, … in this order.
struct Load {
    domain: String,
    /// Notifications of each recipient.
    each: usize,
}

impl Load {
    fn new(each: usize) -> Self {
        Load { domain: unique(), each }
    }

    fn count(&self) -> usize {
        USERS * self.each
    }

    fn address(&self, user: usize) -> String {
        format!("u-{user}@{}.example.org", self.domain)
    }

    fn id(&self, user: usize, event: usize) -> String {
        let (user_id, event_id, address) = (format!("u-{user}"), format!("e-{event}"), self.address(user));
        NotificationId::derive("default", "shop/orders", &event_id, &user_id, "email", &address, "").to_string()
    }

    fn record(&self, world: &World, user: usize, event: usize) -> Value {
        json!({"topic": world.topics.outbound(Name::Email, Class::Main), "key": format!("default/u-{user}"), "value": {
            "notification_id": self.id(user, event), "event_id": format!("e-{event}"), "source": "shop/orders",
            "type": "order.shipped", "event_time": now(), "tenant": "default", "user_id": format!("u-{user}"),
            "category": "orders", "priority": "NORMAL", "channel": "email", "address": self.address(user),
            "locale": "en", "timezone": "Europe/Berlin", "template": "message", "data": "{\"title\":\"Shipped\"}",
            "collapse_key": null, "not_before": null, "expires_at": null, "decided_at": now() + 600_000,
            "policy_version": "v", "replay_id": null, "siblings": [], "fallback": [],
        }})
    }

    async fn produce(&self, world: &World) {
        let all = (0..self.each).flat_map(|event| (0..USERS).map(move |user| (user, event)));
        let records = all.map(|(user, event)| self.record(world, user, event)).collect();
        world.produce(RecordType::Outbound, records).await;
    }

    /// Each notification is concluded once, was sent under its own id, and each recipient's came in their order. Says
    /// how many were sent again.
    async fn check(&self, world: &World) -> usize {
        let (sent, mails) = (sent(world).await, self.mails().await);
        let of = |user: usize| (0..self.each).map(move |event| self.id(user, event));
        let all: BTreeSet<String> = (0..USERS).flat_map(of).collect();
        assert_eq!(sent.keys().cloned().collect::<BTreeSet<_>>(), all, "each notification is concluded");
        assert!(sent.values().all(|count| *count == 1), "once");
        let received: BTreeSet<String> = mails.iter().map(|(_, id)| id.clone()).collect();
        assert_eq!(received, all, "each was sent, and a repeat has the same id");
        for user in 0..USERS {
            let address = self.address(user);
            let mut first_seen: Vec<&String> = Vec::new();
            for (_, id) in mails.iter().filter(|(to, _)| *to == address) {
                if !first_seen.contains(&id) {
                    first_seen.push(id);
                }
            }
            assert!(first_seen.into_iter().cloned().eq(of(user)), "order of {address}");
        }
        mails.len() - self.count()
    }

    /// How many mails the SMTP server saw, when nobody runs any more.
    async fn standing(&self) -> usize {
        // What the killed one had handed over is answered and noted once nothing more comes.
        let mut seen = self.mails().await.len();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = self.mails().await.len();
            if std::mem::replace(&mut seen, now) == now {
                return now;
            }
        }
    }

    /// What the SMTP server took, in its order: recipient, and the id in the Message-ID.
    async fn mails(&self) -> Vec<(String, String)> {
        let attempts = StandIn::smtp().list("/attempts", &[]).await;
        let ours = |attempt: &Value| {
            let to = attempt["to"][0].as_str()?.to_owned();
            let id = attempt["message_id"].as_str()?.trim_start_matches('<').split('@').next()?.to_owned();
            to.ends_with(&format!("@{}.example.org", self.domain)).then_some((to, id))
        };
        attempts.iter().filter_map(ours).collect()
    }
}

impl World {
    async fn wait_for_statuses(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE * 2;
        while self.count(&[self.topics.delivery_status()]).await < count {
            assert!(Instant::now() < deadline, "{}", self.log());
        }
    }
}

/// SENT statuses by notification.
async fn sent(world: &World) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for record in world.read(&[world.topics.delivery_status()]).await {
        assert_eq!(record["value"]["state"], "SENT", "{record:#?}");
        *sent.entry(record["value"]["notification_id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    sent
}

fn start(world: &World) -> Program {
    world.program(&["deliver", "--channel", "email"])
}

/// How often to kill, and how many notifications each recipient gets: so many that some are left for each kill, however
/// fast the machine and however late the kills.
fn kills() -> (usize, usize) {
    let kills = std::env::var("NOTILOG_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    (kills, 3 * EACH * kills.div_ceil(KILLS))
}

/// How many calls each kill made the next worker repeat: those last seen before that kill and seen again after it. Told
/// by the ids and not by the statuses that are visible after the kill: the broker may end a transaction a little later.
fn repeated_by_kill(mails: &[(String, String)], at_kills: &[usize]) -> Vec<usize> {
    let round = |index: usize| at_kills.partition_point(|seen| *seen <= index);
    let (mut last_seen, mut repeated) = (BTreeMap::new(), vec![0; at_kills.len()]);
    for (index, (_, id)) in mails.iter().enumerate() {
        match last_seen.insert(id, round(index)) {
            Some(before) if before < round(index) => repeated[before] += 1,
            _ => {}
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_killed_again_and_again_loses_nothing_and_repeats_no_more_than_was_under_way() {
    let mut seed = seed();
    let (kills, each) = kills();
    let (world, load) = (World::new("delivery-kill", &config()).await, Load::new(each));
    load.produce(&world).await;
    // How many mails the SMTP server had seen at each kill.
    let mut at_kills = Vec::new();
    for round in 1..=kills {
        let delivery = start(&world);
        world.wait_for_log("partitions assigned", round).await;
        world.wait_for_end_to_move(&world.topics.delivery_status()).await;
        tokio::time::sleep(Duration::from_millis(seed.between(0, 300))).await;
        delivery.kill();
        at_kills.push(load.standing().await);
    }
    let between = load.mails().await.len();
    assert!(between < load.count(), "a kill came after the last notification: {between}");

    let delivery = start(&world);
    world.wait_for_statuses(load.count()).await;
    drop(delivery);

    let repeats = load.check(&world).await;
    let by_kill = repeated_by_kill(&load.mails().await, &at_kills);
    let most = by_kill.iter().max().unwrap();
    println!(
        "| notifications | kills | repeats | most after one kill | of at most | SENT twice | distinct Message-IDs |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!("| {0} | {kills} | {repeats} | {most} | {REPEATABLE} | 0 | {0} |", load.count());
    assert_eq!(by_kill.iter().sum::<usize>(), repeats, "nothing is sent again but for a kill: {by_kill:?}");
    assert!(*most <= REPEATABLE, "{by_kill:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stood_still_while_another_took_over_sends_nothing_more() {
    let world =
        World::new("delivery-stop", &config().replace("static_membership = true", "static_membership = false")).await;
    let load = Load::new(EACH);
    load.produce(&world).await;
    let mut zombie = start(&world);
    world.wait_for_log("partitions assigned", 1).await;
    world.wait_for_end_to_move(&world.topics.delivery_status()).await;
    zombie.signal("STOP");
    let when_stopped = load.mails().await.len();
    assert!(when_stopped < load.count(), "it was stopped after the last notification");

    let successor = world.program_with(&["deliver", "--channel", "email"], &[("NOTILOG__DELIVERY__INSTANCE", "1")]);
    world.wait_for_statuses(load.count()).await;
    zombie.signal("CONT");
    world.wait_for_log("stood still", 1).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(zombie.ended().is_none(), "it goes on as a member: {}", world.log());
    drop((zombie, successor));

    let repeats = load.check(&world).await;
    println!("{repeats} repeats of at most {REPEATABLE} calls");
    assert!(repeats <= REPEATABLE, "{repeats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_due_while_a_worker_stood_still_is_sent_by_its_successor_alone() {
    let dynamic = config().replace("static_membership = true", "static_membership = false").replace("\"3s\"", "\"5s\"");
    // Forty times 451 is no storm here: each is to be written down.
    let backoff = dynamic.replace("backoff = [\"1s\", ", "delivery.breaker.at_least = 1000\ndelivery.backoff = [");
    let backoff = backoff.replace("delivery.delivery.", "delivery.");
    let world = World::new("delivery-due", &backoff).await;
    let load = Load::new(EACH);
    let people = 0..40;
    for user in people.clone() {
        let script = json!({"address": load.address(user), "answers": [451, 250]});
        StandIn::smtp().script("/script", script).await;
    }
    let preferences = people.clone().map(|user| {
        let endpoint = json!([{"channel": "email", "address": load.address(user), "verified": true, "label": null}]);
        with(person(&format!("u-{user}")), json!({ "endpoints": endpoint }))
    });
    world.preferences(preferences.collect()).await;
    let records = people.clone().map(|user| load.record(&world, user, 0)).collect();
    world.produce(RecordType::Outbound, records).await;
    let mut zombie = start(&world);
    // All wait in a tier, and the zombie holds the heads.
    world.wait_for_statuses(people.len()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    zombie.signal("STOP");
    assert_eq!(load.mails().await.len(), people.len(), "nothing was due yet");

    let successor = world.program_with(&["deliver", "--channel", "email"], &[("NOTILOG__DELIVERY__INSTANCE", "1")]);
    world.wait_for_statuses(2 * people.len()).await;
    zombie.signal("CONT");
    world.wait_for_log("stood still", 1).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(zombie.ended().is_none(), "it goes on as a member: {}", world.log());
    drop((zombie, successor));
    assert_eq!(load.mails().await.len(), 2 * people.len(), "one 451 and one 250 each: {}", world.log());
}
