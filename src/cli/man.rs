//! `notilog man`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure, definition};

/// Prints the man page, or writes the pages of all commands to a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog man | man -l -\n  notilog man --dir /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Folder for one page per command
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    match &args.dir {
        None => clap_mangen::Man::new(definition()).render(&mut std::io::stdout())?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
            clap_mangen::generate_to(definition(), dir).map_err(|error| cannot_write(dir, &error))?;
        }
    }
    Ok(Exit::Done)
}

fn cannot_write(dir: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot write man pages to {}: {error}", dir.display()))
}
