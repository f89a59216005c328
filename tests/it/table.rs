//! The table of a compacted topic, against a real Kafka: restored whatever lies in the log, and kept up with it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use notilog::config::{self, Kafka};
use notilog::join::PreferencesTable;
use notilog::kafka::admin::{Admin, TopicSpec};
use notilog::kafka::{Entry, NotRestored, Table, TableGuard, TableSettings, TableState};
use notilog::telemetry::clock::Clock;
use notilog::telemetry::health::Readiness;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, World, kafka_port, person};

mod part;
mod snapshot;

fn kafka() -> Kafka {
    let set = ("kafka.bootstrap_servers".to_owned(), format!("127.0.0.1:{}", kafka_port()));
    let options = config::LoadOptions { overrides: vec![set], ..config::LoadOptions::default() };
    config::load(&options).unwrap().kafka
}

/// A compacted topic of a test, and what its table should hold.
struct Topic {
    name: String,
    kafka: Kafka,
    expected: HashMap<String, Option<String>>,
}

impl Topic {
    async fn new(name: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        let id = notilog::telemetry::random::uuid().simple().to_string();
        let name = format!("t-table-{name}-{}", &id[..8]);
        let topic = Topic { name, kafka: kafka(), expected: HashMap::new() };
        topic.create(partitions, settings).await;
        topic
    }

    async fn create(&self, partitions: i32, settings: &[(&str, &str)]) {
        let mut config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        config.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let spec = TopicSpec { name: self.name.clone(), partitions, replication: 1, config };
        for created in self.admin().create(&[&spec]).await {
            created.unwrap_or_else(|error| panic!("{error}: start the services with `dev/services up`"));
        }
    }

