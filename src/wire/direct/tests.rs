//! Held against serde and the schema, for samples, for any record, and for records that were broken.

use proptest::prelude::*;

use super::*;
use crate::model::{Fallback, NotificationId, PreferencesRef, Reason, Timestamp, Verdict};
use crate::wire::samples::{self, for_each_sample};
use crate::wire::{Encoders, Record, RecordType, WriterIds, WriterSchema, decode};

/// The datum as serde writes it.
fn by_serde<'a, R: Record<'a>>(record: &R) -> Vec<u8> {
    let mut config = serde_avro_fast::ser::SerializerConfig::new(R::TYPE.schema());
    serde_avro_fast::to_datum_vec(record, &mut config).unwrap()
}

fn directly<'a>(record: &impl Direct<'a>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    assert!(record.put(&mut out));
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

#[test]
fn what_has_no_code_here_is_left_to_serde_and_all_is_written_alike() {
    for_each_sample!(|record| {
        let mut out = Vec::new();
        if record.put(&mut out) {
            assert_eq!(out, by_serde(&record));
        } else {
            assert!(out.is_empty());
        }
        let framed = Encoders::new(WriterIds::from_first(1)).to_vec(&record).unwrap();
        assert_eq!(framed[5..], by_serde(&record));
    });
}

#[test]
fn the_samples_are_read_here_and_not_by_serde() {
    for event in [samples::full_event(), samples::least_event()] {
        assert_eq!(Event::take(&by_serde(&event)).as_ref(), Some(&event));
    }
    for preferences in [samples::full_preferences(), samples::least_preferences()] {
        assert_eq!(Preferences::take(&by_serde(&preferences)).as_ref(), Some(&preferences));
    }
}

/// Whatever is read here is what serde reads.
fn same<'a, R: Record<'a> + PartialEq + std::fmt::Debug>(datum: &'a [u8]) {
    if let Some(record) = R::take(datum) {
        assert_eq!(decode::<R>(R::TYPE.schema(), datum).as_ref(), Ok(&record));
    }
}

fn any_text() -> impl Strategy<Value = String> {
    "[a-z ζ😀]{0,150}"
}

fn any_word() -> impl Strategy<Value = String> {
    "email|inbox|sms|pigeon|.{0,9}"
}

