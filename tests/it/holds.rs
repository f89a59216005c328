//! A producer that writes nonsense: its topic is held, the others flow, and nothing is lost when it goes on.

use notilog::model::{Channel, Class};
use notilog::policy;
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::support::{World, order, person};

const BAD: usize = 400;

async fn notilog(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_notilog"));
    command.args(arguments).arg("--config").arg(world.config_file()).args(["--as", "grace"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code().unwrap(), said)
}

async fn send(world: &World, domain: &str, numbers: std::ops::Range<usize>) {
    let event = |n: usize| {
        let (topic, id) = (world.topics.events(domain), format!("{domain}-{n}"));
        json!({"topic": topic, "partition": 0, "value": order(&id, "ada")})
    };
    world.produce(RecordType::Event, numbers.map(event).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_goes_to_the_dead_letters_is_held_while_another_flows_and_goes_on_when_told() {
    let world = World::new("holds", "router.tiers = [\"1s\"]\nrouter.max_transaction_records = 50\n").await;
    world.add_topic(world.topics.events("bank"), 1, &[]).await;
    world.preferences(vec![person("ada")]).await;
    let policy = || policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap();
    let router = world.router(policy()).await;
    let nonsense = (0..BAD).map(|_| json!({"topic": world.topics.events("shop"), "partition": 0, "raw": "00ff"}));
    world.produce(RecordType::Event, nonsense.collect()).await;
    send(&world, "shop", 0..3).await;
    let letters = world.read_until(&[world.topics.dlq_events()], |letters| letters.len() >= 100).await;
    assert_eq!(letters.len(), 100, "held at the hundredth");

    send(&world, "bank", 0..3).await;
    let outbound = world.topics.outbound(Channel::Email, Class::Main);
    world.read_count(outbound.clone(), 3).await;
    let (code, said) = notilog(&world, &["inputs", "ls", "--output", "json"]).await;
    let inputs: Vec<Value> = serde_json::from_str(&said).unwrap();
    let of = |topic: String| inputs.iter().find(|input| input["topic"] == topic).unwrap();
    assert_eq!((code, &of(world.topics.events("bank"))["hold"]), (0, &Value::Null));
    let hold = &of(world.topics.events("shop"))["hold"];
    assert_eq!((&hold["by"], &hold["dead"], &hold["seen"]), (&json!("router"), &json!(100), &json!(100)));
    let (code, said) = notilog(&world, &["doctor"]).await;
    assert!(code == 3 && said.contains("notilog inputs resume"), "{said}");

    // A hold outlives the process, and holds in the next one too.
    router.stop().await.unwrap();
    let router = world.router(policy()).await;
    send(&world, "bank", 3..4).await;
    world.read_count(outbound.clone(), 4).await;
    assert_eq!(world.count(&[world.topics.dlq_events()]).await, 100, "nothing more was taken");

    let (code, said) = notilog(&world, &["inputs", "resume", "shop", "--dry-run"]).await;
    assert_eq!((code, said.contains("would resume")), (0, true), "{said}");
    // Each time a hundred more go to the dead letters; then the good ones come.
    for round in 2..=4 {
        let (code, said) = notilog(&world, &["inputs", "resume", "shop", "--why", "again", "--yes"]).await;
        assert_eq!(code, 0, "{said}");
        world.read_until(&[world.topics.dlq_events()], |letters| letters.len() >= round * 100).await;
    }
    assert_eq!(world.count(&[world.topics.dlq_events()]).await, BAD);
    let (code, said) = notilog(&world, &["inputs", "resume", "shop", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let told = world.read_count(outbound, 7).await;
    router.stop().await.unwrap();
    let mut ids: Vec<_> = told.iter().map(|record| record["value"]["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bank-0", "bank-1", "bank-2", "bank-3", "shop-0", "shop-1", "shop-2"], "each once");
    assert_eq!(world.count(&[world.topics.dlq_events()]).await, BAD, "no dead letter twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_holds_a_topic_and_lets_it_go_on() {
    let world = World::new("held", "router.tiers = [\"1s\"]\n").await;
    world.preferences(vec![person("ada")]).await;
    let (code, said) = notilog(&world, &["inputs", "hold", "shop", "--why", "a rest", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    send(&world, "shop", 0..3).await;
    let policy = policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap();
    let router = world.router(policy).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(world.count(&[world.topics.decisions()]).await, 0);
    assert_eq!(notilog(&world, &["inputs", "hold", "shop", "--yes"]).await.0, 1, "it is held already");
    assert_eq!(notilog(&world, &["inputs", "resume", "shop", "--yes"]).await.0, 0);
    world.read_count(world.topics.decisions(), 3).await;
    router.stop().await.unwrap();
    assert_eq!(notilog(&world, &["inputs", "resume", "shop", "--yes"]).await.0, 1, "it is not held");
    assert_eq!(world.count(&[world.topics.audit()]).await, 2, "what was done is on record, and nothing else");
}
