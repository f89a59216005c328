//! Bytes ↔ model: the Confluent wire format, Avro, record headers.
//!
//! Invariant: no I/O. Schemas are handed in; who fetches them is `registry`'s business.
