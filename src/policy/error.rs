//! What can be wrong with policy files, all at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Every problem found, by file and line. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl PolicyErrors {
    pub(super) fn one(path: &Path, problem: Problem) -> Self {
        PolicyErrors(vec![PolicyError { file: path.to_owned(), line: None, key: String::new(), problem }])
    }
}

impl fmt::Display for PolicyErrors {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// One problem and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    /// The file, or the folder when no file is concerned.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: Option<usize>,
    /// Dotted path of the key; empty when the file as a whole is concerned.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The folder or file cannot be read.
    #[error("cannot be read ({0}): set `policies.dir` to a readable folder")]
    Unreadable(String),
    /// The folder holds no policy.
    #[error("holds no *.toml: write at least one category, or point `policies.dir` elsewhere")]
    NoFiles,
    /// The files hold no policy.
    #[error("no category is defined: write `[categories.<name>]` or `[default]`")]
    NoCategories,
    /// Not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A key that means nothing.
    #[error("unknown key{}", suggestion(.0.as_deref()))]
    UnknownKey(Option<String>),
    /// A key that must be there.
    #[error("missing: {0}")]
    Missing(&'static str),
    /// Another type than expected.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What belongs here.
        expected: &'static str,
        /// What was written.
        found: &'static str,
    },
    /// A word outside its vocabulary.
    #[error("`{word}` is not one of {known}{}", suggestion(.nearest.as_deref()))]
    UnknownWord {
        /// What was written.
        word: String,
        /// What can be written.
        known: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A value outside its bounds.
    #[error("{0}")]
    BadValue(String),
    /// The same category twice.
    #[error("already defined in {0}: keep one of them")]
    Twice(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

/// The known word that `word` most likely stands for.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.to_owned())
}
