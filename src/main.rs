//! Parse, run one command.

fn main() {
    notilog::telemetry::faults::arm();
    notilog::cli::main().leave()
}
