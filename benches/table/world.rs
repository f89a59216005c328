//! Topics of the benchmark's own, a million recipients, and the router as a process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notilog::config::{self, Config, FileChoice, LoadOptions};
use notilog::kafka::admin::Admin;
use notilog::kafka::producer::{Outgoing, Producer};
use notilog::kafka::table::SnapshotSettings;
use notilog::kafka::{Table, TableSettings, TableState};
use notilog::model::{Channel, Endpoint, Event, Open, Preferences, Priority, RecipientKey, SmallMap, Topics};
use notilog::ops::schemas;
use notilog::ops::topics::{Partitions, apply, desired_of, plan};
use notilog::registry::Registry;
use notilog::telemetry::clock::Clock;
use notilog::wire::Encoders;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::measure::PATIENCE;

/// Of `notify.preferences`, as its topic file has it.
pub const PARTITIONS: i32 = 6;

/// See the module.
pub struct World {
    pub config: Arc<Config>,
    pub topics: Topics,
    folder: tempfile::TempDir,
    encoders: Encoders,
}

impl World {
    pub async fn new() -> World {
        let port = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let (kafka, registry) = (port("NOTILOG_KAFKA_PORT", "9092"), port("NOTILOG_REGISTRY_PORT", "8081"));
        let prefix = format!("bench-table-{}.", &notilog::telemetry::random::uuid().simple().to_string()[..8]);
        let (folder, root) = (tempfile::tempdir().unwrap(), PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let toml = format!(
            "kafka.bootstrap_servers = \"127.0.0.1:{kafka}\"\nkafka.topic_prefix = \"{prefix}\"\n\
             registry.url = \"http://127.0.0.1:{registry}/apis/ccompat/v7\"\npolicies.dir = \"{}\"\n\
             templates.dir = \"{}\"\ntelemetry.listen = \"127.0.0.1:0\"\ntopics.domains = [\"shop\"]\n\
             topics.replication_factor = 1\nstate.dir = \"{}\"\n",
            root.join("policies").display(),
            root.join("templates").display(),
            folder.path().join("state").display(),
        );
        let path = folder.path().join("notilog.toml");
        std::fs::write(&path, toml).unwrap();
        let options = LoadOptions { file: FileChoice::At(path), ..LoadOptions::default() };
        let config = config::load(&options).unwrap_or_else(|errors| panic!("{errors}"));
        let registry = Registry::new(&config.registry).unwrap();
        schemas::apply(&registry, &schemas::wanted()).await.unwrap();
        let encoders = Encoders::new(registry.writer_ids().await.unwrap());
        create_topics(&config).await;
        World { topics: Topics::new(&prefix), config: Arc::new(config), folder, encoders }
    }

    /// A consumer of these settings reads as the table does.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.config.kafka.bootstrap_servers)
            .set("group.id", format!("{}bare", self.config.kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", "16384");
        config
    }

    /// Writes so many recipients; returns the bytes of their keys and values.
    pub fn produce_preferences(&self, count: u64) -> u64 {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.config.kafka.bootstrap_servers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "50")
            .set("queue.buffering.max.messages", "200000")
            .create()
            .unwrap();
        let (topic, mut encoders, mut bytes) = (self.topics.preferences(), self.encoders.clone(), 0);
        for n in 0..count {
            let user = format!("user-{n:08}");
            let (key, mut value) = (RecipientKey::new("default", &user), Vec::new());
            encoders.encode(&person(&user, &format!("{user}.of.the.benchmark@example.org")), &mut value).unwrap();
            bytes += (key.as_str().len() + value.len()) as u64;
            let mut record = BaseRecord::to(&topic).key(key.as_str()).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(20));
                record = back;
            }
        }
        producer.flush(PATIENCE).unwrap();
        bytes
    }

    pub async fn produce_event(&self, id: &str) {
        let value = self.encoders.clone().to_vec(&event(id)).unwrap();
        let topic = self.topics.events("shop");
        let record =
            Outgoing { topic: &topic, key: Some(b"default/user-00000001"), value: Some(&value), ..Outgoing::default() };
        Producer::new(&self.config.kafka).unwrap().send(record).await.unwrap();
    }

    pub fn table_settings(&self, with_snapshot: bool) -> TableSettings {
        let dir = self.config.state.dir.clone().unwrap();
        let snapshot = with_snapshot.then(|| SnapshotSettings {
            dir,
            name: self.topics.preferences(),
            interval: Duration::from_secs(3_600),
        });
        TableSettings { snapshot, ..TableSettings::new(self.topics.preferences(), "bench", Clock::system()) }
    }

    /// Holds the table once, so that its snapshot lies there.
    pub fn keep_snapshot(&self) {
        let (table, guard) = Table::start(&self.config.kafka, self.table_settings(true)).unwrap();
        let begun = Instant::now();
        while !matches!(table.state(), TableState::Live { .. }) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", table.state());
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(guard);
    }

    /// Starts `notilog router`.
    pub fn router(&self) -> Router {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_notilog"))
            .arg("router")
            .arg("--config")
            .arg(self.folder.path().join("notilog.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Router(child)
    }

    /// Waits until the router's group has read all preferences as an input, which it does besides holding the table.
    pub fn wait_until_all_is_checked(&self) {
        let group = self.topics.named(&self.config.router.group);
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let topic = self.topics.preferences();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic, 0, PARTITIONS - 1);
        let end = |partition| consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap().1;
        let ends: Vec<Offset> = (0..PARTITIONS).map(|partition| Offset::Offset(end(partition))).collect();
        let begun = Instant::now();
        loop {
            let committed = consumer.committed_offsets(list.clone(), PATIENCE).unwrap();
            if committed
                .elements()
                .iter()
                .map(rdkafka::topic_partition_list::TopicPartitionListElem::offset)
                .eq(ends.clone())
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{committed:?}; {}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A reader of what is committed to a topic from now on.
    pub fn reader_at_the_end(&self, topic: &str) -> BaseConsumer {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
            list.add_partition_offset(topic, partition, Offset::Offset(end)).unwrap();
        }
        consumer.assign(&list).unwrap();
        consumer
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let admin = Admin::new(&self.config.kafka).unwrap();
        let deleted = async {
            let names = admin.list(self.topics.prefix()).await?;
            admin.delete(&names.keys().map(String::as_str).collect::<Vec<_>>()).await
        };
        if let Err(error) = futures::executor::block_on(deleted) {
            eprintln!("topics under {} are left: {error}", self.topics.prefix());
        }
    }
}

async fn create_topics(config: &Config) {
    let admin = Admin::new(&config.kafka).unwrap();
    let desired = desired_of(config, 1, None, &[], None).unwrap();
    for applied in apply(&admin, plan(&desired, &std::collections::BTreeMap::new(), Partitions::Keep)).await {
        applied.result.unwrap_or_else(|error| panic!("{error}: start the services with `dev/services up`"));
    }
}

fn person<'a>(user: &'a str, address: &'a str) -> Preferences<'a> {
    let endpoint =
        |channel, address| Endpoint { channel: Open::Known(channel), address, verified: true, label: Some("home") };
    Preferences {
        tenant: "default",
        user_id: user,
        locale: "en-GB",
        timezone: "Europe/Berlin",
        endpoints: vec![
            endpoint(Channel::Email, address),
            endpoint(Channel::Webhook, "https://hooks.example.org/notifications/of/the/benchmark/0123456789abcdef"),
        ],
        channels: SmallMap::default(),
        categories: SmallMap::default(),
        quiet_hours: Vec::new(),
        paused_until: None,
        version: 1,
        updated_at: notilog::model::Timestamp(1_763_900_000_000),
        updated_by: "import of the benchmark's recipients",
    }
}

fn event(id: &str) -> Event<'_> {
    Event {
        id,
        source: "shop/orders",
        kind: "order.shipped",
        time: Clock::system().now(),
        tenant: "default",
        category: "orders",
        priority: Priority::Normal,
        recipients: vec!["user-00000001"],
        audience: None,
        channels: None,
        template: None,
        data: "{\"order_id\":\"A-1\"}",
        locale: None,
        not_before: None,
        expires_at: None,
        collapse_key: None,
    }
}

/// The router at work.
pub struct Router(Child);

impl Router {
    /// Stops it as an operator would, and waits for its end.
    pub fn stop(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        let ended = self.0.wait().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
