//! What can be wrong with templates, in words for the operator who wrote them.

use std::fmt;
use std::path::PathBuf;

use minijinja::ErrorKind;

use crate::model::{Channel, Reason};

/// One thing that is wrong with the folder of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The file or folder.
    pub path: PathBuf,
    /// The line, counted from 1, when it is about one.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Everything that is wrong with the folder of templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateErrors(pub Vec<TemplateProblem>);

impl fmt::Display for TemplateErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, TemplateProblem { path, line, problem }) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            match line {
                Some(line) => write!(f, "{}:{line}: {problem}", path.display())?,
                None => write!(f, "{}: {problem}", path.display())?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for TemplateErrors {}

/// Why a notification has no words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no such template, or it does not speak to this channel.
    #[error("no template `{template}` for channel {channel}; add `{template}/<locale>/{channel}.*` to the templates")]
    Missing {
        /// The name that was asked for.
        template: String,
        /// The channel it was asked for.
        channel: Channel,
    },
    /// It does not render with this data.
    #[error("template {file}{}: {problem}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Failed {
        /// The file, below the folder of templates.
        file: String,
        /// The line, counted from 1, when it is known.
        line: Option<usize>,
        /// What went wrong, without any value of the data.
        problem: String,
    },
}

impl RenderError {
    /// The reason code of statuses and dead letters.
    pub fn reason(&self) -> Reason {
        match self {
            RenderError::Missing { .. } => Reason::TemplateMissing,
            RenderError::Failed { .. } => Reason::TemplateFailed,
        }
    }

    pub(super) fn failed(file: &str, problem: impl Into<String>) -> Self {
        RenderError::Failed { file: file.to_owned(), line: None, problem: problem.into() }
    }

    pub(super) fn from_engine(file: &str, error: &minijinja::Error) -> Self {
        RenderError::Failed {
            file: error.name().unwrap_or(file).to_owned(),
            line: error.line(),
            problem: describe(error),
        }
    }
}

/// The engine's own words where they speak of the template's text alone; its details may otherwise quote a value.
pub(super) fn describe(error: &minijinja::Error) -> String {
    let speaks_of_the_template = matches!(
        error.kind(),
        ErrorKind::SyntaxError
            | ErrorKind::UndefinedError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownTest
    );
    match error.detail() {
        Some(detail) if speaks_of_the_template => format!("{}: {detail}", error.kind()),
        _ => error.kind().to_string(),
    }
}
