//! Case 6: the group's coordinator says what is not so.

use std::time::Duration;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Scene, Start, assert_exactly_once};

/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR.
const PASSING: [i16; 3] = [14, 15, 16];

#[tokio::test(flavor = "multi_thread")]
async fn case_06_a_coordinator_that_knows_no_offsets_makes_no_router_start_over() {
    let scene = Scene::new("minus-one", Brokers::Shared).await;
    let watch = scene.watch();
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let mut router = scene.router(&Start::default());
    router.wait_until_assigned().await;
    scene.load(400, &[("events", 800)]).wait().await;
    scene.wait_for_decisions(800).await;
    router.kill();

    // All of the 800 would be sent again.
    proxy.fail(Api::OffsetFetch, usize::MAX, Fault::NoOffsets, |_| true);
    let mut deceived = scene.router(&Start::default().through(proxy.bootstrap()));
    let status = deceived.end().await;
    assert_eq!(status.code(), Some(1), "{}", deceived.log());
    assert!(deceived.log().contains("--from"), "it says what to do: {}", deceived.log());

    proxy.heal();
    let _router = scene.router(&Start::default().through(proxy.bootstrap()));
    scene.load(400, &[("first", 800), ("events", 200)]).wait().await;
    assert_exactly_once(&watch.verdict(1_000, 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_06_a_coordinator_that_is_not_ready_is_asked_again() {
    let scene = Scene::new("not-ready", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    for code in PASSING {
        proxy.fail(Api::OffsetFetch, 2, Fault::Answer(code), |_| true);
        let mut router = scene.router(&Start::default().through(proxy.bootstrap()));
        router.wait_until_assigned().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(router.ended().is_none(), "{}", router.log());
        router.kill();
    }
    let _router = scene.router(&Start::default());
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
}
