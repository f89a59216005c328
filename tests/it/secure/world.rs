//! The secured cluster as tests see it: topics of their own, a configuration for each user, the program as a process,
//! and a client that is not ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::kafka::Right;
use notilog::kafka::acl::Acl;
use notilog::kafka::admin::{Admin, TopicSpec};
use notilog::model::{Channel, Class, Topics};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::stand_in::unique;
use crate::support::{PATIENCE, person, port, registry_port, script_with, with, writer_ids};

/// The secured Kafka as `dev/services env --secure` tells it; `None` where it is not up and need not be.
struct Secured {
    address: String,
    ca: PathBuf,
    users: PathBuf,
}

impl Secured {
    fn find() -> Option<Secured> {
        let variable = |name: &str| std::env::var(name).ok();
        let found = || {
            let (ca, users) = (variable("NOTILOG_SECURE_CA")?, variable("NOTILOG_SECURE_USERS")?);
            Some(Secured { address: variable("NOTILOG_SECURE_KAFKA")?, ca: ca.into(), users: users.into() })
        };
        let secured = found();
        let needed = std::env::var_os("NOTILOG_TEST_SERVICES").is_some();
        assert!(secured.is_some() || !needed, "start it with `dev/services up --secure`, and eval its env");
        if secured.is_none() {
            eprintln!("passed over: there is no secured Kafka; `dev/test` starts one");
        }
        secured
    }

    fn password(&self, user: &str) -> String {
        std::fs::read_to_string(self.users.join(user)).unwrap().trim().to_owned()
    }
}

/// Topics of one test on the secured cluster, and a configuration for each user.
pub struct World {
    secured: Secured,
    pub topics: Topics,
    pub folder: tempfile::TempDir,
    admin: Admin,
    channel: Channel,
}

impl World {
    /// All topics, made as an administrator; no rights yet.
    pub async fn new(name: &str) -> Option<World> {
        World::of(name, Channel::Email).await
    }

    /// [`World::new`] with another channel than e-mail.
    pub async fn of(name: &str, channel: Channel) -> Option<World> {
        let secured = Secured::find()?;
        let (topics, folder) = (Topics::new(&format!("s-{name}-{}.", &unique()[..8])), tempfile::tempdir().unwrap());
        let config = load(&secured, &topics, channel, "admin");
        writer_ids(&config).await;
        let admin = Admin::new(&config.kafka).unwrap();
        let world = World { secured, topics, folder, admin, channel };
        world.expect(&world.run("admin", &["topics", "apply"]), 0);
        Some(world)
    }

    pub fn config(&self, user: &str) -> Config {
        load(&self.secured, &self.topics, self.channel, user)
    }

    /// A user's configuration file, with `more` in place of what it names.
    fn file(&self, user: &str, more: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{user}-{}.toml", unique()));
        std::fs::write(&path, toml(&self.secured, &self.topics, self.channel, user, more)).unwrap();
        path
    }

    fn command(&self, user: &str, more: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_notilog"));
        command.args(arguments).arg("--config").arg(self.file(user, more)).stdin(Stdio::null());
        command
    }

    pub fn run(&self, user: &str, arguments: &[&str]) -> Output {
        self.command(user, "", arguments).output().unwrap()
    }

