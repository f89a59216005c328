//! The decision chain: one pure function, one precedence, first match wins.
//!
//! Invariant: no clock, no I/O, no counters; `now` and all state are arguments. The router, delivery at wake,
//! `explain` and `simulate` call the same functions.
//!
//! [`judge_event`] asks rules 1 and 2, [`decide_recipient`] rules 4 to 13, [`decide_endpoint`] all of them again for
//! one notification that waited. [`arrange`] sorts what they let through by a category's fallback chain. Rules 3 (duplicates), 11 (throttling) and 12 (digests) need state that does not
//! exist yet: nothing is concluded by them.

mod chain;
mod endpoint;
mod event;
mod fallback;
#[cfg(test)]
mod fixtures;
mod preferences;
mod quiet;
mod subject;
mod zones;

pub use chain::decide_recipient;
pub use endpoint::{EndpointAnswer, decide_endpoint};
pub use event::{EventVerdict, judge_event};
pub use fallback::{Chain, arrange};
pub use preferences::{MAX_ENDPOINTS, MAX_QUIET_HOURS, PreferencesError, validate};
pub use quiet::quiet_until;
pub use subject::{Circumstances, Conclusion, Conclusions, Recipient, Subject};
pub use zones::Zones;
