//! `notilog inbox ls|read|archive|rm|sweep`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::Confirm;
use super::output::Row;
use super::{Exit, Failure, Global};
use crate::model::{NotificationId, RecipientKey, parse_delay};
use crate::ops::documents::Moment;
use crate::ops::inbox::{Item, Mark, User, find, find_stale, list, mark, remove};

/// Shows and marks what a user has in the app
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  notilog inbox ls ada\n  notilog inbox read ada 5f0c2a0e-7d0c-5b7e-9d55-0c9f6c4d8a11"
)]
pub(super) struct InboxArgs {
    #[command(subcommand)]
    command: InboxCommand,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// Lists a user's items, the newest first, without those that were put away
    #[command(after_help = "Example:\n  notilog inbox ls ada --all --output json")]
    Ls {
        #[command(flatten)]
        who: Who,
        /// Those that were put away, too
        #[arg(long)]
        all: bool,
    },
    /// Marks items as read
    #[command(after_help = "Example:\n  notilog inbox read ada --every")]
    Read(Which),
    /// Puts items away: they count as read
    #[command(after_help = "Example:\n  notilog inbox archive ada 5f0c2a0e-7d0c-5b7e-9d55-0c9f6c4d8a11")]
    Archive(Which),
    /// Takes items away for good
    #[command(after_help = "Example:\n  notilog inbox rm ada --every --why 'asked by mail' --yes")]
    Rm {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        removal: Removal,
    },
    /// Takes away what nobody is to have any more: items of users without preferences, and expired ones
    #[command(after_help = "Example:\n  notilog inbox sweep --older-than 180d --dry-run")]
    Sweep {
        /// Also those that came so long ago
        #[arg(long, value_name = "DURATION", value_parser = parse_delay)]
        older_than: Option<Duration>,
        #[command(flatten)]
        removal: Removal,
    },
}

#[derive(Debug, Args)]
struct Who {
    /// The user
    user: String,
    /// The user's tenant
    #[arg(long, default_value = "default")]
    tenant: String,
}

impl Who {
    fn user(&self) -> User<'_> {
        User { tenant: &self.tenant, user_id: &self.user }
    }
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    who: Who,
    /// The items, by their notifications' ids
    #[arg(value_name = "NOTIFICATION", required_unless_present = "every")]
    ids: Vec<NotificationId>,
    /// All of the user's items
    #[arg(long, conflicts_with = "ids")]
    every: bool,
}

impl Which {
    fn ids(&self) -> Option<Vec<NotificationId>> {
        (!self.every).then(|| self.ids.clone())
    }
}

#[derive(Debug, Args)]
struct Removal {
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Only says how many would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
}

impl Row for Item {
    const HEADERS: &'static [&'static str] = &["notification", "came", "category", "title", "link", "read", "archived"];

    fn cells(&self) -> Vec<String> {
        let moment = |at: &Option<Moment>| at.as_ref().map_or(String::new(), |at| at.0.to_string());
        vec![
            self.notification_id.clone(),
            self.created_at.0.to_string(),
            self.category.clone(),
            self.title.clone(),
            self.link.clone().unwrap_or_default(),
            moment(&self.read_at),
            moment(&self.archived_at),
        ]
    }
}

pub(super) async fn run(global: &Global, args: InboxArgs) -> Result<Exit, Failure> {
    match args.command {
        InboxCommand::Ls { who, all } => show(global, &who, all).await,
        InboxCommand::Read(which) => change(global, &which, Mark::Read).await,
        InboxCommand::Archive(which) => change(global, &which, Mark::Archived).await,
        InboxCommand::Rm { which, removal } => rm(global, &which, removal).await,
        InboxCommand::Sweep { older_than, removal } => sweep(global, older_than, removal).await,
    }
}

async fn show(global: &Global, who: &Who, all: bool) -> Result<Exit, Failure> {
    let session = global.session()?;
    let mut found = list(&session, who.user()).await?;
    found.items.retain(|item| all || item.archived_at.is_none());
    if found.unreadable > 0 {
        global.output.note(&format!("{} records of the user cannot be read and were passed over", found.unreadable));
    }
    global.output.rows(&found.items);
    Ok(Exit::Done)
}

async fn change(global: &Global, which: &Which, how: Mark) -> Result<Exit, Failure> {
    let session = global.session()?;
    let changed = mark(&session, which.who.user(), which.ids(), how).await?;
    global.output.value(&json!({ "changed": changed }), || format!("{changed} changed"));
    Ok(Exit::Done)
}

async fn rm(global: &Global, which: &Which, removal: Removal) -> Result<Exit, Failure> {
    let session = global.session()?;
    let places = find(&session, which.who.user(), which.ids()).await?;
    let items = places.iter().filter(|place| !place.is_state).count();
    let gone = !removal.dry_run;
    if gone {
        if !removal.confirm.ask(&format!("Take {items} items away for good?"))? {
            return Ok(Exit::Failed);
        }
        let target = RecipientKey::new(&which.who.tenant, &which.who.user);
        remove(&session, target.as_str(), &places, removal.why.as_deref(), json!({ "items": items })).await?;
    }
    let word = if gone { "removed" } else { "would be removed" };
    global.output.value(&json!({ "removed": gone, "items": items }), || format!("{items} items {word}"));
    Ok(Exit::Done)
}

async fn sweep(global: &Global, older_than: Option<Duration>, removal: Removal) -> Result<Exit, Failure> {
    let session = global.session()?;
    let stale = find_stale(&session, older_than).await?;
    let (count, gone) = (stale.places.len(), !removal.dry_run);
    if gone && count > 0 {
        if !removal.confirm.ask(&format!("Take {count} records away for good?"))? {
            return Ok(Exit::Failed);
        }
        let target = session.topics.inbox();
        remove(&session, &target, &stale.places, removal.why.as_deref(), json!(stale.counts)).await?;
    }
    let word = if gone { "removed" } else { "would be removed" };
    let value = json!({ "removed": gone, "records": count, "because": stale.counts });
    global.output.value(&value, || format!("{count} records {word}"));
    Ok(Exit::Done)
}
