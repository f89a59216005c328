//! What is measured, each piece of work by its name: once for both, so that times and instructions speak of the same.

use std::hint::black_box;
use std::sync::Arc;

use crate::audience::recipients;
use crate::decide::{Circumstances, Conclusions, Recipient, Subject, Zones, arrange, decide_recipient, judge_event};
use crate::kafka::table::Rows;
use crate::model::{Reason, Timestamp, endpoint_hash};
use crate::wire::{DlqHeaders, Encoders, Origin, Record, Records, TierHeaders};

use crate::data;
use crate::pipeline;

/// A piece of work that can be done again and again; `number` varies what it is done with.
pub trait Work {
    /// Does it once: this is what is measured.
    fn once(&mut self, number: usize);

    /// What has to be done now and then, and is not measured: after [`Case::unbroken`] times at the latest.
    fn rest(&mut self) {}
}

impl<F: FnMut(usize)> Work for F {
    fn once(&mut self, number: usize) {
        self(number);
    }
}

/// A piece of work, not begun.
pub struct Case {
    pub name: &'static str,
    /// How often it can be done without [rest](Work::rest).
    pub unbroken: usize,
    /// Makes it, with a table of so many rows where it needs one.
    pub make: fn(usize) -> Box<dyn Work>,
}

/// All of them.
pub const CASES: &[Case] = &[
    case("decode/event", |_| decode_events(data::event)),
    case("decode/event-of-another-schema", |_| decode_events(data::event_of_another)),
    case("decode/preferences", |_| decode_preferences()),
    case("decide/event", |_| judge_events()),
    case("decide/recipient", |_| decide_recipients()),
    case("encode/outbound", |_| encode(data::outbound())),
    case("encode/decision", |_| encode(data::decision())),
    case("headers/deferral", |_| write_deferral()),
    case("headers/deferral-read", |_| read_deferral()),
    case("headers/dead-letter", |_| write_dead_letter()),
    case("ids/notification", |_| derive_ids()),
    case("ids/endpoint", |_| hash_endpoints()),
    case("table/hit", table_hits),
    case("table/miss", table_misses),
    case("table/update", table_updates),
    case("table/update-other-size", table_updates_of_other_sizes),
    Case { name: "router/event", unbroken: pipeline::UNBROKEN, make: |_| Box::new(pipeline::Routing::new()) },
];

const fn case(name: &'static str, make: fn(usize) -> Box<dyn Work>) -> Case {
    Case { name, unbroken: usize::MAX, make }
}

/// Different ones for each piece of work, so many.
const VARIANTS: usize = 64;

fn variants(make: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..VARIANTS).map(make).collect()
}

fn records() -> Records {
    Records::new(Arc::new(data::schemas()))
}

fn decode_events(make: fn(usize) -> Vec<u8>) -> Box<dyn Work> {
    let (mut records, events) = (records(), variants(make));
    Box::new(move |number: usize| drop(black_box(records.event(&events[number % VARIANTS]).unwrap())))
}

fn decode_preferences() -> Box<dyn Work> {
    let (mut records, all) = (records(), variants(|number| data::preferences(number, 1)));
    Box::new(move |number: usize| drop(black_box(records.preferences(&all[number % VARIANTS]).unwrap())))
}

/// Rules 1 and 2.
fn judge_events() -> Box<dyn Work> {
    let policy = data::policy();
    let event = records().event(data::event(1).leak()).unwrap();
    Box::new(move |_: usize| {
        black_box(judge_event(black_box(&event), data::EVENTS, &[], &policy, data::NOW).unwrap());
    })
}

/// Rules 4 to 13 for two endpoints, and the order of fallbacks, of which there are none.
fn decide_recipients() -> Box<dyn Work> {
    let (policy, zones) = (data::policy(), Zones::bundled());
    let event = records().event(data::event(1).leak()).unwrap();
    let preferences = records().preferences(data::preferences(1, 1).leak()).unwrap();
    Box::new(move |_: usize| {
        let category = policy.category("orders").unwrap();
        let at = Circumstances::new(data::NOW, &zones);
        let mut conclusions = Conclusions::new();
        for _ in recipients(black_box(&event)) {
            let recipient = Recipient::Known(black_box(&preferences));
            decide_recipient(&Subject::of_event(&event), category, recipient, &at, &mut conclusions);
            arrange(&category.fallback, &mut conclusions);
        }
        assert_eq!(black_box(conclusions).len(), 2);
    })
}

