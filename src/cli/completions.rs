//! `notilog completions <shell>`.

use clap::Args;
use clap_complete::Shell;

use super::{Exit, definition};

/// Prints a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog completions bash > /etc/bash_completion.d/notilog")]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(args.shell, &mut definition(), "notilog", &mut std::io::stdout());
    Exit::Done
}
