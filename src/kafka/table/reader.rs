//! The table's thread: reads every partition from where the table begins, applies each record, and knows how far
//! behind the log's end it is.
//!
//! Invariants: a partition is at its end when the broker says so (an EOF event, which transaction markers and gaps of
//! compaction cannot hide) or when its position reached the end as it was at the start; never by counting records. An
//! answer that may pass by itself never empties the table; a log that lost what is to be read next does, and nobody may
//! ask the table until it is restored again.

mod moves;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::Offset;

use super::ends::Ends;
use super::row::Row;
use super::rows::{Moving, SHARDS};
use super::snapshot::{Header, Keeper, Kept, Log, Recalling, Store};
use super::watch::{Mailbox, Seen, Watch, Watching};
use super::{Origin, Shared, SnapshotSettings, TableError, TableSettings, facts, putting_threads};
use crate::config;
use crate::kafka::acl::{Kind as On, Operation};
use crate::kafka::client::{Context, Kind, base_config, metadata};
use crate::kafka::denied::{Denied, Right};
use crate::kafka::native::records::{Fetched, RecordQueue, Said};
use crate::telemetry::clock::steady_now;
use crate::telemetry::faults::{self, Point};
use crate::telemetry::metrics::{TableGauges, table_gauges, table_snapshots};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at what is not a record: the log's end, gauges, what may be forgotten.
const TICK: Duration = Duration::from_millis(100);
/// How soon others hear of records, at the latest.
const TELL: Duration = Duration::from_millis(10);
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lines of log about a restore that takes long.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Between two tries to begin.
const PAUSE: Duration = Duration::from_millis(500);
/// Within so long every shard was looked through for erases whose time is over.
const FORGET_ROUND: Duration = Duration::from_secs(600);

/// Why reading ended before the table was stopped.
enum End {
    /// Trying again is of no use.
    Lasting(String),
    /// The log does not have what is to be read next: it was cut off, or deleted, or is another.
    Anew(String),
}

/// What one look at the queue found.
#[derive(Default)]
struct Came {
    records: u64,
    /// Whether a partition's end was among it.
    ends: bool,
}

pub(super) struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    /// What is fetched comes here, everything else to `consumer`.
    queue: RecordQueue<Context>,
    kafka: config::Kafka,
    settings: TableSettings,
    shared: Arc<Shared>,
    ends: Ends,
    mailbox: Mailbox,
    gauges: TableGauges,
    retention: Duration,
    /// Writes the snapshot, where one is kept.
    kept: Option<Kept>,
    /// The topic's id; empty when the brokers tell none.
    id: String,
    /// Whether it was begun anew.
    again: bool,
    /// Whether a snapshot was not what it had been a moment before.
    distrusts_disk: bool,
    /// Since when nobody wants a partition that is held.
    unwanted: BTreeMap<i32, Instant>,
    gauged: Instant,
    reported: Instant,
    forgot: Instant,
    shard_to_forget: usize,
}

impl Reader {
    pub(super) fn new(kafka: &config::Kafka, settings: TableSettings, shared: Arc<Shared>) -> Result<Self, TableError> {
        let failed = |cause| TableError::Client { topic: settings.topic.clone(), cause };
        let consumer = Arc::new(consumer(kafka).map_err(|error| failed(error.to_string()))?);
        Ok(Reader {
            queue: RecordQueue::new(&consumer).map_err(|error| failed(error.text))?,
            consumer,
            kafka: kafka.clone(),
            gauges: table_gauges(&settings.name),
            settings,
            shared,
            ends: Ends::default(),
            mailbox: Mailbox::default(),
            retention: Duration::ZERO,
            kept: None,
            id: String::new(),
            again: false,
            distrusts_disk: false,
            unwanted: BTreeMap::new(),
            gauged: steady_now(),
            reported: steady_now(),
            forgot: steady_now(),
            shard_to_forget: 0,
        })
    }

