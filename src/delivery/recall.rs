//! What a worker has not seen itself: the notifications with a collapse key that its partitions' topics of first
//! attempts hold from before the assignment. They are read when the first record that waited asks for it, and once.
//!
//! Invariant: a help that is never needed: what cannot be read supersedes nothing, and is sent. The worker's thread is
//! not held up: whoever asks waits, in its tier.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::clerk::place;
use super::collapse::{Mark, Place};
use super::ledger::Work;
use super::outputs::Destinations;
use super::providers::Route;
use crate::config;
use crate::kafka::reader::{From, ReadError, Record, Scan, scan};
use crate::kafka::{OwnedRecord, TopicPartition};
use crate::model::Class;
use crate::wire::{Records, TierHeaders};

/// So far before where the group stands a topic is read, in offsets.
const BACK: i64 = 10_000;

/// So many records are read of it at most: what comes later is taken soon.
const AT_MOST: usize = 2 * 10_000;

/// What was read.
type Seen = Vec<(Mark, Place)>;

/// Reads for one worker.
pub struct Recall {
    kafka: config::Kafka,
    destinations: Destinations,
    records: Records,
    /// Where the group stood, by partition number and class; gone once it was read from.
    from: BTreeMap<i32, BTreeMap<Class, i64>>,
    under_way: BTreeMap<i32, Receiver<Seen>>,
}

/// What is known of a partition number.
#[derive(Debug)]
pub enum Recalled {
    /// All that can be.
    Known,
    /// It is being read.
    Waits,
    /// It was read just now: to be remembered.
    Just(Seen),
}

impl Recall {
    /// Nothing is assigned yet.
    pub fn new(kafka: &config::Kafka, destinations: Destinations, records: Records) -> Self {
        let (from, under_way) = (BTreeMap::new(), BTreeMap::new());
        Recall { kafka: kafka.clone(), destinations, records, from, under_way }
    }

    /// A partition of first attempts begins at the group's offset, if the group knows it.
    pub fn begins(&mut self, partition: i32, class: Class, committed: Option<i64>) {
        if let Some(offset) = committed.filter(|offset| *offset > 0) {
            self.from.entry(partition).or_default().insert(class, offset);
        }
    }

    /// A partition is someone else's.
    pub fn forget(&mut self, partition: i32) {
        self.from.remove(&partition);
        self.under_way.remove(&partition);
    }

    /// Asks for what is not known yet of a partition number.
    pub fn ask(&mut self, partition: i32) -> Recalled {
        if let Some(from) = self.from.remove(&partition) {
            self.begin(partition, from);
        }
        let Some(reading) = self.under_way.get(&partition) else { return Recalled::Known };
        let recalled = match reading.try_recv() {
            Ok(seen) => Recalled::Just(seen),
            Err(TryRecvError::Empty) => return Recalled::Waits,
            Err(TryRecvError::Disconnected) => Recalled::Known,
        };
        self.under_way.remove(&partition);
        recalled
    }

    fn begin(&mut self, partition: i32, from: BTreeMap<Class, i64>) {
        let (done, reading) = channel();
        let (kafka, destinations, records) = (self.kafka.clone(), self.destinations.clone(), self.records.clone());
        let read = move || {
            let mut reader = Reader { kafka, destinations, records, seen: Vec::new() };
            for (class, offset) in from {
                if let Err(error) = reader.read(partition, class, offset) {
                    tracing::warn!(partition, %error, "what was seen before the assignment is not known: what a later notification of its collapse key overtook then is sent");
                }
            }
            // The worker may be gone.
            let _ = done.send(reader.seen);
        };
        let started = std::thread::Builder::new().name(format!("recall-{partition}")).spawn(read);
        match started {
            Ok(_) => {
                self.under_way.insert(partition, reading);
            }
            Err(error) => tracing::warn!(partition, %error, "the thread that reads first attempts again cannot start"),
        }
    }
}

struct Reader {
    kafka: config::Kafka,
    destinations: Destinations,
    records: Records,
    seen: Seen,
}

impl Reader {
    fn read(&mut self, partition: i32, class: Class, committed: i64) -> Result<(), ReadError> {
        let topic = self.destinations.topics.outbound(self.destinations.channel, class);
        let from = From::Offset(committed.saturating_sub(BACK).max(0));
        let mut left = AT_MOST;
        let kafka = self.kafka.clone();
        scan(&kafka, Scan { topic: &topic, partition: Some(partition), from, ..Scan::default() }, |record| {
            self.note(record);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn note(&mut self, record: Record) {
        let headers = record.headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let record = OwnedRecord {
            partition: TopicPartition::new(record.topic, record.partition),
            offset: record.offset,
            timestamp_ms: record.timestamp.map_or(0, |timestamp| timestamp.0),
            key: record.key,
            value: record.value,
            headers,
        };
        let headers = Arc::new(TierHeaders::parse(record.headers()).unwrap_or_default());
        let work = Work { record: Arc::new(record), headers, waited: false, route: Route::default() };
        let Ok(outbound) = self.records.outbound(work.record.value.as_deref().unwrap_or_default()) else { return };
        if let Some(mark) = Mark::of(&outbound) {
            self.seen.push((mark, place(&self.destinations, &work, &outbound)));
        }
    }
}
