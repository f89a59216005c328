//! Writers' schemas: where they come from, and reading records with them.

use std::sync::Arc;

use hashbrown::HashMap;
use serde_avro_fast::Schema;

use super::codec::decode;
use super::resolve::resolve;
use super::{Record, RecordType, SchemaId, WireError, split};
use crate::model::{
    Decision, DeliveryStatus, Event, InboxItem, InboxState, Outbound, Preferences, Receipt, SentMessage, Suppression,
};

/// Why a writer's schema cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The registry answered that there is none of this id.
    #[error("schema id {0} is not in the registry")]
    Unknown(SchemaId),
    /// It is not an Avro record schema, or not one that can be read with bounded work.
    #[error("schema id {id} cannot be used: {why}")]
    Unusable {
        /// Which schema.
        id: SchemaId,
        /// What is wrong with it.
        why: String,
    },
    /// The registry cannot be asked; try again later.
    #[error("schema id {id} cannot be fetched now: {why}")]
    Unavailable {
        /// Which schema.
        id: SchemaId,
        /// What failed.
        why: String,
    },
}

/// Where writers' schemas come from. Called from OS threads; may block.
pub trait SchemaSource: Send + Sync {
    /// The schema of this id.
    ///
    /// # Errors
    /// Why it cannot be had; see [`SchemaError`].
    fn schema(&self, id: SchemaId) -> Result<Arc<WriterSchema>, SchemaError>;
}

/// A schema that someone wrote records with, made ready to read them.
pub struct WriterSchema {
    name: String,
    reading: Reading,
}

/// How records of a writer's schema are read.
enum Reading {
    /// With this form of the writer's schema, into the model; without it, where that is laid out as ours.
    As { record: RecordType, schema: Schema, own_layout: bool },
    /// Not at all: it differs from ours in a way that has no answer.
    Incompatible(RecordType, String),
    /// It is no record of ours.
    Foreign,
}

impl WriterSchema {
    /// Reads a schema's text; `references` are the texts of the schemas it refers to.
    ///
    /// # Errors
    /// A sentence on what is wrong, when it is not an Avro record schema that can be read with bounded work. A
    /// record of another name, or one that differs from ours, is no error here: reading with it is.
    pub fn parse(text: &str, references: &[String]) -> Result<WriterSchema, String> {
        let resolved = resolve(text, references)?;
        let reading = match (RecordType::from_name(&resolved.name), resolved.incompatible) {
            (None, _) => Reading::Foreign,
            (Some(record), Some(why)) => Reading::Incompatible(record, why),
            (Some(record), None) => Reading::As { record, schema: resolved.schema, own_layout: resolved.own_layout },
        };
        Ok(WriterSchema { name: resolved.name, reading })
    }

    /// Our own schema of a record type.
    pub fn own(record: RecordType) -> WriterSchema {
        WriterSchema::parse(record.schema_text(), &[]).expect("the embedded schemas are parsed by every test run")
    }

    /// The record's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one datum as an `R`, borrowing from it.
    ///
    /// # Errors
    /// See [`WireError`]; never [`WireError::Schema`].
    pub fn read<'a, R: Record<'a>>(&self, datum: &'a [u8]) -> Result<R, WireError> {
        match &self.reading {
            Reading::As { record, schema, own_layout } if *record == R::TYPE => {
                let directly = if *own_layout { R::take(datum) } else { None };
                directly.map_or_else(|| decode(schema, datum), Ok)
            }
            Reading::Incompatible(record, why) if *record == R::TYPE => {
                Err(WireError::Incompatible { record: *record, why: why.clone() })
            }
            _ => Err(WireError::WrongRecord { expected: R::TYPE, found: self.name.clone() }),
        }
    }
}

impl std::fmt::Debug for WriterSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterSchema").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Schemas that are handed in and never change: for tools and tests that have no registry.
#[derive(Debug, Default)]
pub struct FixedSchemas(HashMap<SchemaId, Arc<WriterSchema>>);

impl FixedSchemas {
    /// Our own schemas under these ids.
    pub fn own(ids: super::WriterIds) -> Self {
        let mut schemas = FixedSchemas::default();
        for record in RecordType::ALL {
            schemas.insert(ids.get(record), WriterSchema::own(record));
        }
        schemas
    }

    /// Adds a schema.
    pub fn insert(&mut self, id: SchemaId, schema: WriterSchema) {
        self.0.insert(id, Arc::new(schema));
    }
}

impl SchemaSource for FixedSchemas {
    fn schema(&self, id: SchemaId) -> Result<Arc<WriterSchema>, SchemaError> {
        self.0.get(&id).cloned().ok_or(SchemaError::Unknown(id))
    }
}

/// Reads records of any writer. Keeps every schema it has seen, so that after the first record of a writer a read
/// costs one hash look-up and no lock: one for each thread.
#[derive(Clone)]
pub struct Records {
    source: Arc<dyn SchemaSource>,
    known: HashMap<SchemaId, Arc<WriterSchema>>,
}

impl Records {
    /// A reader that asks `source` for schemas it has not seen.
    pub fn new(source: Arc<dyn SchemaSource>) -> Self {
        Records { source, known: HashMap::new() }
    }

    /// Reads a framed value as an `R`, borrowing from it.
    ///
    /// # Errors
    /// See [`WireError`], and [`WireError::blame`] for what to do.
    pub fn read<'a, R: Record<'a>>(&mut self, value: &'a [u8]) -> Result<R, WireError> {
        let (id, datum) = split(value)?;
        if let Some(schema) = self.known.get(&id) {
            return schema.read(datum);
        }
        let schema = self.source.schema(id)?;
        self.known.entry(id).or_insert(schema).read(datum)
    }

