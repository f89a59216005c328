//! notilog: events in, notifications out, every decision and attempt a record.
//!
//! | module | is | may import |
//! |---|---|---|
//! | [`model`] | the words as types | nothing of ours |
//! | [`audience`] | who may hear of an event, pure | `model` |
//! | [`decide`] | the decision chain, pure | `model` |
//! | [`policy`] | categories and limits from files | `model` |
//! | [`wire`] | bytes ↔ model: Avro, framing, headers | `model` |
//! | [`config`] | `notilog.toml`, environment, flags | `model` |
//! | [`telemetry`] | metrics, logs, health | `model`, `config` |
//! | [`kafka`] | the only place that names rdkafka | `model`, `config`, `telemetry` |
//! | [`registry`] | the schema registry's client | `model`, `config`, `telemetry`, `wire` |
//! | [`channel`] | one file per channel, templates, guards | `model`, `config`, `telemetry`, `kafka` |
//! | [`join`] | a recipient's preferences from the table, for the chain | `model`, `decide`, `wire`, `config`, `telemetry`, `kafka` |
//! | [`suppression`] | addresses that nothing is sent to | `model`, `config`, `telemetry`, `kafka` |
//! | [`receipts`] | what became of messages that providers took | all above |
//! | [`router`] | shards and their supervisor | all above |
//! | [`delivery`] | workers, lanes, retry | all above but `router`, `receipts` |
//! | [`ops`] | what operators do | all above |
//! | [`cli`] | arguments in, call, print out | all |
//!
//! `tests/layers.rs` holds this table.

pub mod audience;
pub mod channel;
pub mod cli;
pub mod config;
pub mod decide;
pub mod delivery;
pub mod join;
pub mod kafka;
pub mod model;
pub mod ops;
pub mod policy;
pub mod receipts;
pub mod registry;
pub mod router;
pub mod suppression;
pub mod telemetry;
pub mod wire;
