//! The whole of the router's way from one event to its three records, between the consumer and the transaction's end. The
//! cluster is librdkafka's own, within this process (`rd_kafka_mock_cluster_new`): the table is restored from it, and
//! the records go into a transaction that is aborted.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::decide::Zones;
use crate::kafka::{Ended, Failure, MissingTopics, Table, TableGuard, TableSettings, TableState};
use crate::kafka::{Transaction, TransactionalProducer};
use crate::model::{Channel, Topics};
use crate::router::parts::{Input, OutputTopics, Outputs, Pipeline, RouterMetrics, Rules};
use crate::suppression::SuppressionList;
use crate::telemetry::clock::Clock;
use crate::telemetry::metrics;
use crate::wire::{Encoders, Records};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use crate::data;
use crate::work::Work;

/// So many events go into one transaction.
pub const UNBROKEN: usize = 1_000;

/// Recipients in the table: librdkafka's cluster keeps no more than 5 MB of a partition.
const RECIPIENTS: usize = 20_000;
const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Routing {
    /// `None` only while it is exchanged.
    transaction: Option<Transaction>,
    pipeline: Pipeline,
    events: Vec<(String, Vec<u8>)>,
    _table: TableGuard,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Routing {
    pub fn new() -> Routing {
        metrics::install().unwrap();
        let (cluster, topics) = (MockCluster::new(1).unwrap(), Topics::new(""));
        create_topics(&cluster, &topics);
        let kafka = config::Kafka {
            bootstrap_servers: cluster.bootstrap_servers(),
            topic_prefix: String::new(),
            properties: std::collections::BTreeMap::default(),
        };
        fill(&kafka, &topics);
        let (table, guard) = restored(&kafka, &topics);
        let missing = MissingTopics::default();
        let producer = TransactionalProducer::connect(&kafka, "micro", Duration::from_millis(5), missing.clone());
        Routing {
            transaction: Some(producer.unwrap().begin().unwrap()),
            pipeline: pipeline(&topics, table, missing),
            events: (0..RECIPIENTS)
                .map(|number| (data::key(number).as_str().to_owned(), data::event(number)))
                .collect(),
            _table: guard,
            _cluster: cluster,
        }
    }
}

impl Work for Routing {
    fn once(&mut self, number: usize) {
        let (key, value) = &self.events[data::scattered(number) % RECIPIENTS];
        let input = Input {
            topic: data::EVENTS,
            partition: 0,
            offset: 412_345,
            timestamp_ms: data::NOW.0,
            key: Some(key.as_bytes()),
            value: Some(value),
            headers: [data::TRACE].into_iter().collect(),
        };
        let transaction = self.transaction.as_mut().unwrap();
        let before = transaction.records();
        self.pipeline.process(transaction, &input).unwrap();
        assert_eq!(transaction.records(), before + 3, "two outbound records and one decision");
    }

    fn rest(&mut self) {
        let why = Failure::Group("the measurement has enough".to_owned());
        let Some(Ended::Aborted(producer, _)) = self.transaction.take().map(|transaction| transaction.abort(why))
        else {
            panic!("the transaction could not be aborted")
        };
        self.transaction = Some(producer.begin().unwrap());
    }
}

fn create_topics(cluster: &MockCluster<'_, DefaultProducerContext>, topics: &Topics) {
    let outputs = OutputTopics::new(topics, &[Duration::from_secs(60)], &[Duration::from_secs(60)]);
    let names = [topics.preferences(), topics.decisions()];
    let outbound = [Channel::Email, Channel::Telegram].into_iter().flat_map(|channel| outputs.of(channel));
    for topic in names.iter().map(String::as_str).chain(outbound) {
        cluster.create_topic(topic, PARTITIONS, 1).unwrap();
    }
}

fn fill(kafka: &config::Kafka, topics: &Topics) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &kafka.bootstrap_servers).create().unwrap();
    for number in 0..RECIPIENTS {
        let (key, value) = (data::key(number), data::preferences(number, 1));
        producer
            .send(BaseRecord::to(&topics.preferences()).key(key.as_str()).payload(&value))
            .map_err(|(e, _)| e)
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn restored(kafka: &config::Kafka, topics: &Topics) -> (Table, TableGuard) {
    let settings = TableSettings::new(topics.preferences(), "micro", Clock::system());
    let (table, guard) = Table::start(kafka, settings).unwrap();
    for _ in 0..PATIENCE.as_millis() / 10 {
        match table.state() {
            TableState::Live { .. } => break,
            TableState::Failed(why) => panic!("{why}"),
            TableState::Restoring { .. } => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    assert_eq!(table.rows(), RECIPIENTS as u64);
    (table, guard)
}

fn pipeline(topics: &Topics, table: Table, missing: MissingTopics) -> Pipeline {
    let tiers = [Duration::from_secs(60)];
    let rules = Rules {
        policy: data::policy(),
        sources: Vec::new(),
        zones: Zones::bundled(),
        suppressions: SuppressionList::off(),
        grace: Duration::from_secs(600),
        missing,
        group: "notilog.router".to_owned(),
        prefix: String::new(),
    };
    let outputs = Outputs::new(OutputTopics::new(topics, &tiers, &tiers), Encoders::new(data::ids()));
    let records = Records::new(Arc::new(data::schemas()));
    let clock = Clock::manual(data::NOW);
    Pipeline::new(Arc::new(rules), clock, table, records, outputs, RouterMetrics::default())
}
