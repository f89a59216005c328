//! Latency: events at a steady rate, and how long each takes from its producer's timestamp until its outbound record is
//! visible under read_committed. One process does both, so that there is one clock.
//!
//! Measured is every event written within the window, which begins when what was written before is through and the
//! warm-up is over. The pace is kept until the last of them was seen, so that their end is like their middle; each has
//! to be seen exactly once.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use notilog::model::{Channel, Class, Outbound};
use notilog::telemetry::clock::Clock;
use notilog::wire::{RecordType, decode, split};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::World;
use crate::fill::{Filler, number_of};

/// So long a contestant may take to start, and the last events of the window to come.
const PATIENCE: Duration = Duration::from_secs(90);

/// What waited for the contestant's start is through when an event took no longer than this.
const SETTLED: Duration = Duration::from_secs(1);

#[derive(Args)]
pub struct Latency {
    /// Events a second.
    #[arg(long)]
    rate: u64,
    /// Seconds at this rate that are not measured.
    #[arg(long)]
    warm_up: u64,
    /// Seconds that are measured.
    #[arg(long)]
    seconds: u64,
    /// How many recipients there are.
    #[arg(long)]
    recipients: u64,
}

/// What the window held; times in microseconds.
#[derive(Serialize)]
struct Summary {
    events: usize,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
    mean: u64,
    /// How late the pacer itself was with an event.
    pacer_p50: u64,
    pacer_p99: u64,
}

/// What both threads know of the events, by number: nanoseconds since the start, 0 while it is not written.
struct Sent {
    start: Instant,
    at: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Latency {
    pub fn run(&self, world: &World) {
        let most = self.rate * (self.warm_up + self.seconds + 2 * PATIENCE.as_secs());
        let consumer = consumer(world);
        let at = (0..most).map(|_| AtomicU64::new(0)).collect();
        let sent = Sent { start: Instant::now(), at, stop: AtomicBool::new(false) };
        let (late, seen) = std::thread::scope(|scope| {
            let pacer = scope.spawn(|| self.pace(world, &sent));
            let seen = self.watch(&sent, &consumer);
            sent.stop.store(true, Ordering::Relaxed);
            (pacer.join().unwrap(), seen)
        });
        let summary = seen.summary(&late);
        println!("{}", serde_json::to_string(&summary).unwrap());
    }

    /// Writes events as they are due; gives how late each was.
    fn pace(&self, world: &World, sent: &Sent) -> Vec<u64> {
        let (mut filler, clock) = (Filler::new(world, 0, 2, 0), Clock::system());
        let mut late = Vec::with_capacity(sent.at.len());
        for (number, at) in (0..).zip(&sent.at) {
            let due = Duration::from_nanos(number * 1_000_000_000 / self.rate);
            let mut now = sent.start.elapsed();
            while now < due {
                std::thread::sleep(due.saturating_sub(now));
                now = sent.start.elapsed();
            }
            if sent.stop.load(Ordering::Relaxed) {
                break;
            }
            late.push(nanos(now.saturating_sub(due)));
            at.store(nanos(now).max(1), Ordering::Release);
            filler.event(number, self.recipients, clock.now());
        }
        late
    }

    fn watch(&self, sent: &Sent, consumer: &BaseConsumer) -> Seen {
        let mut seen = Seen::default();
        let mut progress = Instant::now();
        loop {
            if let Some(message) = consumer.poll(Duration::from_millis(20)) {
                let message = message.unwrap();
                let now = sent.start.elapsed();
                seen.take(self, sent, event_of(&message), now);
                progress = Instant::now();
            }
            if seen.ended(sent.start.elapsed()) {
                return seen;
            }
            assert!(progress.elapsed() < PATIENCE, "nothing was routed within {} s", PATIENCE.as_secs());
        }
    }
}

/// What was seen of the window.
#[derive(Default)]
struct Seen {
    phase: Phase,
    /// Numbers of the first event in the window and the first one after it.
    window: (u64, u64),
    /// Nanoseconds by number within the window; 0 for what was not seen.
    latencies: Vec<u64>,
    left: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Settling,
    /// Until all of the window was seen; whether its end was told.
    Measuring { told: (bool, bool), from: Duration, to: Duration },
}

impl Seen {
    fn take(&mut self, how: &Latency, sent: &Sent, number: u64, now: Duration) {
        let at = Duration::from_nanos(sent.at[usize::try_from(number).unwrap()].load(Ordering::Acquire));
        assert!(!at.is_zero(), "event {number} was routed before it was written");
        let took = now.saturating_sub(at);
        if self.phase == Phase::Settling {
            if took < SETTLED {
                let from = now.as_secs() + how.warm_up + 1;
                self.window = (from * how.rate, (from + how.seconds) * how.rate);
                self.left = usize::try_from(how.seconds * how.rate).unwrap();
                self.latencies = vec![0; self.left];
                let (from, to) = (Duration::from_secs(from), Duration::from_secs(from + how.seconds));
                self.phase = Phase::Measuring { told: (false, false), from, to };
            }
            return;
        }
        if (self.window.0..self.window.1).contains(&number) {
            let latency = &mut self.latencies[usize::try_from(number - self.window.0).unwrap()];
            assert_eq!(*latency, 0, "event {number} was seen twice");
            *latency = nanos(took).max(1);
            self.left -= 1;
        }
    }

    /// Tells on standard output when the window begins and ends; whether all of it was seen.
    fn ended(&mut self, now: Duration) -> bool {
        let Phase::Measuring { told: (began, ended), from, to } = &mut self.phase else { return false };
        for (told, at, word) in [(began, *from, "begin"), (ended, *to, "end")] {
            if !*told && now >= at {
                println!("{word}");
                std::io::stdout().flush().unwrap();
                *told = true;
            }
        }
        now >= *to && self.left == 0
    }

    fn summary(mut self, late: &[u64]) -> Summary {
        let number = |number: u64| usize::try_from(number).unwrap();
        let mut late = late[number(self.window.0)..number(self.window.1)].to_vec();
        late.sort_unstable();
        self.latencies.sort_unstable();
        let all = &self.latencies;
        Summary {
            events: all.len(),
            p50: quantile(all, 0.5),
            p99: quantile(all, 0.99),
            p999: quantile(all, 0.999),
            max: quantile(all, 1.0),
            mean: all.iter().sum::<u64>() / all.len() as u64 / 1_000,
            pacer_p50: quantile(&late, 0.5),
            pacer_p99: quantile(&late, 0.99),
        }
    }
}

/// Of sorted nanoseconds, in microseconds: the least value that this part of them does not exceed.
fn quantile(sorted: &[u64], part: f64) -> u64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1] / 1_000
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// The number of the event that a record was made for.
fn event_of(message: &BorrowedMessage<'_>) -> u64 {
    let (_, datum) = split(message.payload().unwrap()).unwrap();
    let outbound: Outbound<'_> = decode(RecordType::Outbound.schema(), datum).unwrap();
    number_of(outbound.event_id)
}

/// Reads what is written to the e-mail topic from now on; each fetch is answered as soon as there is something.
fn consumer(world: &World) -> BaseConsumer {
    let topic = world.topics.outbound(Channel::Email, Class::Main);
    let consumer: BaseConsumer = world
        .client()
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.queue.backoff.ms", "1")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap();
    let partitions = i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let (_, end) = consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap();
        list.add_partition_offset(&topic, partition, Offset::Offset(end)).unwrap();
    }
    consumer.assign(&list).unwrap();
    consumer
}
