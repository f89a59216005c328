//! Bytes ↔ model: the Confluent wire format, Avro, record headers.
//!
//! Invariant: no I/O. Schemas are handed in; who fetches them is `registry`'s business. Bytes and schemas come
//! from strangers: whatever they hold, the answer is a value or an error, never a panic, and memory stays within
//! a small multiple of the record's length. Errors never quote a value of a record: it may be an address.

mod bounds;
mod codec;
mod direct;
mod error;
mod frame;
mod headers;
mod record;
mod resolve;
#[cfg(test)]
mod samples;
mod schemas;

pub use codec::{Encoders, WriterIds, decode};
pub use direct::Direct;
pub use error::{Blame, WireError};
pub use frame::{SchemaId, split};
pub use headers::{DlqHeaders, HeaderError, HeaderFault, Origin, ReplayHeaders, TierHeaders, TraceParent, names};
pub use record::{Record, RecordType};
pub use schemas::{FixedSchemas, Records, SchemaError, SchemaSource, WriterSchema};
