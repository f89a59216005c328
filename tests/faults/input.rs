//! Cases 10 and 12: what the input, and a batch that fails, may not lead to.

use crate::scene::{Brokers, Scene, Start, assert_exactly_once};

#[tokio::test(flavor = "multi_thread")]
async fn case_12_events_of_aborted_transactions_are_never_routed() {
    let scene = Scene::new("ghosts", Brokers::Shared).await;
    let watch = scene.watch();
    let _router = scene.router(&Start::default());
    let events = scene.load(400, &[("events", 1_600), ("ghosts", 100)]).wait().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_10_transactions_that_are_aborted_for_one_record_lose_none_of_the_others() {
    let scene = Scene::new("aborts", Brokers::Shared).await;
    let watch = scene.watch();
    let _router = scene.router(&Start::default());
    let events = scene.load(400, &[("events", 900), ("poison", 400)]).wait().await;
    assert_exactly_once(&watch.verdict(events, 400).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_12_a_router_that_is_started_again_begins_with_the_next_record() {
    let scene = Scene::new("next", Brokers::Shared).await;
    let watch = scene.watch();
    for turn in 0..3 {
        let mut router = scene.router(&Start::default());
        router.wait_until_assigned().await;
        let first = turn * 200;
        scene.load(400, &[("first", first), ("events", 200)]).wait().await;
        scene.wait_for_decisions(first + 200).await;
        router.signal("TERM");
        assert!(router.end().await.success(), "{}", router.log());
    }
    let _router = scene.router(&Start::default());
    assert_exactly_once(&watch.verdict(600, 0).await);
}
