//! What vendor/librdkafka.patch changes in librdkafka: who waits for a group's coordinator within a transaction hears in the end, and
//! is not kept waiting by one that is gone.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_broker_decommission};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::PATIENCE;

const GROUP: &str = "readers";

/// Not longer than `PATIENCE`, or else a hang is not seen.
const LONG: Duration = Duration::from_secs(30);

/// Three brokers that librdkafka plays: the first leads all and ends the transactions, the second coordinates the group.
struct Brokers(BaseProducer);

impl Brokers {
    fn new() -> Self {
        let brokers = Brokers(ClientConfig::new().set("test.mock.num.brokers", "3").create().unwrap());
        let cluster = brokers.cluster();
        for topic in ["in", "out"] {
            cluster.create_topic(topic, 1, 1).unwrap();
            cluster.partition_leader(topic, 0, Some(1)).unwrap();
        }
        cluster.coordinator(MockCoordinator::Transaction(GROUP.to_owned()), 1).unwrap();
        drop(cluster);
        brokers.coordinated_by(2);
        brokers
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.0.client().mock_cluster().unwrap()
    }

    fn coordinated_by(&self, broker: i32) {
        self.cluster().coordinator(MockCoordinator::Group(GROUP.to_owned()), broker).unwrap();
    }

    /// It is there no more, and the others do not speak of it.
    fn take_away(&self, broker: i32) {
        let client = self.0.client().native_ptr();
        #[expect(unsafe_code, reason = "rust-rdkafka has no word for it")]
        // SAFETY: the client lives, and its brokers as long as it does.
        let gone = unsafe { rd_kafka_mock_broker_decommission(rd_kafka_handle_mock_cluster(client), broker) };
        assert_eq!(gone, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
}

struct Client {
    producer: Arc<BaseProducer>,
    consumer: BaseConsumer,
    offset: i64,
}

impl Client {
    /// One that knows the group's coordinator, and is connected to it.
    fn new(brokers: &Brokers) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers.cluster().bootstrap_servers());
        let consumer = config.clone().set("group.id", GROUP).create().unwrap();
        let producer: BaseProducer = config.set("transactional.id", GROUP).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        let mut client = Client { producer: Arc::new(producer), consumer, offset: 0 };
        client.commits();
        client
    }

    fn commits(&mut self) {
        self.offsets_within(LONG).unwrap();
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    /// A transaction with a record and the group's offset, up to what is said about the latter; panics where nothing is.
    fn offsets_within(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        self.producer.begin_transaction().unwrap();
        self.producer
            .send(BaseRecord::<str, str>::to("out").partition(0).payload("x"))
            .unwrap_or_else(|(e, _)| panic!("{e}"));
        self.offset += 1;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("in", 0, Offset::Offset(self.offset)).unwrap();
        let (producer, group) = (Arc::clone(&self.producer), self.consumer.group_metadata().unwrap());
        let (sender, said) = channel();
        // librdkafka takes no time-out for this call but its own: who waits for it in vain waits for ever.
        std::thread::spawn(move || sender.send(producer.send_offsets_to_transaction(&offsets, &group, timeout)));
        said.recv_timeout(PATIENCE).expect("nothing is said")
    }

    fn is_told_in_time_that_nobody_answers(&mut self) {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let began = Instant::now();
        let Err(KafkaError::Transaction(error)) = self.offsets_within(TIMEOUT) else { panic!("somebody took them") };
        assert!(began.elapsed() >= TIMEOUT, "after {:?}", began.elapsed());
        assert_eq!((error.code(), error.txn_requires_abort()), (RDKafkaErrorCode::OperationTimedOut, true), "{error}");
    }

    /// Hears that a broker is gone, and what its connections then do.
    fn learn_that_gone(&self, broker: i32) {
        let metadata = self.producer.client().fetch_metadata(None, PATIENCE).unwrap();
        assert!(metadata.brokers().iter().all(|known| known.id() != broker), "it is told of");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn offsets_are_given_up_in_time_when_the_groups_coordinator_stays_down() {
    let brokers = Brokers::new();
    let mut client = Client::new(&brokers);
    brokers.cluster().broker_down(2).unwrap();
    client.is_told_in_time_that_nobody_answers();
}

#[test]
fn a_client_that_gave_up_can_be_closed() {
    let brokers = Brokers::new();
    let mut client = Client::new(&brokers);
    brokers.cluster().broker_down(2).unwrap();
    // More often than librdkafka asks again.
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    brokers.cluster().request_errors(RDKafkaApiKey::FindCoordinator, &[unknown; 200]);
    client.is_told_in_time_that_nobody_answers();
    let (sender, closed) = channel();
    std::thread::spawn(move || {
        drop(client);
        sender.send(())
    });
    closed.recv_timeout(PATIENCE).expect("it is not closed");
}

#[test]
fn offsets_go_to_the_new_coordinator_when_the_old_one_is_taken_away() {
    let brokers = Brokers::new();
    let mut client = Client::new(&brokers);
    brokers.coordinated_by(3);
    brokers.take_away(2);
    client.learn_that_gone(2);
    client.commits();
}
