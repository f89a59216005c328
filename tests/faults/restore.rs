//! Case 7: what the preferences table may not do while it is restored. What it makes of markers, gaps of compaction and
//! tombstones is in tests/it/table.rs, for any topic.

use notilog::telemetry::faults::Point;

use crate::scene::{Brokers, Scene, Start, USERS, assert_exactly_once};

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
