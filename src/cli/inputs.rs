//! `notilog inputs ls|hold|resume`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::Confirm;
use super::output::Row;
use super::{Exit, Failure, Global};
use crate::ops::inputs::{Input, held, hold, list, resume, topic_named};

/// Lists what the router reads, holds an input topic, or lets a held one go on
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  notilog inputs ls\n  notilog inputs resume notify.events.shop --why 'deploy mended'"
)]
pub(super) struct InputsArgs {
    #[command(subcommand)]
    command: InputsCommand,
}

#[derive(Debug, Subcommand)]
enum InputsCommand {
    /// Lists input topics, and which are held, since when and why
    #[command(after_help = "Example:\n  notilog inputs ls --output json")]
    Ls,
    /// Takes nothing more of a topic: its records wait, other topics go on
    #[command(after_help = "Example:\n  notilog inputs hold shop --why 'bad deploy' --yes")]
    Hold(Which),
    /// Lets a held topic go on from where it stopped
    #[command(after_help = "Example:\n  notilog inputs resume shop --why 'deploy mended' --yes")]
    Resume(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// A domain, or a topic's name
    topic: String,
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Only shows what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
}

impl Row for Input {
    const HEADERS: &'static [&'static str] = &["topic", "partitions", "state", "since", "by", "why"];

    fn cells(&self) -> Vec<String> {
        let (state, since, by, why) = match &self.hold {
            None => ("flows", String::new(), String::new(), String::new()),
            Some(hold) => ("HELD", hold.since.clone(), hold.by.clone(), hold.reason.clone().unwrap_or_default()),
        };
        vec![self.topic.clone(), self.partitions.to_string(), state.to_owned(), since, by, why]
    }
}

pub(super) async fn run(global: &Global, args: InputsArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    match args.command {
        InputsCommand::Ls => {
            let inputs = list(&session).await?;
            global.output.rows(&inputs);
            if inputs.is_empty() {
                global.output.note("the router has begun nothing yet");
            }
            Ok(Exit::Done)
        }
        InputsCommand::Hold(which) => {
            let topic = topic_named(&session, &which.topic);
            let question = format!("Hold {topic}? Nothing more is routed from it until it is resumed.");
            if which.dry_run {
                return Ok(shown(global, "would_hold", &topic));
            }
            if !which.confirm.ask(&question)? {
                return Ok(Exit::Failed);
            }
            hold(&session, &topic, which.why.as_deref()).await?;
            Ok(shown(global, "held", &topic))
        }
        InputsCommand::Resume(which) => {
            let topic = topic_named(&session, &which.topic);
            if which.dry_run {
                let held = held(&session, &topic).await?.is_some();
                return Ok(shown(global, if held { "would_resume" } else { "not_held" }, &topic));
            }
            if !which.confirm.ask(&format!("Let {topic} go on from where it stopped?"))? {
                return Ok(Exit::Failed);
            }
            resume(&session, &topic, which.why.as_deref()).await?;
            Ok(shown(global, "resumed", &topic))
        }
    }
}

fn shown(global: &Global, what: &str, topic: &str) -> Exit {
    global.output.value(&json!({ what: topic }), || format!("{topic}: {}", what.replace('_', " ")));
    Exit::Done
}