    /// A deleted topic's name is free only after a while.
    async fn create_again(&self) {
        let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let spec = TopicSpec { name: self.name.clone(), partitions: 3, replication: 1, config };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.admin().create(&[&spec]).await.remove(0) {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn admin(&self) -> Admin {
        Admin::new(&self.kafka).unwrap()
    }

    fn settings(&self) -> TableSettings {
        TableSettings::new(&self.name, "test", Clock::system())
    }

    /// Partitions and the topic's id are looked at often.
    fn watched(&self) -> TableSettings {
        TableSettings { refresh: Duration::from_millis(200), ..self.settings() }
    }

    fn producer(&self, more: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka.bootstrap_servers).set("partitioner", "murmur2_random");
        config.set("linger.ms", "20").set("topic.metadata.refresh.interval.ms", "500");
        for (name, value) in more {
            config.set(*name, *value);
        }
        config.create().unwrap()
    }

    fn transactional(&self) -> BaseProducer {
        let producer = self.producer(&[("transactional.id", &self.name)]);
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    /// Lets each partition's log begin there.
    async fn delete_records(&self, before: &BTreeMap<i32, i64>) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka.bootstrap_servers).create().unwrap();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in before {
            list.add_partition_offset(&self.name, *partition, Offset::Offset(*offset)).unwrap();
        }
        let deleted = admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
        deleted.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Writes records that nobody will see.
    fn send(&self, producer: &BaseProducer, records: impl IntoIterator<Item = (String, Option<String>)>) {
        for (key, value) in records {
            let mut record = BaseRecord::to(&self.name).key(&key);
            if let Some(value) = &value {
                record = record.payload(value);
            }
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Writes records and expects them in the table.
    fn write(&mut self, producer: &BaseProducer, records: impl IntoIterator<Item = (String, Option<String>)>) {
        let records: Vec<_> = records.into_iter().collect();
        self.send(producer, records.clone());
        self.expected.extend(records);
    }

    /// The table has every key as it should be.
    #[track_caller]
    fn assert_held(&self, table: &Table) {
        for (key, expected) in &self.expected {
            let found = look_up(table, key);
            assert_eq!(found, expected.clone().map_or(Found::Erased, Found::Value), "{key}");
        }
        assert_eq!(table.rows() as usize, self.expected.len());
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Absent,
    Erased,
    Value(String),
}

fn look_up(table: &Table, key: &str) -> Found {
    let found = table.get(key.as_bytes(), |entry| match entry {
        Entry::Absent => Found::Absent,
        Entry::Erased { .. } => Found::Erased,
        Entry::Present { value, .. } => Found::Value(String::from_utf8(value.to_vec()).unwrap()),
    });
    found.unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn restored(kafka: &Kafka, settings: TableSettings) -> (Table, TableGuard) {
    let (table, guard) = Table::start(kafka, settings).unwrap();
    until("the table is restored", || match table.state() {
        TableState::Failed(why) => panic!("{why}"),
        state => matches!(state, TableState::Live { .. }),
    })
    .await;
    (table, guard)
}

/// The table's threads are joined, as its owner would.
async fn stop(guard: TableGuard) {
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
}

fn pair(key: impl std::fmt::Display, value: impl std::fmt::Display) -> (String, Option<String>) {
    (format!("k{key}"), Some(format!("v{value}")))
}

fn erase(key: impl std::fmt::Display) -> (String, Option<String>) {
    (format!("k{key}"), None)
}

fn behind(table: &Table) -> Duration {
    match table.state() {
        TableState::Live { behind } => behind,
        state => panic!("{state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_restored_with_the_newest_value_of_each_key_and_with_its_erases_then_follows() {
    let mut topic = Topic::new("restore", 3, &[]).await;
    let producer = topic.producer(&[]);
    topic.write(&producer, (0..2_000).map(|n| pair(n, n)));
    topic.write(&producer, (0..2_000).step_by(3).map(|n| pair(n, format!("{n}-again"))));
    topic.write(&producer, (0..2_000).step_by(5).map(erase));
    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    topic.assert_held(&table);
    assert_eq!(look_up(&table, "k2000"), Found::Absent);

    topic.write(&producer, [pair(1, "live"), erase(2), pair(2_000, "new")]);
    until("the last record arrived", || look_up(&table, "k2000") != Found::Absent).await;
    until("all arrived", || {
        look_up(&table, "k2") == Found::Erased && look_up(&table, "k1") == Found::Value("vlive".into())
    })
    .await;
    topic.assert_held(&table);
    until("at the end again", || behind(&table) == Duration::ZERO).await;
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_is_restored_at_once() {
    let topic = Topic::new("empty", 4, &[]).await;
    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    assert_eq!((table.rows(), table.bytes()), (0, 0));
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_at_the_end_and_aborted_records_neither_stop_a_restore_nor_show() {
    let mut topic = Topic::new("markers", 2, &[]).await;
    let producer = topic.transactional();
    producer.begin_transaction().unwrap();
    topic.write(&producer, (0..100).map(|n| pair(n, n)));
    producer.commit_transaction(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    topic.send(&producer, (50..150).map(|n| pair(n, "aborted")));
    producer.abort_transaction(PATIENCE).unwrap();

    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    topic.assert_held(&table);

    // The log ends in markers that no reader is shown: the table must not count as behind for them.
    producer.begin_transaction().unwrap();
    topic.write(&producer, [pair(7, "seven")]);
    producer.commit_transaction(PATIENCE).unwrap();
    until("the record arrived", || look_up(&table, "k7") == Found::Value("vseven".into())).await;
    until("it is not taken for behind", || behind(&table) == Duration::ZERO).await;
    topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_at_the_end_does_not_stop_a_restore() {
    let mut topic = Topic::new("open", 2, &[]).await;
    let producer = topic.transactional();
    topic.write(&topic.producer(&[]), (0..50).map(|n| pair(n, n)));
    producer.begin_transaction().unwrap();
    topic.send(&producer, (0..50).map(|n| pair(n, "undecided")));
    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    topic.assert_held(&table);
    topic.expected.extend((0..50).map(|n| pair(n, "undecided")));
    producer.commit_transaction(PATIENCE).unwrap();
    until("it was committed", || {
        (0..50).all(|n| look_up(&table, &format!("k{n}")) == Found::Value("vundecided".into()))
    })
    .await;
    topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_later_are_taken_up_and_keys_that_moved_count_by_their_newest_record() {
    let mut topic = Topic::new("added", 1, &[]).await;
    topic.write(&topic.producer(&[]), (0..100).map(|n| pair(n, n)));
    let (table, guard) = restored(&topic.kafka, topic.watched()).await;
    topic.admin().raise_partitions(&topic.name, 4).await.unwrap();
    topic.write(&topic.producer(&[]), (0..100).map(|n| pair(n, format!("{n}-moved"))));
    topic.write(&topic.producer(&[]), (0..100).step_by(4).map(erase));
    until("all arrived", || {
        topic
            .expected
            .iter()
            .all(|(key, value)| look_up(&table, key) == value.clone().map_or(Found::Erased, Found::Value))
    })
    .await;
    until("at the end", || behind(&table) == Duration::ZERO).await;
    stop(guard).await;

    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_anew_under_the_table_is_read_anew() {
    let mut topic = Topic::new("under", 3, &[]).await;
    topic.write(&topic.producer(&[]), (0..100).map(|n| pair(n, n)));
    let (table, guard) = restored(&topic.kafka, topic.watched()).await;
    topic.assert_held(&table);
    topic.admin().delete(&[&topic.name]).await.unwrap();
    topic.expected.clear();
    topic.create_again().await;
    // More than the old one had: its offsets alone would tell nothing.
    topic.write(&topic.producer(&[]), (50..450).map(|n| pair(n, "anew")));
    until("the table is the new topic's", || {
        matches!(table.state(), TableState::Live { .. }) && table.rows() == 400 && behind(&table) == Duration::ZERO
    })
    .await;
    topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_stays_away_leaves_nothing_to_ask() {
    let mut topic = Topic::new("gone", 3, &[]).await;
    topic.write(&topic.producer(&[]), (0..100).map(|n| pair(n, n)));
    let (table, guard) = restored(&topic.kafka, topic.watched()).await;
    topic.admin().delete(&[&topic.name]).await.unwrap();
    until("the table asks nobody to believe it", || table.get(b"k1", |_| ()) == Err(NotRestored)).await;
    topic.expected.clear();
    topic.create_again().await;
    topic.write(&topic.producer(&[]), (50..450).map(|n| pair(n, "anew")));
    until("the table is the new topic's", || matches!(table.state(), TableState::Live { .. }) && table.rows() == 400)
        .await;
    topic.assert_held(&table);
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_restored_does_not_answer() {
    let topic = Topic::new("early", 1, &[]).await;
    let nobody = Kafka { bootstrap_servers: "127.0.0.1:1".to_owned(), ..topic.kafka.clone() };
    let (table, guard) = Table::start(&nobody, topic.settings()).unwrap();
    assert_eq!(table.get(b"k1", |_| ()), Err(NotRestored));
    stop(guard).await;
    let (table, guard) = restored(&topic.kafka, topic.settings()).await;
    assert_eq!(table.get(b"k1", |entry| entry == Entry::Absent), Ok(true));
    stop(guard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_a_process_share_one_table_until_the_last_lets_it_go() {
    let world = World::new("shared-table", "").await;
    world.preferences(vec![person("ada")]).await;
    let (readiness, tables, never) = (Readiness::default(), PreferencesTable::default(), CancellationToken::new());
    let hold = |role: &str| tables.hold(&world.config, &Clock::system(), &readiness.condition(role)).unwrap();
    let (router, delivery) = (hold("router"), hold("delivery"));
    for held in [&router, &delivery] {
        assert_eq!(held.restored(&never).await, Ok(true));
    }
    assert!(router.table.is_same(&delivery.table));
    until("both roles are ready", || readiness.is_ready()).await;
    router.release().await;
    let known = |table: &Table| table.get(b"default/ada", |entry| matches!(entry, Entry::Present { .. }));
    assert_eq!(known(&delivery.table), Ok(true));
    let before = delivery.table.clone();
    delivery.release().await;
    let again = hold("again");
    assert_eq!(again.restored(&never).await, Ok(true));
    assert!(!again.table.is_same(&before), "the first one's threads are gone");
    assert_eq!(known(&again.table), Ok(true));
    again.release().await;
}