    pub fn expect(&self, output: &Output, code: i32) -> String {
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// Starts a role; its output goes to a file.
    pub fn start(&self, user: &str, more: &str, arguments: &[&str]) -> Process {
        let log = self.folder.path().join(format!("log-{user}-{}", unique()));
        let out = std::fs::File::create(&log).unwrap();
        let mut command = self.command(user, more, arguments);
        let child = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Process { child, log, began: Instant::now() }
    }

    /// A topic that is none of notilog's, without any rights.
    pub async fn customers_topic(&self, name: &str) -> String {
        let name = format!("{}customers.{name}", self.topics.prefix());
        let spec = TopicSpec { name: name.clone(), partitions: 1, replication: 1, config: BTreeMap::new() };
        self.admin.create(&[&spec]).await.remove(0).unwrap();
        name
    }

    /// Gives the roles their rights, by the program itself.
    pub fn grant_roles(&self, roles: &[&str]) {
        let mut arguments = vec!["topics", "apply", "--acls"];
        roles.iter().for_each(|role| arguments.extend(["--principal", role]));
        self.expect(&self.run("admin", &arguments), 0);
    }

    pub async fn revoke(&self, principal: &str, right: &Right) {
        let acl = Acl::allow(principal, right.resource.clone(), right.operation);
        self.admin.revoke(std::slice::from_ref(&acl)).into_iter().for_each(Result::unwrap);
        self.settled(&acl, false).await;
    }

    pub async fn grant(&self, principal: &str, right: &Right) {
        let acl = Acl::allow(principal, right.resource.clone(), right.operation);
        self.admin.grant(std::slice::from_ref(&acl)).into_iter().for_each(Result::unwrap);
        self.settled(&acl, true).await;
    }

    /// The broker takes a change over from its controller a moment after it was acknowledged.
    async fn settled(&self, acl: &Acl, there: bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.admin.acls().unwrap().contains(acl) != there {
            assert!(Instant::now() < deadline, "{acl:?} is not {there}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Runs a client that is not ours, as a user.
    async fn client(&self, user: &str, arguments: &[&str], input: String) -> String {
        let connection = json!({
            "bootstrap.servers": self.secured.address, "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": user, "sasl.password": self.secured.password(user),
            "ssl.ca.location": self.secured.ca,
        });
        let group = format!("{}analyst-{user}", self.topics.prefix());
        let environment = [("NOTILOG_TEST_CONNECTION", connection.to_string()), ("NOTILOG_TEST_GROUP", group)];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        script_with("client.py", arguments, input, &environment).await
    }

    pub async fn produce(&self, user: &str, record: RecordType, items: &[Value]) {
        let lines: Vec<String> = items.iter().map(Value::to_string).collect();
        self.client(user, &["produce", record.name()], lines.join("\n")).await;
    }

    pub async fn events(&self, user: &str, events: impl IntoIterator<Item = Value>) {
        let topic = self.topics.events("shop");
        let items: Vec<Value> =
            events.into_iter().map(|event| json!({"topic": topic, "key": "k", "value": event})).collect();
        self.produce(user, RecordType::Event, &items).await;
    }

    pub async fn people(&self, users: &[String]) {
        let item = |user: &String| json!({"topic": self.topics.preferences(), "key": format!("default/{user}"), "value": person(user)});
        self.produce("admin", RecordType::Preferences, &users.iter().map(item).collect::<Vec<_>>()).await;
    }

    /// People with one endpoint each, who want a category by its channel.
    pub async fn people_at(&self, channel: &str, category: &str, people: &[(&str, &str)]) {
        let item = |(user, address): &(&str, &str)| {
            let endpoint = json!({"channel": channel, "address": address, "verified": true, "label": null});
            let choice = json!({category: {"enabled": true, "channels": [channel], "digest": null}});
            let value = with(person(user), json!({"endpoints": [endpoint], "categories": choice}));
            json!({"topic": self.topics.preferences(), "key": format!("default/{user}"), "value": value})
        };
        self.produce("admin", RecordType::Preferences, &people.iter().map(item).collect::<Vec<_>>()).await;
    }

    pub async fn read_as(&self, user: &str, topic: &str) -> Vec<Value> {
        let lines = self.client(user, &["read", topic], String::new()).await;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a topic has so many records, and a moment longer for any that are too many.
    pub async fn read_count(&self, topic: &str, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.read_as("admin", topic).await;
            if records.len() >= count {
                tokio::time::sleep(Duration::from_millis(500)).await;
                return self.read_as("admin", topic).await;
            }
            assert!(Instant::now() < deadline, "{topic} has only {} of {count} records", records.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Each event has one decision and one notification.
    pub async fn expect_routed_once(&self, events: usize) {
        for (topic, field) in
            [(self.topics.decisions(), "event_id"), (self.topics.outbound(Channel::Email, Class::Main), "event_id")]
        {
            let records = self.read_count(&topic, events).await;
            let found = counted(records.iter().map(|record| record["value"][field].as_str().unwrap()));
            let wanted = (0..events).map(|n| (format!("e-{n}"), 1)).collect();
            assert_eq!(found, wanted, "{topic}");
        }
    }
}

pub fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name.to_owned()).or_default() += 1);
    counts
}

/// A role as a process; killed when dropped.
pub struct Process {
    child: std::process::Child,
    log: PathBuf,
    pub began: Instant,
}

impl Process {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub async fn logged(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no `{text}`:\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it ended by itself with exit code 1, and gives what it said at the end.
    pub async fn refused(&mut self, within: Duration) -> String {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(1), "{}", self.text());
                let text = self.text();
                return text[text.rfind("\nerror: ").map_or(0, |at| at + 1)..].to_owned();
            }
            assert!(Instant::now() < deadline, "it still runs after {within:?}:\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0), "{}", self.text());
                return;
            }
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(secured: &Secured, topics: &Topics, channel: Channel, user: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notilog.toml");
    std::fs::write(&path, toml(secured, topics, channel, user, "")).unwrap();
    let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
    config::load(&options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `more` may hold `password=` or `ca=` lines that stand in place of the user's own.
fn toml(secured: &Secured, topics: &Topics, channel: Channel, user: &str, more: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let value = |name: &str| more.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let password = value("password=").unwrap_or_else(|| format!("${{file:{}}}", secured.users.join(user).display()));
    let ca = value("ca=").unwrap_or_else(|| secured.ca.display().to_string());
    let (prefix, address, registry) = (topics.prefix(), &secured.address, registry_port());
    let smtp = port("NOTILOG_SMTP_PORT", 2525);
    let provider = match channel {
        Channel::Kafka => "[channels.kafka]\ntopics = [\"*customers.*\"]".to_owned(),
        _ => format!(
            "[channels.email]\nhost = \"127.0.0.1\"\nport = {smtp}\ntls = \"none\"\nfrom = \"Shop <shop@example.com>\""
        ),
    };
    format!(
        r#"registry.url = "http://127.0.0.1:{registry}/apis/ccompat/v7"
policies.dir = "{root}/policies"
templates.dir = "{root}/templates"
telemetry.listen = "127.0.0.1:0"
router.tiers = ["10s"]
delivery.tiers = ["10s"]
delivery.grace = "5s"
topics.domains = ["shop"]
topics.channels = ["{channel}"]

[kafka]
bootstrap_servers = "{address}"
topic_prefix = "{prefix}"

[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanisms" = "SCRAM-SHA-512"
"sasl.username" = "{user}"
"sasl.password" = "{password}"
"ssl.ca.location" = "{ca}"

{provider}
"#
    )
}
