//! Why a shard ended, and whether another may take its place.

use crate::kafka::{ConsumerFault, Denied, Failure};
use crate::router::placing::PlacingError;
use crate::router::standing::Lost;

/// Why a shard ended.
#[derive(Debug, thiserror::Error)]
pub enum ShardEnd {
    /// It was told to.
    #[error("stopped")]
    Stopped,
    /// A newer producer of its transactional id lives.
    #[error("{0}")]
    Fenced(Failure),
    /// Another member took its name: a replacement lives.
    #[error(
        "member `{member}` of the group has this shard's name: it was replaced and stops. If nobody replaced it on \
         purpose, give each process a router.instance of its own"
    )]
    Replaced {
        /// The other member's id.
        member: String,
    },
    /// It stood still for longer than its transaction may last, and nobody took its place.
    #[error("the shard stood still for too long, and its transaction was given up meanwhile: {0}")]
    StoodStill(Failure),
    /// The group does not have it as a member any more.
    #[error("the group expelled this member while a transaction was open")]
    Outside,
    /// Nobody can tell where partitions begin.
    #[error("{0}")]
    Lost(Lost),
    /// The consumer cannot go on.
    #[error(transparent)]
    Consumer(#[from] ConsumerFault),
    /// Where partitions begin cannot be found out.
    #[error("where the assigned partitions begin cannot be found out: {0}")]
    Placing(PlacingError),
    /// The producer cannot go on.
    #[error(transparent)]
    Producer(Failure),
    /// A table cannot go on.
    #[error("{0}")]
    Table(String),
    /// A dead letter cannot be written either.
    #[error("neither the outputs of a record nor its dead letter can be written: {0}. Mend that, then start again")]
    Stuck(Failure),
    /// A record of ours does not fit our own schema.
    #[error("{0}")]
    Internal(String),
}

impl From<PlacingError> for ShardEnd {
    fn from(error: PlacingError) -> Self {
        match error {
            PlacingError::Lost(lost) => ShardEnd::Lost(lost),
            PlacingError::Consumer(fault) => ShardEnd::Consumer(fault),
            other => ShardEnd::Placing(other),
        }
    }
}

impl ShardEnd {
    /// Whether a new shard may take its place after a while. One that does joins the group first, and takes up the
    /// transactional id only when nobody else is there under its name.
    pub fn may_restart(&self) -> bool {
        match self {
            // The table is not started again with the shard.
            ShardEnd::Stopped
            | ShardEnd::Fenced(_)
            | ShardEnd::Replaced { .. }
            | ShardEnd::Lost(_)
            | ShardEnd::Table(_) => false,
            ShardEnd::Consumer(fault) => !matches!(
                fault,
                ConsumerFault::OffsetLost { .. } | ConsumerFault::Replaced { .. } | ConsumerFault::Denied(_)
            ),
            ShardEnd::Placing(error) => error.denied().is_none(),
            ShardEnd::Producer(failure) => !matches!(failure, Failure::Denied(_)),
            ShardEnd::StoodStill(_) | ShardEnd::Outside | ShardEnd::Stuck(_) | ShardEnd::Internal(_) => true,
        }
    }
}

impl PlacingError {
    /// What was refused, if that is why.
    fn denied(&self) -> Option<&Denied> {
        use crate::kafka::admin::AdminError;
        use crate::kafka::reader::ReadError;
        match self {
            PlacingError::Admin(AdminError::Denied(denied))
            | PlacingError::Register(ReadError::Denied(denied))
            | PlacingError::Consumer(ConsumerFault::Denied(denied)) => Some(denied),
            _ => None,
        }
    }
}
