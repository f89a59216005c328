//! How a command ends.

use std::fmt;
use std::io::Write as _;

/// The exit code of a command that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: it ran, and found problems or changes.
    Found,
}

impl Exit {
    /// Ends the process; see [`leave`].
    pub fn leave(self) -> ! {
        leave(match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Found => 3,
        })
    }
}

/// Ends the process at once, without what C libraries have registered for its end. A command that fails may leave
/// clients of Kafka behind that are just being made or asked; OpenSSL's clean-up would free what their threads still
/// use, and the process would abort with a corrupt heap instead of its exit code.
pub(super) fn leave(code: i32) -> ! {
    // Nothing is left to do when they are gone.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    if cfg!(profiled) {
        // The C library writes the profile (dev/release).
        std::process::exit(code)
    }
    signal_hook::low_level::exit(code)
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// The way it was called is wrong.
    Usage(String),
    /// It failed.
    Failed(String),
}

impl Failure {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Failed(_) => Exit::Failed,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Failed(message) => f.write_str(message),
        }
    }
}

/// Every error of ours says in its own words what happened, to what and what to do; causes that its words do not
/// already hold follow.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !message.contains(&words) {
                message.push_str(": ");
                message.push_str(&words);
            }
            source = cause.source();
        }
        Failure::Failed(message)
    }
}
