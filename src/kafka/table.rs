//! A compacted topic as a table in memory: the newest encoded value of each key, with where it stands.
//!
//! One thread owns the consumer (all partitions, assigned and not subscribed) and writes; any thread reads. The table
//! is restored when every partition was read to its end once; partitions that are added later are found. Reading it before that is the owner's mistake, and
//! [`Table::state`] tells. Values stay encoded: who reads decodes, by the value's own schema id.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::{Mutex, RwLock};
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;

use super::client::{Context, Kind, base_config};
use super::ends::Ends;
use crate::config;
use crate::telemetry::clock::steady_now;

/// Writers lock one segment of this many.
const SEGMENTS: usize = 64;

/// While records keep coming, the ends of the logs are asked for this often.
const ASK_ENDS: Duration = Duration::from_millis(200);

/// How often somebody may have added partitions to the topic.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(10);

/// For one question to a broker while the table is read.
const QUESTION: Duration = Duration::from_millis(500);

/// What the table knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Nothing.
    Absent,
    /// A tombstone was read.
    Erased {
        /// Partition of the tombstone.
        partition: i32,
        /// Offset of the tombstone.
        offset: i64,
    },
    /// A value.
    Present {
        /// Encoded, frame included.
        value: &'a [u8],
        /// Partition of the record.
        partition: i32,
        /// Offset of the record.
        offset: i64,
    },
}

/// How far the table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableState {
    /// Not all partitions were read to their end yet.
    Restoring {
        /// Records read so far.
        done: u64,
        /// Offsets between the beginnings and the ends at start, an upper bound of records.
        total: u64,
    },
    /// Restored; behind the end of the log for so long now (zero when at the end).
    Live {
        /// How long it has been behind.
        behind: Duration,
    },
    /// The table's consumer gave up; the reason says why.
    Failed(String),
}

/// A handle to the table; cheap to clone.
#[derive(Clone)]
pub struct Table {
    shared: Arc<Shared>,
}

/// Stops and joins the table's thread when dropped.
pub struct TableGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    segments: Vec<RwLock<HashTable<Row>>>,
    hasher: DefaultHashBuilder,
    progress: Progress,
    failed: Mutex<Option<String>>,
    stop: AtomicBool,
}

struct Progress {
    started: Instant,
    done: AtomicU64,
    total: AtomicU64,
    restored: AtomicBool,
    /// Milliseconds after `started` since when some partition is behind its end; −1 when none is.
    behind_since: AtomicI64,
    bytes: AtomicI64,
    rows: AtomicI64,
}

/// `[offset: 8][partition: 4][key length: 4][key][value]`; an erased key has no value bytes at all, which no framed
/// value can be.
struct Row(Box<[u8]>);

impl Row {
    const HEAD: usize = 16;

    fn new(key: &[u8], value: Option<&[u8]>, partition: i32, offset: i64) -> Self {
        let mut bytes = Vec::with_capacity(Self::HEAD + key.len() + value.map_or(0, <[u8]>::len));
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&partition.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or_default());
        Row(bytes.into_boxed_slice())
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.0[at..at + N]);
        field
    }

    fn key(&self) -> &[u8] {
        let length = u32::from_le_bytes(self.field(12)) as usize;
        &self.0[Self::HEAD..Self::HEAD + length]
    }

    fn entry(&self) -> Entry<'_> {
        let (offset, partition) = (i64::from_le_bytes(self.field(0)), i32::from_le_bytes(self.field(8)));
        match &self.0[Self::HEAD + self.key().len()..] {
            [] => Entry::Erased { partition, offset },
            value => Entry::Present { value, partition, offset },
        }
    }
}

impl Table {
    /// Starts to read `topic`; returns at once.
    ///
    /// # Errors
    /// Why librdkafka refuses its configuration, or the thread cannot be started.
    pub fn start(kafka: &config::Kafka, topic: &str) -> Result<(Table, TableGuard), String> {
        let defaults = [("fetch.queue.backoff.ms", "10"), ("queued.max.messages.kbytes", "65536")];
        let mut config = base_config(kafka, Kind::Consumer, "table", &defaults);
        config
            // Needed by the client library to consume at all; nothing is ever committed under it.
            .set("group.id", format!("{}notilog-table", kafka.topic_prefix))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            // A transient answer must never empty the table (KAFKA-20416).
            .set("auto.offset.reset", "error");
        let consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&config, Context::default()).map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared::new());
        let reader = Reader::new(consumer, topic, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("table".to_owned())
            .spawn(move || reader.run())
            .map_err(|error| format!("cannot start the table's thread: {error}"))?;
        Ok((Table { shared: Arc::clone(&shared) }, TableGuard { shared, thread: Some(thread) }))
    }

    /// Looks `key` up and hands what is known to `read`, under a lock that only writers of the same segment wait for.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Entry<'_>) -> R) -> R {
        let hash = self.shared.hasher.hash_one(key);
        let segment = self.shared.segment(hash).read();
        read(segment.find(hash, |row| row.key() == key).map_or(Entry::Absent, Row::entry))
    }

    /// How far it is.
    pub fn state(&self) -> TableState {
        if let Some(why) = self.shared.failed.lock().clone() {
            return TableState::Failed(why);
        }
        let progress = &self.shared.progress;
        if !progress.restored.load(Ordering::Acquire) {
            return TableState::Restoring {
                done: progress.done.load(Ordering::Relaxed),
                total: progress.total.load(Ordering::Relaxed),
            };
        }
        let behind = match progress.behind_since.load(Ordering::Relaxed) {
            -1 => Duration::ZERO,
            since => {
                progress.started.elapsed().saturating_sub(Duration::from_millis(u64::try_from(since).unwrap_or(0)))
            }
        };
        TableState::Live { behind }
    }

    /// Rows, tombstones included.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.shared.progress.rows.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Bytes of all rows, without the index.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.shared.progress.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

