//! `notilog dlq ls|show|redrive`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::Confirm;
use super::output::{Row, counted};
use super::progress::Progress;
use super::start::{Since, since};
use super::{Exit, Failure, Global};
use crate::ops::dlq::{Again, Count, Filter, Personal, RedrivePlan, Shown, list, plan, redrive, show, topic_named};
use crate::ops::session::Session;

/// Counts dead letters, shows one, or puts them back
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  notilog dlq ls\n  notilog dlq redrive email --reason attempts_exhausted --dry-run"
)]
pub(super) struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// Counts letters by topic and reason
    #[command(after_help = "Example:\n  notilog dlq ls --since 24h")]
    Ls(Which),
    /// Shows one letter: its headers, and its value decoded; personal data is masked
    #[command(after_help = "Example:\n  notilog dlq show email 2 41")]
    Show {
        /// events, preferences, a channel, or a topic's full name
        topic: String,
        /// Its partition
        partition: i32,
        /// Its offset
        offset: i64,
        /// Shows addresses and contents
        #[arg(long)]
        reveal: bool,
    },
    /// Puts letters back to their original topics, as the next run with attempts at zero
    #[command(after_help = "Example:\n  notilog dlq redrive email --reason attempts_exhausted --since 24h --yes")]
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Only the letter at this place, as PARTITION:OFFSET
        #[arg(long, value_name = "PARTITION:OFFSET", value_parser = place, requires = "topic")]
        at: Option<(i32, i64)>,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
        /// Also letters that were put back before
        #[arg(long)]
        again: bool,
        /// Why, for the audit record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Only shows what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// events, preferences, a channel, or a topic's full name [default: all]
    topic: Vec<String>,
    /// Only letters with this reason code
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only since then: a duration ago (24h) or a moment (RFC 3339)
    #[arg(long, value_parser = since)]
    since: Option<Since>,
}

fn place(text: &str) -> Result<(i32, i64), String> {
    let parsed =
        text.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is not PARTITION:OFFSET, as in `2:41`"))
}

impl Which {
    fn filter(&self, session: &Session, at: Option<(i32, i64)>) -> Filter {
        Filter {
            topics: self.topic.iter().map(|name| topic_named(session, name)).collect(),
            reason: self.reason.clone(),
            since: self.since.map(|since| since.moment(session.clock.now())),
            at,
        }
    }
}

impl Row for Count {
    const HEADERS: &'static [&'static str] = &["topic", "reason", "letters", "redriven", "oldest", "newest"];

    fn cells(&self) -> Vec<String> {
        let moment = |at: Option<crate::ops::documents::Moment>| at.map_or(String::new(), |at| at.0.to_string());
        vec![
            self.topic.clone(),
            self.reason.clone(),
            self.letters.to_string(),
            self.redriven.to_string(),
            moment(self.oldest),
            moment(self.newest),
        ]
    }
}

pub(super) async fn run(global: &Global, args: DlqArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    match args.command {
        DlqCommand::Ls(which) => {
            let counts = list(&session, &which.filter(&session, None)).await?;
            global.output.rows(&counts);
            if counts.is_empty() {
                global.output.note("there are no dead letters");
            }
            Ok(Exit::Done)
        }
        DlqCommand::Show { topic, partition, offset, reveal } => {
            let personal = if reveal { Personal::Revealed } else { Personal::Masked };
            let letter = show(&session, &topic_named(&session, &topic), partition, offset, personal).await?;
            global.output.value(&letter, || text(&letter));
            Ok(Exit::Done)
        }
        DlqCommand::Redrive { which, at, limit, again, why, dry_run, confirm } => {
            if at.is_some() && which.topic.len() != 1 {
                return Err(Failure::Usage("--at means one letter: name exactly one topic with it".to_owned()));
            }
            let again = if again { Again::Repeat } else { Again::Skip };
            let plan = plan(&session, &which.filter(&session, at), again, limit).await?;
            describe(global, &plan);
            if plan.is_empty() || dry_run {
                report(global, &plan, 0);
                return Ok(Exit::Done);
            }
            if !confirm.ask(&format!("Put {} back?", counted(plan.len(), "letter")))? {
                return Ok(Exit::Failed);
            }
            let mut progress = Progress::new("putting letters back", plan.len());
            let done = redrive(&session, &plan, why.as_deref(), || progress.step()).await?;
            drop(progress);
            report(global, &plan, done);
            Ok(Exit::Done)
        }
    }
}

fn describe(global: &Global, plan: &RedrivePlan) {
    for (topic, count) in plan.by_target() {
        global.output.note(&format!("to {topic}: {}", counted(usize::try_from(count).unwrap_or(usize::MAX), "letter")));
    }
    if plan.skipped.already_redriven > 0 {
        let count = plan.skipped.already_redriven;
        global.output.note(&format!("put back before, and staying: {count} (--again repeats them)"));
    }
    for (cause, count) in &plan.skipped.unredrivable {
        global.output.note(&format!("staying: {count}; {cause}"));
    }
}

fn report(global: &Global, plan: &RedrivePlan, done: usize) {
    let value = json!({ "redriven": done, "selected": plan.len(), "to": plan.by_target(), "skipped": plan.skipped });
    global.output.value(&value, || format!("{done} of {} put back", counted(plan.len(), "letter")));
}

fn text(letter: &Shown) -> String {
    let mut lines = vec![
        format!("{}[{}]@{}", letter.topic, letter.partition, letter.offset),
        format!("reason   {}", letter.reason),
        format!("written  {}", letter.written_at.map_or(String::new(), |at| at.0.to_string())),
        format!("key      {}", letter.key.as_deref().unwrap_or("(none)")),
        "headers".to_owned(),
    ];
    for (name, value) in &letter.headers {
        lines.push(format!("  {name}: {}", value.as_str().unwrap_or("(null)")));
    }
    match (&letter.record, &letter.value, &letter.undecodable) {
        (Some(record), Some(value), _) => {
            lines.push(format!("value    {record}"));
            let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
            lines.extend(pretty.lines().map(|line| format!("  {line}")));
        }
        (_, _, why) => lines.push(format!("value    cannot be decoded: {}", why.as_deref().unwrap_or_default())),
    }
    lines.join("\n")
}
