//! The command line as a process, against the real services.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use notilog::config::{self, FileChoice, LoadOptions};
use notilog::kafka::admin::{Admin, TopicSpec};
use notilog::model::{Channel, Class};
use serde_json::{Value, json};

use crate::support::{World, kafka_port, order, person, registry_port};

/// The program with a configuration of its own.
pub struct Cli {
    folder: tempfile::TempDir,
}

impl Cli {
    /// A prefix under which nothing exists yet.
    fn new(name: &str) -> Cli {
        let prefix = format!("t-{name}-{}.", &notilog::telemetry::random::uuid().simple().to_string()[..8]);
        let root = env!("CARGO_MANIFEST_DIR");
        let (kafka, registry) = (kafka_port(), registry_port());
        Cli::with(&format!(
            "kafka.bootstrap_servers = \"127.0.0.1:{kafka}\"\nkafka.topic_prefix = \"{prefix}\"\n\
             registry.url = \"http://127.0.0.1:{registry}/apis/ccompat/v7\"\n\
             policies.dir = \"{root}/policies\"\ntemplates.dir = \"{root}/templates\"\n"
        ))
    }

    fn with(toml: &str) -> Cli {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notilog.toml"), toml).unwrap();
        Cli { folder }
    }

    /// The program in a world that has its topics.
    pub fn of(world: &World) -> Cli {
        Cli::with(&std::fs::read_to_string(world.config_file()).unwrap())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("notilog.toml")
    }

    fn admin(&self) -> (Admin, String) {
        let options = LoadOptions { file: FileChoice::At(self.file()), ..LoadOptions::default() };
        let config = config::load(&options).unwrap();
        (Admin::new(&config.kafka).unwrap(), config.kafka.topic_prefix)
    }

