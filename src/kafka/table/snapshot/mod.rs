//! A table's snapshot on local disk, so that a restart reads only what the topic got since.
//!
//! | file | is |
//! |---|---|
//! | `format` | bytes of a snapshot, checksums; knows no files |
//! | `trust` | which snapshots may be used; pure |
//! | `store` | the file: replaced atomically, read block by block |
//! | `mapped` | blocks of the file in memory |
//! | `recall` | begins a table with it |
//! | `keeper` | the thread that writes it |
//!
//! A snapshot is a help and never needed: whatever is doubtful about it, the table is read from the topic instead, and
//! why is said and counted. It holds what the topic holds, people's addresses included: only its owner may read it.
//!
//! Invariant: a record whose offset is below the snapshot's for its partition was applied before the rows were laid
//! down, so that reading on from there gives the table that reading everything would give.

mod format;
mod keeper;
mod mapped;
mod recall;
mod store;
mod trust;

pub(super) use format::Header;
pub(super) use keeper::{Keeper, Kept};
pub(super) use recall::Recalling;
pub(super) use store::Store;
pub(super) use trust::{Identity, Log};

use crate::model::Timestamp;

/// Why a snapshot is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The file system refuses it.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Its bytes are not those that were written, or not all of them.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Another version of the program wrote it.
    #[error("its format is {0}, which this version does not know")]
    Format(u32),
    /// It is of something else.
    #[error("it is foreign: its {what} is `{theirs}`, not `{ours}`")]
    Foreign {
        /// What differs.
        what: &'static str,
        /// The snapshot's.
        theirs: String,
        /// The cluster's.
        ours: String,
    },
    /// The broker does not tell which topic this is, so that a topic of the same name that was deleted cannot be told
    /// from it.
    #[error("the broker does not tell the topic's id, so that it cannot be told from an earlier one of the same name")]
    Unidentified,
    /// The topic may have dropped tombstones that came after it.
    #[error(
        "it is too old: what it holds is of {as_of}, and the topic keeps tombstones so shortly that it could bring back \
         what was erased since"
    )]
    Aged {
        /// Up to when it knows the topic.
        as_of: Timestamp,
    },
    /// It was written after now: a clock was set back, and its age is not known.
    #[error("it was written at {as_of}, which is yet to come: a clock was wrong, and its age is not known")]
    Early {
        /// Up to when it claims to know the topic.
        as_of: Timestamp,
    },
    /// The log does not go on where it ends.
    #[error("partition {partition} goes on at offset {next}, but its log has {low} to {high} only")]
    Offsets {
        /// Which.
        partition: usize,
        /// Where it would be read on.
        next: i64,
        /// The log's first offset.
        low: i64,
        /// The offset after the log's last.
        high: i64,
    },
}

impl Distrust {
    /// A word for the metric.
    pub fn label(&self) -> &'static str {
        match self {
            Distrust::Unreadable(_) => "unreadable",
            Distrust::Damaged(_) => "damaged",
            Distrust::Format(_) | Distrust::Foreign { .. } | Distrust::Unidentified => "foreign",
            Distrust::Aged { .. } | Distrust::Early { .. } => "aged",
            Distrust::Offsets { .. } => "offsets",
        }
    }
}
