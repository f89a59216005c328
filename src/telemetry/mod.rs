//! Metrics, logs, tracing and health: names and exposition, nothing that decides.

pub mod clock;
pub mod random;