impl Shared {
    fn new() -> Self {
        Shared {
            segments: (0..SEGMENTS).map(|_| RwLock::new(HashTable::new())).collect(),
            hasher: DefaultHashBuilder::default(),
            progress: Progress {
                started: steady_now(),
                done: AtomicU64::new(0),
                total: AtomicU64::new(0),
                restored: AtomicBool::new(false),
                behind_since: AtomicI64::new(-1),
                bytes: AtomicI64::new(0),
                rows: AtomicI64::new(0),
            },
            failed: Mutex::new(None),
            stop: AtomicBool::new(false),
        }
    }

    fn segment(&self, hash: u64) -> &RwLock<HashTable<Row>> {
        // The index within a segment uses the low bits, its tags the high seven: take bits between.
        &self.segments[(hash >> 40) as usize % SEGMENTS]
    }

    fn put(&self, key: &[u8], value: Option<&[u8]>, partition: i32, offset: i64) {
        let hash = self.hasher.hash_one(key);
        let row = Row::new(key, value, partition, offset);
        let added = i64::try_from(row.0.len()).unwrap_or(0);
        let mut segment = self.segment(hash).write();
        let removed = match segment.find_mut(hash, |row| row.key() == key) {
            Some(old) => {
                let removed = i64::try_from(old.0.len()).unwrap_or(0);
                *old = row;
                removed
            }
            None => {
                segment.insert_unique(hash, row, |row| self.hasher.hash_one(row.key()));
                self.progress.rows.fetch_add(1, Ordering::Relaxed);
                0
            }
        };
        drop(segment);
        self.progress.bytes.fetch_add(added - removed, Ordering::Relaxed);
    }
}

impl Drop for TableGuard {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The table's thread.
struct Reader {
    consumer: BaseConsumer<Context>,
    topic: String,
    shared: Arc<Shared>,
    ends: Ends,
    /// When the ends were asked for last, and answered.
    answered: Instant,
    /// When they were asked for last.
    asked: Instant,
    /// When partitions were looked for last.
    looked: Instant,
}

impl Reader {
    fn new(consumer: BaseConsumer<Context>, topic: &str, shared: Arc<Shared>) -> Self {
        let now = steady_now();
        let (topic, ends) = (topic.to_owned(), Ends::default());
        Reader { consumer, topic, shared, ends, answered: now, asked: now, looked: now }
    }

    fn run(mut self) {
        if let Err(why) = self.assign().and_then(|()| self.read()) {
            tracing::error!(topic = %self.topic, %why, "the table cannot go on");
            *self.shared.failed.lock() = Some(why);
        }
    }