    /// [`Records::read`] of an [`Event`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn event<'a>(&mut self, value: &'a [u8]) -> Result<Event<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of [`Preferences`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn preferences<'a>(&mut self, value: &'a [u8]) -> Result<Preferences<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of an [`Outbound`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn outbound<'a>(&mut self, value: &'a [u8]) -> Result<Outbound<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of a [`Decision`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn decision<'a>(&mut self, value: &'a [u8]) -> Result<Decision<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of a [`DeliveryStatus`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn status<'a>(&mut self, value: &'a [u8]) -> Result<DeliveryStatus<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of a [`Suppression`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn suppression<'a>(&mut self, value: &'a [u8]) -> Result<Suppression<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of an [`InboxItem`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn inbox_item<'a>(&mut self, value: &'a [u8]) -> Result<InboxItem<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of an [`InboxState`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn inbox_state<'a>(&mut self, value: &'a [u8]) -> Result<InboxState<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of a [`SentMessage`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn sent_message<'a>(&mut self, value: &'a [u8]) -> Result<SentMessage<'a>, WireError> {
        self.read(value)
    }

    /// [`Records::read`] of a [`Receipt`].
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn receipt<'a>(&mut self, value: &'a [u8]) -> Result<Receipt<'a>, WireError> {
        self.read(value)
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Blame, Encoders, WriterIds, samples};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers as told and counts how often it is asked.
    struct Counting {
        inner: FixedSchemas,
        asked: AtomicUsize,
        down: AtomicUsize,
    }

    impl SchemaSource for Counting {
        fn schema(&self, id: SchemaId) -> Result<Arc<WriterSchema>, SchemaError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.down.load(Ordering::SeqCst) > 0 {
                return Err(SchemaError::Unavailable { id, why: "connection refused".to_owned() });
            }
            self.inner.schema(id)
        }
    }

    fn setup() -> (Arc<Counting>, Records, Encoders) {
        let ids = WriterIds::from_first(10);
        let source =
            Arc::new(Counting { inner: FixedSchemas::own(ids), asked: AtomicUsize::new(0), down: AtomicUsize::new(0) });
        (Arc::clone(&source), Records::new(source), Encoders::new(ids))
    }

    #[test]
    fn each_record_reads_back_through_its_own_reader() {
        let (_, mut records, mut encoders) = setup();
        let event = encoders.to_vec(&samples::full_event()).unwrap();
        assert_eq!(records.event(&event).unwrap(), samples::full_event());
        let preferences = encoders.to_vec(&samples::full_preferences()).unwrap();
        assert_eq!(records.preferences(&preferences).unwrap(), samples::full_preferences());
        let outbound = encoders.to_vec(&samples::full_outbound()).unwrap();
        assert_eq!(records.outbound(&outbound).unwrap(), samples::full_outbound());
        let decision = encoders.to_vec(&samples::full_decision()).unwrap();
        assert_eq!(records.decision(&decision).unwrap(), samples::full_decision());
        let status = encoders.to_vec(&samples::full_status()).unwrap();
        assert_eq!(records.status(&status).unwrap(), samples::full_status());
        let suppression = encoders.to_vec(&samples::full_suppression()).unwrap();
        assert_eq!(records.suppression(&suppression).unwrap(), samples::full_suppression());
        let item = encoders.to_vec(&samples::full_inbox_item()).unwrap();
        assert_eq!(records.inbox_item(&item).unwrap(), samples::full_inbox_item());
        let state = encoders.to_vec(&samples::full_inbox_state()).unwrap();
        assert_eq!(records.inbox_state(&state).unwrap(), samples::full_inbox_state());
        let message = encoders.to_vec(&samples::full_sent_message()).unwrap();
        assert_eq!(records.sent_message(&message).unwrap(), samples::full_sent_message());
        let receipt = encoders.to_vec(&samples::full_receipt()).unwrap();
        assert_eq!(records.receipt(&receipt).unwrap(), samples::full_receipt());
        assert!(matches!(records.event(&status), Err(WireError::WrongRecord { .. })));
    }

    #[test]
    fn a_schema_is_asked_for_once() {
        let (source, mut records, mut encoders) = setup();
        let value = encoders.to_vec(&samples::full_event()).unwrap();
        for _ in 0..3 {
            records.event(&value).unwrap();
        }
        let mut copy = records.clone();
        copy.event(&value).unwrap();
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn known_schemas_outlive_the_registry_and_others_wait_for_it() {
        let (source, mut records, mut encoders) = setup();
        let event = encoders.to_vec(&samples::full_event()).unwrap();
        let outbound = encoders.to_vec(&samples::full_outbound()).unwrap();
        records.event(&event).unwrap();
        source.down.store(1, Ordering::SeqCst);
        records.event(&event).unwrap();
        let error = records.outbound(&outbound).unwrap_err();
        assert_eq!(error.blame(), Blame::Registry);
        assert_eq!(error.to_string(), "schema id 12 cannot be fetched now: connection refused");
        source.down.store(0, Ordering::SeqCst);
        records.outbound(&outbound).unwrap();
    }

    #[test]
    fn an_id_that_nobody_knows_is_the_records_fault() {
        let (_, mut records, _) = setup();
        let error = records.event(b"\0\0\0\0\x07datum").unwrap_err();
        assert_eq!(error.blame(), Blame::UnknownSchema);
        assert_eq!(error.to_string(), "schema id 7 is not in the registry");
    }
}