proptest! {
    #[test]
    fn any_event_is_read_as_serde_reads_it(
        texts: [String; 6], time: i64, priority in prop::sample::select(Priority::ALL), recipients: Vec<String>,
        channels in proptest::option::of(proptest::collection::vec(any_word(), 0..200)),
        optional: [Option<String>; 4], times: [Option<i64>; 2], flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let [id, source, kind, tenant, category, data] = &texts;
        let [audience, template, locale, collapse_key] = optional.each_ref().map(Option::as_deref);
        let [not_before, expires_at] = times.map(|time| time.map(Timestamp));
        let channels = channels.as_ref().map(|words| words.iter().map(|word| open(word)).collect());
        let event = Event {
            id, source, kind, time: Timestamp(time), tenant, category, priority,
            recipients: recipients.iter().map(String::as_str).collect(),
            audience, channels, template, data, locale, not_before, expires_at, collapse_key,
        };
        let mut datum = by_serde(&event);
        same::<Event<'_>>(&datum);
        if small(time) && times.into_iter().flatten().all(small) {
            prop_assert_eq!(Event::take(&datum), Some(event));
        }
        break_one(&mut datum, &flip);
        same::<Event<'_>>(&datum);
    }

    #[test]
    fn any_preferences_are_read_as_serde_reads_them(
        texts in [any_text(), any_text(), any_text()], numbers: [i64; 2], until: Option<i64>,
        endpoints in proptest::collection::vec((any_word(), any_text(), any::<bool>(), any::<Option<String>>()), 0..70),
        flags in proptest::collection::vec((any_word(), any::<bool>()), 0..4),
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let [tenant, user_id, by] = &texts;
        let endpoint = |(channel, address, verified, label): &'static (String, String, bool, Option<String>)| Endpoint {
            channel: open(channel), address, verified: *verified, label: label.as_deref(),
        };
        let endpoints: &'static [_] = endpoints.leak();
        let choice = |enabled| CategoryChoice { enabled, channels: Some(vec![Channel::Sms.into()]), digest: None };
        let preferences = Preferences {
            tenant, user_id, locale: "", timezone: "UTC",
            endpoints: endpoints.iter().map(endpoint).collect(),
            channels: SmallMap(flags.iter().map(|(name, on)| (name.as_str(), *on)).collect()),
            categories: SmallMap(flags.iter().map(|(name, on)| (name.as_str(), choice(*on))).collect()),
            quiet_hours: vec![QuietHours { days: vec!["MON"], from: "22:00", to: "06:00" }],
            paused_until: until.map(Timestamp), version: numbers[0], updated_at: Timestamp(numbers[1]), updated_by: by,
        };
        let mut datum = by_serde(&preferences);
        same::<Preferences<'_>>(&datum);
        if numbers.into_iter().chain(until).all(small) {
            prop_assert_eq!(Preferences::take(&datum), Some(preferences));
        }
        break_one(&mut datum, &flip);
        same::<Preferences<'_>>(&datum);
    }

    #[test]
    fn any_outbound_is_written_as_serde_writes_it(
        texts: [String; 6], numbers: [i64; 4], optional: [Option<String>; 2], times: [Option<i64>; 2],
        priority in prop::sample::select(Priority::ALL), siblings: Vec<String>, channel in any_word(),
    ) {
        let [event_id, source, user_id, address, template, data] = &texts;
        let [event_time, decided_at, after_ms, id] = numbers;
        let outbound = Outbound {
            notification_id: NotificationId(uuid::Uuid::from_u64_pair(id.cast_unsigned(), 7)), event_id, source,
            event_time: Timestamp(event_time), user_id, priority, channel: open(&channel), address, template, data,
            collapse_key: optional[0].as_deref(), not_before: times[0].map(Timestamp),
            expires_at: times[1].map(Timestamp), decided_at: Timestamp(decided_at), replay_id: optional[1].as_deref(),
            fallback: siblings.iter().map(|text| Fallback { channel: open(text), address: text, after_ms }).collect(),
            siblings: siblings.iter().map(Into::into).collect(),
            ..samples::full_outbound()
        };
        prop_assert_eq!(directly(&outbound), by_serde(&outbound));
    }

    #[test]
    fn any_decision_is_written_as_serde_writes_it(
        texts: [String; 4], numbers: [i64; 4], rule: i32, optional: [Option<String>; 3], count in 0_usize..130,
    ) {
        let [event_id, source, user_id, word] = &texts;
        let [event_time, decided_at, offset, version] = numbers;
        let outcome = DecisionOutcome {
            user_id, channel: optional[0].as_deref().map(open), endpoint_hash: optional[1].as_deref().map(Into::into),
            verdict: open::<Verdict>(word), reason: open::<Reason>(word), rule,
            preferences: optional[0].as_ref().map(|_| PreferencesRef { partition: rule, offset, version }),
            notification_id: optional[1].as_ref().map(|_| samples::full_outbound().notification_id),
            until: optional[2].as_ref().map(|_| Timestamp(offset)),
        };
        let decision = Decision {
            event_id, source, event_time: Timestamp(event_time), decided_at: Timestamp(decided_at),
            replay_id: optional[2].as_deref(), outcomes: vec![outcome; count], ..samples::full_decision()
        };
        prop_assert_eq!(directly(&decision), by_serde(&decision));
    }

    #[test]
    fn no_bytes_are_read_otherwise_than_by_serde(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        same::<Event<'_>>(&bytes);
        same::<Preferences<'_>>(&bytes);
    }
}

/// Fits into nine bytes, as everything that is a time does.
fn small(number: i64) -> bool {
    number.unsigned_abs() < 1 << 61
}

fn open<T: std::str::FromStr>(word: &str) -> Open<'_, T> {
    word.parse().map_or(Open::Other(word), Open::Known)
}

fn break_one(datum: &mut [u8], (index, mask): &(prop::sample::Index, u8)) {
    if !datum.is_empty() {
        let at = index.index(datum.len());
        datum[at] ^= mask;
    }
}

#[test]
fn an_array_in_blocks_with_sizes_is_read_by_serde() {
    // id, source, type "", time 0, tenant, category "", priority LOW, one recipient "" in a block of one byte, seven
    // nulls and an empty text.
    let datum = [0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Event::take(&datum), None);
    let event: Event<'_> = WriterSchema::own(RecordType::Event).read(&datum).unwrap();
    assert_eq!(event.recipients, [""]);
}

#[test]
fn a_datum_of_another_schema_is_never_read_here() {
    let name = |name: &str| format!(r#""name": "{name}""#);
    let swapped = RecordType::Event.schema_text().replacen(&name("id"), &name("@"), 1);
    let swapped = swapped.replacen(&name("source"), &name("id"), 1).replacen(&name("@"), &name("source"), 1);
    let datum = by_serde(&samples::full_event());
    let event: Event<'_> = WriterSchema::parse(&swapped, &[]).unwrap().read(&datum).unwrap();
    assert_eq!((event.id, event.source), (samples::full_event().source, samples::full_event().id));
}
