//! The only place that names rdkafka: configuration, consumers, transactions, tables, tiers, administration.

pub mod admin;
pub mod client;
mod partition;
pub mod producer;
pub mod reader;

pub use partition::partition_of;
