//! `notilog up`.

use clap::Args;

use super::process::Process;
use super::{Exit, Failure, Global, deliver, receipts, router};

/// Runs all roles in one process: router, delivery by every configured channel, and receipts where they are enabled
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog up --config notilog.toml")]
pub(super) struct UpArgs {
    #[command(flatten)]
    from: router::From,
}

pub(super) async fn run(global: &Global, args: UpArgs) -> Result<Exit, Failure> {
    let restart = args.from.restart(global)?;
    let Some(process) = Process::start(global).await? else { return Ok(Exit::Done) };
    let mut roles = vec![router::role(&process, restart)];
    let delivery = deliver::role(&process, &[])?;
    roles.push(delivery);
    if process.config.receipts.enabled {
        roles.push(receipts::role(&process));
    }
    process.run(roles).await
}
