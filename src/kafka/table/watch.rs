//! Asks the brokers where a table's log ends and how many partitions it has, apart from the thread that reads: a fetcher
//! that hangs on one partition reports nothing, and only the log end shows that the table is behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::Shared;
use crate::kafka::client::Context;
use crate::telemetry::clock::steady_now;

/// How often the log's ends are asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// For one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the thread hears that it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// Where the log of each partition ended.
pub(super) struct Seen {
    /// When the question was asked: what was written later may be missing.
    pub(super) at: Instant,
    pub(super) ends: BTreeMap<i32, i64>,
}

/// The newest answer, until the reader takes it.
pub(super) type Mailbox = Arc<Mutex<Option<Seen>>>;

pub(super) struct Watch {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
    pub(super) topic: String,
    pub(super) partitions: i32,
    pub(super) refresh: Duration,
}

impl Watch {
    pub(super) fn start(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("table-watch".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        let mut refreshed = steady_now();
        while !self.shared.stopped() {
            if refreshed.elapsed() >= self.refresh {
                self.refresh_partitions();
                refreshed = steady_now();
            }
            let at = steady_now();
            match self.ends() {
                Ok(ends) => *self.mailbox.lock() = Some(Seen { at, ends }),
                Err(error) => tracing::debug!(topic = %self.topic, %error, "the log end is not known now"),
            }
            let until = steady_now() + INTERVAL.min(self.refresh);
            while steady_now() < until && !self.shared.stopped() {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Partitions are only ever added; a topic that seems to have fewer is being created anew or not known yet.
    fn refresh_partitions(&mut self) {
        match self.consumer.fetch_metadata(Some(&self.topic), CALL_TIMEOUT) {
            Ok(metadata) => {
                let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
                let found = topic.map_or(0, |topic| topic.partitions().len());
                self.partitions = self.partitions.max(i32::try_from(found).unwrap_or(i32::MAX));
            }
            Err(error) => tracing::debug!(topic = %self.topic, %error, "partitions are not known now"),
        }
    }

    fn ends(&self) -> Result<BTreeMap<i32, i64>, KafkaError> {
        ends(&self.consumer, &self.topic, 0..self.partitions)
    }
}

/// Where the log of each of these partitions ends for readers of committed records, in one request to each broker.
pub(super) fn ends(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partitions: std::ops::Range<i32>,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        asked.add_partition_offset(topic, partition, Offset::End)?;
    }
    let answer = consumer.offsets_for_times(asked, CALL_TIMEOUT)?;
    let mut ends = BTreeMap::new();
    for element in answer.elements() {
        element.error()?;
        if let Offset::Offset(end) = element.offset() {
            ends.insert(element.partition(), end);
        }
    }
    Ok(ends)
}
