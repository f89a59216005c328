//! What integration tests share: the services that `dev/services up` started, a world of topics for each test, and a
//! Kafka client that is not ours.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notilog::channel;
use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::delivery;
use notilog::join::PreferencesTable;
use notilog::kafka::admin::{Admin, TopicSpec};
use notilog::model::{Channel, Class, Policy, Topics};
use notilog::ops::schemas;
use notilog::registry::{Registry, RegistrySchemas};
use notilog::router;
use notilog::telemetry::clock::Clock;
use notilog::telemetry::health::Readiness;
use notilog::wire::{RecordType, WriterIds};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

/// The port of a service, as `dev/services` takes it from the environment.
pub fn port(name: &str, default: u16) -> u16 {
    std::env::var(name).ok().and_then(|port| port.parse().ok()).unwrap_or(default)
}

pub fn kafka_port() -> u16 {
    port("NOTILOG_KAFKA_PORT", 9092)
}

pub fn registry_port() -> u16 {
    port("NOTILOG_REGISTRY_PORT", 8081)
}

/// A test's own topics, group and configuration.
pub struct World {
    pub config: Arc<Config>,
    pub topics: Topics,
    pub folder: tempfile::TempDir,
    /// What the router is told about lost places.
    pub restart: router::Restart,
    _cleanup: Option<Cleanup>,
}

/// Kept in the topics' settings of every test.
pub const PARTITIONS: i32 = 3;

