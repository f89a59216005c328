//! What vendor/librdkafka.patch changes in librdkafka: the partitions of a broker are written by one request, and who
//! waits for an answer sleeps.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, Statistics, TopicPartitionList};
use rstest::rstest;

use crate::support::{PATIENCE, World};

const PARTITIONS: i32 = 24;

const LINGER: Duration = Duration::from_millis(300);

/// What became of each record, by its opaque, and what the statistics tell.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<(Vec<Outcome>, Told)>>);

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// Produce requests that were sent.
    requests: i64,
    /// How often the threads of the brokers looked for something to do.
    wakeups: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome(usize, Option<RDKafkaErrorCode>);

impl Seen {
    fn outcomes(&self) -> Vec<Outcome> {
        let mut outcomes = self.0.lock().unwrap().0.clone();
        outcomes.sort_by_key(|Outcome(id, _)| *id);
        outcomes
    }

    fn requests(&self) -> i64 {
        self.0.lock().unwrap().1.requests
    }

    fn wakeups(&self) -> u64 {
        self.0.lock().unwrap().1.wakeups
    }
}

impl ClientContext for Seen {
    fn stats(&self, statistics: Statistics) {
        let produced = statistics.brokers.values().filter_map(|broker| broker.req.get("Produce"));
        let wakeups = statistics.brokers.values().filter_map(|broker| broker.wakeups);
        self.0.lock().unwrap().1 = Told { requests: produced.sum(), wakeups: wakeups.sum() };
    }
}

impl ProducerContext for Seen {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        let why = result.as_ref().err().and_then(|(error, _)| match error {
            KafkaError::MessageProduction(code) => Some(*code),
            _ => None,
        });
        self.0.lock().unwrap().0.push(Outcome(id, why));
    }
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// A producer that writes what it has got after a pause, to that many partitions by one request.
fn producer(servers: &str, partitions: &str, id: Option<&str>, linger: Duration) -> (BaseProducer<Seen>, Seen) {
    let seen = Seen::default();
    let mut config = config(servers);
    config
        .set("produce.request.max.partitions", partitions)
        .set("enable.idempotence", "true")
        .set("linger.ms", linger.as_millis().to_string())
        .set("statistics.interval.ms", "50");
    if let Some(id) = id {
        config.set("transactional.id", id);
    }
    (config.create_with_context(seen.clone()).unwrap(), seen)
}

/// Without a key.
fn send(producer: &BaseProducer<Seen>, topic: &str, partition: i32, id: usize) {
    let value = format!("{partition}");
    let record = BaseRecord::<str, str, usize>::with_opaque_to(topic, id).partition(partition).payload(&value);
    producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
}

fn poll_until(producer: &BaseProducer<Seen>, enough: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !enough() {
        assert!(Instant::now() < deadline, "it did not come to be");
        producer.poll(Duration::from_millis(20));
    }
}

/// The partitions' values that a reader of committed records finds, in all `partitions` of the topic.
fn read(world: &World, topic: &str, partitions: i32) -> Vec<i32> {
    let consumer: BaseConsumer = config(&world.config.kafka.bootstrap_servers)
        .set("group.id", topic)
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..partitions {
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        left += i64::from(end > 0);
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut values = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while values.len() < usize::try_from(left).unwrap() && Instant::now() < deadline {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let value: i32 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
            assert_eq!(value, message.partition());
            values.push(value);
        }
    }
    values.sort_unstable();
    values
}

