//! `notilog explain`.

use clap::Args;

use super::{Exit, Failure, Global, Output};
use crate::ops::decisions::{EventName, explained};

/// Says why an event's recipients were told or not: the rule, the preferences and the policy that decided
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog explain order-7-shipped --source shop/orders")]
pub(super) struct ExplainArgs {
    /// The event's id
    event: String,
    /// The event's tenant
    #[arg(long, default_value = "default")]
    tenant: String,
    /// The event's source; reads one partition instead of all
    #[arg(long)]
    source: Option<String>,
}

pub(super) async fn run(global: &Global, args: ExplainArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    let event = EventName { id: args.event.clone(), tenant: args.tenant.clone(), source: args.source };
    let explanations = explained(&session, event).await?;
    if explanations.is_empty() {
        return Err(Failure::Failed(format!(
            "no decision speaks of event `{}` of tenant `{}`; it was not routed yet (see the router's lag), is in the \
             dead letters (`notilog dlq ls`), or is older than the 90 days that decisions are kept",
            args.event, args.tenant
        )));
    }
    match global.output {
        Output::Json => global.output.value(&explanations, String::new),
        output => explanations.iter().for_each(|explanation| output.value(explanation, || explanation.to_string())),
    }
    Ok(Exit::Done)
}
