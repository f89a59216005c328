//! A compacted topic as a table in memory: the newest encoded value of each key, with where it stands.
//!
//! One thread owns the consumer (all partitions, assigned and not subscribed) and writes; any thread reads. The table
//! is restored when every partition was read to its end once, and is not to be asked before that. When its log was cut
//! off or deleted under it, it is begun anew. Values stay encoded: who reads decodes, by the value's own schema id.
//!
//! | file | is |
//! |---|---|
//! | `row`, `arena`, `block`, `hashing`, `prefetch`, `shard`, `rows` | the rows in memory; know no Kafka |
//! | `reader` | the thread that reads the topic |
//! | `watch` | asks where the log ends and whether partitions were added |
//! | `facts` | what the cluster says of the topic: settings, identity |
//! | `snapshot` | the table on local disk, for a quick start |
//! | `part` | which partitions are held, when not all are |
//! | `ends`, `progress` | how far it is from the log's end, and how others hear of it |
//!
//! A key that has records in two partitions, because partitions were added, counts by the record with the newer
//! timestamp. An erase is remembered for the topic's `delete.retention.ms` after its record's timestamp, as long as the
//! topic itself keeps it; then the key is as if it had never been.
//!
//! A table may hold a part of its topic only: the partitions that its owners want, from when they are restored.

mod arena;
mod block;
mod ends;
mod facts;
mod hashing;
mod part;
mod prefetch;
mod progress;
mod reader;
mod row;
mod rows;
mod shard;
mod snapshot;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use arena::Full;
pub use progress::Report;
pub use rows::Rows;
pub use snapshot::Distrust;

use parking_lot::Mutex;

use crate::config;
use crate::model::Timestamp;
use crate::telemetry::clock::Clock;
use part::Parts;
use progress::Progress;
use reader::Reader;

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
        /// Offsets passed so far.
        done: u64,
        /// Offsets between where reading began and the ends at start, an upper bound of records.
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

/// What a table began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Not known yet.
    Unknown,
    /// The topic from its beginning.
    Topic,
    /// A snapshot on local disk, and the topic from there on.
    Snapshot {
        /// Up to when the snapshot knew the topic.
        as_of: Timestamp,
    },
}

/// Where a table keeps its snapshot, and how often it is written.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// The file's name without its ending: the topic's, and whatever else tells the table from others in the folder.
    pub name: String,
    /// Between two snapshots.
    pub interval: Duration,
}

/// Which topic to hold, and how.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// The topic, prefix included.
    pub topic: String,
    /// What metrics and logs call the table.
    pub name: String,
    /// Wall time, for the age of what was erased.
    pub clock: Clock,
    /// How often to look for partitions that were added.
    pub refresh: Duration,
    /// None is kept when not set.
    pub snapshot: Option<SnapshotSettings>,
    /// Whether only those partitions are held that someone [wants](Table::want).
    pub in_part: bool,
}

impl TableSettings {
    /// As the configuration has it: with a snapshot where there is a folder for it.
    #[must_use]
    pub fn kept_in(mut self, state: &config::State) -> Self {
        let (name, interval) = (self.topic.clone(), state.snapshot_interval.0);
        self.snapshot = state.dir.clone().map(|dir| SnapshotSettings { dir, name, interval });
        self
    }

    /// Holding only the partitions that someone [wants](Table::want). `instance` tells its snapshot from those of other
    /// processes, which hold other partitions.
    #[must_use]
    pub fn in_part(mut self, instance: &str) -> Self {
        self.in_part = true;
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.name = format!("{}.{instance}", self.topic);
        }
        self
    }

    /// A table of `topic` under the metrics' label `name`.
    pub fn new(topic: impl Into<String>, name: impl Into<String>, clock: Clock) -> Self {
        let refresh = Duration::from_secs(5);
        TableSettings { topic: topic.into(), name: name.into(), clock, refresh, snapshot: None, in_part: false }
    }
}

/// Why a table cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// librdkafka refuses its configuration.
    #[error("the consumer of the table of {topic} cannot be made: {cause}; see [kafka] in the configuration")]
    Client {
        /// The topic.
        topic: String,
        /// librdkafka's words.
        cause: String,
    },
    /// The operating system refuses a thread.
    #[error("cannot start the thread of the table of {topic}: {source}")]
    Thread {
        /// The topic.
        topic: String,
        /// Its words.
        source: std::io::Error,
    },
}

/// The table was asked before it was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table is not restored")]
pub struct NotRestored;

/// A handle to the table; cheap to clone.
#[derive(Clone)]
pub struct Table {
    shared: Arc<Shared>,
}

/// Stops and joins the table's threads when dropped, which blocks: async owners drop it on a blocking thread.
pub struct TableGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    rows: Rows,
    progress: Progress,
    /// Where reading goes on, by partition: what is below is in `rows`. None of a partition that is not held whole.
    positions: Mutex<Vec<Option<i64>>>,
    /// Of a table that holds a part of its topic only.
    parts: Option<Parts>,
    stop: AtomicBool,
}

