//! The only place that names rdkafka: configuration, consumers, transactions, tables, tiers, administration.

pub mod acl;
pub mod admin;
mod beside;
pub mod client;
mod consumer;
mod denied;
mod heads;
mod joining;
mod lag;
mod member;
mod missing;
mod native;
mod partition;
pub mod producer;
pub mod reader;
mod record;
pub mod rights;
pub mod table;
mod transaction;

pub use consumer::{Assignor, ConsumerFault, GroupConsumer, Polled, Rebalance, SESSION_TIMEOUT, STALL, Settings};
pub use denied::{Denied, Right, principal_of};
pub use heads::HeldHeads;
pub use joining::OwnIds;
pub use lag::LagWatch;
pub use member::{Bounds, Member, Membership, Start};
pub use missing::MissingTopics;
pub use partition::partition_of;
pub use record::{InRecord, OutRecord, OwnedRecord, Position, TopicPartition};
pub use table::{Entry, NotRestored, Table, TableError, TableGuard, TableSettings, TableState};
pub use transaction::{
    Ended, Failure, GroupMetadata, RecordFault, TRANSACTION_TIMEOUT, Transaction, TransactionalProducer,
};
