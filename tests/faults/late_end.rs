//! Case 3: the request that ends a transaction is delayed in the network for longer than anyone waits, and comes when
//! the next transaction is open. librdkafka has no KIP-890 on its side (its issue 5423): only a new epoch helps.

use std::time::Duration;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Scene, Start, assert_exactly_once};

/// INVALID_PRODUCER_EPOCH and PRODUCER_FENCED: what a request of an older epoch must come to.
const FENCED: [i16; 2] = [47, 90];

/// Lets one commit be delayed as `fault` says, releases it while the next transaction holds records but no offsets,
/// kills the process then, and checks from outside.
async fn a_late_commit(name: &str, fault: Fault, more: &str) {
    let scene = Scene::new(name, Brokers::Shared).await;
    let watch = scene.watch();
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let start = Start::default().through(proxy.bootstrap()).with("router.shards = 1").with(more);
    let mut router = scene.router(&start);
    router.wait_until_assigned().await;
    scene.load(300, &[("events", 300)]).wait().await;
    proxy.wait_for_seen(Api::EndTxn, 1).await;

    proxy.fail(Api::EndTxn, 1, fault, crate::proxy::Request::commits);
    scene.load(300, &[("first", 300), ("events", 300)]).wait().await;
    proxy.wait_for_held(1).await;
    // The next transaction comes as far as its records; its offsets wait.
    proxy.fail(Api::AddOffsetsToTxn, usize::MAX, Fault::Hold, |_| true);
    scene.load(300, &[("first", 600), ("events", 300)]).wait().await;
    proxy.wait_for_held(2).await;
    let late = proxy.release().await;
    router.kill();
    proxy.heal();
    proxy.forget_held();

    let _router = scene.router(&Start::default());
    assert_exactly_once(&watch.verdict(900, 0).await);
    let code = late.end_txn_error();
    assert!(code.is_some_and(|code| FENCED.contains(&code)), "the late commit was not refused: {code:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_a_commit_that_nobody_answers_in_time_does_not_end_the_next_transaction() {
    a_late_commit("late", Fault::Hold, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_a_commit_that_librdkafka_asked_for_twice_does_not_end_the_next_transaction() {
    // It gives the first request up before the call's own time is over, and is answered the second time.
    a_late_commit("asked-twice", Fault::Hold, "kafka.properties.\"socket.timeout.ms\" = \"3000\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_a_commit_whose_connection_breaks_does_not_end_the_next_transaction() {
    // librdkafka asks again on a new connection, and is answered: the call itself succeeds.
    a_late_commit("broken", Fault::HoldAndClose, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_03_answers_that_are_lost_on_the_way_change_nothing() {
    let scene = Scene::new("answers", Brokers::Shared).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let mut router = scene.router(&Start::default().through(proxy.bootstrap()));
    router.wait_until_assigned().await;
    for api in [Api::EndTxn, Api::TxnOffsetCommit, Api::AddOffsetsToTxn, Api::AddPartitionsToTxn, Api::Produce] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.fail(api, 1, Fault::LoseAnswer, |request| request.client.contains("transactional"));
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    drop(router);
}
