//! What a contestant wrote, read under read_committed from the first record on: how many records of what size, how many
//! places are taken by transaction markers, and a digest of all that must be equal between contestants.
//!
//! Digested are partition, key, headers and every field of the value but `decided_at`. A topic's digest is the sum of
//! its records' digests: contestants may write in another order of recipients, but not another record, or one twice.

use std::time::{Duration, Instant};

use clap::Args;
use notilog::model::{Channel, Class, Decision, Outbound, Timestamp};
use notilog::wire::{Encoders, RecordType, SchemaId, WriterIds, decode, split};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::World;

/// So long a reader may wait for the next record of a partition that has more.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct Digest {
    /// Values are not Avro: only count them.
    #[arg(long)]
    opaque: bool,
}

/// Of one topic.
#[derive(Serialize, Default)]
struct Account {
    records: u64,
    /// Of all keys, of all values.
    key_bytes: u64,
    value_bytes: u64,
    /// Of the partition with the most: so many transactions at least wrote to this topic.
    markers: i64,
    digest: String,
}

impl Digest {
    pub fn run(&self, world: &World) {
        let channels = [Channel::Email, Channel::Telegram];
        let outbound = channels.map(|channel| world.topics.outbound(channel, Class::Main));
        let mut all = serde_json::Map::new();
        for (name, topic) in ["email", "telegram", "decisions"].iter().zip([
            outbound[0].clone(),
            outbound[1].clone(),
            world.topics.decisions(),
        ]) {
            let record = if *name == "decisions" { RecordType::Decision } else { RecordType::Outbound };
            let account = account(world, &topic, (!self.opaque).then_some(record));
            all.insert((*name).to_owned(), serde_json::to_value(account).unwrap());
        }
        println!("{}", serde_json::Value::Object(all));
    }
}

fn account(world: &World, topic: &str, record: Option<RecordType>) -> Account {
    let consumer: BaseConsumer = world
        .client()
        .set("group.id", "digest")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "10")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut reader = Reader { encoders: Encoders::new(WriterIds::same(SchemaId(0))), buffer: Vec::new(), sum: 0 };
    let mut account = Account::default();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    list.set_all_offsets(Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let (mut counted, mut left, mut waited) = (vec![0_i64; list.count()], partitions, Instant::now());
    while left > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                account.records += 1;
                account.key_bytes += message.key_len() as u64;
                account.value_bytes += message.payload_len() as u64;
                counted[usize::try_from(message.partition()).unwrap()] += 1;
                if let Some(record) = record {
                    reader.add(&message, record);
                }
                waited = Instant::now();
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => assert!(waited.elapsed() < PATIENCE, "{topic}: {left} partitions have more that does not come"),
        }
    }
    for (partition, counted) in (0..).zip(counted) {
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        account.markers = account.markers.max(end - counted);
    }
    account.digest = format!("{:032x}", reader.sum);
    account
}

struct Reader {
    encoders: Encoders,
    buffer: Vec<u8>,
    sum: u128,
}

impl Reader {
    fn add(&mut self, message: &BorrowedMessage<'_>, record: RecordType) {
        let (_, datum) = split(message.payload().unwrap()).unwrap();
        self.buffer.clear();
        let encoded = if record == RecordType::Decision {
            let mut decision: Decision<'_> = decode(record.schema(), datum).unwrap();
            decision.decided_at = Timestamp(0);
            self.encoders.encode(&decision, &mut self.buffer)
        } else {
            let mut outbound: Outbound<'_> = decode(record.schema(), datum).unwrap();
            outbound.decided_at = Timestamp(0);
            self.encoders.encode(&outbound, &mut self.buffer)
        };
        encoded.unwrap();
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&message.partition().to_be_bytes());
        part(message.key().unwrap());
        for header in message.headers().iter().flat_map(|headers| headers.iter()) {
            part(header.key.as_bytes());
            part(header.value.unwrap());
        }
        part(&self.buffer);
        let digest = hash.finalize();
        let (half, _) = digest.as_slice().split_first_chunk::<16>().unwrap();
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(*half));
    }
}