    /// Starts every partition at its beginning; waits for a cluster that is not there yet.
    fn assign(&mut self) -> Result<(), String> {
        loop {
            match self.take_new_partitions(Duration::from_secs(5)) {
                Ok(()) if self.ends.partitions() > 0 => return Ok(()),
                Ok(()) => {
                    return Err(format!("topic `{}` does not exist; run `notilog topics apply`", self.topic));
                }
                Err(error) if !self.stopped() => {
                    let why = self.consumer.context().diagnostics().explain(&error);
                    tracing::warn!(topic = %self.topic, %why, "cannot reach Kafka; trying again");
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Starts the partitions that are not read yet at their beginnings.
    fn take_new_partitions(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        let now = steady_now();
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), timeout)?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let known = self.ends.partitions();
        let mut list = TopicPartitionList::new();
        let mut reach = Vec::new();
        for partition in known..count {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            reach.push(self.consumer.fetch_watermarks(&self.topic, partition, timeout)?);
            list.add_partition_offset(&self.topic, partition, Offset::Beginning)?;
        }
        if reach.is_empty() {
            return Ok(());
        }
        if known == 0 {
            self.consumer.assign(&list)?;
            self.answered = now;
        } else {
            tracing::warn!(topic = %self.topic, known, count, "partitions were added");
            self.consumer.incremental_assign(&list)?;
        }
        for (low, high) in reach {
            let records = u64::try_from(high - low).unwrap_or(0);
            self.shared.progress.total.fetch_add(records, Ordering::Relaxed);
            self.ends.add(low, high);
        }
        self.tell();
        Ok(())
    }

    fn read(&mut self) -> Result<(), String> {
        while !self.stopped() {
            self.ask();
            let Some(polled) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            match polled {
                Ok(message) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    if let Some(key) = message.key() {
                        // An empty value cannot be a framed one; it is kept out like a tombstone.
                        self.shared.put(key, message.payload(), partition, offset);
                    }
                    self.shared.progress.done.fetch_add(1, Ordering::Relaxed);
                    drop(message);
                    self.ends.read(partition, offset);
                    self.tell();
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.ends.at_end(partition);
                    self.tell();
                }
                Err(error) => self.check(&error)?,
            }
        }
        Ok(())
    }

    /// Asks for the ends of the logs while records keep coming, and now and then for partitions.
    fn ask(&mut self) {
        let now = steady_now();
        if self.ends.all_reached() && !self.ends.all_ended() && now.duration_since(self.asked) >= ASK_ENDS {
            self.asked = now;
            if self.ask_ends() {
                self.answered = now;
                self.tell();
            }
        }
        if now.duration_since(self.looked) >= LOOK_FOR_PARTITIONS {
            self.looked = now;
            if let Err(error) = self.take_new_partitions(QUESTION) {
                tracing::debug!(topic = %self.topic, %error, "its partitions are not known now");
            }
        }
    }

    fn ask_ends(&mut self) -> bool {
        for partition in self.ends.unended() {
            match self.consumer.fetch_watermarks(&self.topic, partition, QUESTION) {
                Ok((_, high)) => self.ends.asked(partition, high),
                Err(error) => {
                    tracing::debug!(topic = %self.topic, partition, %error, "its end is not known now");
                    return false;
                }
            }
        }
        true
    }

    /// Tells readers how far the table is.
    fn tell(&self) {
        let progress = &self.shared.progress;
        let since = |at: Instant| i64::try_from(at.duration_since(progress.started).as_millis()).unwrap_or(i64::MAX);
        let behind_since = match progress.behind_since.load(Ordering::Relaxed) {
            _ if self.ends.all_ended() => -1,
            -1 => since(steady_now()),
            before if self.ends.all_reached() => before.max(since(self.answered)),
            before => before,
        };
        progress.behind_since.store(behind_since, Ordering::Relaxed);
        if self.ends.all_reached() {
            progress.restored.store(true, Ordering::Release);
        }
    }

    /// Only what never passes by itself ends the table.
    fn check(&self, error: &KafkaError) -> Result<(), String> {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => Err(format!("reading `{}`: {error}", self.topic)),
            _ => {
                tracing::debug!(topic = %self.topic, %error, "passing trouble");
                Ok(())
            }
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table { shared: Arc::new(Shared::new()) }
    }

    #[test]
    fn the_newest_value_of_a_key_is_found_with_where_it_stands() {
        let table = table();
        table.shared.put(b"default/ada", Some(b"one"), 3, 10);
        table.shared.put(b"default/ada", Some(b"three"), 3, 12);
        table.get(b"default/ada", |entry| {
            assert_eq!(entry, Entry::Present { value: b"three", partition: 3, offset: 12 });
        });
        table.get(b"default/bob", |entry| assert_eq!(entry, Entry::Absent));
        assert_eq!(table.rows(), 1);
        assert_eq!(table.bytes(), (Row::HEAD + 11 + 5) as u64);
    }

    #[test]
    fn an_erased_key_is_remembered_as_erased_and_its_value_is_gone() {
        let table = table();
        table.shared.put(b"k", Some(b"secret"), 0, 1);
        table.shared.put(b"k", None, 0, 2);
        table.get(b"k", |entry| assert_eq!(entry, Entry::Erased { partition: 0, offset: 2 }));
        assert_eq!(table.bytes(), (Row::HEAD + 1) as u64);
    }

    #[test]
    fn ten_thousand_keys_are_all_found() {
        let table = table();
        for n in 0..10_000i64 {
            table.shared.put(&n.to_be_bytes(), Some(&n.to_le_bytes()), 0, n);
        }
        for n in 0..10_000i64 {
            table.get(&n.to_be_bytes(), |entry| {
                assert!(
                    matches!(entry, Entry::Present { value, offset, .. } if value == n.to_le_bytes() && offset == n)
                );
            });
        }
    }
}
