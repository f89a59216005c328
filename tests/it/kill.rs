//! kill -9 in the middle of the work, at moments that a seed chooses: nothing is lost, nothing is double.

use std::time::{Duration, Instant};

use notilog::model::{Channel, Class};
use serde_json::Value;

use crate::support::{PATIENCE, World, person, script};

const EVENTS: usize = 20_004;
const USERS: usize = 200;
const KILLS: usize = 5;
/// Events a second: slow enough that every kill comes while more are on their way.
const RATE: usize = 1_500;

/// SplitMix64: the same seed, the same moments.
pub struct Seed(u64);

impl Seed {
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low)
    }
}

/// `NOTILOG_SEED`, or one that is printed.
pub fn seed() -> Seed {
    let seed = std::env::var("NOTILOG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_711);
    println!("NOTILOG_SEED={seed}");
    Seed(seed)
}

/// One round's share of the events, from `first` on.
async fn load(topic: String, first: usize) -> String {
    let numbers = [first, EVENTS / (KILLS + 1), USERS, RATE].map(|number| number.to_string());
    let arguments = [topic.as_str(), &numbers[0], &numbers[1], &numbers[2], &numbers[3]];
    script("client.py", &[&["load"], &arguments[..]].concat(), String::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_killed_five_times_among_20000_events_loses_nothing_and_doubles_nothing() {
    let mut seed = seed();
    let world = World::new("kill", "router.static_membership = true\nrouter.commit_interval = \"50ms\"").await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let mut first = 0;
    for round in 0..=KILLS {
        let router = world.program(&["router"]);
        world.wait_for_log("assigned", round + 1).await;
        let load = tokio::spawn(load(world.topics.events("shop"), first));
        first += EVENTS / (KILLS + 1);
        // The first record of this round is through, more are on their way: now strike within the next second.
        world.wait_for_end_to_move(&world.topics.events("shop")).await;
        tokio::time::sleep(Duration::from_millis(seed.between(50, 1_200))).await;
        if round < KILLS {
            assert!(!load.is_finished(), "the kill would come after the last event of the round");
            router.kill();
            load.await.unwrap();
            continue;
        }
        load.await.unwrap();
        let deadline = Instant::now() + PATIENCE * 2;
        // A transaction's end comes to each partition in its own time.
        for topic in [world.topics.decisions(), world.topics.outbound(Channel::Email, Class::Main)] {
            while world.count(std::slice::from_ref(&topic)).await < EVENTS {
                assert!(Instant::now() < deadline, "{}", world.log());
            }
        }
    }

    let arguments = [world.topics.prefix(), &EVENTS.to_string(), "email"];
    let found: Value = serde_json::from_str(&script("check_routing.py", &arguments, String::new()).await).unwrap();
    println!("{found} after {KILLS} kills");
    for fault in ["lost", "double", "disordered", "decision_without_outbound", "outbound_without_decision"] {
        assert_eq!(found[fault], 0, "{found}");
    }
    assert_eq!((&found["decisions"], &found["outbound"]), (&EVENTS.into(), &EVENTS.into()));
}
