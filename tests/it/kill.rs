//! kill -9 in the middle of the work, at moments that a seed chooses: nothing is lost, nothing is double.

use std::time::{Duration, Instant};

use notilog::model::{Channel, Class};
use serde_json::Value;

use crate::support::{PATIENCE, World, person, script};

const EVENTS: usize = 20_000;
const USERS: usize = 200;
const KILLS: usize = 5;
/// Events a second: slow enough that all kills come while more are on their way.
const RATE: usize = 500;

/// SplitMix64: the same seed, the same moments.
struct Seed(u64);

impl Seed {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low)
    }
}

/// `NOTILOG_SEED`, or one that is printed.
fn seed() -> Seed {
    let seed = std::env::var("NOTILOG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_711);
    println!("NOTILOG_SEED={seed}");
    Seed(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_killed_five_times_among_20000_events_loses_nothing_and_doubles_nothing() {
    let mut seed = seed();
    let world = World::new("kill", "router.static_membership = true\nrouter.commit_interval = \"50ms\"").await;
    world.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
    let topic = world.topics.events("shop");
    let load = tokio::spawn(async move {
        let arguments = ["load", &topic, &EVENTS.to_string(), &USERS.to_string(), &RATE.to_string()];
        script("client.py", &arguments, String::new()).await
    });
    let outbound = [world.topics.outbound(Channel::Email, Class::Main)];

    let mut killed_in_the_middle = 0;
    for _ in 0..KILLS {
        let before = world.count(&outbound).await;
        let mut router = world.program(&["router"]);
        // Lets it get going, then strikes at a moment within the next transactions.
        let deadline = Instant::now() + PATIENCE;
        while world.count(&outbound).await == before {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(world.log_file()).unwrap());
            assert!(router.ended().is_none(), "{}", std::fs::read_to_string(world.log_file()).unwrap());
        }
        tokio::time::sleep(Duration::from_millis(seed.between(0, 1_500))).await;
        router.kill();
        killed_in_the_middle += usize::from(world.count(&outbound).await < EVENTS);
    }
    load.await.unwrap();
    let router = world.program(&["router"]);
    let deadline = Instant::now() + PATIENCE * 2;
    while world.count(&[world.topics.decisions()]).await < EVENTS {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(world.log_file()).unwrap());
    }
    drop(router);

    let arguments = [world.topics.prefix(), &EVENTS.to_string(), "email"];
    let found: Value = serde_json::from_str(&script("check_routing.py", &arguments, String::new()).await).unwrap();
    println!("{found} after {killed_in_the_middle} kills before the end");
    for fault in ["lost", "double", "disordered", "decision_without_outbound", "outbound_without_decision"] {
        assert_eq!(found[fault], 0, "{found}");
    }
    assert_eq!((&found["decisions"], &found["outbound"]), (&EVENTS.into(), &EVENTS.into()));
    assert_eq!(killed_in_the_middle, KILLS, "a kill came after the last event");
}