    /// Leaves nothing behind.
    async fn clean_up(&self) {
        let (admin, prefix) = self.admin();
        let names = admin.list(&prefix).await.unwrap();
        admin.delete(&names.keys().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.feed(arguments, "")
    }

    /// Runs it on a thread of its own: tests are async and it blocks.
    fn feed(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_notilog"))
            .args(arguments)
            .arg("--config")
            .arg(self.file())
            .env_remove("NOTILOG_CONFIG")
            .env("NOTILOG_ACTOR", "tester")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It need not read what it does not want.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs it and reads its JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        let output = self.run(&arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_how_it_is_right() {
    let cli = Cli::with("");
    let unknown = cli.run(&["topics", "paln"]);
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("plan"), "{}", stderr(&unknown));
    let missing = cli.run(&["emit", "--source", "a"]);
    assert_eq!(code(&missing), 2);
    assert!(stderr(&missing).contains("--type"), "{}", stderr(&missing));
    assert_eq!(code(&cli.run(&["--help"])), 0);
}

#[test]
fn a_wrong_configuration_is_exit_code_2_with_every_line() {
    let cli = Cli::with("[router]\nshard = 2\n[kafka.properties]\n\"group.id\" = \"x\"\n");
    let output = cli.run(&["config", "check"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("notilog.toml:2: router.shard: unknown key; did you mean `shards`?"));
    assert!(stderr(&output).contains("notilog.toml:4: kafka.properties.\"group.id\": may not be set"));
    let property = Cli::with("[kafka.properties]\n\"linger.ns\" = \"1\"\n").run(&["config", "check"]);
    assert_eq!(code(&property), 2);
    assert!(stderr(&property).contains("notilog.toml:2") && stderr(&property).contains("no such property"));
}

#[test]
fn kafka_that_is_not_there_is_exit_code_1_with_what_to_do() {
    let output = Cli::with("kafka.bootstrap_servers = \"127.0.0.1:1\"\n").run(&["topics", "plan"]);
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(
        said.contains("Kafka at 127.0.0.1:1 does not answer") && said.contains("kafka.bootstrap_servers"),
        "{said}"
    );
}

#[test]
fn completions_and_man_pages_come_from_the_definitions() {
    let cli = Cli::with("");
    assert!(stdout(&cli.run(&["completions", "bash"])).contains("redrive"));
    assert!(stdout(&cli.run(&["man"])).contains("notilog"));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_planned_applied_and_verified_and_drift_is_found() {
    let cli = Cli::new("topics");
    let (admin, prefix) = cli.admin();
    let plan = cli.run(&["topics", "plan", "--domain", "shop", "--output", "json"]);
    assert_eq!(code(&plan), 3, "{}", stderr(&plan));
    assert!(admin.list(&prefix).await.unwrap().is_empty(), "a plan changes nothing");

    let applied = cli.run(&["topics", "apply", "--domain", "shop"]);
    assert_eq!(code(&applied), 0, "{}", stderr(&applied));
    assert!(admin.list(&prefix).await.unwrap().contains_key(&format!("{prefix}notify.events.shop")));
    let again = cli.run(&["topics", "plan", "--domain", "shop", "--output", "json"]);
    assert_eq!((code(&again), stdout(&again).trim()), (0, "[]"));

    // Someone changes a setting by hand; another one that the families do not speak of stays.
    let preferences = format!("{prefix}notify.preferences");
    let by_hand = [("cleanup.policy", "delete"), ("segment.bytes", "1048576")];
    admin.alter(&preferences, &by_hand.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).await.unwrap();
    let drift = cli.json(&["topics", "verify", "--domain", "shop"]);
    assert_eq!(drift[0]["topic"], preferences);
    assert_eq!(drift[0]["what"], "set cleanup.policy from delete to compact");
    assert_eq!(code(&cli.run(&["topics", "verify", "--domain", "shop"])), 3);
    assert_eq!(code(&cli.run(&["topics", "apply", "--domain", "shop"])), 0);
    let state = admin.describe(std::slice::from_ref(&preferences)).await.unwrap();
    assert_eq!(state[&preferences].config["cleanup.policy"].value, "compact");
    assert_eq!(state[&preferences].config["segment.bytes"].value, "1048576");
    cli.clean_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_raised_only_when_told_and_agreed() {
    let cli = Cli::new("raise");
    let (admin, prefix) = cli.admin();
    let outbound = format!("{prefix}notify.outbound.email");
    let spec = TopicSpec { name: outbound.clone(), partitions: 2, replication: 1, config: Default::default() };
    admin.create(&[&spec]).await.remove(0).unwrap();

    let kept = cli.run(&["topics", "apply", "--output", "json"]);
    assert_eq!(code(&kept), 3, "differences stay: {}", stderr(&kept));
    assert!(stdout(&kept).contains("must have equal partition counts"), "{}", stdout(&kept));
    assert_eq!(admin.list(&outbound).await.unwrap()[&outbound], 2);

    let asked = cli.run(&["topics", "apply", "--raise-partitions"]);
    assert_eq!(code(&asked), 2, "there is no terminal to ask on");
    assert!(stderr(&asked).contains("--yes"));
    let raised = cli.run(&["topics", "apply", "--raise-partitions", "--yes"]);
    assert_eq!(code(&raised), 0, "{}", stderr(&raised));
    assert_eq!(admin.list(&outbound).await.unwrap()[&outbound], 6);
    assert_eq!(code(&cli.run(&["topics", "verify"])), 0);
    cli.clean_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preferences_are_set_read_imported_and_erased() {
    let world = World::new("prefs", "").await;
    let cli = Cli::of(&world);
    assert_eq!(code(&cli.run(&["prefs", "get", "ada"])), 1);
    let set = cli.run(&["prefs", "set", "ada", "--timezone", "Europe/Berlin", "--endpoint", "email=ada@example.org"]);
    assert_eq!(code(&set), 0, "{}", stderr(&set));
    let more = cli.run(&["prefs", "set", "ada", "--category", "orders=email,telegram", "--quiet-hours", "22:00-07:00"]);
    assert_eq!(code(&more), 0, "{}", stderr(&more));
    let ada = cli.json(&["prefs", "get", "ada"]);
    assert_eq!(
        (&ada["version"], &ada["timezone"], &ada["updated_by"]),
        (&json!(2), &json!("Europe/Berlin"), &json!("tester"))
    );
    assert_eq!(ada["endpoints"][0]["address"], "ada@example.org");
    assert_eq!(ada["categories"]["orders"]["channels"], json!(["email", "telegram"]));

    let wrong = cli.run(&["prefs", "set", "ada", "--timezone", "Mars/Olympus"]);
    assert_eq!(code(&wrong), 1);
    assert!(stderr(&wrong).contains("Mars/Olympus"));

    let lines = "{\"user_id\":\"bob\",\"locale\":\"de\"}\n{\"user_id\":\"eve\",\"timezone\":\"Nowhere\"}\n";
    let refused = cli.feed(&["prefs", "import", "-"], lines);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("record 2 (eve)"), "{}", stderr(&refused));
    assert_eq!(code(&cli.run(&["prefs", "get", "bob"])), 1, "nothing was written");
    assert_eq!(code(&cli.feed(&["prefs", "import", "-"], "{\"user_id\":\"bob\",\"locale\":\"de\"}\n")), 0);
    assert_eq!(cli.json(&["prefs", "get", "bob"])["locale"], "de");

    assert_eq!(code(&cli.run(&["prefs", "erase", "ada"])), 2, "there is no terminal to ask on");
    assert_eq!(code(&cli.run(&["prefs", "erase", "ada", "--yes", "--why", "asked"])), 0);
    assert!(stderr(&cli.run(&["prefs", "get", "ada"])).contains("was erased"));

    // Another client sees the same: Avro for ada and bob, a tombstone, and an audit record for each act.
    let records = world.read(&[world.topics.preferences()]).await;
    let of_ada: Vec<&Value> = records.iter().filter(|record| record["key"] == "default/ada").collect();
    assert_eq!(of_ada.len(), 3);
    assert_eq!(of_ada[1]["value"]["categories"]["orders"]["enabled"], true);
    assert!(of_ada[2]["value"].is_null());
    assert_eq!(world.count(&[world.topics.audit()]).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_emitted_for_other_clients_to_read_and_refused_before_they_are_written() {
    let world = World::new("emit", "").await;
    let cli = Cli::of(&world);
    let line = |id: &str, category: &str| {
        json!({"id": id, "source": "shop/orders", "type": "order.shipped", "category": category,
            "recipients": ["ada"], "data": {"order_id": id}})
        .to_string()
    };
    let refused =
        cli.feed(&["emit", "--domain", "shop", "--json", "-"], &[line("e1", "orders"), line("e2", "nope")].join("\n"));
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("event 2 (e2)") && stderr(&refused).contains("unknown_category"));
    assert_eq!(world.count(&[world.topics.events("shop")]).await, 0, "all or nothing");

    let lines: Vec<String> = (0..50).map(|n| line(&format!("e{n}"), "orders")).collect();
    let emitted = cli.feed(&["emit", "--domain", "shop", "--json", "-", "--output", "ndjson"], &lines.join("\n"));
    assert_eq!(code(&emitted), 0, "{}", stderr(&emitted));
    assert_eq!(stdout(&emitted).lines().count(), 50);
    let records = world.read_count(world.topics.events("shop"), 50).await;
    let ids: Vec<&str> = records.iter().map(|record| record["value"]["id"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..50).map(|n| format!("e{n}")).collect();
    assert_eq!(ids, expected, "one recipient's events keep their order");
    assert_eq!(records[0]["key"], "default/ada");
    assert_eq!(records[0]["value"]["data"], "{\"order_id\":\"e0\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_counted_shown_and_put_back_once() {
    let world = World::new("dlq", "").await;
    let cli = Cli::of(&world);
    let policy = notilog::policy::load(&world.config.policies.dir).unwrap();
    world.preferences(vec![person("ada")]).await;
    let router = world.router(policy).await;
    world.event(crate::support::with(order("e-1", "ada"), json!({"category": "nope"}))).await;
    world.read_count(world.topics.dlq_events(), 1).await;

    let counts = cli.json(&["dlq", "ls"]);
    assert_eq!(
        (&counts[0]["reason"], &counts[0]["letters"], &counts[0]["redriven"]),
        (&json!("unknown_category"), &json!(1), &json!(0))
    );
    let letter = &world.read(&[world.topics.dlq_events()]).await[0];
    let place = [letter["partition"].to_string(), letter["offset"].to_string()];
    let shown = cli.json(&["dlq", "show", "events", &place[0], &place[1]]);
    assert_eq!((&shown["record"], &shown["value"]["data"]), (&json!("Event"), &json!("***")));
    let revealed = cli.json(&["dlq", "show", "events", &place[0], &place[1], "--reveal"]);
    assert_eq!(revealed["value"]["data"], "{\"order_id\":\"A-1\"}");

    let dry = cli.json(&["dlq", "redrive", "events", "--dry-run"]);
    assert_eq!((&dry["redriven"], &dry["selected"]), (&json!(0), &json!(1)));
    assert_eq!(code(&cli.run(&["dlq", "redrive", "events"])), 2, "there is no terminal to ask on");
    assert_eq!(cli.json(&["dlq", "redrive", "events", "--yes"])["redriven"], 1);
    router.stop().await.unwrap();

    let events = world.read_count(world.topics.events("shop"), 2).await;
    assert_eq!(events[0]["value"], events[1]["value"], "a redrive changes no value");
    assert_eq!(events[1]["key"], events[0]["key"]);
    let headers = events[1]["headers"].to_string();
    assert!(headers.contains("notify-run") && headers.contains("notify-redrive-nonce"), "{headers}");
    assert!(!headers.contains("__dlq.errors"), "{headers}");
    let at = format!("{}:{}", place[0], place[1]);
    let again = cli.json(&["dlq", "redrive", "events", "--at", &at, "--yes"]);
    assert_eq!((&again["selected"], &again["skipped"]["already_redriven"]), (&json!(0), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_from_emit_to_status_and_explain_as_one_process() {
    let receiver = crate::support::port("NOTILOG_WEBHOOK_PORT", 8083);
    let secret = std::env::var("NOTILOG_WEBHOOK_SECRET")
        .unwrap_or_else(|_| "whsec_bm90aWxvZy1kZXZlbG9wbWVudC1zZWNyZXQtMDE=".to_owned());
    let world = World::new(
        "up",
        &format!(
            "delivery.tiers = [\"1s\", \"10s\"]\nrouter.tiers = [\"1s\", \"10s\"]\n\
             [channels.webhook]\nsecrets = {{ \"*\" = \"{secret}\" }}\n\
             allow_http = true\nallow_networks = [\"127.0.0.0/8\"]\n"
        ),
    )
    .await;
    let cli = Cli::of(&world);
    let endpoint = format!("webhook=http://127.0.0.1:{receiver}/cli");
    for (user, orders) in [("ada", "orders=webhook"), ("bob", "orders=off")] {
        let set = cli.run(&["prefs", "set", user, "--endpoint", &endpoint, "--category", orders]);
        assert_eq!(code(&set), 0, "{}", stderr(&set));
    }
    let up = world.program(&["up"]);
    let event =
        ["emit", "--domain", "shop", "--source", "shop/orders", "--type", "order.shipped", "--category", "orders"];
    let data = ["--to", "ada", "--to", "bob", "--id", "e-1", "--data", r#"{"order_id":"A-1"}"#];
    let emitted = cli.run(&[&event[..], &data].concat());
    assert_eq!(code(&emitted), 0, "{}", stderr(&emitted));
    world.read_count(world.topics.delivery_status(), 1).await;

    let status = cli.json(&["status", "e-1"]);
    assert_eq!((&status[0]["state"], &status[0]["user_id"]), (&json!("SENT"), &json!("ada")));
    let notification = status[0]["notification_id"].as_str().unwrap();
    assert_eq!(cli.json(&["status", notification])[0]["event_id"], "e-1");
    assert_eq!(cli.json(&["status", "ada", "--by", "user", "--since", "1h"]).as_array().unwrap().len(), 1);
    let explained = cli.run(&["explain", "e-1", "--source", "shop/orders"]);
    let text = stdout(&explained);
    assert!(text.contains("bob") && text.contains("opted_out_category") && text.contains("ROUTED"), "{text}");
    assert_eq!(code(&cli.run(&["explain", "no-such"])), 1);
    assert_eq!(code(&cli.run(&["status", "no-such"])), 1);
    let outbound = world.read(&[world.topics.outbound(Channel::Webhook, Class::Main)]).await;
    assert_eq!(outbound.len(), 1);
    drop(up);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_missing_and_what_to_do() {
    let cli = Cli::new("doctor");
    let ill = cli.run(&["doctor", "--output", "json"]);
    assert_eq!(code(&ill), 3, "{}", stderr(&ill));
    let findings: Vec<Value> = serde_json::from_slice(&ill.stdout).unwrap();
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check).unwrap_or(&Value::Null);
    assert_eq!(of("kafka")["severity"], "ok");
    assert_eq!(of("topics")["severity"], "fault");
    assert!(of("topics")["advice"].as_str().unwrap().contains("notilog topics apply"));
    assert!(of("sources")["found"].as_str().unwrap().contains("every producer may claim"));

    assert_eq!(code(&cli.run(&["topics", "apply"])), 0);
    assert_eq!(code(&cli.run(&["schemas", "apply"])), 0);
    let well = cli.run(&["doctor"]);
    assert_eq!(code(&well), 0, "{}", stdout(&well));

    // One thing that is wrong hides no other.
    let registry = "registry.url=http://127.0.0.1:1";
    let two = cli.run(&["doctor", "--set", registry, "--set", "policies.dir=/no/such", "--output", "json"]);
    assert_eq!(code(&two), 3);
    let faults: Vec<Value> = serde_json::from_slice(&two.stdout).unwrap();
    let faulty = faults.iter().filter(|finding| finding["severity"] == "fault").map(|finding| finding["check"].clone());
    assert_eq!(faulty.collect::<Vec<_>>(), ["registry", "policies"]);
    cli.clean_up().await;
}

/// The address in the line that a role logs when it serves its health.
async fn health_address(world: &World) -> String {
    for _ in 0..600 {
        let log = std::fs::read_to_string(world.log_file()).unwrap_or_default();
        let address = log.split_once("are served address=").and_then(|(_, rest)| rest.split_whitespace().next());
        if let Some(address) = address {
            return address.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{}", std::fs::read_to_string(world.log_file()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_waits_for_a_registry_that_is_down_and_ends_gracefully_when_told() {
    let world = World::new("wait", "").await;
    let mut router = world.program(&["router", "--set", "registry.url=http://127.0.0.1:1"]);
    let address = health_address(&world).await;
    let get = |path: &str| {
        let url = format!("http://{address}{path}");
        async move {
            let answer = reqwest::get(url).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    assert_eq!(get("/healthz").await.0, 200);
    let (status, body) = get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("schemas"), "{body}");
    assert!(get("/metrics").await.1.contains("notilog_build_info"));
    assert_eq!(router.ended(), None);
    router.terminate();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let ended = loop {
        match router.ended() {
            Some(status) => break status,
            None => assert!(std::time::Instant::now() < deadline, "it does not end"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(ended.code(), Some(0));
}
