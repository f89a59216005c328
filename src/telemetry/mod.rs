//! Metrics, logs, tracing and health: names and exposition, nothing that decides.

pub mod clock;
pub mod faults;
pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod random;