/// Into a buffer that is used again.
fn encode<R: Record<'static> + 'static>(record: R) -> Box<dyn Work> {
    let (mut encoders, mut out) = (Encoders::new(data::ids()), Vec::with_capacity(4096));
    Box::new(move |_: usize| {
        out.clear();
        encoders.encode(black_box(&record), &mut out).unwrap();
        black_box(&out);
    })
}

/// Those of an event that waits for its recipient: the longest that the router writes.
fn deferral() -> TierHeaders {
    let origin = Origin { topic: data::EVENTS.to_owned(), partition: 7, offset: 412_345, timestamp: data::NOW };
    TierHeaders {
        not_before: Some(data::NOW),
        original: Some(origin),
        error_code: Some(Reason::UnknownRecipient.as_str().to_owned()),
        recipients: Some(vec![0]),
        ..TierHeaders::default()
    }
}

fn write_deferral() -> Box<dyn Work> {
    let headers = deferral();
    Box::new(move |_: usize| {
        let mut out = Vec::with_capacity(8);
        black_box(&headers).write(&mut out);
        black_box(out);
    })
}

fn read_deferral() -> Box<dyn Work> {
    let mut written = Vec::new();
    deferral().write(&mut written);
    Box::new(move |_: usize| {
        let headers = written.iter().map(|(name, value)| (*name, value.as_bytes()));
        black_box(TierHeaders::parse(headers).unwrap());
    })
}

fn write_dead_letter() -> Box<dyn Work> {
    let letter = DlqHeaders {
        topic: data::EVENTS,
        partition: 7,
        offset: 412_345,
        group: "notilog.router",
        delivery_count: 1,
        message: "the event breaks the contract: no_category",
        reason: Reason::NoCategory.into(),
    };
    Box::new(move |_: usize| {
        let mut out = Vec::with_capacity(8);
        black_box(&letter).write(&mut out);
        black_box(out);
    })
}

fn derive_ids() -> Box<dyn Work> {
    Box::new(|_: usize| {
        black_box(data::notification_id(black_box("user-00000001"), "user-00000001@mail.example.org"));
    })
}

fn hash_endpoints() -> Box<dyn Work> {
    Box::new(|_: usize| {
        let address = "user-00000001@mail.example.org";
        black_box(endpoint_hash(black_box("default"), "user-00000001", "email", address));
    })
}

/// Any, and always the same one: how keys spread decides when a shard grows, and so what is counted.
const SEED: u64 = 7;

/// A table with the preferences of so many recipients.
fn table(rows: usize) -> Rows {
    let table = Rows::default();
    table.adopt(SEED);
    for (number, offset) in (0..rows).zip(0..) {
        let key = data::key(number);
        table.put(key.as_str().as_bytes(), Some(&data::preferences(number, 1)), 0, offset, data::NOW.0).unwrap();
    }
    table
}

/// Looks keys up as the router does, copying what is found.
fn looks_up(table: Rows, keys: Vec<String>) -> Box<dyn Work> {
    let mut copy = Vec::with_capacity(4096);
    Box::new(move |number: usize| {
        let key = &keys[data::scattered(number) % keys.len()];
        table.get(black_box(key).as_bytes(), |entry| {
            if let crate::kafka::Entry::Present { value, .. } = entry {
                copy.clear();
                copy.extend_from_slice(value);
            }
        });
        black_box(&copy);
    })
}

fn keys(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| data::key(number).as_str().to_owned()).collect()
}

fn table_hits(rows: usize) -> Box<dyn Work> {
    looks_up(table(rows), keys(0..rows))
}

fn table_misses(rows: usize) -> Box<dyn Work> {
    looks_up(table(rows), keys(rows..2 * rows))
}

/// New values as long as those that they replace.
fn table_updates(rows: usize) -> Box<dyn Work> {
    updates(rows, |_| 1)
}

/// New values of other lengths: rows are laid elsewhere, and what is dead is cleared away.
fn table_updates_of_other_sizes(rows: usize) -> Box<dyn Work> {
    updates(rows, |number| if number.is_multiple_of(2) { 1 << 40 } else { 1 })
}

fn updates(rows: usize, version: fn(usize) -> i64) -> Box<dyn Work> {
    let (table, keys) = (table(rows), keys(0..rows));
    let values: Vec<Vec<u8>> = (0..VARIANTS).map(|number| data::preferences(number, version(number))).collect();
    let (mut offset, Timestamp(timestamp)) = (i64::try_from(rows).unwrap(), data::NOW);
    Box::new(move |number: usize| {
        let key = &keys[data::scattered(number) % keys.len()];
        offset += 1;
        table.put(key.as_bytes(), Some(&values[number % VARIANTS]), 0, offset, timestamp).unwrap();
    })
}
