//! Case 4: a broker dies in the middle of a transaction.

use std::time::Duration;

use crate::proxy::{Api, Fault, Proxy};
use crate::scene::{Brokers, Scene, Seed, Start, assert_exactly_once};

#[tokio::test(flavor = "multi_thread")]
async fn case_04_the_broker_is_killed_while_a_transaction_is_open() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("broker", Brokers::Faults).await;
    let (watch, load) = (scene.watch(), scene.load(300, &[]));
    let proxy = Proxy::before(&scene.brokers.ports()).await;
    let mut router = scene.router(&Start::default().through(proxy.bootstrap()));
    router.wait_until_assigned().await;
    // Its records are written, its offsets are not.
    for api in [Api::AddOffsetsToTxn, Api::EndTxn] {
        tokio::time::sleep(Duration::from_millis(seed.between(500, 2_000))).await;
        proxy.fail(api, 1, Fault::Hold, |_| true);
        proxy.wait_for_held(1).await;
        scene.brokers.services("kill", &["faults_kafka"]).await;
        proxy.forget_held();
        tokio::time::sleep(Duration::from_millis(seed.between(0, 3_000))).await;
        scene.brokers.services("up", &[]).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(router.ended().is_none(), "it outlives its broker: {}", router.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_04_each_of_three_brokers_is_killed_in_turn() {
    let mut seed = Seed::of_environment();
    let scene = Scene::new("leaders", Brokers::Cluster).await;
    let (watch, load) = (scene.watch(), scene.load(200, &[]));
    let mut router = scene.router(&Start::default());
    router.wait_until_assigned().await;
    let first = seed.between(0, 3);
    for turn in 0..3 {
        let node = format!("cluster_{}", (first + turn) % 3 + 1);
        tokio::time::sleep(Duration::from_millis(seed.between(500, 2_000))).await;
        println!("{node} is killed");
        scene.brokers.services("kill", &[&node]).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        scene.brokers.services("up", &[]).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    let events = load.finish().await;
    assert_exactly_once(&watch.verdict(events, 0).await);
    assert!(router.ended().is_none(), "it outlives its brokers: {}", router.log());
    drop((router, scene));
    Brokers::Cluster.services("down", &[]).await;
}
