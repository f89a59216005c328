//! One file per command: arguments in, one call, output.
//!
//! Invariant: no command decides anything; what it calls is in `ops`, `router` or `delivery`. Errors say what
//! happened, to what, and what to do, on stderr; stdout is for output.

mod acls;
mod completions;
mod config;
mod confirm;
mod deliver;
mod dlq;
mod doctor;
mod emit;
mod exit;
mod explain;
mod inbox;
mod inputs;
mod man;
mod output;
mod prefs;
mod process;
mod progress;
mod receipts;
mod reference;
mod router;
mod schemas;
mod start;
mod status;
mod suppressions;
mod topics;
mod up;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use output::Output;

/// notilog: events in, notifications out, every decision and attempt a record.
#[derive(Debug, Parser)]
#[command(name = "notilog", version, propagate_version = true, max_term_width = 120)]
#[command(after_help = "Example:\n  notilog topics apply && notilog schemas apply && notilog up\n\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 found problems (a plan has changes, doctor found faults).")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Configuration file [default: what NOTILOG_CONFIG names, else ./notilog.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key of the configuration, as in `kafka.topic_prefix=acme.`; may be given several times
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// How output looks
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Who acts, for audit records [default: NOTILOG_ACTOR, else USER]
    #[arg(long = "as", global = true, value_name = "NAME")]
    actor: Option<String>,
    /// Logs what happens underneath
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Router(router::RouterArgs),
    Deliver(deliver::DeliverArgs),
    Receipts(receipts::ReceiptsArgs),
    Up(up::UpArgs),
    Topics(topics::TopicsArgs),
    Schemas(schemas::SchemasArgs),
    Emit(Box<emit::EmitArgs>),
    Prefs(prefs::PrefsArgs),
    Suppressions(suppressions::SuppressionsArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Inbox(inbox::InboxArgs),
    Dlq(dlq::DlqArgs),
    Inputs(inputs::InputsArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, as in `kafka.topic_prefix=acme.`".to_owned()),
    }
}

/// The definition of all commands, for completions and man pages.
fn definition() -> clap::Command {
    Cli::command()
}

/// Parses the process's arguments and runs one command; the process is to end with what it returns.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do when stdout or stderr are gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the async runtime cannot start: {error}; raise the limits on threads and open files");
            return Exit::Failed;
        }
    };
    let exit = match runtime.block_on(run(cli)) {
        Ok(exit) => exit,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit()
        }
    };
    // A blocking read that is under way must not hold up the end of the process.
    runtime.shutdown_background();
    exit
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Router(args) => router::run(&global, args).await,
        Command::Deliver(args) => deliver::run(&global, args).await,
        Command::Receipts(args) => receipts::run(&global, args).await,
        Command::Up(args) => up::run(&global, args).await,
        Command::Topics(args) => topics::run(&global, args).await,
        Command::Schemas(args) => schemas::run(&global, args).await,
        Command::Emit(args) => emit::run(&global, *args).await,
        Command::Prefs(args) => prefs::run(&global, args).await,
        Command::Suppressions(args) => suppressions::run(&global, args).await,
        Command::Status(args) => status::run(&global, args).await,
        Command::Explain(args) => explain::run(&global, args).await,
        Command::Inbox(args) => inbox::run(&global, args).await,
        Command::Dlq(args) => dlq::run(&global, args).await,
        Command::Inputs(args) => inputs::run(&global, args).await,
        Command::Config(args) => config::run(&global, &args),
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Completions(args) => Ok(completions::run(&args)),
        Command::Man(args) => man::run(&args),
        Command::Reference(args) => Ok(reference::run(&args)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_commands_holds_together() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`{path} --help` has no example");
            for sub in command.get_subcommands() {
                check(sub, &path);
            }
        }
        check(&definition(), "");
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in definition().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
