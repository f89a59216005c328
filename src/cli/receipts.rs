//! `notilog receipts`.

use clap::Args;

use super::process::{Process, Role};
use super::{Exit, Failure, Global};
use crate::receipts;

/// Takes receipts: what providers say became of messages, as statuses
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog receipts --set receipts.listen=0.0.0.0:9465")]
pub(super) struct ReceiptsArgs {}

pub(super) async fn run(global: &Global, _: ReceiptsArgs) -> Result<Exit, Failure> {
    let Some(process) = Process::start(global).await? else { return Ok(Exit::Done) };
    let role = role(&process);
    process.run(vec![role]).await
}

/// The role, to run beside others.
pub(super) fn role(process: &Process) -> Role {
    let setup = receipts::Setup {
        config: process.config.clone(),
        schemas: process.schemas.clone(),
        writer_ids: process.writer_ids,
        clock: process.clock.clone(),
        readiness: process.readiness.clone(),
        stop: process.stop.clone(),
    };
    let taking = receipts::run(setup);
    ("receipts", Box::pin(async move { Ok(taking.await?) }))
}
