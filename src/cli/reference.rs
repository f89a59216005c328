//! `notilog reference`: parts of the documentation that come from the code.

use clap::{Args, ValueEnum};

use super::Exit;
use super::output::print;
use crate::config;
use crate::telemetry::metrics;

/// Prints a part of the documentation that is made from the code
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog reference metrics")]
pub(super) struct ReferenceArgs {
    /// Which part
    part: Part,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// The table of metrics
    Metrics,
    /// The table of refused Kafka properties
    Properties,
}

pub(super) fn run(args: &ReferenceArgs) -> Exit {
    match args.part {
        Part::Metrics => print(metrics::table().trim_end()),
        Part::Properties => print(config::refused_table().trim_end()),
    }
    Exit::Done
}