    pub(super) fn run(mut self) {
        let topic = self.settings.topic.clone();
        while let Err(end) = self.hold() {
            match end {
                End::Lasting(why) => {
                    tracing::error!(topic, why, "the table cannot go on");
                    return self.shared.progress.fail(why);
                }
                End::Anew(why) => {
                    tracing::error!(topic, why, "the table is begun anew; nothing is decided until it is restored");
                    self.begin_anew();
                }
            }
        }
    }

    /// Holds the table, from where it begins until it is stopped.
    fn hold(&mut self) -> Result<(), End> {
        self.assign()?;
        let watch = self.watch()?;
        let read = match applying() {
            Ok(pool) => pool.install(|| self.read()),
            Err(error) => Err(End::Lasting(format!("cannot start the threads that apply records: {error}"))),
        };
        watch.end();
        if let Some(kept) = self.kept.take() {
            kept.finish(read.is_ok());
        }
        read
    }

    fn begin_anew(&mut self) {
        self.again = true;
        // In this order: who finds a key missing finds as well that the table is not to be asked.
        self.shared.progress.begin_anew();
        if let Some(parts) = &self.shared.parts {
            parts.withdraw(|_| true);
        }
        self.shared.rows.clear();
        self.shared.positions.lock().clear();
        self.mailbox.lock().take();
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(topic = %self.settings.topic, %error, "not unassigned");
        }
        std::thread::sleep(PAUSE);
        // What is said of the log that was there must not be taken for the next one's.
        while !self.queue.take(Duration::ZERO).is_empty() {}
    }

    /// Begins to read every partition; waits for a cluster that is not there yet.
    fn assign(&mut self) -> Result<(), End> {
        let topic = self.settings.topic.clone();
        let mut recalling = self.recall();
        while !self.shared.stopped() {
            match self.try_assign(&mut recalling) {
                Ok(true) => return Ok(()),
                Ok(false) if self.again => tracing::warn!(topic, "the topic does not exist; waiting for it"),
                Ok(false) => {
                    return Err(End::Lasting(format!("topic `{topic}` does not exist; run `notilog topics apply`")));
                }
                Err(error) => {
                    if let Some(denied) = self.denied(&error) {
                        return Err(End::Lasting(denied.to_string()));
                    }
                    let why = self.consumer.context().diagnostics().explain(&error);
                    tracing::warn!(topic, %why, "cannot reach Kafka; trying again");
                }
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Begins to read the snapshot, where one is kept, while Kafka is asked about the topic.
    fn recall(&self) -> Option<Recalling> {
        let kept = self.settings.snapshot.as_ref().filter(|_| !self.distrusts_disk);
        let SnapshotSettings { dir, name, .. } = kept?;
        let started = Recalling::start(Store::new(dir, name), Arc::clone(&self.shared));
        started.inspect_err(|error| tracing::warn!(%error, "no thread for the table's snapshot")).ok()
    }

    fn try_assign(&mut self, recalling: &mut Option<Recalling>) -> Result<bool, KafkaError> {
        let topic = self.settings.topic.clone();
        let metadata = metadata(&self.consumer, &self.kafka, Some(&topic), CALL_TIMEOUT)?;
        if let Some(error) = metadata.topics().first().and_then(MetadataTopic::error)
            && RDKafkaErrorCode::from(error) == RDKafkaErrorCode::TopicAuthorizationFailed
        {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed));
        }
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Ok(false);
        }
        let mut bounds = Vec::with_capacity(partitions);
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            bounds.push(self.consumer.fetch_watermarks(&topic, partition, CALL_TIMEOUT)?);
        }
        self.retention = facts::delete_retention(&self.consumer, &topic);
        let identity = facts::identity(&self.consumer, &topic, partitions);
        self.id.clone_from(&identity.id);
        if let Some(parts) = &self.shared.parts {
            parts.counted(i32::try_from(partitions).unwrap_or(i32::MAX));
        }
        let Some(SnapshotSettings { dir, name, interval }) = self.settings.snapshot.clone() else {
            return self.begin(&bounds, None).map(|()| true);
        };
        let log = Log { identity, delete_retention: self.retention, bounds };
        let recalled = recalling.take().and_then(|recalling| recalling.settle(&log, &self.settings, &self.shared));
        self.begin(&log.bounds, recalled.as_ref())?;
        self.keep(Store::new(&dir, &name), log, interval, recalled);
        Ok(true)
    }

    /// Begins to read partitions whose logs begin and end there, on from what was recalled. A table that holds a part
    /// only begins with just that.
    fn begin(&mut self, bounds: &[(i64, i64)], recalled: Option<&Header>) -> Result<(), KafkaError> {
        if recalled.is_none() {
            self.shared.progress.begins(Origin::Topic);
        }
        let now = steady_now();
        self.ends = Ends::of(bounds.len());
        let mut list = TopicPartitionList::with_capacity(bounds.len());
        for (at, (low, high)) in bounds.iter().enumerate() {
            let next = recalled.and_then(|header| header.next.get(at).copied().flatten());
            if next.is_none() && self.shared.parts.is_some() {
                continue;
            }
            let (partition, offset) = (i32::try_from(at).unwrap_or(i32::MAX), next.map(Offset::Offset));
            self.ends.take(partition, next.unwrap_or(*low), *high, now);
            list.add_partition_offset(&self.settings.topic, partition, offset.unwrap_or(Offset::Beginning))?;
            self.lead(partition)?;
        }
        self.shared.progress.expect(self.ends.left());
        self.shared.rows.expect(self.ends.left());
        self.consumer.assign(&list)?;
        self.ends.read_ones().try_for_each(|partition| self.lead(partition))
    }

    /// What is fetched of a partition comes by the queue: before it is assigned, and after.
    fn lead(&self, partition: i32) -> Result<(), KafkaError> {
        self.queue.lead_here(&self.settings.topic, partition).map_err(|error| KafkaError::Subscription(error.text))
    }

    /// Keeps a snapshot from here on, of a topic that can be told from others.
    fn keep(&mut self, store: Store, log: Log, interval: Duration, recalled: Option<Header>) {
        if log.identity.id.is_empty() || log.identity.cluster.is_empty() {
            return;
        }
        let keeper = Keeper {
            shared: Arc::clone(&self.shared),
            store,
            name: self.settings.name.clone(),
            identity: log.identity,
            interval,
            retention: self.retention,
            clock: self.settings.clock.clone(),
            last: recalled.map(|header| (header.next, header.as_of)),
            moving: Some(Moving::default()),
        };
        match keeper.start() {
            Ok(kept) => self.kept = Some(kept),
            Err(error) => {
                tracing::warn!(topic = %self.settings.topic, %error, "no thread for the table's snapshot");
                let mut moving = Moving::default();
                while self.shared.rows.move_in(&mut moving) {}
            }
        }
    }

    fn watch(&self) -> Result<Watching, End> {
        let watch = Watch {
            consumer: Arc::clone(&self.consumer),
            shared: Arc::clone(&self.shared),
            mailbox: Arc::clone(&self.mailbox),
            topic: self.settings.topic.clone(),
            partitions: self.ends.partitions(),
            refresh: self.settings.refresh,
            id: self.id.clone(),
        };
        self.shared.progress.end_known(steady_now());
        let failed = |error| End::Lasting(format!("cannot start the thread that watches the log's end: {error}"));
        watch.start().map_err(failed)
    }

    fn read(&mut self) -> Result<(), End> {
        // One that begins at its end is restored without a record.
        self.tell();
        let (mut ticked, mut told, mut untold) = (steady_now(), steady_now(), false);
        while !self.shared.stopped() {
            let came = self.apply_some(if untold { TELL } else { POLL })?;
            untold |= came.records > 0;
            if came.ends || (untold && (came.records == 0 || told.elapsed() >= TELL)) {
                self.tell();
                (told, untold) = (steady_now(), false);
            }
            if came.records == 0 || ticked.elapsed() >= TICK {
                self.serve()?;
            }
            if ticked.elapsed() >= TICK {
                self.tick()?;
                ticked = steady_now();
            }
        }
        // The snapshot that is written at the end goes by this.
        self.tell();
        Ok(())
    }

    /// Applies the records that are there; waits for a first one for so long.
    fn apply_some(&mut self, timeout: Duration) -> Result<Came, End> {
        let batch = self.queue.take(timeout);
        let ends = &self.ends;
        // Of a partition that was let go, something may come all the same.
        let wanted = |record: &Fetched<'_>| ends.reads(record.partition());
        let rows: Vec<Row<'_>> = batch.iter().flatten().filter(wanted).filter_map(row_of).collect();
        let put = self.shared.rows.put_all(&rows);
        put.map_err(|full| End::Lasting(format!("{full}; hold `{}` in more processes", self.settings.topic)))?;
        let (mut came, mut troubles) = (Came::default(), Vec::new());
        for taken in batch.iter() {
            match taken {
                Ok(record) if self.ends.reads(record.partition()) => {
                    came.records += 1;
                    if !self.ends.is_restored(record.partition()) {
                        faults::at(Point::Restoring);
                    }
                    self.ends.read(record.partition(), record.offset());
                }
                Err(Said { partition, code: RDKafkaErrorCode::PartitionEOF, .. }) => {
                    came.ends = true;
                    self.ends.at_end(partition, steady_now());
                }
                Err(said) if self.ends.reads(said.partition) => troubles.push(said),
                _ => {}
            }
        }
        drop(rows);
        drop(batch);
        self.shared.progress.add_records(came.records);
        troubles.iter().try_for_each(|said| self.hear(said)).map(|()| came)
    }

    /// As if librdkafka had said it of the client.
    fn hear(&self, said: &Said) -> Result<(), End> {
        let error = KafkaError::MessageConsumption(said.code);
        self.consumer.context().diagnostics().on_error(&error, &said.text);
        self.check(&error)
    }

    /// Hears what librdkafka says of the client as a whole.
    fn serve(&mut self) -> Result<(), End> {
        let consumer = Arc::clone(&self.consumer);
        while let Some(polled) = consumer.poll(Duration::ZERO) {
            match polled {
                Ok(message) => return Err(astray(message.partition())),
                Err(KafkaError::PartitionEOF(partition)) => return Err(astray(partition)),
                Err(error) => self.check(&error)?,
            }
        }
        Ok(())
    }

    /// Tells others how far the table is.
    fn tell(&mut self) {
        let progress = &self.shared.progress;
        progress.left(self.ends.left());
        self.ends.positions(self.shared.parts.is_some(), &mut self.shared.positions.lock());
        let Some(parts) = &self.shared.parts else {
            progress.behind_since(self.ends.behind_since());
            return self.tell_restored();
        };
        progress.behind_since(self.ends.restored_behind_since());
        for partition in self.ends.read_ones().filter(|partition| self.ends.is_restored(*partition)) {
            if parts.serve(partition) {
                tracing::info!(topic = %self.settings.topic, partition, "this part of the table is restored");
            }
        }
        self.tell_restored();
    }

    fn tell_restored(&mut self) {
        let progress = &self.shared.progress;
        if !progress.is_restored() && self.ends.all_restored() && !self.shared.rows.is_damaged() {
            self.shared.rows.fit();
            progress.restored();
            let (rows, records, origin) = (self.shared.rows.rows(), progress.records(), progress.origin());
            tracing::info!(topic = %self.settings.topic, rows, records, ?origin, "the table is restored");
            self.gauge();
        }
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.shared.rows.is_damaged() {
            self.distrusts_disk = true;
            table_snapshots(&self.settings.name, "damaged").increment(1);
            return Err(End::Anew("rows changed in its snapshot while they were read; look at the disk".to_owned()));
        }
        let seen = self.mailbox.lock().take();
        if let Some(seen) = seen {
            self.compare(&seen)?;
        }
        self.doubt();
        self.tell();
        let now = steady_now();
        if now - self.gauged >= GAUGE_INTERVAL {
            self.gauge();
        }
        if now - self.reported >= REPORT_INTERVAL
            && let Some(report) = self.shared.progress.report()
        {
            self.reported = now;
            tracing::info!(topic = %self.settings.topic, %report, "restoring the table");
        }
        if self.shared.progress.is_restored() && now - self.forgot >= FORGET_ROUND / SHARDS as u32 {
            self.forgot = now;
            let moment = self.settings.clock.now().minus(self.retention);
            self.shard_to_forget = (self.shard_to_forget + 1) % SHARDS;
            self.shared.rows.forget_erased(self.shard_to_forget, moment.0);
        }
        Ok(())
    }

    /// Holds what was applied against where the log ends, and takes up partitions that were added.
    fn compare(&mut self, seen: &Seen) -> Result<(), End> {
        if seen.is_gone {
            return Err(End::Anew("the topic was deleted".to_owned()));
        }
        if seen.is_another {
            return Err(End::Anew("the topic was deleted and created anew".to_owned()));
        }
        self.shared.progress.end_known(seen.at);
        if let Some(parts) = &self.shared.parts {
            let wanted = parts.wanted();
            return self.follow(wanted, seen);
        }
        self.asked(seen);
        let known = self.ends.partitions();
        let added: Vec<(i32, i64)> = seen.ends.range(known..).map(|(partition, end)| (*partition, *end)).collect();
        if added.is_empty() {
            return Ok(());
        }
        tracing::info!(topic = %self.settings.topic, added = added.len(), "partitions were added to the table's topic");
        self.take_up(&added, steady_now())
    }

    fn doubt(&mut self) {
        for (partition, next) in self.ends.doubtful(steady_now()) {
            let sought = self.consumer.seek(&self.settings.topic, partition, Offset::Offset(next), Duration::ZERO);
            if let Err(error) = sought {
                tracing::debug!(topic = %self.settings.topic, partition, %error, "not fetched anew");
            }
        }
    }

    fn gauge(&mut self) {
        self.gauged = steady_now();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 rows are not reached")]
        let (rows, memory) = (self.shared.rows.rows() as f64, self.shared.rows.memory() as f64);
        self.gauges.records.set(rows);
        self.gauges.bytes.set(memory);
        self.gauges.restore_ratio.set(self.shared.progress.ratio());
        self.gauges.lag_seconds.set(self.shared.progress.behind().as_secs_f64());
    }

    /// Only what never passes by itself ends the table; a log that does not have what is to be read next is read anew.
    fn check(&self, error: &KafkaError) -> Result<(), End> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(End::Lasting(self.may_not_read().to_string())),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(End::Anew(error.to_string()))
            }
            _ => {
                tracing::debug!(topic = %self.settings.topic, %error, "passing trouble");
                Ok(())
            }
        }
    }

    /// The refusal behind an error, if waiting does not help against it.
    fn denied(&self, error: &KafkaError) -> Option<Denied> {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
            return Some(self.may_not_read());
        }
        self.consumer.context().diagnostics().denied(&self.kafka)
    }

    fn may_not_read(&self) -> Denied {
        Denied::right(&self.kafka, Right::on(On::Topic, &self.settings.topic, Operation::Read))
    }
}

/// Nothing of a partition takes the way of the consumer's own queue, since each is led to ours before it is assigned; if
/// something did, what came with it would be missing.
fn astray(partition: i32) -> End {
    End::Anew(format!("something of partition {partition} came astray"))
}

/// The threads that records are applied on, reading included.
fn applying() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(putting_threads()).thread_name(|number| format!("table-{number}")).build()
}

/// A record without a key says nothing of anybody.
fn row_of(record: Fetched<'_>) -> Option<Row<'_>> {
    Some(Row {
        partition: record.partition(),
        offset: record.offset(),
        timestamp: record.timestamp_ms(),
        key: record.key()?,
        value: record.value(),
    })
}

fn consumer(kafka: &config::Kafka) -> Result<BaseConsumer<Context>, KafkaError> {
    let defaults = [("fetch.queue.backoff.ms", "10"), ("queued.max.messages.kbytes", "16384")];
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
    BaseConsumer::from_config_and_context(&config, Context::default())
}
