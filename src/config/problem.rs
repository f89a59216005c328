//! What can be wrong with a configuration, and where it was said.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded defaults.
    Default,
    /// A line of the file.
    File {
        /// Which file.
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Env(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => write!(f, "environment variable {name}"),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// The key, dotted; empty for the file as a whole.
    pub key: String,
    /// What is wrong and what to do; never a secret's value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.message),
            key => write!(f, "{}: {key}: {}", self.origin, self.message),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of origin and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl ConfigErrors {
    /// Sorted by layer and line.
    pub(super) fn sorted(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_cached_key(|problem| match &problem.origin {
            Origin::Default => (0, 0, problem.key.clone()),
            Origin::File { line, .. } => (1, *line, String::new()),
            Origin::Env(name) => (2, 0, name.clone()),
            Origin::Flag(flag) => (3, 0, flag.clone()),
        });
        ConfigErrors(problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}
