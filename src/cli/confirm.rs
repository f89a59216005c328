//! Asks before what cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::Failure;

/// Whether the operator already agreed.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Confirm {
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
}

impl Confirm {
    /// Asks on the terminal; without one, and without `--yes`, it is an error. False when the operator says no.
    pub(super) fn ask(self, question: &str) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Usage(format!("{question} There is no terminal to ask on; agree with --yes")));
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        std::io::stderr().flush()?;
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}
