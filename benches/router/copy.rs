//! The bare copy: what librdkafka alone costs at the router's guarantee. Each record is read, and three of given sizes
//! are written in transactions that hold the input's offsets, with the router's settings of both clients; nothing is
//! decoded, nothing is looked up. Its partitions are assigned by hand: it takes part in no rebalance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use notilog::model::{Channel, Class};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::{DOMAIN, World};

/// Nothing that is asked of Kafka takes longer.
const CALL: Duration = Duration::from_secs(10);

/// How long a poll waits for more while a transaction is open; under load this is as good as the router's rule.
const DRY: Duration = Duration::from_millis(5);

#[derive(Args)]
pub struct Copy {
    /// Consumer group, without the prefix.
    #[arg(long)]
    group: String,
    /// Threads, each with its own consumer and producer.
    #[arg(long, default_value_t = 1)]
    threads: i32,
    /// Partitions of the input.
    #[arg(long)]
    partitions: i32,
    /// Bytes of an outbound record's value.
    #[arg(long)]
    outbound: usize,
    /// Bytes of a decision's value.
    #[arg(long)]
    decision: usize,
    /// Bytes of a decision's key.
    #[arg(long)]
    decision_key: usize,
}

impl Copy {
    pub fn run(&self, world: &World) {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).unwrap();
        }
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let stop = &stop;
                scope.spawn(move || self.copy(world, thread, stop));
            }
        });
    }

    fn copy(&self, world: &World, thread: i32, stop: &AtomicBool) {
        let (interval, most) = (world.config.router.commit_interval.0, world.config.router.max_transaction_records);
        let mut writer = Writer::new(self, world, thread);
        let consumer = self.consumer(world, thread);
        while !stop.load(Ordering::Relaxed) {
            match consumer.poll(DRY) {
                Some(message) => writer.copy(&message.unwrap()),
                None => writer.commit(&consumer),
            }
            if writer.open.is_some_and(|(records, since)| records >= most || since.elapsed() >= interval) {
                writer.commit(&consumer);
            }
        }
        writer.commit(&consumer);
    }

    /// Reads this thread's partitions from where the group stands.
    fn consumer(&self, world: &World, thread: i32) -> BaseConsumer {
        let consumer: BaseConsumer = world
            .client()
            .set("group.id", world.topics.named(&self.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", world.config.router.queue_kib.to_string())
            .create()
            .unwrap();
        let (topic, mut list) = (world.topics.events(DOMAIN), TopicPartitionList::new());
        for partition in (0..self.partitions).filter(|partition| partition % self.threads == thread) {
            list.add_partition(&topic, partition);
        }
        let stands = consumer.committed_offsets(list, CALL).unwrap();
        let mut starts = TopicPartitionList::new();
        for stand in stands.elements() {
            let start = if stand.offset() == Offset::Invalid { Offset::Beginning } else { stand.offset() };
            starts.add_partition_offset(stand.topic(), stand.partition(), start).unwrap();
        }
        consumer.assign(&starts).unwrap();
        consumer
    }
}

/// The open transaction and what it is made of.
struct Writer {
    producer: BaseProducer,
    input: String,
    outbound: [String; 2],
    decisions: String,
    /// Of an outbound record's value, a decision's value and a decision's key.
    sizes: [usize; 3],
    /// By partition: the offset to commit, if anything of it is in the transaction.
    positions: Vec<Option<i64>>,
    /// Records of the open transaction, and since when it is open.
    open: Option<(usize, Instant)>,
    value: Vec<u8>,
    key: Vec<u8>,
}

impl Writer {
    fn new(copy: &Copy, world: &World, thread: i32) -> Writer {
        let producer: BaseProducer = world
            .client()
            .set("transactional.id", format!("{}-{thread}", world.topics.named(&copy.group)))
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("delivery.report.only.error", "true")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("produce.request.max.partitions", "64")
            .set("message.max.bytes", "10485760")
            .set("queue.buffering.max.kbytes", "65536")
            .set("queue.buffering.max.messages", "500000")
            .set("transaction.timeout.ms", "10000")
            .set("message.timeout.ms", "10000")
            .create()
            .unwrap();
        producer.init_transactions(CALL).unwrap();
        Writer {
            producer,
            input: world.topics.events(DOMAIN),
            outbound: [Channel::Email, Channel::Telegram].map(|channel| world.topics.outbound(channel, Class::Main)),
            decisions: world.topics.decisions(),
            sizes: [copy.outbound, copy.decision, copy.decision_key],
            positions: vec![None; usize::try_from(copy.partitions).unwrap()],
            open: None,
            value: Vec::new(),
            key: Vec::new(),
        }
    }

    fn copy(&mut self, message: &BorrowedMessage<'_>) {
        if self.open.is_none() {
            self.producer.begin_transaction().unwrap();
            self.open = Some((0, Instant::now()));
        }
        let [outbound, decision, decision_key] = self.sizes;
        let (key, value, headers) = (message.key().unwrap(), message.payload().unwrap(), message.headers());
        resized(&mut self.value, value, outbound);
        for topic in &self.outbound {
            self.send(topic, key, headers);
        }
        resized(&mut self.value, value, decision);
        resized(&mut self.key, &value[5..], decision_key);
        self.send(&self.decisions, &self.key, headers);
        self.positions[usize::try_from(message.partition()).unwrap()] = Some(message.offset() + 1);
        if let Some((records, _)) = &mut self.open {
            *records += 1;
            if records.is_multiple_of(170) {
                self.producer.poll(Duration::ZERO);
            }
        }
    }

    fn send(&self, topic: &str, key: &[u8], headers: Option<&BorrowedHeaders>) {
        let mut record = BaseRecord::to(topic).key(key).payload(&self.value);
        record.headers = headers.map(|headers| {
            headers.iter().fold(OwnedHeaders::new_with_capacity(headers.count()), |all, header| {
                all.insert(Header { key: header.key, value: header.value })
            })
        });
        while let Err((error, back)) = self.producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            self.producer.poll(Duration::from_millis(1));
            record = back;
        }
    }

    fn commit(&mut self, consumer: &BaseConsumer) {
        if self.open.take().is_none() {
            return;
        }
        // `commit_transaction` waits to the end of its poll of 100 ms when anything is in flight, and any poll spins
        // through its last millisecond.
        while self.producer.in_flight_count() > 0 {
            std::thread::sleep(Duration::from_micros(200));
            self.producer.poll(Duration::ZERO);
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, position) in (0..).zip(&mut self.positions) {
            if let Some(offset) = position.take() {
                offsets.add_partition_offset(&self.input, partition, Offset::Offset(offset)).unwrap();
            }
        }
        let group = consumer.group_metadata().unwrap();
        self.producer.send_offsets_to_transaction(&offsets, &group, CALL).unwrap();
        self.producer.commit_transaction(CALL).unwrap();
    }
}

/// Makes `buffer` the beginning of `bytes`, filled up to a size.
fn resized(buffer: &mut Vec<u8>, bytes: &[u8], size: usize) {
    buffer.clear();
    buffer.extend_from_slice(&bytes[..bytes.len().min(size)]);
    buffer.resize(size, b'.');
}
