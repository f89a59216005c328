//! Workers that hand outbound records to channels.

mod breaker;
mod lanes;
mod progress;
mod retry;