/// How long anything may take before a test says what did not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    /// A world of its own: a topic prefix, all topics, the schemas registered. `toml` is added to the configuration.
    pub async fn new(name: &str, toml: &str) -> World {
        if std::env::var_os("NOTILOG_TEST_LOG").is_some() {
            // Another test may have begun to log already.
            let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
        }
        let prefix = format!("t-{name}-{}.", &notilog::telemetry::random::uuid().simple().to_string()[..8]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notilog.toml");
        std::fs::write(&path, World::toml(&prefix, toml)).unwrap();
        let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
        let config = config::load(&options).unwrap_or_else(|errors| panic!("{errors}"));
        let cleanup = Cleanup { kafka: config.kafka.clone(), prefix: prefix.clone() };
        let world = World {
            topics: Topics::new(&prefix),
            config: Arc::new(config),
            folder,
            restart: router::Restart::default(),
            _cleanup: Some(cleanup),
        };
        world.create_topics().await;
        writer_ids(&world.config).await;
        world
    }

    fn toml(prefix: &str, more: &str) -> String {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let (kafka, root) = (kafka_port(), root.display());
        let registry = if more.contains("registry.url") {
            String::new()
        } else {
            format!("registry.url = \"http://127.0.0.1:{}/apis/ccompat/v7\"", registry_port())
        };
        format!(
            r#"kafka.bootstrap_servers = "127.0.0.1:{kafka}"
kafka.topic_prefix = "{prefix}"
{registry}
policies.dir = "{root}/policies"
templates.dir = "{root}/templates"
telemetry.listen = "127.0.0.1:0"
{more}
"#
        )
    }

    /// The configuration file, for the program as a process.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("notilog.toml")
    }

    /// A topic besides those of every world; gives its name.
    pub async fn add_topic(&self, name: String, partitions: i32, config: &[(&str, &str)]) -> String {
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = TopicSpec { name, partitions, replication: 1, config };
        Admin::new(&self.config.kafka).unwrap().create(&[&spec]).await.remove(0).unwrap();
        spec.name
    }

    async fn create_topics(&self) {
        let admin = Admin::new(&self.config.kafka).unwrap();
        let topics = &self.topics;
        let mut names = vec![
            topics.events("shop"),
            topics.preferences(),
            topics.policies(),
            topics.suppressions(),
            topics.inputs(),
            topics.receipts(),
            topics.receipts_inbox(),
            topics.dlq_receipts(),
            topics.decisions(),
            topics.delivery_status(),
            topics.audit(),
            topics.dlq_events(),
            topics.dlq_preferences(),
        ];
        names.extend(self.config.router.tiers.iter().map(|delay| topics.retry_events(delay.0)));
        if self.config.topics.channels.contains(&Channel::Inbox) {
            names.push(topics.inbox());
        }
        names.extend(self.config.receipts.tiers.iter().map(|delay| topics.receipts_tier(delay.0)));
        for channel in self.config.topics.channels.iter().copied() {
            names.extend([Class::Main, Class::Urgent].map(|class| topics.outbound(channel, class)));
            names.extend(self.config.delivery.tiers.iter().map(|delay| topics.outbound_tier(channel, delay.0)));
            names.push(topics.dlq_outbound(channel));
            names.push(topics.lanes(channel));
        }
        let spec_of = |name: String| {
            let mut config = std::collections::BTreeMap::new();
            if name.contains("dlq.") {
                // A dead letter is larger than the record by its headers.
                config.insert("max.message.bytes".to_owned(), "2097152".to_owned());
            }
            if name.contains(".retry.") {
                config.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
            }
            let tables = [
                "notify.preferences",
                "notify.policies",
                "notify.inbox",
                "notify.inputs",
                "notify.suppressions",
                "notify.receipts",
            ];
            if tables.iter().any(|table| name.ends_with(table)) || name.contains("notify.lanes.") {
                config.insert("cleanup.policy".to_owned(), "compact".to_owned());
            }
            TopicSpec { name, partitions: PARTITIONS, replication: 1, config }
        };
        let specs: Vec<TopicSpec> = names.into_iter().map(spec_of).collect();
        for created in admin.create(&specs.iter().collect::<Vec<_>>()).await {
            created.unwrap_or_else(|error| panic!("{error}: start the services with `dev/services up`"));
        }
    }

    /// Starts the router in this process and waits until it is ready.
    pub async fn router(&self, policy: Policy) -> Running {
        self.try_router(policy).await.unwrap_or_else(|error| panic!("the router ended: {error}"))
    }

    /// [`World::router`], or why it ended before it was ready.
    pub async fn try_router(&self, policy: Policy) -> Result<Running, String> {
        let readiness = Readiness::default();
        let stop = CancellationToken::new();
        let registry = Registry::new(&self.config.registry).unwrap();
        let setup = router::Setup {
            config: Arc::clone(&self.config),
            policy,
            schemas: Arc::new(RegistrySchemas::new(registry, tokio::runtime::Handle::current())),
            writer_ids: writer_ids(&self.config).await,
            preferences: PreferencesTable::default(),
            clock: Clock::system(),
            restart: self.restart.clone(),
            readiness: readiness.clone(),
            stop: stop.clone(),
        };
        // Outside the task: its conditions are there before anyone asks whether it is ready.
        let routing = router::run(setup);
        let task = tokio::spawn(async move { routing.await.map_err(|error| error.to_string()) });
        Running { task, stop }.ready(&readiness).await
    }

    /// Starts delivery by these channels in this process and waits until it is ready, or why it ended before.
    pub async fn deliver(&self, policy: Policy, channels: Vec<channel::Providers>) -> Result<Running, String> {
        let (running, readiness) = self.start_delivery(policy, channels).await;
        running.ready(&readiness).await
    }

    /// [`World::deliver`] without waiting.
    pub async fn start_delivery(&self, policy: Policy, channels: Vec<channel::Providers>) -> (Running, Readiness) {
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let registry = Registry::new(&self.config.registry).unwrap();
        let templates = &self.config.templates;
        let setup = delivery::Setup {
            config: Arc::clone(&self.config),
            policy,
            channels,
            templates: Arc::new(channel::Templates::load(&templates.dir, &templates.default_locale).unwrap()),
            schemas: Arc::new(RegistrySchemas::new(registry, tokio::runtime::Handle::current())),
            writer_ids: writer_ids(&self.config).await,
            preferences: PreferencesTable::default(),
            clock: Clock::system(),
            readiness: readiness.clone(),
            stop: stop.clone(),
        };
        let delivery = delivery::run(setup);
        let task = tokio::spawn(async move { delivery.await.map_err(|error| error.to_string()) });
        (Running { task, stop }, readiness)
    }

    /// Starts the receipts role in this process and waits until it is ready.
    pub async fn receipts(&self) -> Running {
        self.receipts_by(Clock::system()).await
    }

    /// [`World::receipts`] by another clock.
    pub async fn receipts_by(&self, clock: Clock) -> Running {
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let registry = Registry::new(&self.config.registry).unwrap();
        let setup = notilog::receipts::Setup {
            config: Arc::clone(&self.config),
            schemas: Arc::new(RegistrySchemas::new(registry, tokio::runtime::Handle::current())),
            writer_ids: writer_ids(&self.config).await,
            clock,
            readiness: readiness.clone(),
            stop: stop.clone(),
        };
        let taking = notilog::receipts::run(setup);
        let task = tokio::spawn(async move { taking.await.map_err(|error| error.to_string()) });
        Running { task, stop }.ready(&readiness).await.unwrap_or_else(|error| panic!("receipts ended: {error}"))
    }

    /// The same world under another configuration.
    pub fn with_config(&self, change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::clone(&self.config);
        change(&mut config);
        World {
            config: Arc::new(config),
            topics: self.topics.clone(),
            folder: tempfile::tempdir().unwrap(),
            restart: self.restart.clone(),
            _cleanup: None,
        }
    }

    /// Produces records with confluent-kafka's AvroSerializer.
    pub async fn produce(&self, record: RecordType, records: Vec<Value>) {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        client(&["produce", record.name()], lines.join("\n")).await;
    }

    /// Produces one event to `notify.events.shop`.
    pub async fn event(&self, event: Value) {
        let item = json!({"topic": self.topics.events("shop"), "key": "k", "value": event});
        self.produce(RecordType::Event, vec![item]).await;
    }

    /// Writes preferences and waits for nothing.
    pub async fn preferences(&self, all: Vec<Value>) {
        let items = all.into_iter().map(|value| {
            let key = format!("{}/{}", value["tenant"].as_str().unwrap(), value["user_id"].as_str().unwrap());
            json!({"topic": self.topics.preferences(), "key": key, "value": value})
        });
        self.produce(RecordType::Preferences, items.collect()).await;
    }

    /// Every record of these topics under read_committed, read by confluent-kafka.
    pub async fn read(&self, topics: &[String]) -> Vec<Value> {
        let mut arguments = vec!["read"];
        arguments.extend(topics.iter().map(String::as_str));
        client(&arguments, String::new()).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Reads until `enough` says so.
    pub async fn read_until(&self, topics: &[String], enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.read(topics).await;
            if enough(&records) {
                return records;
            }
            assert!(Instant::now() < deadline, "within {PATIENCE:?} only this came: {records:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Records in these topics under read_committed.
    pub async fn count(&self, topics: &[String]) -> usize {
        let mut arguments = vec!["count"];
        arguments.extend(topics.iter().map(String::as_str));
        client(&arguments, String::new()).await.trim().parse().unwrap()
    }

    /// Starts the program itself with this world's configuration; its log goes to the world's folder.
    pub fn program(&self, arguments: &[&str]) -> Program {
        self.program_with(arguments, &[])
    }

    /// [`World::program`] with settings in its environment.
    pub fn program_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_notilog"))
            .args(arguments)
            .arg("--config")
            .arg(self.config_file())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Program(child)
    }

    /// What the programs of this world logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until the programs of this world logged `text` so many times.
    pub async fn wait_for_log(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < deadline, "`{text}` was not logged {times} times:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until someone writes to a topic.
    pub async fn wait_for_end_to_move(&self, topic: &str) {
        assert!(self.end_moves_within(topic, PATIENCE).await, "nobody wrote to {topic}");
    }

    /// Waits until someone writes to a topic, but no longer than that; whether someone did.
    pub async fn end_moves_within(&self, topic: &str, patience: Duration) -> bool {
        let (kafka, topic) = (self.config.kafka.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let ends = || notilog::kafka::reader::ends(&kafka, &topic).unwrap();
            let (before, deadline) = (ends(), Instant::now() + patience);
            while ends() == before {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            true
        })
        .await
        .unwrap()
    }

    /// What the programs of this world logged.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Reads one topic until it has `count` records.
    pub async fn read_count(&self, topic: String, count: usize) -> Vec<Value> {
        self.read_until(&[topic], |records| records.len() >= count).await
    }
}

#[derive(Debug)]
/// A role at work in this process.
pub struct Running {
    task: tokio::task::JoinHandle<Result<(), String>>,
    stop: CancellationToken,
}

impl Running {
    async fn ready(self, readiness: &Readiness) -> Result<Self, String> {
        let deadline = Instant::now() + PATIENCE;
        while !readiness.is_ready() {
            if self.task.is_finished() {
                return Err(self.task.await.unwrap().expect_err("nobody stopped it"));
            }
            assert!(Instant::now() < deadline, "not ready: {:?}", readiness.waiting());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(self)
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops in time").expect("it does not panic")
    }
}

/// The program as a process; killed when dropped.
pub struct Program(std::process::Child);

impl Program {
    /// SIGKILL: no drop, no flush, no goodbye.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM: it may finish what it does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes a test's topics away when its world ends: a broker with the topics of a hundred tests is a slow one.
pub struct Cleanup {
    pub kafka: config::Kafka,
    pub prefix: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let (kafka, prefix) = (self.kafka.clone(), self.prefix.clone());
        let delete = async move {
            let admin = Admin::new(&kafka)?;
            let names = admin.list(&prefix).await?.into_keys().collect::<Vec<_>>();
            admin.delete(&names.iter().map(String::as_str).collect::<Vec<_>>()).await
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // On a thread of its own: a test's runtime may not be blocked by another.
        let deleted = std::thread::spawn(move || runtime.block_on(delete)).join();
        if let Ok(Err(error)) = deleted {
            eprintln!("the topics of this test stay: {error}");
        }
    }
}

/// The ids to write with; registers the schemas once for all tests.
pub async fn writer_ids(config: &Config) -> WriterIds {
    static IDS: OnceCell<WriterIds> = OnceCell::const_new();
    *IDS.get_or_init(|| async {
        let registry = Registry::new(&config.registry).unwrap();
        schemas::apply(&registry, &schemas::wanted()).await.unwrap();
        registry.writer_ids().await.unwrap()
    })
    .await
}

async fn client(arguments: &[&str], input: String) -> String {
    script("client.py", arguments, input).await
}

/// Runs one of the programs in `clients/` and gives what it printed.
pub async fn script(name: &str, arguments: &[&str], input: String) -> String {
    script_with(name, arguments, input, &[]).await
}

/// [`script`] with more in its environment.
pub async fn script_with(name: &str, arguments: &[&str], input: String, environment: &[(&str, &str)]) -> String {
    run_script(std::path::Path::new(&python()), name, arguments, input, environment).await
}

/// [`script`] with another interpreter.
pub async fn script_by(python: &std::path::Path, name: &str, arguments: &[&str], input: String) -> String {
    run_script(python, name, arguments, input, &[]).await
}

async fn run_script(
    python: &std::path::Path,
    name: &str,
    arguments: &[&str],
    input: String,
    environment: &[(&str, &str)],
) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(name);
    let mut command = Command::new(python);
    command
        .arg(script)
        .args(arguments)
        .env("NOTILOG_KAFKA_PORT", kafka_port().to_string())
        .env("NOTILOG_REGISTRY_PORT", registry_port().to_string())
        .envs(environment.iter().copied());
    output_of(command, input).await
}

/// Runs a program to its end and gives what it printed.
pub async fn output_of(mut command: Command, input: String) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().unwrap();
        let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // A client that failed did not read all; its own message says more.
        let _ = feed.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    })
    .await
    .unwrap()
}

