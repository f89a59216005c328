//! Workers that hand outbound records to channels.

pub mod breaker;
pub mod lanes;
pub mod progress;
pub mod retry;
