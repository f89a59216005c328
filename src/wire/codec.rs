//! Avro data ↔ records: borrowed decode, and encode into a buffer that is reused.

use std::io::BufRead as _;

use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use serde_avro_fast::ser::{SerializerConfig, SerializerState};

use super::error::without_values;
use super::frame::begin;
use super::{Record, RecordType, SchemaId, WireError};

/// Decodes one datum that was written with `schema`, borrowing from it. Fields that the schema lacks take the
/// model's defaults; fields that the model lacks are skipped.
///
/// # Errors
/// [`WireError::Malformed`] for what does not fit the schema or the model, [`WireError::Trailing`] when bytes are
/// left: serde_avro_fast itself would pass over them.
pub fn decode<'a, R: Record<'a>>(schema: &Schema, datum: &'a [u8]) -> Result<R, WireError> {
    let mut config = DeserializerConfig::new(schema);
    // An element has at least one byte (`resolve` refuses other schemas): a longer sequence is a lie.
    config.max_seq_size = datum.len();
    let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
    let record = R::deserialize(state.deserializer())
        .map_err(|error| WireError::Malformed { record: R::TYPE, why: without_values(&error.to_string()) })?;
    // Reading from a slice cannot fail; what it still holds was not consumed.
    match state.fill_buf().map_or(0, <[u8]>::len) {
        0 => Ok(record),
        bytes => Err(WireError::Trailing { record: R::TYPE, bytes }),
    }
}

/// The ids to write with: one for each of our own schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterIds([SchemaId; RecordType::COUNT]);

impl WriterIds {
    /// Ids in the order of [`RecordType::ALL`].
    pub const fn new(ids: [SchemaId; RecordType::COUNT]) -> Self {
        WriterIds(ids)
    }

    /// The same id for all: of use only where ids do not matter.
    pub const fn same(id: SchemaId) -> Self {
        WriterIds([id; RecordType::COUNT])
    }

    /// Ids that follow each other from `first` on, for tests and tools without a registry.
    pub fn from_first(first: u32) -> Self {
        let mut ids = [SchemaId(first); RecordType::COUNT];
        for (id, next) in ids.iter_mut().zip(first..) {
            *id = SchemaId(next);
        }
        WriterIds(ids)
    }

    /// The id that records of this type are written with.
    pub const fn get(&self, record: RecordType) -> SchemaId {
        self.0[record as usize]
    }
}

/// Writes records in the Confluent wire format. Keeps the serializer's buffers: one for each thread.
pub struct Encoders {
    ids: WriterIds,
    configs: [SerializerConfig<'static>; RecordType::COUNT],
}

impl Encoders {
    /// Encoders that write with our own schemas under these ids.
    pub fn new(ids: WriterIds) -> Self {
        Encoders { ids, configs: RecordType::ALL.map(|record| SerializerConfig::new(record.schema())) }
    }

    /// Appends `value`, framed, to `out`; on an error `out` is as it was.
    ///
    /// # Errors
    /// [`WireError::Encode`] when the value does not fit the schema, which tests hold to be impossible.
    pub fn encode<'a, R: Record<'a>>(&mut self, value: &R, out: &mut Vec<u8>) -> Result<(), WireError> {
        let start = out.len();
        begin(self.ids.get(R::TYPE), out);
        if value.put(out) {
            return Ok(());
        }
        let mut state = SerializerState::from_writer(&mut *out, &mut self.configs[R::TYPE as usize]);
        let result = value.serialize(state.serializer());
        drop(state);
        result.map_err(|error| {
            out.truncate(start);
            WireError::Encode { record: R::TYPE, why: without_values(&error.to_string()) }
        })
    }

    /// [`Encoders::encode`] into a new buffer.
    ///
    /// # Errors
    /// As [`Encoders::encode`].
    pub fn to_vec<'a, R: Record<'a>>(&mut self, value: &R) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        self.encode(value, &mut out)?;
        Ok(out)
    }
}

impl Clone for Encoders {
    fn clone(&self) -> Self {
        Encoders::new(self.ids)
    }
}

