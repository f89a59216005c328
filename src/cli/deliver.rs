//! `notilog deliver`.

use std::sync::Arc;

use clap::Args;

use super::process::{Process, Role};
use super::{Exit, Failure, Global};
use crate::channel::{self, Surroundings, Templates};
use crate::delivery;
use crate::model::Channel;
use crate::receipts::Intake;

/// Delivers notifications: hands outbound records to providers, retries, writes statuses
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog deliver --channel email --channel webhook")]
pub(super) struct DeliverArgs {
    /// Channel to deliver by; may be given several times [default: every configured one]
    #[arg(long, value_name = "CHANNEL", value_parser = channel_name)]
    channel: Vec<Channel>,
}

pub(super) fn channel_name(text: &str) -> Result<Channel, String> {
    text.parse().map_err(|()| {
        let all: Vec<&str> = Channel::ALL.iter().map(|channel| channel.as_str()).collect();
        format!("one of {}", all.join(", "))
    })
}

pub(super) async fn run(global: &Global, args: DeliverArgs) -> Result<Exit, Failure> {
    let Some(process) = Process::start(global).await? else { return Ok(Exit::Done) };
    let role = role(&process, &args.channel)?;
    process.run(vec![role]).await
}

/// Delivery by `wanted` channels, or by every configured one when none is named.
pub(super) fn role(process: &Process, wanted: &[Channel]) -> Result<Role, Failure> {
    let config = &process.config;
    let mut around = Surroundings::of(&config.kafka);
    if config.receipts.enabled {
        around.receipts = Arc::new(Intake::open(&config.kafka, process.writer_ids, process.clock.clone())?);
    }
    let mut channels = channel::build_with(&config.channels, &around)?;
    if let Some(missing) = wanted.iter().find(|name| channels.iter().all(|providers| providers.channel != **name)) {
        return Err(Failure::Usage(format!("--channel {missing}: it is not configured; add `[channels.{missing}]`")));
    }
    channels.retain(|providers| wanted.is_empty() || wanted.contains(&providers.channel));
    let settings = &process.config.templates;
    let templates = Templates::load(&settings.dir, &settings.default_locale)?;
    let setup = delivery::Setup {
        config: process.config.clone(),
        policy: process.policy.clone(),
        channels,
        templates: Arc::new(templates),
        schemas: process.schemas.clone(),
        writer_ids: process.writer_ids,
        preferences: process.preferences.clone(),
        clock: process.clock.clone(),
        readiness: process.readiness.clone(),
        stop: process.stop.clone(),
    };
    let delivering = delivery::run(setup);
    Ok(("deliver", Box::pin(async move { Ok(delivering.await?) })))
}
