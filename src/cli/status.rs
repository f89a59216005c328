//! `notilog status`.

use clap::{Args, ValueEnum};

use super::output::Row;
use super::start::{Since, since};
use super::{Exit, Failure, Global};
use crate::ops::status::{Found, StatusLine, Subject, find};

/// Shows what became of a notification, an event, or all that a user was sent
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog status 5f0c2a0e-7d0c-5b7e-9d55-0c9f6c4d8a11\n  \
    notilog status ada --by user --since 24h")]
pub(super) struct StatusArgs {
    /// A notification's id, an event's id or a user
    #[arg(value_name = "NOTIFICATION|EVENT|USER")]
    what: String,
    /// What it is [default: a notification if it is a UUID, then an event, then a user]
    #[arg(long, value_enum)]
    by: Option<By>,
    /// The user's tenant
    #[arg(long, default_value = "default")]
    tenant: String,
    /// Only since then: a duration ago (24h) or a moment (RFC 3339)
    #[arg(long, value_parser = since)]
    since: Option<Since>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// A notification's id
    Notification,
    /// An event's id
    Event,
    /// A user
    User,
}

impl Row for StatusLine {
    const HEADERS: &'static [&'static str] =
        &["time", "notification", "run", "channel", "state", "reason", "attempt", "provider", "code", "event", "user"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.occurred_at.0.to_string(),
            self.notification_id.clone(),
            self.run.to_string(),
            self.channel.clone(),
            self.state.clone(),
            self.reason.clone(),
            self.attempt.to_string(),
            self.provider.clone(),
            self.code.clone().unwrap_or_default(),
            self.event_id.clone(),
            self.user_id.clone(),
        ]
    }
}

pub(super) async fn run(global: &Global, args: StatusArgs) -> Result<Exit, Failure> {
    let subjects = subjects(&args)?;
    let session = global.session()?;
    let since = args.since.map(|since| since.moment(session.clock.now()));
    let mut found = Found::default();
    for subject in subjects {
        found = find(&session, subject, since).await?;
        if !found.lines.is_empty() {
            break;
        }
    }
    if found.unreadable > 0 {
        global.output.note(&format!("{} records of the topic cannot be read and were passed over", found.unreadable));
    }
    global.output.rows(&found.lines);
    if found.lines.is_empty() {
        return Err(Failure::Failed(format!(
            "no delivery status speaks of `{}`; `notilog explain <event>` says what was decided, and statuses are kept \
             for 90 days",
            args.what
        )));
    }
    Ok(Exit::Done)
}

/// What `what` may be, in the order to try.
fn subjects(args: &StatusArgs) -> Result<Vec<Subject>, Failure> {
    let notification = args.what.parse().map(Subject::Notification);
    let event = Subject::Event(args.what.clone());
    let user = Subject::User { tenant: args.tenant.clone(), user_id: args.what.clone() };
    Ok(match (args.by, notification) {
        (Some(By::Notification), Ok(notification)) => vec![notification],
        (Some(By::Notification), Err(_)) => {
            return Err(Failure::Usage(format!("`{}` is not a notification's id, which is a UUID", args.what)));
        }
        (Some(By::Event), _) => vec![event],
        (Some(By::User), _) => vec![user],
        (None, Ok(notification)) => vec![notification, event, user],
        (None, Err(_)) => vec![event, user],
    })
}
