//! Topics as code: families from files, compared with the cluster, and brought in line with it.
//!
//! Invariant: nothing is ever deleted or made smaller; partitions are added only when told so, because keys move.
//! Rights are in `acls`.

pub mod acls;
mod apply;
mod family;
mod plan;

pub use apply::{Applied, TopicsError, apply, desired_of, observe};
pub use family::{Desired, Expansion, Family, FamilyError, expand, families};
pub use plan::{Change, Drift, Partitions, Plan, plan};
