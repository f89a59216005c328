//! Who may hear of an event: a step of its own, before the chain.
//!
//! Today that is the event's own list. Groups and users' subscriptions to kinds of events join here later, so that
//! a producer need not know its readers. Invariant: pure; it never judges whether someone wants to hear.

mod recipients;

pub use recipients::recipients;
