//! `notilog suppressions ls|add|lift`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::Confirm;
use super::deliver::channel_name;
use super::output::Row;
use super::{Exit, Failure, Global};
use crate::model::Channel;
use crate::ops::suppressions::{Address, Entry, Filter, add, lift, list, standing};

/// Shows or changes the list of addresses that nothing is sent to
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog suppressions ls --channel email --reason complaint\n  \
    notilog suppressions lift email ada@example.org --why 'mailbox is back'")]
pub(super) struct SuppressionsArgs {
    #[command(subcommand)]
    command: SuppressionsCommand,
}

#[derive(Debug, Subcommand)]
enum SuppressionsCommand {
    /// Lists entries; the list holds no addresses, so that one can be looked up and none read
    #[command(after_help = "Example:\n  notilog suppressions ls --channel email --address ada@example.org")]
    Ls {
        /// Only of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only of this channel
        #[arg(long, value_parser = channel_name)]
        channel: Option<Channel>,
        /// Only with this reason: hard_bounce, complaint, manual
        #[arg(long)]
        reason: Option<String>,
        /// Only this address (of tenant `default` unless --tenant is given)
        #[arg(long, requires = "channel")]
        address: Option<String>,
    },
    /// Puts an address on the list: nothing is sent to it from then on, by no category
    #[command(after_help = "Example:\n  notilog suppressions add sms +15550100 --why 'asked by phone'")]
    Add {
        #[command(flatten)]
        which: Which,
        /// Why, for the audit record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Only says whether it is there already
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes an address off the list
    #[command(after_help = "Example:\n  notilog suppressions lift email ada@example.org --why 'mailbox is back'")]
    Lift {
        #[command(flatten)]
        which: Which,
        /// Why, for the audit record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Only says whether it is there
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The channel
    #[arg(value_parser = channel_name)]
    channel: Channel,
    /// The address
    address: String,
    /// Whose
    #[arg(long, default_value = "default")]
    tenant: String,
}

impl Which {
    fn address(&self) -> Address<'_> {
        Address { tenant: &self.tenant, channel: self.channel, address: &self.address }
    }
}

impl Row for Entry {
    const HEADERS: &'static [&'static str] = &["since", "reason", "source", "code", "key id", "key"];

    fn cells(&self) -> Vec<String> {
        let known = if self.key_known { "" } else { " (unknown: no effect)" };
        vec![
            self.since.map_or(String::new(), |at| at.0.to_string()),
            self.reason.clone(),
            self.source.clone(),
            self.code.clone().unwrap_or_default(),
            format!("{}{known}", self.key_id),
            self.key.clone(),
        ]
    }
}

pub(super) async fn run(global: &Global, args: SuppressionsArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    match args.command {
        SuppressionsCommand::Ls { tenant, channel, reason, address } => {
            let entries = list(&session, Filter { tenant, channel, reason, address }).await?;
            global.output.rows(&entries);
            if entries.is_empty() {
                global.output.note("no address is suppressed");
            }
        }
        SuppressionsCommand::Add { which, why, dry_run } => {
            let there = standing(&session, which.address()).await?;
            let key = match there.first() {
                Some(key) => key.clone(),
                None if dry_run => String::new(),
                None => add(&session, which.address(), why.as_deref()).await?,
            };
            let word = match (there.is_empty(), dry_run) {
                (false, _) => "is suppressed already",
                (true, true) => "would be suppressed",
                (true, false) => "suppressed",
            };
            let value = json!({ "added": there.is_empty() && !dry_run, "key": key });
            global.output.value(&value, || format!("{word} {key}").trim_end().to_owned());
        }
        SuppressionsCommand::Lift { which, why, dry_run, confirm } => {
            let keys = standing(&session, which.address()).await?;
            if keys.is_empty() {
                return Err(Failure::Failed(
                    "this address is not suppressed; see `notilog suppressions ls`".to_owned(),
                ));
            }
            let lifted = !dry_run;
            if lifted {
                if !confirm.ask("Send to this address again?")? {
                    return Ok(Exit::Failed);
                }
                lift(&session, &keys, why.as_deref()).await?;
            }
            let value = json!({ "lifted": lifted, "keys": keys });
            let count = if keys.len() == 1 { "1 entry".to_owned() } else { format!("{} entries", keys.len()) };
            let word = if lifted { "lifted" } else { "would be lifted" };
            global.output.value(&value, || format!("{count} {word}"));
        }
    }
    Ok(Exit::Done)
}
