//! `dev/chaos`: processes that route under load while they, their broker and the network between are made to fail as a
//! seed says, and a reader from outside that judges.
//!
//! Its parts are those of the fault suite. Exit code 0 only when the judge found nothing.

#![expect(clippy::unwrap_used, reason = "a run that cannot go on says so by panicking")]
#![expect(clippy::disallowed_methods, reason = "ports and folders of the services come from the environment")]

#[allow(dead_code, unused_imports, reason = "shared with tests/faults")]
#[path = "../faults/proxy/mod.rs"]
mod proxy;
mod run;
#[allow(dead_code, reason = "shared with tests/faults")]
#[path = "../faults/scene.rs"]
mod scene;
#[allow(dead_code, unused_imports, reason = "shared with tests/faults, and its tests run there")]
#[path = "../faults/schedule.rs"]
mod schedule;
#[allow(dead_code, reason = "shared with tests/it")]
#[path = "../it/support.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Routes under load while processes, broker and network fail as a seed says.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// The seed; drawn, and printed, when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How long.
    #[arg(long, default_value_t = 1200)]
    seconds: u64,
    /// Router processes.
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// Shards of each.
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Events a second.
    #[arg(long, default_value_t = 300)]
    rate: usize,
    /// Prints the schedule and ends.
    #[arg(long)]
    schedule: bool,
}

fn main() -> ExitCode {
    // `cargo test` runs this too, without a word: then there is nothing to do.
    if std::env::args().len() == 1 {
        println!("chaos: see dev/chaos --help");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| notilog::telemetry::random::uuid().as_u128() as u64 >> 16);
    let schedule = schedule::Schedule::of(seed, Duration::from_secs(arguments.seconds), arguments.processes);
    println!("seed {seed}, schedule {}", schedule.hash());
    if arguments.schedule {
        print!("{schedule}");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if runtime.block_on(run::run(&arguments, seed, schedule)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
