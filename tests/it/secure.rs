//! A cluster that lets nobody in without TLS, a password and rights (`dev/services up --secure`): the roles run with no
//! more than `topics/acls.toml`, and what is refused is said at once, by name, with nothing lost and nothing double.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::kafka::Right;
use notilog::kafka::acl::{Acl, Kind, Operation, Resource};
use notilog::kafka::admin::Admin;
use notilog::kafka::rights::needs;
use notilog::model::{Channel, Class, NotificationId, Role, Topics};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, unique};
use crate::support::{PATIENCE, now, order, person, port, registry_port, script_with, writer_ids};

/// A refusal is said within this, the start of the process on a busy machine included.
const AT_ONCE: Duration = Duration::from_secs(15);

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
struct World {
    secured: Secured,
    topics: Topics,
    folder: tempfile::TempDir,
    admin: Admin,
}

impl World {
    /// All topics, made as an administrator; no rights yet.
    async fn new(name: &str) -> Option<World> {
        let secured = Secured::find()?;
        let (topics, folder) = (Topics::new(&format!("s-{name}-{}.", &unique()[..8])), tempfile::tempdir().unwrap());
        let config = load(&secured, &topics, "admin", "");
        writer_ids(&config).await;
        let admin = Admin::new(&config.kafka).unwrap();
        let world = World { secured, topics, folder, admin };
        world.expect(&world.run("admin", &["topics", "apply"]), 0);
        Some(world)
    }

    fn config(&self, user: &str) -> Config {
        load(&self.secured, &self.topics, user, "")
    }

    /// A user's configuration file, with `more` in place of what it names.
    fn file(&self, user: &str, more: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{user}-{}.toml", unique()));
        std::fs::write(&path, toml(&self.secured, &self.topics, user, more)).unwrap();
        path
    }

    fn command(&self, user: &str, more: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_notilog"));
        command.args(arguments).arg("--config").arg(self.file(user, more)).stdin(Stdio::null());
        command
    }

    fn run(&self, user: &str, arguments: &[&str]) -> Output {
        self.command(user, "", arguments).output().unwrap()
    }

    fn expect(&self, output: &Output, code: i32) -> String {
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// Starts a role; its output goes to a file.
    fn start(&self, user: &str, more: &str, arguments: &[&str]) -> Process {
        let log = self.folder.path().join(format!("log-{user}-{}", unique()));
        let out = std::fs::File::create(&log).unwrap();
        let mut command = self.command(user, more, arguments);
        let child = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Process { child, log, began: Instant::now() }
    }

    /// Gives the roles their rights, by the program itself.
    fn grant_roles(&self, roles: &[&str]) {
        let mut arguments = vec!["topics", "apply", "--acls"];
        roles.iter().for_each(|role| arguments.extend(["--principal", role]));
        self.expect(&self.run("admin", &arguments), 0);
    }

    async fn revoke(&self, principal: &str, right: &Right) {
        let acl = Acl::allow(principal, right.resource.clone(), right.operation);
        self.admin.revoke(std::slice::from_ref(&acl)).into_iter().for_each(Result::unwrap);
        self.settled(&acl, false).await;
    }

    async fn grant(&self, principal: &str, right: &Right) {
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
        let environment =
            [("NOTILOG_TEST_CONNECTION", connection.to_string()), ("NOTILOG_TEST_GROUP", group)];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        script_with("client.py", arguments, input, &environment).await
    }

    async fn produce(&self, user: &str, record: RecordType, items: &[Value]) {
        let lines: Vec<String> = items.iter().map(Value::to_string).collect();
        self.client(user, &["produce", record.name()], lines.join("\n")).await;
    }

    async fn events(&self, user: &str, events: impl IntoIterator<Item = Value>) {
        let topic = self.topics.events("shop");
        let items: Vec<Value> =
            events.into_iter().map(|event| json!({"topic": topic, "key": "k", "value": event})).collect();
        self.produce(user, RecordType::Event, &items).await;
    }

    async fn people(&self, users: &[String]) {
        let item = |user: &String| json!({"topic": self.topics.preferences(), "key": format!("default/{user}"), "value": person(user)});
        self.produce("admin", RecordType::Preferences, &users.iter().map(item).collect::<Vec<_>>()).await;
    }

    async fn read_as(&self, user: &str, topic: &str) -> Vec<Value> {
        let lines = self.client(user, &["read", topic], String::new()).await;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a topic has so many records, and a moment longer for any that are too many.
    async fn read_count(&self, topic: &str, count: usize) -> Vec<Value> {
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
    async fn expect_routed_once(&self, events: usize) {
        for (topic, field) in [
            (self.topics.decisions(), "event_id"),
            (self.topics.outbound(Channel::Email, Class::Main), "event_id"),
        ] {
            let records = self.read_count(&topic, events).await;
            let found = counted(records.iter().map(|record| record["value"][field].as_str().unwrap()));
            let wanted = (0..events).map(|n| (format!("e-{n}"), 1)).collect();
            assert_eq!(found, wanted, "{topic}");
        }
    }
}

fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name.to_owned()).or_default() += 1);
    counts
}

