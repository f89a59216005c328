//! What a producer may claim.

use super::Priority;

/// Binds input topics to what their producers may claim; without any rule everything is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// Input topics, `*` matches any run of characters.
    pub topics: Vec<String>,
    /// Tenants; empty means any.
    pub tenants: Vec<String>,
    /// Categories; empty means any.
    pub categories: Vec<String>,
    /// The highest priority.
    pub max_priority: Priority,
}
