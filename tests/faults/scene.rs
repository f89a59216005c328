//! Where a fault happens: topics of its own on some broker, recipients, the router as processes, a load that goes on
//! meanwhile, and a watcher from outside that judges at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::kafka::admin::{Admin, TopicSpec};
use notilog::model::{Channel, Class, Topics};
use notilog::telemetry::faults::{Breakage, Point};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::support::{self, person, port};

/// How long anything may take before a test says what did not happen.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Recipients of every scene.
pub const USERS: usize = 100;

const PARTITIONS: i32 = 4;

/// Room for an event whose outbound record has none.
const LARGE: &str = "2097152";

/// Which broker, or brokers, a scene is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brokers {
    /// The one of `dev/services up`, which nobody may kill.
    Shared,
    /// The one of `dev/services up --faults`.
    Faults,
    /// The three of `dev/services up --cluster`.
    Cluster,
}

impl Brokers {
    /// Their ports.
    pub fn ports(self) -> Vec<u16> {
        match self {
            Brokers::Shared => vec![support::kafka_port()],
            Brokers::Faults => vec![port("NOTILOG_FAULTS_KAFKA_PORT", 9096)],
            Brokers::Cluster => {
                let first = port("NOTILOG_CLUSTER_PORT", 9101);
                (first..first + 3).collect()
            }
        }
    }