#[rstest]
// More than the least where a new topic's leader is not ready, or the machine is slow.
#[case::bundled("64", 1..=11)]
#[case::by_eights("8", 3..=11)]
#[case::as_stock_librdkafka("1", 24..=i64::MAX)]
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_writes_to_all_partitions_of_a_broker_by_so_many_requests(
    #[case] most: &str,
    #[case] requests: std::ops::RangeInclusive<i64>,
) {
    let world = World::new("bundled", "").await;
    let topic = world.add_topic(world.topics.named("bundled"), PARTITIONS, &[]).await;
    let id = world.topics.named("bundled");
    let (producer, seen) = producer(&world.config.kafka.bootstrap_servers, most, Some(&id), LINGER);
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..PARTITIONS {
        send(&producer, &topic, partition, 0);
    }
    producer.commit_transaction(PATIENCE).unwrap();
    poll_until(&producer, || seen.requests() >= *requests.start());
    // None follows.
    std::thread::sleep(Duration::from_millis(200));
    producer.poll(Duration::ZERO);
    assert!(requests.contains(&seen.requests()), "{} requests", seen.requests());
    assert_eq!(read(&world, &topic, PARTITIONS), (0..PARTITIONS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_later_goes_with_what_waited_long_enough() {
    let world = World::new("together", "").await;
    let topic = world.add_topic(world.topics.named("together"), 2, &[]).await;
    let (producer, seen) = producer(&world.config.kafka.bootstrap_servers, "64", None, Duration::from_secs(3));
    let write = |pause, written| {
        send(&producer, &topic, 0, 0);
        std::thread::sleep(pause);
        send(&producer, &topic, 1, 0);
        poll_until(&producer, || seen.outcomes().len() == written);
        // The next statistics tell of it.
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            producer.poll(Duration::from_millis(20));
        }
        seen.requests()
    };
    let before = write(Duration::ZERO, 2);
    assert_eq!(write(Duration::from_secs(1), 4), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_of_one_partition_fails_alone_with_its_reason() {
    let world = World::new("refused", "").await;
    let good = world.add_topic(world.topics.named("good"), 6, &[]).await;
    // The broker's reason names the topic: a long one makes a long answer.
    let bad = world.add_topic(world.topics.named(&"refused-".repeat(25)), 1, &[("cleanup.policy", "compact")]).await;
    let (producer, seen) = producer(&world.config.kafka.bootstrap_servers, "64", None, LINGER);
    for round in 0..3 {
        for partition in 0..6 {
            send(&producer, &good, partition, round * 10);
        }
        // A compacted topic takes no record without a key.
        send(&producer, &bad, 0, round * 10 + 1);
        poll_until(&producer, || seen.outcomes().len() == 7 * (round + 1));
        assert!(seen.requests() < 7 * i64::try_from(round + 1).unwrap(), "{} requests", seen.requests());
    }
    let expected: Vec<Outcome> = (0..3)
        .flat_map(|round| {
            let mut of_round = vec![Outcome(round * 10, None); 6];
            of_round.push(Outcome(round * 10 + 1, Some(RDKafkaErrorCode::InvalidRecord)));
            of_round
        })
        .collect();
    assert_eq!(seen.outcomes(), expected);
}

/// With as many records in flight as librdkafka allows for a partition, and more that are ready to be sent: as published, it
/// asks the socket for the answer all the time until it is there, a thread at its full speed.
#[test]
fn who_waits_for_an_answer_sleeps_although_more_could_be_sent() {
    const AWAY: Duration = Duration::from_secs(2);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("slow", 1, 1).unwrap();
    let (producer, seen) = producer(&cluster.bootstrap_servers(), "64", None, Duration::ZERO);
    let write = |ids: std::ops::Range<usize>| ids.for_each(|id| send(&producer, "slow", 0, id));
    write(0..1);
    poll_until(&producer, || seen.outcomes().len() == 1);
    cluster.broker_round_trip_time(1, AWAY).unwrap();
    let began = Instant::now();
    write(1..10);
    poll_until(&producer, || seen.requests() >= 2);
    let before = seen.wakeups();
    write(10..20);
    poll_until(&producer, || seen.outcomes().len() == 20);
    let woken = seen.wakeups() - before;
    assert!(began.elapsed() >= 2 * AWAY, "nothing was waited for");
    assert!(woken < 500, "{woken} times");
    let expected: Vec<Outcome> = (0..20).map(|id| Outcome(id, None)).collect();
    assert_eq!(seen.outcomes(), expected);
}
