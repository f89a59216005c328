//! Integration tests against real services: one binary, services started once (`dev/services up`), a topic prefix for
//! each test. What the outside sees is checked with clients that are not notilog's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![expect(clippy::disallowed_methods, reason = "ports and folders of the services come from the environment")]

mod bundling;
mod channels;
mod chat;
mod cli;
mod co_partitioned;
mod collapsing;
mod consuming;
mod coordinator;
mod delivery;
mod delivery_kill;
mod email;
mod fallback;
mod fencing;
mod holds;
mod interop;
mod kill;
mod lag_memory;
mod pace;
mod places;
mod providers;
mod push;
mod rebalance;
mod receipts;
mod registry;
mod router;
mod secure;
mod sms;
mod stand_in;
mod strict;
mod support;
mod suppressions;
mod table;
mod topic_channels;
