//! `notilog router`.

use clap::Args;

use super::process::{Process, Role};
use super::{Exit, Failure, Global};
use crate::router;

/// Routes events: joins them with preferences, decides, writes outbound records
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog router --config notilog.toml --set router.instance=a")]
pub(super) struct RouterArgs {}

pub(super) async fn run(global: &Global, _: RouterArgs) -> Result<Exit, Failure> {
    let Some(process) = Process::start(global).await? else { return Ok(Exit::Done) };
    let role = role(&process);
    process.run(vec![role]).await
}

/// The router, to run beside others.
pub(super) fn role(process: &Process) -> Role {
    let setup = router::Setup {
        config: process.config.clone(),
        policy: process.policy.clone(),
        schemas: process.schemas.clone(),
        writer_ids: process.writer_ids,
        clock: process.clock.clone(),
        readiness: process.readiness.clone(),
        stop: process.stop.clone(),
    };
    let routing = router::run(setup);
    ("router", Box::pin(async move { Ok(routing.await?) }))
}