impl Shared {
    fn new(in_part: bool) -> Self {
        Shared {
            rows: Rows::default(),
            progress: Progress::new(),
            positions: Mutex::default(),
            parts: in_part.then(Parts::default),
            stop: AtomicBool::new(false),
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Table {
    /// Starts to read a topic; returns at once.
    ///
    /// # Errors
    /// Why librdkafka refuses its configuration, or the thread cannot be started.
    pub fn start(kafka: &config::Kafka, settings: TableSettings) -> Result<(Table, TableGuard), TableError> {
        let shared = Arc::new(Shared::new(settings.in_part));
        let topic = settings.topic.clone();
        let reader = Reader::new(kafka, settings, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("table".to_owned())
            .spawn(move || reader.run())
            .map_err(|source| TableError::Thread { topic, source })?;
        Ok((Table { shared: Arc::clone(&shared) }, TableGuard { shared, thread: Some(thread) }))
    }

    /// Looks `key` up and hands what is known to `read`, under a lock that only writers of the same
    /// sixteenth of the table wait for.
    ///
    /// # Errors
    /// [`NotRestored`]; what `read` was handed then means nothing.
    pub fn get<R>(&self, key: &[u8], read: impl FnOnce(Entry<'_>) -> R) -> Result<R, NotRestored> {
        if let Some(parts) = &self.shared.parts {
            return parts.asked(key, || self.shared.rows.get(key, read));
        }
        let progress = &self.shared.progress;
        let generation = progress.generation();
        if !progress.is_restored() {
            return Err(NotRestored);
        }
        let found = self.shared.rows.get(key, read);
        // It may have been begun anew meanwhile, and a key that is not there yet is not one that is unknown.
        if progress.generation() == generation { Ok(found) } else { Err(NotRestored) }
    }

    /// Brings what [`Table::get`] will read for these keys into the processor's cache: many at once take little longer
    /// than one. Says nothing, and does nothing before the first row is there.
    pub fn touch(&self, keys: &[&[u8]]) {
        self.shared.rows.touch_all(keys);
    }

    /// How far its restore is; `None` when it is over, or the table failed.
    pub fn restoring(&self) -> Option<Report> {
        self.shared.progress.report()
    }

    /// From now on `owner` needs these partitions, in place of those that it needed before; they are taken up, and those
    /// that nobody needs are let go. Changes nothing in a table that holds its whole topic.
    pub fn want(&self, owner: usize, partitions: BTreeSet<i32>) {
        if let Some(parts) = &self.shared.parts {
            parts.want(owner, partitions);
        }
    }

    /// Whether the keys of this partition may be asked for, as far as that depends on the partition.
    pub fn serves(&self, partition: i32) -> bool {
        self.shared.parts.as_ref().is_none_or(|parts| parts.serves(partition))
    }

    /// Another number whenever an answer of [`Table::serves`] changed.
    pub fn changes(&self) -> u64 {
        self.shared.parts.as_ref().map_or(0, Parts::changes)
    }

    /// Whether it holds only what someone [wants](Table::want).
    pub fn is_in_part(&self) -> bool {
        self.shared.parts.is_some()
    }

    /// The partition that the records of a key are in, of a table that holds a part of its topic only.
    pub fn home(&self, key: &[u8]) -> Option<i32> {
        self.shared.parts.as_ref().and_then(|parts| parts.home(key))
    }

    /// How far what may be asked is behind the log's end; `None` while nothing may be. What a table that holds a part
    /// of its topic has only begun to restore does not count: see [`Table::serves`].
    ///
    /// # Errors
    /// Why the table gave up.
    pub fn behind(&self) -> Result<Option<Duration>, String> {
        match self.state() {
            TableState::Live { behind } => Ok(Some(behind)),
            TableState::Restoring { .. } => Ok(self.shared.parts.as_ref().map(|_| self.shared.progress.behind())),
            TableState::Failed(why) => Err(why),
        }
    }

    /// Whether both are handles to one table.
    pub fn is_same(&self, other: &Table) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How far it is.
    pub fn state(&self) -> TableState {
        self.shared.progress.state()
    }

    /// Keys held, erased ones that are still remembered included.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.shared.rows.rows()).unwrap_or(u64::MAX)
    }

    /// Bytes of keys and values, as the topic has them.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.shared.rows.raw_bytes()).unwrap_or(u64::MAX)
    }

    /// Bytes of memory that all of it takes.
    pub fn memory(&self) -> u64 {
        u64::try_from(self.shared.rows.memory()).unwrap_or(u64::MAX)
    }

    /// Records read from the topic so far.
    pub fn records_read(&self) -> u64 {
        self.shared.progress.records()
    }

    /// What it began with.
    pub fn origin(&self) -> Origin {
        self.shared.progress.origin()
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

/// So many threads put rows into a table, at most: more would wait for the one that fetches, or for the disk.
const MOST_THREADS: usize = 4;

fn putting_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))
}