impl std::fmt::Debug for Encoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoders").field("ids", &self.ids).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Channel, Decision, DeliveryStatus, Event, InboxItem, InboxState, Open, Outbound, Preferences, Priority,
        Receipt, SentMessage, Suppression, Timestamp,
    };
    use crate::wire::samples::{self, for_each_sample};
    use crate::wire::{WriterSchema, split};
    use proptest::prelude::*;

    fn encoders() -> Encoders {
        Encoders::new(WriterIds::from_first(1))
    }

    fn datum<'a, R: Record<'a>>(record: &R) -> Vec<u8> {
        encoders().to_vec(record).unwrap().split_off(5)
    }

    #[test]
    fn every_record_reads_back_as_it_was_written() {
        fn back<'a, R: Record<'a> + PartialEq + std::fmt::Debug>(record: &R, bytes: &'a [u8]) {
            assert_eq!(&decode::<R>(R::TYPE.schema(), bytes).unwrap(), record);
        }
        for_each_sample!(|record| {
            let bytes = datum(&record);
            back(&record, &bytes);
        });
    }

    #[test]
    fn every_record_is_written_under_its_own_id() {
        let mut encoders = encoders();
        let (id, _) = split(&encoders.to_vec(&samples::full_status()).unwrap()).map(|(id, d)| (id, d.len())).unwrap();
        assert_eq!(id, SchemaId(5));
        let framed = encoders.to_vec(&samples::least_preferences()).unwrap();
        assert_eq!(split(&framed).unwrap().0, SchemaId(2));
    }

    #[test]
    fn records_are_appended_to_what_a_buffer_holds() {
        let mut out = b"before".to_vec();
        encoders().encode(&samples::full_event(), &mut out).unwrap();
        assert!(out.starts_with(b"before\0\0\0\0\x01"));
        assert_eq!(out[11..], datum(&samples::full_event()));
    }

    #[test]
    fn the_bytes_are_those_of_apache_avro() {
        fn same<'a, R: Record<'a>>(record: &R) {
            let schema = apache_avro::Schema::parse_str(R::TYPE.schema_text()).unwrap();
            let value = apache_avro::to_value(record).unwrap().resolve(&schema).unwrap();
            assert_eq!(datum(record), samples::apache_write(&schema, value), "{}", R::TYPE);
        }
        for_each_sample!(|record| same(&record));
    }

    /// One JSON array of values for each record: what other languages' libraries are given to write.
    fn records_json() -> String {
        fn one<'a, R: Record<'a>>(record: &R, all: &mut serde_json::Map<String, serde_json::Value>) {
            let values = all.entry(R::TYPE.name()).or_insert_with(|| serde_json::json!([]));
            values.as_array_mut().unwrap().push(serde_json::to_value(record).unwrap());
        }
        let mut all = serde_json::Map::new();
        for_each_sample!(|record| one(&record, &mut all));
        serde_json::to_string_pretty(&all).unwrap() + "\n"
    }

    #[test]
    fn the_records_that_other_languages_wrote_are_these() {
        // A difference means: write this text to the file, and run `tests/fixtures/interop/make`.
        pretty_eq(include_str!("../../tests/fixtures/interop/records.json"), &records_json());
    }

    fn pretty_eq(file: &str, now: &str) {
        assert!(file == now, "tests/fixtures/interop/records.json should be:\n{now}");
    }

    #[test]
    fn what_other_languages_wrote_reads_as_the_same_records() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/interop/golden.json")).unwrap();
        let mut nth = std::collections::HashMap::new();
        let mut compared = 0;
        for_each_sample!(|record| {
            let ours = encoders_under_id_1().to_vec(&record).unwrap();
            let name = name_of(&record);
            let index = nth.entry(name).and_modify(|n| *n += 1).or_insert(0_usize);
            for (writer, values) in golden[name].as_object().unwrap() {
                let theirs = from_hex(values[*index].as_str().unwrap());
                if writer != "java_blocking" {
                    assert_eq!(ours, theirs, "{writer} writes {name} otherwise");
                }
                reads_as(&theirs, &record);
                compared += 1;
            }
        });
        assert_eq!(compared, 2 * RecordType::COUNT * 4, "two records of each type by four libraries");
    }

    fn encoders_under_id_1() -> Encoders {
        Encoders::new(WriterIds::same(SchemaId(1)))
    }

    fn name_of<'a, R: Record<'a>>(_: &R) -> &'static str {
        R::TYPE.name()
    }

    fn reads_as<'a, R: Record<'a> + PartialEq + std::fmt::Debug>(bytes: &[u8], record: &R) {
        // The sample is 'static: its bytes must live as long.
        let bytes: &'static [u8] = bytes.to_vec().leak();
        let (_, datum) = split(bytes).unwrap();
        assert_eq!(&decode::<R>(R::TYPE.schema(), datum).unwrap(), record);
    }

    fn from_hex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect()
    }

    /// Reads bytes as each of the records; tells which worked.
    fn read_all(bytes: &[u8]) -> [bool; RecordType::COUNT] {
        [
            decode::<Event<'_>>(RecordType::Event.schema(), bytes).is_ok(),
            decode::<Preferences<'_>>(RecordType::Preferences.schema(), bytes).is_ok(),
            decode::<Outbound<'_>>(RecordType::Outbound.schema(), bytes).is_ok(),
            decode::<Decision<'_>>(RecordType::Decision.schema(), bytes).is_ok(),
            decode::<DeliveryStatus<'_>>(RecordType::DeliveryStatus.schema(), bytes).is_ok(),
            decode::<Suppression<'_>>(RecordType::Suppression.schema(), bytes).is_ok(),
            decode::<InboxItem<'_>>(RecordType::InboxItem.schema(), bytes).is_ok(),
            decode::<InboxState<'_>>(RecordType::InboxState.schema(), bytes).is_ok(),
            decode::<SentMessage<'_>>(RecordType::SentMessage.schema(), bytes).is_ok(),
            decode::<Receipt<'_>>(RecordType::Receipt.schema(), bytes).is_ok(),
        ]
    }

    fn data() -> Vec<(RecordType, Vec<u8>)> {
        fn one<'a, R: Record<'a>>(record: &R, all: &mut Vec<(RecordType, Vec<u8>)>) {
            all.push((R::TYPE, datum(record)));
        }
        let mut all = Vec::new();
        for_each_sample!(|record| one(&record, &mut all));
        all
    }

    #[test]
    fn a_record_cut_anywhere_is_an_error() {
        for (record, bytes) in data() {
            for cut in 0..bytes.len() {
                assert!(!read_all(&bytes[..cut])[record as usize], "{record} cut at {cut}");
            }
        }
    }

    #[test]
    fn bytes_after_a_record_are_an_error() {
        let mut bytes = datum(&samples::full_event());
        bytes.extend_from_slice(b"xyz");
        let error = decode::<Event<'_>>(RecordType::Event.schema(), &bytes).unwrap_err();
        assert_eq!(error, WireError::Trailing { record: RecordType::Event, bytes: 3 });
        for (record, mut bytes) in data() {
            bytes.push(0);
            assert!(!read_all(&bytes)[record as usize], "{record}");
        }
    }

    #[test]
    fn an_array_that_claims_more_items_than_there_are_bytes_is_refused_at_once() {
        // id, source, type "", time 0, tenant, category "", priority LOW, then recipients: 2^62 items.
        let mut bytes = vec![0; 7];
        bytes.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
        bytes.extend_from_slice(&[0; 64]);
        let error = decode::<Event<'_>>(RecordType::Event.schema(), &bytes).unwrap_err();
        assert!(error.to_string().contains("sequence size"), "{error}");
    }

    #[test]
    fn an_error_does_not_quote_the_record() {
        let bytes = datum(&Outbound { address: "ada@example.org", ..samples::full_outbound() });
        let wrong = RecordType::Outbound
            .schema_text()
            .replace(r#""name": "after_ms", "type": "long""#, r#""name": "after_ms", "type": "string""#);
        let schema: Schema = wrong.parse().unwrap();
        let error = decode::<Outbound<'_>>(&schema, &bytes).unwrap_err().to_string();
        assert!(!error.contains("example.org"), "{error}");
        let not_a_uuid = r#"{"type":"record","name":"DeliveryStatus","namespace":"notilog.v1","fields":[
            {"name":"notification_id","type":"string"}]}"#;
        let schema: Schema = not_a_uuid.parse().unwrap();
        let error = decode::<DeliveryStatus<'_>>(&schema, b"\x06ada").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the datum is not a valid `notilog.v1.DeliveryStatus`: not a UUID where a notification id belongs"
        );
    }

    fn channel(word: &str) -> Open<'_, Channel> {
        word.parse().map_or(Open::Other(word), Open::Known)
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read_all(&bytes);
        }

        #[test]
        fn what_a_broken_record_reads_as_can_be_written_again(
            which in 0..18_usize, flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)
        ) {
            let (_, mut bytes) = data().swap_remove(which);
            for (index, mask) in flips {
                let at = index.index(bytes.len());
                bytes[at] ^= mask;
            }
            read_all(&bytes);
            if let Ok(event) = decode::<Event<'_>>(RecordType::Event.schema(), &bytes) {
                let again = datum(&event);
                prop_assert_eq!(decode::<Event<'_>>(RecordType::Event.schema(), &again).unwrap(), event);
            }
        }

        #[test]
        fn any_event_survives(
            texts: [String; 6],
            time: i64,
            priority in prop::sample::select(Priority::ALL),
            recipients: Vec<String>,
            channels in proptest::option::of(proptest::collection::vec("email|inbox|pigeon|.*", 0..4)),
            optional: [Option<String>; 4],
            times: [Option<i64>; 2],
        ) {
            let [id, source, kind, tenant, category, data] = &texts;
            let [audience, template, locale, collapse_key] = optional.each_ref().map(Option::as_deref);
            let [not_before, expires_at] = times.map(|time| time.map(Timestamp));
            let channels = channels.as_ref().map(|words| words.iter().map(|word| channel(word)).collect());
            let event = Event {
                id, source, kind, time: Timestamp(time), tenant, category, priority,
                recipients: recipients.iter().map(String::as_str).collect(),
                audience, channels, template, data, locale, not_before, expires_at, collapse_key,
            };
            let bytes = datum(&event);
            prop_assert_eq!(&WriterSchema::own(RecordType::Event).read::<Event<'_>>(&bytes).unwrap(), &event);
        }
    }
}
