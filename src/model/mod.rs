//! The words of notilog as types: events, preferences, outbound records, decisions, statuses, policies.
//!
//! Invariant: imports nothing of ours, does no I/O and reads no clock. The records borrow from the bytes they
//! were decoded from, so that the hot path need not allocate; the Avro shapes are in `schemas/*.avsc`.

mod audit;
mod channel;
mod decision;
mod event;
mod ids;
mod inbox;
mod inputs;
mod lane;
mod open;
mod outbound;
mod policy;
mod preferences;
mod priority;
mod reason;
mod receipt;
mod role;
mod source;
mod status;
mod suppression;
mod tiers;
mod time;
mod topics;

pub use audit::{Action, AuditRecord};
pub use channel::Channel;
pub use decision::{Decision, DecisionOutcome, PreferencesRef, Rule, Verdict};
pub use event::{Event, MAX_RECIPIENTS};
pub use ids::{NotificationId, RecipientKey, endpoint_hash, event_key, receipt_key, suppression_key};
pub use inbox::{InboxItem, InboxPlace, InboxState};
pub use inputs::{Begun, Hold, InputKey, Known};
pub use lane::{LaneRecord, WaitingLine};
pub use open::{Open, SmallMap};
pub use outbound::{Fallback, Outbound};
pub use policy::{CategoryPolicy, FallbackStep, Ordering, Policy};
pub use preferences::{CategoryChoice, Endpoint, Preferences, QuietHours};
pub use priority::Priority;
pub use reason::Reason;
pub use receipt::{BY_NOTIFICATION, NextStep, REPEATED, Receipt, SentMessage, UNSEEN};
pub use role::{Role, Share};
pub use source::{SourceRule, glob_matches};
pub use status::{DeliveryStatus, State};
pub use suppression::{Suppression, SuppressionReason};
pub use tiers::choose_tier;
pub use time::Timestamp;
pub use topics::{Class, Topics, format_delay, parse_delay};
