//! Parse, run one command.

fn main() -> std::process::ExitCode {
    notilog::cli::main()
}
