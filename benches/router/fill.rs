//! The data: recipients with verified endpoints on two channels in turn, two unless said otherwise, and events of about
//! 220 B or more for them. A number alone decides what a record holds, save for the events' time, which an expiry is
//! counted from.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use notilog::model::{
    CategoryChoice, Channel, Endpoint, Event, Open, Preferences, Priority, RecipientKey, SmallMap, Timestamp,
};
use notilog::telemetry::clock::Clock;
use notilog::wire::{Encoders, names};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::{DOMAIN, World};

/// An event that is not padded has about so many bytes, or a few less.
const EVENT_BYTES: usize = 220;

const CHANNELS: [Open<'static, Channel>; 2] = [Open::Known(Channel::Email), Open::Known(Channel::Telegram)];

#[derive(Args)]
pub struct Fill {
    /// What to write.
    what: What,
    /// The number of the first one.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many.
    #[arg(long)]
    count: u64,
    /// How many recipients there are.
    #[arg(long)]
    recipients: u64,
    /// How many endpoints each recipient has: an event becomes so many outbound records.
    #[arg(long, default_value_t = 2)]
    endpoints: u64,
    /// About how many bytes an event has; those of 220 B are the smallest.
    #[arg(long, default_value_t = EVENT_BYTES)]
    event_bytes: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Preferences,
    Events,
}

impl Fill {
    pub fn run(&self, world: &World) {
        let padding = self.event_bytes.saturating_sub(EVENT_BYTES);
        let mut filler = Filler::new(world, 50, self.endpoints, padding);
        let time = Clock::system().now();
        for number in self.first..self.first + self.count {
            match self.what {
                What::Preferences => filler.preferences(number),
                What::Events => filler.event(number, self.recipients, time),
            }
        }
        filler.producer.flush(Duration::from_secs(120)).unwrap();
    }
}

pub struct Filler {
    producer: BaseProducer,
    encoders: Encoders,
    preferences: String,
    events: String,
    endpoints: u64,
    /// Of an event's data, for its size.
    padding: String,
    value: Vec<u8>,
}

impl Filler {
    pub fn new(world: &World, linger_ms: u32, endpoints: u64, padding: usize) -> Filler {
        let producer = world
            .client()
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", linger_ms.to_string())
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "200000")
            .create()
            .unwrap();
        Filler {
            producer,
            encoders: Encoders::new(world.writer_ids()),
            preferences: world.topics.preferences(),
            events: world.topics.events(DOMAIN),
            endpoints,
            padding: if padding == 0 { String::new() } else { format!(",\"note\":\"{}\"", "x".repeat(padding)) },
            value: Vec::new(),
        }
    }

    fn preferences(&mut self, number: u64) {
        let user = user(number);
        let addresses: Vec<String> = (0..self.endpoints).map(|nth| address(&user, number, nth)).collect();
        let channels = CHANNELS.iter().copied().take(addresses.len()).collect();
        let choice = CategoryChoice { enabled: true, channels: Some(channels), digest: None };
        let preferences = Preferences {
            tenant: "default",
            user_id: &user,
            locale: "en-GB",
            timezone: "Europe/Berlin",
            endpoints: addresses.iter().zip(CHANNELS.iter().cycle()).enumerate().map(endpoint).collect(),
            channels: SmallMap::default(),
            categories: SmallMap(vec![("orders", choice)]),
            quiet_hours: Vec::new(),
            paused_until: None,
            version: 1,
            updated_at: Timestamp(1_763_900_000_000),
            updated_by: "import",
        };
        self.value.clear();
        self.encoders.encode(&preferences, &mut self.value).unwrap();
        send(&self.producer, &self.preferences, &RecipientKey::new("default", &user), &self.value, None);
    }

    /// Writes an event; waits while the producer's queue is full.
    pub fn event(&mut self, number: u64, recipients: u64, time: Timestamp) {
        let user = user(scattered(number) % recipients);
        let id = format!("e-{number:012}");
        let mut data = String::with_capacity(128 + self.padding.len());
        let _ = write!(
            data,
            "{{\"order_id\":\"A-{number:010}\",\"carrier\":\"Nordpost\",\"items\":{},\"total\":\"{}.90\",\
             \"url\":\"https://shop.example.org/orders/{number:010}\"{}}}",
            number % 9 + 1,
            number % 400 + 10,
            self.padding,
        );
        let event = Event {
            id: &id,
            source: "shop/orders",
            kind: "order.shipped",
            time,
            tenant: "default",
            category: "orders",
            priority: Priority::Normal,
            recipients: vec![&user],
            audience: None,
            channels: None,
            template: None,
            data: &data,
            locale: None,
            not_before: None,
            expires_at: None,
            collapse_key: None,
        };
        self.value.clear();
        self.encoders.encode(&event, &mut self.value).unwrap();
        let trace = format!("00-{:032x}-{:016x}-01", scattered(number), number + 1);
        let header = Header { key: names::TRACEPARENT, value: Some(trace.as_bytes()) };
        let headers = OwnedHeaders::new_with_capacity(1).insert(header);
        send(&self.producer, &self.events, &RecipientKey::new("default", &user), &self.value, Some(headers));
    }
}

/// Mail and chat in turn.
fn address(user: &str, number: u64, nth: u64) -> String {
    match nth {
        0 => format!("{user}@mail.example.org"),
        nth if nth % 2 == 0 => format!("{user}+{nth}@mail.example.org"),
        nth => (7_000_000_000 + number + nth / 2 * 100_000_000).to_string(),
    }
}

fn endpoint<'a>((nth, (address, channel)): (usize, (&'a String, &Open<'a, Channel>))) -> Endpoint<'a> {
    Endpoint { channel: *channel, address, verified: true, label: (nth == 0).then_some("home") }
}

fn send(producer: &BaseProducer, topic: &str, key: &RecipientKey, value: &[u8], headers: Option<OwnedHeaders>) {
    let mut record = BaseRecord::to(topic).key(key.as_str()).payload(value);
    record.headers = headers;
    while let Err((_, back)) = producer.send(record) {
        producer.poll(Duration::from_millis(20));
        record = back;
    }
}

/// The number in an event's id.
pub fn number_of(id: &str) -> u64 {
    id.trim_start_matches("e-").parse().unwrap()
}

fn user(number: u64) -> String {
    format!("user-{number:08}")
}

/// Spreads numbers evenly (the finalizer of SplitMix64), so that a recipient's record is seldom in a cache.
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