    /// `host:port,…`, not through a proxy.
    pub fn bootstrap(self) -> String {
        self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Where a single broker keeps its logs, for the judge; of several, none has all of the newest.
    fn log_dir(self) -> Option<PathBuf> {
        let services = std::env::var_os("NOTILOG_SERVICES_DIR").map_or_else(|| root().join(".services"), PathBuf::from);
        match self {
            Brokers::Shared => Some(services.join("data/kafka/log")),
            Brokers::Faults => Some(services.join("faults/data/faults_kafka/log")),
            Brokers::Cluster => None,
        }
    }

    /// Runs `dev/services COMMAND` for these.
    pub async fn services(self, command: &str, names: &[&str]) {
        let set = match self {
            Brokers::Shared => panic!("the shared broker is not a test's to {command}"),
            Brokers::Faults => "--faults",
            Brokers::Cluster => "--cluster",
        };
        let mut services = Command::new(root().join("dev/services"));
        services.arg(command).arg(set).args(names);
        let output = tokio::task::spawn_blocking(move || services.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "dev/services {command}: {}", String::from_utf8_lossy(&said));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Cases run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A world of its own.
pub struct Scene {
    pub topics: Topics,
    pub brokers: Brokers,
    pub config: Config,
    folder: tempfile::TempDir,
    /// A broker that was killed looks through every log it has.
    _cleanup: support::Cleanup,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

/// How a router process is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// `router.instance`; "0" when empty.
    pub instance: String,
    /// Where its Kafka is; the scene's brokers themselves when empty.
    pub bootstrap: String,
    /// What `FAILPOINTS` says, besides the breakage under test.
    pub failpoints: String,
    /// More lines of configuration; they go first, and win.
    pub toml: String,
}

impl Start {
    /// The process of an instance.
    pub fn instance(instance: impl ToString) -> Self {
        Start { instance: instance.to_string(), ..Start::default() }
    }

    /// Through a proxy.
    pub fn through(self, bootstrap: impl Into<String>) -> Self {
        Start { bootstrap: bootstrap.into(), ..self }
    }

    /// With this said at a point.
    pub fn at(mut self, point: Point, action: &str) -> Self {
        self.failpoints.push_str(&format!("{}={action};", point.name()));
        self
    }

    /// That ends by SIGKILL when it passes a point for the `n`th time.
    pub fn killed_at(self, point: Point, n: u64) -> Self {
        self.at(point, &on_pass(n, "return(kill)"))
    }

    /// With more configuration.
    pub fn with(self, toml: &str) -> Self {
        Start { toml: format!("{}{toml}\n", self.toml), ..self }
    }
}

/// An action that comes at the `n`th pass of a point, counting from 1, as the crate `fail` writes it.
pub fn on_pass(n: u64, action: &str) -> String {
    if n > 1 { format!("{}*off->{action}", n - 1) } else { action.to_owned() }
}

/// What the suite is broken by, when `dev/chaos --controls` runs it.
pub fn breakage() -> Option<Breakage> {
    let name = std::env::var("NOTILOG_MUTATION").ok()?;
    let known = Breakage::ALL.into_iter().find(|breakage| breakage.name() == format!("mutation.{name}"));
    Some(known.unwrap_or_else(|| panic!("there is no breakage `{name}`")))
}

impl Scene {
    /// Topics and recipients of its own.
    pub async fn new(name: &str, brokers: Brokers) -> Scene {
        let alone = ALONE.lock().await;
        if brokers != Brokers::Shared {
            brokers.services("up", &[]).await;
        }
        let prefix = format!("f-{name}-{}.", &notilog::telemetry::random::uuid().simple().to_string()[..8]);
        let folder = tempfile::tempdir().unwrap();
        let topics = Topics::new(&prefix);
        let config = load_config(folder.path(), &toml_for(&prefix, &brokers.bootstrap(), &Start::default()));
        let _cleanup = support::Cleanup { kafka: config.kafka.clone(), prefix };
        let scene = Scene { topics, brokers, config, folder, _cleanup, _alone: alone };
        scene.create_topics().await;
        support::writer_ids(&scene.config).await;
        scene.preferences((0..USERS).map(|n| person(&format!("u-{n}"))).collect()).await;
        scene
    }

    async fn create_topics(&self) {
        let (topics, tiers) = (&self.topics, &self.config.router.tiers);
        let mut names = vec![
            topics.events("shop"),
            topics.preferences(),
            topics.policies(),
            topics.inputs(),
            topics.suppressions(),
            topics.decisions(),
            topics.delivery_status(),
            topics.audit(),
            topics.dlq_events(),
            topics.dlq_preferences(),
        ];
        names.extend(tiers.iter().map(|delay| topics.retry_events(delay.0)));
        names.extend([Class::Main, Class::Urgent].map(|class| topics.outbound(Channel::Email, class)));
        names.extend(self.config.delivery.tiers.iter().map(|delay| topics.outbound_tier(Channel::Email, delay.0)));
        names.push(topics.dlq_outbound(Channel::Email));
        let specs: Vec<TopicSpec> = names.into_iter().map(|name| self.spec(name)).collect();
        for created in Admin::new(&self.config.kafka).unwrap().create(&specs.iter().collect::<Vec<_>>()).await {
            created.unwrap_or_else(|error| panic!("{error}: start the services with `dev/services up`"));
        }
    }

    fn spec(&self, name: String) -> TopicSpec {
        let mut config = BTreeMap::new();
        let mut set = |key: &str, value: &str| drop(config.insert(key.to_owned(), value.to_owned()));
        if name.contains("notify.events.") || name.contains("dlq.") {
            set("max.message.bytes", LARGE);
        }
        if name.contains(".retry.") {
            set("message.timestamp.type", "LogAppendTime");
        }
        if ["notify.preferences", "notify.policies", "notify.inputs", "notify.suppressions"]
            .iter()
            .any(|compact| name.ends_with(compact))
        {
            set("cleanup.policy", "compact");
        }
        let replication = if self.brokers == Brokers::Cluster { 3 } else { 1 };
        TopicSpec { name, partitions: PARTITIONS, replication, config }
    }

    /// Writes preferences with confluent-kafka's serializer.
    pub async fn preferences(&self, all: Vec<Value>) {
        let item = |value: Value| {
            let key = format!("{}/{}", value["tenant"].as_str().unwrap(), value["user_id"].as_str().unwrap());
            json!({"topic": self.topics.preferences(), "key": key, "value": value})
        };
        self.produce_preferences(all.into_iter().map(item).collect()).await;
    }

    /// Writes records as `client.py` takes them; one without a value is an erase.
    pub async fn produce_preferences(&self, items: Vec<Value>) {
        self.produce(RecordType::Preferences, items).await;
    }

    /// Writes records of a type with confluent-kafka's serializer.
    pub async fn produce(&self, record: RecordType, items: Vec<Value>) {
        let lines: Vec<String> = items.iter().map(Value::to_string).collect();
        let arguments = ["produce", record.name()];
        support::script_with(
            "client.py",
            &arguments,
            lines.join("\n"),
            &[("NOTILOG_TEST_CONNECTION", &self.connection())],
        )
        .await;
    }

    /// Every record of these topics under read_committed.
    pub async fn read(&self, topics: &[String]) -> Vec<Value> {
        let mut arguments = vec!["read"];
        arguments.extend(topics.iter().map(String::as_str));
        let environment = [("NOTILOG_TEST_CONNECTION", self.connection())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let text = support::script_with("client.py", &arguments, String::new(), &environment);
        text.await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until so many events are decided.
    pub async fn wait_for_decisions(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.read(&[self.topics.decisions()]).await.len() < count {
            assert!(Instant::now() < deadline, "there are no {count} decisions");
        }
    }

    fn connection(&self) -> String {
        json!({"bootstrap.servers": self.brokers.bootstrap()}).to_string()
    }

    /// The folder of this scene, gone with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder behind, and says where it is.
    pub fn keep(&self) -> String {
        let kept = std::env::temp_dir().join(format!("notilog-{}", self.topics.prefix().trim_end_matches('.')));
        let copied = Command::new("cp").arg("-r").arg(self.folder.path()).arg(&kept).status();
        assert!(copied.is_ok_and(|status| status.success()), "the folder is copied");
        kept.display().to_string()
    }

    /// Starts `notilog router`.
    pub fn router(&self, start: &Start) -> Process {
        self.program(&["router"], start)
    }

    /// Starts the program with this scene's configuration.
    pub fn program(&self, arguments: &[&str], start: &Start) -> Process {
        let instance = if start.instance.is_empty() { "0" } else { &start.instance };
        let bootstrap = if start.bootstrap.is_empty() { self.brokers.bootstrap() } else { start.bootstrap.clone() };
        let path = self.folder.path().join(format!("{instance}.toml"));
        std::fs::write(&path, toml_for(self.topics.prefix(), &bootstrap, start)).unwrap();
        let log = self.folder.path().join(format!("{instance}.log"));
        let output = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let read_from = output.metadata().unwrap().len();
        let broken = breakage().map(|breakage| format!("{}=return;", breakage.name())).unwrap_or_default();
        // A long run uses a copy: a build without the feature would take the program away under it.
        let built = PathBuf::from(env!("CARGO_BIN_EXE_notilog"));
        let mut command = Command::new(std::env::var_os("NOTILOG_FAULTS_BIN").map_or(built, PathBuf::from));
        command
            .args(arguments)
            .arg("--config")
            .arg(&path)
            .env("FAILPOINTS", format!("{broken}{}", start.failpoints).trim_end_matches(';'))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Process { child: command.spawn().unwrap(), log, read_from }
    }

    /// Starts to write events; see `clients/load.py` for the options.
    pub fn load(&self, rate: usize, options: &[(&str, usize)]) -> Load {
        let mut command = client("load.py", self.brokers);
        command.arg(self.topics.events("shop"));
        let all = [("users", USERS), ("rate", rate)].into_iter().chain(options.iter().copied());
        for (name, value) in all {
            command.arg(format!("--{name}")).arg(value.to_string());
        }
        Load(command.spawn().expect("the Python of dev/services starts"))
    }

    /// Starts to watch from outside.
    pub fn watch(&self) -> Watch {
        let mut command = client("watch.py", self.brokers);
        command.arg(self.topics.prefix());
        if let Some(folder) = self.brokers.log_dir() {
            assert!(folder.is_dir(), "{}: is NOTILOG_SERVICES_DIR that of the services?", folder.display());
            command.arg("--log-dir").arg(folder);
        }
        Watch(command.spawn().expect("the Python of dev/services starts"))
    }
}

fn client(script: &str, brokers: Brokers) -> Command {
    let mut command = Command::new(support::python());
    command
        .arg(root().join("tests/faults/clients").join(script))
        .env("NOTILOG_KAFKA_PORT", support::kafka_port().to_string())
        .env("NOTILOG_REGISTRY_PORT", support::registry_port().to_string())
        .env("NOTILOG_TEST_KAFKA", brokers.bootstrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

fn toml_for(prefix: &str, bootstrap: &str, start: &Start) -> String {
    let (root, registry) = (root(), support::registry_port());
    let instance = if start.instance.is_empty() { "0" } else { &start.instance };
    let mut lines = start.toml.clone();
    // What a test sets itself is not set again.
    for (key, value) in [
        ("kafka.bootstrap_servers", format!("{bootstrap:?}")),
        ("kafka.topic_prefix", format!("{prefix:?}")),
        ("registry.url", format!("\"http://127.0.0.1:{registry}/apis/ccompat/v7\"")),
        ("policies.dir", format!("{:?}", root.join("policies"))),
        ("templates.dir", format!("{:?}", root.join("templates"))),
        ("telemetry.listen", "\"127.0.0.1:0\"".to_owned()),
        ("router.instance", format!("{instance:?}")),
        ("router.static_membership", "true".to_owned()),
        ("router.shards", "2".to_owned()),
        ("router.commit_interval", "\"50ms\"".to_owned()),
        ("router.recipient_grace", "\"1s\"".to_owned()),
        ("router.tiers", "[\"1s\"]".to_owned()),
    ] {
        if !lines.contains(key) {
            lines.insert_str(0, &format!("{key} = {value}\n"));
        }
    }
    lines
}

fn load_config(folder: &Path, toml: &str) -> Config {
    let path = folder.join("scene.toml");
    std::fs::write(&path, toml).unwrap();
    let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
    config::load(&options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The program at work; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where this process's part of the instance's log begins.
    read_from: u64,
}

impl Process {
    /// SIGKILL: no drop, no flush, no goodbye.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// The same, to one that may have ended.
    pub fn try_signal(&self, name: &str) {
        let _ = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .stderr(Stdio::null())
            .status();
    }

    /// Whether it ended by SIGKILL.
    pub fn was_killed(&mut self) -> bool {
        self.ended().is_some_and(|status| status.signal() == Some(9))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn end(&mut self) -> ExitStatus {
        match self.end_within(PATIENCE).await {
            Some(status) => status,
            None => panic!("it does not end:\n{}", self.log()),
        }
    }

    /// Waits until it ends by itself; none when it does not in time.
    pub async fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Waits until it ends as a failpoint ends it.
    pub async fn end_by_kill(&mut self) {
        let status = self.end().await;
        assert_eq!(status.signal(), Some(9), "it ended otherwise, {status}:\n{}", self.log());
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let all = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&all[usize::try_from(self.read_from).unwrap().min(all.len())..]).into_owned()
    }

    /// Waits until it logged `text` so many times.
    pub async fn wait_for_log(&mut self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended, {ended:?}, before it logged `{text}`:\n{}", self.log());
            assert!(Instant::now() < deadline, "`{text}` was not logged {times} times:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a SIGSTOP took effect.
    pub async fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        let state = || std::fs::read_to_string(&stat).unwrap_or_default().rsplit(") ").next().map(str::to_owned);
        while !state().is_some_and(|rest| rest.starts_with('T')) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until its shards have partitions.
    pub async fn wait_until_assigned(&mut self) {
        self.wait_for_log("assigned", 1).await;
    }

    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events on their way in; ended when dropped.
pub struct Load(Child);

impl Load {
    /// Tells it to stop, unless it was given a number of events, and says how many there are now.
    pub async fn finish(mut self) -> usize {
        drop(self.0.stdin.take());
        self.wait().await
    }

    /// Waits until it wrote as many as it was told to.
    pub async fn wait(mut self) -> usize {
        let output = self.0.stdout.take().unwrap();
        let text = tokio::task::spawn_blocking(move || std::io::read_to_string(output).unwrap()).await.unwrap();
        assert!(self.0.wait().unwrap().success(), "the load failed");
        let said: Value = serde_json::from_str(&text).unwrap();
        usize::try_from(said["events"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The judge; ended when dropped.
pub struct Watch(Child);

impl Watch {
    /// Waits until each event is decided and all is calm, and gives what it found.
    pub async fn verdict(mut self, events: usize, poison: usize) -> Value {
        let told = json!({"events": events, "poison": poison, "patience": 60});
        writeln!(self.0.stdin.as_mut().unwrap(), "{told}").unwrap();
        let output = self.0.stdout.take().unwrap();
        let text = tokio::task::spawn_blocking(move || std::io::read_to_string(output).unwrap()).await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the watcher failed: {error}: {text}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a watcher counts (`clients/judge.py`); all of them must be 0.
pub const FAULTS: [&str; 13] = [
    "lost",
    "double",
    "aborted_input",
    "not_routed",
    "disordered",
    "decision_without_outbound",
    "outbound_without_decision",
    "rejected_without_letter",
    "letter_without_rejection",
    "vanished",
    "appeared",
    "aborted_read",
    "hidden",
];

/// Nothing is lost, nothing is double, nothing was seen that should not be.
pub fn assert_exactly_once(verdict: &Value) {
    println!("{verdict}");
    let found: Vec<String> = FAULTS
        .iter()
        .filter(|fault| verdict[**fault] != 0)
        .map(|fault| format!("{fault} {}", verdict[*fault]))
        .collect();
    assert!(found.is_empty(), "not exactly once: {}: {}", found.join(", "), verdict["examples"]);
}

/// SplitMix64: the same seed, the same moments.
#[derive(Debug, Clone)]
pub struct Seed(pub u64);

impl Seed {
    /// `NOTILOG_SEED`, or one that is printed.
    pub fn of_environment() -> Self {
        let seed = std::env::var("NOTILOG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_711);
        println!("NOTILOG_SEED={seed}");
        Seed(seed)
    }

    /// From `low` up to and without `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % (high - low)
    }
}
