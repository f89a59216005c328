//! Log lines to stderr, as text or JSON; stdout belongs to a command's output.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, Telemetry};

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("telemetry.log is not a log filter, as in `info,notilog::router=debug`: {0}")]
    Filter(#[from] ParseError),
    /// Someone else already took over the logs of this process.
    #[error("logs are already set up")]
    Taken,
}

/// Starts logging for a role.
pub fn init(telemetry: &Telemetry) -> Result<(), LogError> {
    start(&telemetry.log, telemetry.log_format)
}

/// Starts logging for a command: what it has to say goes to its output, so that only warnings of ours show, and with
/// `verbose` everything from info on.
pub fn init_command(verbose: bool) -> Result<(), LogError> {
    start(if verbose { "info,notilog=debug" } else { "warn,librdkafka=off" }, LogFormat::Text)
}

fn start(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| LogError::Taken)
}
