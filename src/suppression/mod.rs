//! The suppression list: addresses that bounced for good, were complained about, or that an operator put there.
//!
//! `notify.suppressions` is compacted, keyed by `tenant/channel/HMAC(address)`: no address is in it, and nobody who lacks
//! the operator's key can tell whether one is. [`SuppressionList`] holds it as a table for those who decide;
//! [`Hashes`] makes the keys, for those who write.
//!
//! Invariants: an entry counts by being there: what cannot be decoded suppresses all the same. Only a tombstone lifts
//! it, and erasing a recipient leaves it alone. Without a key (`suppressions.key`) there is no list: nothing is
//! suppressed and nothing is written.

mod bounce;
mod hashes;
mod list;

pub use bounce::is_hard_bounce;
pub use hashes::{Hashes, KeyError, NamedKey};
pub use list::{StartError, SuppressionList};
