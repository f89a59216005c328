//! Asks the brokers where a table's log ends, how many partitions it has and which topic it is, apart from the thread that reads: a fetcher
//! that hangs on one partition reports nothing, and only the log end shows that the table is behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;

use super::Shared;
use crate::kafka::client::Context;
use crate::kafka::native;
use crate::telemetry::clock::steady_now;

/// How often the log's ends are asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// For one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon the thread hears that it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// What the brokers said.
pub(super) struct Seen {
    /// When the question was asked: what was written later may be missing.
    pub(super) at: Instant,
    /// Where the log of each partition ended.
    pub(super) ends: BTreeMap<i32, i64>,
    /// The topic is another than the one that reading began with.
    pub(super) is_another: bool,
    /// There is no such topic, and has not been for a while.
    pub(super) is_gone: bool,
}

/// So often in a row the brokers say that there is no such topic before it is believed: one that only just started may not
/// know it yet.
const SURELY_GONE: u32 = 3;

/// The newest answer, until the reader takes it.
pub(super) type Mailbox = Arc<Mutex<Option<Seen>>>;

pub(super) struct Watch {
    pub(super) consumer: Arc<BaseConsumer<Context>>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
    pub(super) topic: String,
    pub(super) partitions: i32,
    pub(super) refresh: Duration,
    /// The topic's id, if the brokers tell it.
    pub(super) id: String,
}

/// A watch at work.
pub(super) struct Watching {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Watching {
    /// Ends the thread.
    pub(super) fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.join();
    }
}

impl Watch {
    pub(super) fn start(self) -> std::io::Result<Watching> {
        let stop = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("table-watch".to_owned()).spawn(move || self.run(&watched))?;
        Ok(Watching { thread, stop })
    }

    fn run(mut self, stop: &AtomicBool) {
        let stopped = |watch: &Watch| stop.load(Ordering::SeqCst) || watch.shared.stopped();
        let (mut refreshed, mut is_another, mut gone) = (steady_now(), false, 0);
        while !stopped(&self) {
            if refreshed.elapsed() >= self.refresh {
                self.refresh_partitions();
                match native::topic::id(&self.consumer, &self.topic) {
                    Ok(now) => (gone, is_another) = (0, is_another || self.is_another(now.as_deref())),
                    Err(error) if error.code == RDKafkaErrorCode::UnknownTopicOrPartition => gone += 1,
                    Err(_) => gone = 0,
                }
                refreshed = steady_now();
            }
            let (at, is_gone) = (steady_now(), gone >= SURELY_GONE);
            match self.ends() {
                Ok(ends) => *self.mailbox.lock() = Some(Seen { at, ends, is_another, is_gone }),
                Err(_) if is_gone => {
                    *self.mailbox.lock() = Some(Seen { at, ends: BTreeMap::new(), is_another, is_gone })
                }
                Err(error) => tracing::debug!(topic = %self.topic, %error, "the log end is not known now"),
            }
            let until = steady_now() + INTERVAL.min(self.refresh);
            while steady_now() < until && !stopped(&self) {
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

    /// A topic that was deleted and created anew has the old one's name, and offsets that mean something else.
    fn is_another(&self, now: Option<&str>) -> bool {
        now.is_some_and(|now| !self.id.is_empty() && now != self.id)
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
