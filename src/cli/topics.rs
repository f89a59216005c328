//! `notilog topics plan|apply|verify`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::acls::{self, Acls};
use super::confirm::Confirm;
use super::output::{Row, counted};
use super::{Exit, Failure, Global};
use crate::kafka::admin::Admin;
use crate::kafka::producer::Producer;
use crate::ops::audit::{self, Action};
use crate::ops::session::Session;
use crate::ops::topics::{Applied, Change, Partitions, Plan, apply, desired_of, observe, plan};

/// Compares the topics that should exist, or rights on them, with the cluster, and creates or changes them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog topics plan\n  notilog topics apply --domain shop --domain bank\n  \
    notilog topics apply --acls --principal router=User:router --principal deliver=User:deliver")]
pub(super) struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Shows what apply would do; exit code 3 when there is something
    #[command(after_help = "Example:\n  notilog topics plan --domain shop")]
    Plan(Which),
    /// Creates missing topics and mends settings; never deletes
    #[command(after_help = "Example:\n  notilog topics apply --domain shop --yes")]
    Apply {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        confirm: Confirm,
        /// Only shows what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Checks that the cluster is as it should be; exit code 3 when it is not
    #[command(after_help = "Example:\n  notilog topics verify")]
    Verify(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// Folder of topic families [default: topics.dir, else the embedded ones]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Event domain; may be given several times [default: topics.domains]
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Replicas of each partition [default: topics.replication_factor, else 3 or the number of brokers]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    replication_factor: Option<u16>,
    /// Adds partitions where there are too few. Keys move to other partitions: order across the change is lost
    #[arg(long)]
    raise_partitions: bool,
    /// Adds them to compacted topics too, as notify.preferences. Keys move, and what they had before stays where it is:
    /// who is erased afterwards comes back once the tombstone is dropped, unless it is erased there as well
    #[arg(long)]
    raise_compacted: bool,
    #[command(flatten)]
    acls: Acls,
}

/// A line of a plan or of its outcome.
#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    state: &'static str,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

impl Row for Line {
    const HEADERS: &'static [&'static str] = &["state", "topic", "what"];

    fn cells(&self) -> Vec<String> {
        vec![self.state.to_owned(), self.topic.clone(), self.what.clone()]
    }
}

pub(super) async fn run(global: &Global, args: TopicsArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    let admin = Admin::new(session.kafka())?;
    match args.command {
        TopicsCommand::Plan(which)
        | TopicsCommand::Verify(which)
        | TopicsCommand::Apply { which, dry_run: true, .. }
            if which.acls.acls =>
        {
            acls::show(global, &session, &which.acls, &which.domain)
        }
        TopicsCommand::Apply { which, confirm, dry_run: false } if which.acls.acls => {
            acls::bring_about(global, &session, &which.acls, &which.domain, confirm).await
        }
        TopicsCommand::Plan(which) | TopicsCommand::Verify(which) => {
            show(global, &planned(&session, &admin, &which).await?)
        }
        TopicsCommand::Apply { which, dry_run: true, .. } => show(global, &planned(&session, &admin, &which).await?),
        TopicsCommand::Apply { which, confirm, dry_run: false } => {
            let plan = planned(&session, &admin, &which).await?;
            let raises = plan.changes.iter().filter(|change| matches!(change, Change::RaisePartitions { .. })).count();
            if raises > 0
                && !confirm
                    .ask(&format!("{} get more partitions and their keys move. Go on?", counted(raises, "topic")))?
            {
                return Ok(Exit::Failed);
            }
            applied(global, &session, &admin, plan).await
        }
    }
}

async fn planned(session: &Session, admin: &Admin, which: &Which) -> Result<Plan, Failure> {
    let brokers = admin.brokers().await?;
    let desired = desired_of(&session.config, brokers, which.dir.as_deref(), &which.domain, which.replication_factor)?;
    let actual = observe(admin, &desired).await?;
    let partitions = match (which.raise_compacted, which.raise_partitions) {
        (true, _) => Partitions::RaiseCompacted,
        (false, true) => Partitions::Raise,
        (false, false) => Partitions::Keep,
    };
    Ok(plan(&desired, &actual, partitions))
}

fn show(global: &Global, plan: &Plan) -> Result<Exit, Failure> {
    let changes = plan.changes.iter().map(|change| line("to do", change));
    global.output.rows(&changes.chain(drift(plan)).collect::<Vec<_>>());
    if plan.is_empty() {
        global.output.note("all topics are as they should be");
        return Ok(Exit::Done);
    }
    let (changes, drift) = (counted(plan.changes.len(), "change"), counted(plan.drift.len(), "difference"));
    global.output.note(&format!("{changes} for `notilog topics apply`, {drift} that it leaves alone"));
    Ok(Exit::Found)
}

async fn applied(global: &Global, session: &Session, admin: &Admin, plan: Plan) -> Result<Exit, Failure> {
    let mut lines: Vec<Line> = Vec::new();
    let left: Vec<Line> = drift(&plan).collect();
    let (mut done, mut failed) = (0, 0);
    for Applied { change, result } in apply(admin, plan).await {
        match result {
            Ok(()) => {
                done += 1;
                lines.push(line("done", &change));
            }
            Err(error) => {
                failed += 1;
                lines.push(Line { state: "failed", what: error.to_string(), ..line("failed", &change) });
            }
        }
    }
    if done > 0 {
        remember(global, session, done).await;
    }
    let drifted = left.len();
    lines.extend(left);
    global.output.rows(&lines);
    global.output.note(&format!(
        "{} done, {failed} failed, {} left alone",
        counted(done, "change"),
        counted(drifted, "difference")
    ));
    Ok(match (failed, drifted) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Found,
        _ => Exit::Failed,
    })
}

/// The audit topic may itself be among those that could not be created: then the changes stand without a record.
async fn remember(global: &Global, session: &Session, changes: usize) {
    let details = json!({ "changes": changes });
    let target = session.topics.prefix().to_owned();
    let written = async {
        let producer = Producer::new(session.kafka())?;
        audit::record(session, &producer, Action::TopicsApply, &target, None, details).await
    };
    if let Err(error) = written.await {
        global.output.note(&format!("the changes are done but not in the audit topic: {error}"));
    }
}

fn line(state: &'static str, change: &Change) -> Line {
    Line { topic: change.topic().to_owned(), state, what: change.to_string(), change: Some(change.clone()) }
}

fn drift(plan: &Plan) -> impl Iterator<Item = Line> {
    plan.drift.iter().map(|drift| Line {
        topic: drift.topic().to_owned(),
        state: "drift",
        what: drift.to_string(),
        change: None,
    })
}
