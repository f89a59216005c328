//! Case 7: what the preferences table may not do while it is restored. What it makes of markers, gaps of compaction and
//! tombstones is in tests/it/table.rs, for any topic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notilog::kafka::admin::Admin;
use notilog::telemetry::faults::Point;
use serde_json::{Value, json};

use crate::scene::{Brokers, PATIENCE, Scene, Start, USERS, assert_exactly_once};
use crate::support::person;

/// Where a scene's routers keep their snapshots, and how they are told.
fn kept(scene: &Scene) -> (PathBuf, Start) {
    let folder = scene.folder().join("state");
    let file = folder.join(format!("{}.snapshot", scene.topics.preferences()));
    (file, Start::default().with(&format!("state.dir = {folder:?}")))
}

/// Starts a router and ends it well, so that its snapshot lies there.
async fn leave_a_snapshot(scene: &Scene) -> PathBuf {
    let (file, start) = kept(scene);
    let mut router = scene.router(&start);
    router.wait_until_assigned().await;
    router.signal("TERM");
    assert!(router.end().await.success(), "{}", router.log());
    assert!(file.exists(), "no snapshot: {}", router.log());
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_nothing_is_routed_before_the_table_is_restored() {
    let scene = Scene::new("restore", Brokers::Shared).await;
    let watch = scene.watch();
    scene.load(1_000, &[("events", 400)]).wait().await;
    // The events are there before the table is: whoever routes now knows no recipient.
    let _router = scene.router(&Start::default().at(Point::Restoring, "sleep(60)"));
    assert_exactly_once(&watch.verdict(400, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_killed_in_the_middle_of_a_restore_it_begins_again() {
    let scene = Scene::new("restore-kill", Brokers::Shared).await;
    let watch = scene.watch();
    scene.load(1_000, &[("events", 400)]).wait().await;
    for n in [1, 3, USERS as u64 / 2, USERS as u64] {
        scene.router(&Start::default().killed_at(Point::Restoring, n)).end_by_kill().await;
    }
    let _router = scene.router(&Start::default());
    assert_exactly_once(&watch.verdict(400, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_killed_while_it_writes_a_snapshot_it_begins_with_what_is_whole() {
    let scene = Scene::new("torn", Brokers::Shared).await;
    let watch = scene.watch();
    let (_, start) = kept(&scene);
    for (point, n) in [(Point::SnapshotWriting, 2), (Point::SnapshotWritten, 1), (Point::SnapshotWriting, 9)] {
        scene.router(&start.clone().killed_at(point, n)).end_by_kill().await;
    }
    let _router = scene.router(&start);
    scene.load(1_000, &[("events", 400)]).wait().await;
    assert_exactly_once(&watch.verdict(400, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_a_snapshot_with_a_flipped_byte_is_not_believed() {
    let scene = Scene::new("flipped", Brokers::Shared).await;
    let watch = scene.watch();
    let file = leave_a_snapshot(&scene).await;
    // A recipient's key becomes another's: whoever believes it knows the first no more.
    let mut bytes = std::fs::read(&file).unwrap();
    let key = b"default/u-42";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("keys are in it as they are");
    bytes[at + 8] = b'x';
    std::fs::write(&file, bytes).unwrap();
    let mut router = scene.router(&kept(&scene).1);
    scene.load(1_000, &[("events", 400)]).wait().await;
    assert_exactly_once(&watch.verdict(400, 0).await);
    router.wait_for_log("snapshot is not used", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_07_an_old_snapshot_does_not_bring_back_the_erased() {
    let scene = Scene::new("erased", Brokers::Faults).await;
    let quickly = [
        ("delete.retention.ms", "1000"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "1000"),
    ];
    let quickly: BTreeMap<String, String> = quickly.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    Admin::new(&scene.config.kafka).unwrap().alter(&scene.topics.preferences(), &quickly).await.unwrap();
    leave_a_snapshot(&scene).await;
    scene.produce_preferences(vec![json!({"topic": scene.topics.preferences(), "key": "default/u-7"})]).await;
    forget_tombstone(&scene, "default/u-7").await;

    let _router = scene.router(&kept(&scene).1);
    let events = scene.load(400, &[("events", 200)]).wait().await;
    scene.wait_for_decisions(events).await;
    for record in scene.read(&[scene.topics.decisions()]).await {
        let outcomes = record["value"]["outcomes"].as_array().unwrap();
        let routed = outcomes.iter().any(|outcome| outcome["verdict"] == "ROUTED");
        let erased = outcomes.iter().any(|outcome| outcome["user_id"] == "u-7");
        assert!(!(routed && erased), "the erased were told: {record}");
        assert!(routed || erased, "everybody else is: {record}");
    }
}

/// Writes for others until compaction took a key's tombstone away, and with it all that the topic knew of the key.
async fn forget_tombstone(scene: &Scene, key: &str) {
    let deadline = Instant::now() + PATIENCE;
    let of_key = |records: &[Value]| records.iter().filter(|record| record["key"] == key).count();
    while of_key(&scene.read(&[scene.topics.preferences()]).await) > 0 {
        assert!(Instant::now() < deadline, "the tombstone stays");
        let fillers = (0..8).map(|n| person(&format!("filler-{n}"))).collect();
        scene.preferences(fillers).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
