//! `notilog schemas plan|apply|verify`.

use clap::{Args, Subcommand};

use super::confirm::Confirm;
use super::output::Row;
use super::{Exit, Failure, Global};
use crate::ops::schemas::{SchemaChange, SchemaPlan, SchemaRow, apply, plan, wanted};

/// Compares notilog's schemas with the registry, and registers them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog schemas plan\n  notilog schemas apply")]
pub(super) struct SchemasArgs {
    #[command(subcommand)]
    command: SchemasCommand,
}

#[derive(Debug, Subcommand)]
enum SchemasCommand {
    /// Shows what apply would do and what it would break; exit code 3 when there is something
    #[command(after_help = "Example:\n  notilog schemas plan")]
    Plan,
    /// Registers what is missing, under FULL_TRANSITIVE compatibility; nothing at all if something would break
    #[command(after_help = "Example:\n  notilog schemas apply --yes")]
    Apply {
        /// Only shows what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Checks that the registry has every schema; exit code 3 when it has not
    #[command(after_help = "Example:\n  notilog schemas verify")]
    Verify,
}

impl Row for SchemaRow {
    const HEADERS: &'static [&'static str] = &["subject", "change", "compatibility"];

    fn cells(&self) -> Vec<String> {
        let change = match &self.change {
            SchemaChange::Create => "create".to_owned(),
            SchemaChange::Unchanged { id } => format!("unchanged (id {id})"),
            SchemaChange::NewVersion => "new version".to_owned(),
            SchemaChange::Incompatible { causes } => format!("would break: {}", causes.join("; ")),
        };
        let level = match &self.level {
            Some(level) if !self.level_drifts() => level.clone(),
            level => format!("{} to {}", level.as_deref().unwrap_or("(none)"), self.required_level),
        };
        vec![self.subject.clone(), change, level]
    }
}

pub(super) async fn run(global: &Global, args: SchemasArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    match args.command {
        SchemasCommand::Plan | SchemasCommand::Verify | SchemasCommand::Apply { dry_run: true, .. } => {
            let plan = plan(session.registry(), &wanted()).await?;
            Ok(show(global, &plan))
        }
        SchemasCommand::Apply { dry_run: false, confirm } => {
            let overruled = overruled(&plan(session.registry(), &wanted()).await?);
            if !overruled.is_empty() && !confirm.ask(&format!("{overruled} Go on?"))? {
                return Ok(Exit::Failed);
            }
            let done = apply(session.registry(), &wanted()).await?;
            global.output.rows(&done.rows);
            let changed = done.rows.iter().filter(|row| !row.is_clean()).count();
            global.output.note(&format!("{changed} subjects changed at {}", session.registry().host()));
            Ok(Exit::Done)
        }
    }
}

/// Compatibility levels that someone chose and that apply would replace; empty when there are none.
fn overruled(plan: &SchemaPlan) -> String {
    let chosen = plan.rows.iter().filter(|row| row.level_drifts()).filter_map(|row| {
        let level = row.level.as_deref()?;
        Some(format!("{} has compatibility {level}, which becomes {}.", row.subject, row.required_level))
    });
    chosen.collect::<Vec<_>>().join(" ")
}

fn show(global: &Global, plan: &SchemaPlan) -> Exit {
    global.output.rows(&plan.rows);
    if plan.is_clean() {
        global.output.note("all schemas are registered");
        return Exit::Done;
    }
    let breaking = plan.breaking().count();
    if breaking > 0 {
        global
            .output
            .note(&format!("{breaking} would break readers or writers: `notilog schemas apply` refuses all of it"));
    } else {
        global.output.note("`notilog schemas apply` registers what is missing");
    }
    Exit::Found
}
