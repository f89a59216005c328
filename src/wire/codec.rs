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
pub struct WriterIds([SchemaId; 5]);

impl WriterIds {
    /// Ids in the order of [`RecordType::ALL`].
    pub const fn new(ids: [SchemaId; 5]) -> Self {
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
    configs: [SerializerConfig<'static>; 5],
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