/// A role as a process; killed when dropped.
struct Process {
    child: std::process::Child,
    log: PathBuf,
    began: Instant,
}

impl Process {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn logged(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "no `{text}`:\n{}", self.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it ended by itself with exit code 1, and gives what it said at the end.
    async fn refused(&mut self, within: Duration) -> String {
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
    async fn stop(mut self) {
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

fn load(secured: &Secured, topics: &Topics, user: &str, more: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notilog.toml");
    std::fs::write(&path, toml(secured, topics, user, more)).unwrap();
    let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
    config::load(&options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `more` may hold `password=` or `ca=` lines that stand in place of the user's own.
fn toml(secured: &Secured, topics: &Topics, user: &str, more: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let value = |name: &str| more.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let password = value("password=").unwrap_or_else(|| format!("${{file:{}}}", secured.users.join(user).display()));
    let ca = value("ca=").unwrap_or_else(|| secured.ca.display().to_string());
    let (prefix, address, registry) = (topics.prefix(), &secured.address, registry_port());
    let smtp = port("NOTILOG_SMTP_PORT", 2525);
    format!(
        r#"registry.url = "http://127.0.0.1:{registry}/apis/ccompat/v7"
policies.dir = "{root}/policies"
templates.dir = "{root}/templates"
telemetry.listen = "127.0.0.1:0"
router.tiers = ["10s"]
delivery.tiers = ["10s"]
delivery.grace = "5s"
topics.domains = ["shop"]
topics.channels = ["email"]

[kafka]
bootstrap_servers = "{address}"
topic_prefix = "{prefix}"

[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.mechanisms" = "SCRAM-SHA-512"
"sasl.username" = "{user}"
"sasl.password" = "{password}"
"ssl.ca.location" = "{ca}"

[channels.email]
host = "127.0.0.1"
port = {smtp}
tls = "none"
from = "Shop <shop@example.com>"
"#
    )
}

/// A notification to an address that no other test uses.
struct Mail {
    user: String,
    address: String,
}

impl Mail {
    fn new() -> Self {
        let user = unique();
        Mail { address: format!("{user}@example.org"), user }
    }

    fn id(&self) -> String {
        NotificationId::derive("default", "shop/orders", "e-1", &self.user, "email", &self.address, "").to_string()
    }

    fn outbound(&self, world: &World) -> Value {
        json!({"topic": world.topics.outbound(Channel::Email, Class::Main), "key": format!("default/{}", self.user), "value": {
            "notification_id": self.id(), "event_id": "e-1", "source": "shop/orders", "type": "order.shipped",
            "event_time": now(), "tenant": "default", "user_id": self.user, "category": "orders",
            "priority": "NORMAL", "channel": "email", "address": self.address, "locale": "en",
            "timezone": "Europe/Berlin", "template": "message", "data": "{\"title\":\"Shipped\",\"text\":\"On its way\"}",
            "collapse_key": null, "not_before": null, "expires_at": null, "decided_at": now(), "policy_version": "v",
            "replay_id": null, "siblings": [], "fallback": [],
        }})
    }

    async fn sent(&self) -> Vec<Value> {
        StandIn::smtp().list("/messages", &[("address", &self.address)]).await
    }
}

/// Who the message must name, what, on what, and how it is granted.
fn expect_named(said: &str, principal: &str, right: &Right) {
    // Of transactional ids the very one is named that was refused.
    let refused = match right.resource.kind {
        Kind::TransactionalId => format!("{} on transactional id `{}", right.operation, right.resource.name),
        _ => right.to_string(),
    };
    for part in [principal.to_owned(), refused, "notilog topics apply --acls".to_owned()] {
        assert!(said.contains(&part), "no `{part}` in: {said}");
    }
    assert!(said.contains("kafka-acls.sh --add"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_works_with_no_more_than_its_rights() {
    let Some(world) = World::new("least").await else { return };
    let roles = [
        "router=User:router",
        "deliver=User:deliver",
        "operator=User:cli",
        "producer=User:producer",
        "analyst=User:reader",
    ];
    world.grant_roles(&roles);
    let (mut router, mut deliver) =
        (world.start("router", "", &["router"]), world.start("deliver", "", &["deliver", "--channel", "email"]));
    router.logged("assigned").await;
    deliver.logged("assigned").await;

    let users: Vec<String> = (0..30).map(|_| unique()).collect();
    let list = world.folder.path().join("people.json");
    let lines: Vec<String> = users.iter().map(|user| person(user).to_string()).collect();
    std::fs::write(&list, lines.join("\n")).unwrap();
    world.expect(&world.run("cli", &["prefs", "import", list.to_str().unwrap()]), 0);
    world.events("producer", users.iter().enumerate().map(|(n, user)| order(&format!("e-{n}"), user))).await;
    world.expect_routed_once(users.len()).await;
    let statuses = world.read_count(&world.topics.delivery_status(), users.len()).await;
    assert!(statuses.iter().all(|status| status["value"]["state"] == "SENT"), "{statuses:#?}");
    assert_eq!(statuses.len(), users.len());
    // A record that cannot be read becomes a dead letter, which the operator sees.
    let raw = json!({"topic": world.topics.events("shop"), "key": "k", "raw": "00ff"});
    world.produce("producer", RecordType::Event, &[raw]).await;
    world.read_count(&world.topics.dlq_events(), 1).await;

    for (arguments, code) in [
        (&["topics", "verify"][..], 0),
        (&["prefs", "get", &format!("default/{}", users[0])], 0),
        (&["dlq", "ls"], 0),
        (&["dlq", "redrive", "--yes"], 0),
        (&["status", &format!("default/{}", users[0])], 0),
        (&["explain", "e-0"], 0),
    ] {
        let text = world.expect(&world.run("cli", arguments), code);
        assert!(!text.contains("lacks rights"), "{arguments:?}: {text}");
    }
    assert_eq!(world.read_as("reader", &world.topics.decisions()).await.len(), users.len());
    router.stop().await;
    deliver.stop().await;
}

/// All rights of a role, one by one.
fn rights_of(world: &World, role: Role) -> Vec<Right> {
    needs(role, &world.config("admin"), &[Channel::Email]).into_iter().map(|need| need.right).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_without_one_of_its_rights_says_which_and_loses_nothing() {
    let Some(world) = World::new("router").await else { return };
    world.grant_roles(&["router=User:router"]);
    let users = [unique()];
    world.people(&users).await;
    let rights = rights_of(&world, Role::Router);
    for (n, right) in rights.iter().enumerate() {
        world.revoke("User:router", right).await;
        world.events("admin", [order(&format!("e-{n}"), &users[0])]).await;
        let mut router = world.start("router", "", &["router"]);
        let said = router.refused(AT_ONCE).await;
        expect_named(&said, "User:router", right);
        println!("{right}: after {:?}", router.began.elapsed());
        world.grant("User:router", right).await;
    }
    let router = world.start("router", "", &["router"]);
    world.expect_routed_once(rights.len()).await;
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_without_one_of_its_rights_says_which_and_loses_nothing() {
    let Some(world) = World::new("deliver").await else { return };
    world.grant_roles(&["deliver=User:deliver"]);
    let mut mails = Vec::new();
    for right in rights_of(&world, Role::Deliver) {
        let mail = Mail::new();
        world.revoke("User:deliver", &right).await;
        world.produce("admin", RecordType::Outbound, &[mail.outbound(&world)]).await;
        let mut deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
        let said = deliver.refused(AT_ONCE).await;
        expect_named(&said, "User:deliver", &right);
        println!("{right}: after {:?}", deliver.began.elapsed());
        world.grant("User:deliver", &right).await;
        mails.push(mail);
    }
    let deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
    let statuses = world.read_count(&world.topics.delivery_status(), mails.len()).await;
    deliver.stop().await;
    let found = counted(statuses.iter().map(|status| status["value"]["notification_id"].as_str().unwrap()));
    assert_eq!(found, mails.iter().map(|mail| (mail.id(), 1)).collect());
    for mail in &mails {
        assert_eq!(mail.sent().await.len(), 1, "nothing was sent before all rights were there");
    }
}

/// Some rights of each kind, of which the client hears in different ways.
fn taken_while_running(world: &World, role: Role, names: &[&str]) -> Vec<Right> {
    let rights = rights_of(world, role);
    let one = |name: &&str| rights.iter().find(|right| right.to_string().contains(*name)).unwrap().clone();
    names.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_loses_a_right_while_it_runs_stops_and_later_goes_on() {
    let Some(world) = World::new("taken").await else { return };
    world.grant_roles(&["router=User:router"]);
    let users = [unique()];
    world.people(&users).await;
    let rights = taken_while_running(
        &world,
        Role::Router,
        &["Write on topic `s-taken", "Read on group", "Write on transactional", "Read on topics that begin"],
    );
    let mut events = 0;
    for right in &rights {
        let mut router = world.start("router", "", &["router"]);
        router.logged("assigned").await;
        world.events("admin", [order(&format!("e-{events}"), &users[0])]).await;
        world.read_count(&world.topics.decisions(), events + 1).await;
        let began = Instant::now();
        world.revoke("User:router", right).await;
        let more = (events + 1..events + 6).map(|n| order(&format!("e-{n}"), &users[0]));
        world.events("admin", more).await;
        events += 6;
        let said = router.refused(AT_ONCE * 2).await;
        expect_named(&said, "User:router", right);
        println!("{right}: {:?} after it was taken", began.elapsed());
        world.grant("User:router", right).await;
    }
    let router = world.start("router", "", &["router"]);
    world.expect_routed_once(events).await;
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_loses_a_right_while_it_runs_stops_and_later_goes_on() {
    let Some(world) = World::new("dtaken").await else { return };
    world.grant_roles(&["deliver=User:deliver"]);
    let names = ["delivery-status`", "Read on group", "Write on transactional", "Read on topic `s-dtaken"];
    let mut mails: Vec<Mail> = Vec::new();
    for right in taken_while_running(&world, Role::Deliver, &names) {
        let mut deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
        deliver.logged("partitions assigned").await;
        world.revoke("User:deliver", &right).await;
        let mail = Mail::new();
        world.produce("admin", RecordType::Outbound, &[mail.outbound(&world)]).await;
        mails.push(mail);
        let said = deliver.refused(AT_ONCE * 2).await;
        expect_named(&said, "User:deliver", &right);
        world.grant("User:deliver", &right).await;
    }
    let deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
    let statuses = world.read_count(&world.topics.delivery_status(), mails.len()).await;
    deliver.stop().await;
    let found = counted(statuses.iter().map(|status| status["value"]["notification_id"].as_str().unwrap()));
    assert_eq!(found, mails.iter().map(|mail| (mail.id(), 1)).collect());
    for mail in &mails {
        let sent = mail.sent().await;
        // A call whose outcome could not be written is made again, under the same Message-ID.
        let ids = counted(sent.iter().map(|one| one["message_id"].as_str().unwrap()));
        assert!((1..=2).contains(&sent.len()) && ids.len() == 1, "{sent:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_at_once_by_every_command() {
    let Some(world) = World::new("password").await else { return };
    for (user, arguments) in commands() {
        let began = Instant::now();
        let mut role = world.start(user, "password=wrong", &arguments);
        let said = role.refused(AT_ONCE).await;
        let wanted = format!("refuses the login of User:{user}");
        assert!(said.contains(&wanted) && said.contains("sasl.password"), "{arguments:?}: {said}");
        assert!(!said.contains("wrong"), "{said}");
        println!("{arguments:?}: after {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_said_at_once_by_every_command() {
    let Some(world) = World::new("certificate").await else { return };
    let services = std::env::var("NOTILOG_SMTP_CA").map(PathBuf::from);
    let other = services.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".services/data/smtp/ca.pem"));
    assert!(other.exists(), "{} is another CA", other.display());
    for (user, arguments) in commands() {
        let mut role = world.start(user, &format!("ca={}", other.display()), &arguments);
        let said = role.refused(AT_ONCE).await;
        assert!(said.contains("is not trusted") && said.contains("ssl.ca.location"), "{arguments:?}: {said}");
    }
}

/// One command for each kind of client.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("router", vec!["router"]),
        ("deliver", vec!["deliver", "--channel", "email"]),
        ("cli", vec!["topics", "plan"]),
        ("cli", vec!["prefs", "get", "default/ada"]),
        ("cli", vec!["prefs", "erase", "default/ada", "--yes"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_the_right_says_which() {
    let Some(world) = World::new("command").await else { return };
    let ada = Right { operation: Operation::Read, resource: Resource::literal(Kind::Topic, world.topics.preferences()) };
    let said = world.expect(&world.run("cli", &["prefs", "get", "default/ada"]), 1);
    expect_named(&said, "User:cli", &ada);
    let said = world.expect(&world.run("cli", &["topics", "verify", "--acls", "--principal", "router=User:router"]), 1);
    assert!(said.contains("User:cli lacks rights on Kafka: Describe on the cluster"), "{said}");
    let said = world.expect(&world.run("cli", &["topics", "apply"]), 1);
    assert!(said.contains("User:cli lacks rights on Kafka: "), "{said}");
}
