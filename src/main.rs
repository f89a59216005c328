//! Parse, run one command.

fn main() -> std::process::ExitCode {
    notilog::telemetry::faults::arm();
    notilog::cli::main()
}