/// The interpreter with confluent-kafka, as `dev/services env` names it.
pub fn python() -> String {
    std::env::var("NOTILOG_PYTHON")
        .unwrap_or_else(|_| format!("{}/.services/downloads/python/bin/python", env!("CARGO_MANIFEST_DIR")))
}

/// Where the packages from npm are, beside the interpreter of Python.
pub fn node_modules() -> PathBuf {
    PathBuf::from(python()).ancestors().nth(3).expect("python/bin/python").join("node/node_modules")
}

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    Clock::system().now().0
}

/// An order event for one recipient.
pub fn order(id: &str, user: &str) -> Value {
    json!({
        "id": id, "source": "shop/orders", "type": "order.shipped", "time": now(), "tenant": "default",
        "category": "orders", "priority": "NORMAL", "recipients": [user], "audience": null, "channels": null,
        "template": null, "data": "{\"order_id\":\"A-1\"}", "locale": null, "not_before": null, "expires_at": null,
        "collapse_key": null,
    })
}

/// A recipient with one verified e-mail address.
pub fn person(user: &str) -> Value {
    json!({
        "tenant": "default", "user_id": user, "locale": "en", "timezone": "Europe/Berlin",
        "endpoints": [{"channel": "email", "address": format!("{user}@example.org"), "verified": true, "label": null}],
        "channels": {}, "categories": {}, "quiet_hours": [], "paused_until": null, "version": 1,
        "updated_at": now(), "updated_by": "test",
    })
}

/// `value` with some fields set.
pub fn with(mut value: Value, fields: Value) -> Value {
    for (name, field) in fields.as_object().unwrap() {
        value[name] = field.clone();
    }
    value
}

/// A TCP relay to a local port that can be shut: connections break, and new ones are refused answers.
pub struct Valve {
    pub port: u16,
    shut: tokio::sync::watch::Sender<bool>,
}

impl Valve {
    /// Relays to `to`.
    pub async fn open(to: u16) -> Valve {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shut, watched) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut inward, _)) = listener.accept().await {
                let mut watched = watched.clone();
                tokio::spawn(async move {
                    if *watched.borrow() {
                        return;
                    }
                    let Ok(mut outward) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inward, &mut outward) => {}
                        _ = watched.wait_for(|shut| *shut) => {}
                    }
                });
            }
        });
        Valve { port, shut }
    }

    /// Breaks every connection, and those to come.
    pub fn shut(&self) {
        self.shut.send_replace(true);
    }

    /// Relays again.
    pub fn reopen(&self) {
        self.shut.send_replace(false);
    }
}
