//! `notilog topics plan|apply|verify --acls`: rights, by role.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::confirm::Confirm;
use super::output::{Row, counted};
use super::{Exit, Failure, Global};
use crate::config::Config;
use crate::kafka::acl::Acl;
use crate::kafka::admin::Admin;
use crate::kafka::producer::Producer;
use crate::model::Share;
use crate::ops::audit::{self, Action};
use crate::ops::session::Session;
use crate::ops::topics::acls::{AclChange, AclPlan, Extra, apply, plan, principals, wanted, words};

/// Rights in place of topics.
#[derive(Debug, Args)]
pub(super) struct Acls {
    /// Compares rights (ACLs), by role, in place of topics; run it as an administrator of the cluster
    #[arg(long)]
    pub(super) acls: bool,
    /// Who plays a part, as in `router=User:router` or `deliver.email=User:mailer`; may be given several times
    /// [default: topics.principals]
    #[arg(long, value_name = "ROLE=PRINCIPAL", value_parser = principal, requires = "acls")]
    principal: Vec<(Share, String)>,
    /// Takes away what these principals may do beyond what their roles need
    #[arg(long, requires = "acls")]
    remove_extra: bool,
}

fn principal(text: &str) -> Result<(Share, String), String> {
    match text.split_once('=') {
        Some((share, principal)) if principal.contains(':') => Ok((share.parse()?, principal.to_owned())),
        _ => Err("write ROLE=PRINCIPAL, as in `router=User:router`".to_owned()),
    }
}

/// A line of a plan or of its outcome.
#[derive(Debug, Serialize)]
struct Line {
    principal: String,
    state: &'static str,
    what: String,
    acl: Acl,
}

impl Line {
    fn of(state: &'static str, acl: &Acl, what: String) -> Self {
        Line { principal: acl.principal.clone(), state, what, acl: acl.clone() }
    }
}

impl Row for Line {
    const HEADERS: &'static [&'static str] = &["state", "principal", "what"];

    fn cells(&self) -> Vec<String> {
        vec![self.state.to_owned(), self.principal.clone(), self.what.clone()]
    }
}

/// `domains` are those of `--domain`, and win over the configuration.
fn planned(session: &Session, admin: &Admin, acls: &Acls, domains: &[String]) -> Result<AclPlan, Failure> {
    let mut config = Config::clone(&session.config);
    if !domains.is_empty() {
        config.topics.domains = domains.to_vec();
    }
    let principals = principals(&config, &acls.principal)?;
    let extra = if acls.remove_extra { Extra::Remove } else { Extra::Keep };
    let prefix = &config.kafka.topic_prefix;
    Ok(plan(&wanted(&config, &principals), &principals, prefix, &admin.acls()?, extra))
}

/// Shows what apply would do.
pub(super) fn show(global: &Global, session: &Session, acls: &Acls, domains: &[String]) -> Result<Exit, Failure> {
    let plan = planned(session, &Admin::new(session.kafka())?, acls, domains)?;
    let changes = plan.changes.iter().map(|change| Line::of("to do", change.acl(), change.to_string()));
    global.output.rows(&changes.chain(extra(&plan)).collect::<Vec<_>>());
    if plan.is_empty() {
        global.output.note("all rights are as they should be, and no more");
        return Ok(Exit::Done);
    }
    let (changes, extra) = (counted(plan.changes.len(), "change"), counted(plan.extra.len(), "right"));
    global.output.note(&format!("{changes} for `notilog topics apply --acls`, {extra} beyond what is needed"));
    Ok(Exit::Found)
}

/// Grants what is missing; takes away what is beyond only with `--remove-extra`, and asks before.
pub(super) async fn bring_about(
    global: &Global,
    session: &Session,
    acls: &Acls,
    domains: &[String],
    confirm: Confirm,
) -> Result<Exit, Failure> {
    let admin = Admin::new(session.kafka())?;
    let plan = planned(session, &admin, acls, domains)?;
    let revokes = plan.changes.iter().filter(|change| matches!(change, AclChange::Revoke { .. })).count();
    if revokes > 0 && !confirm.ask(&format!("{} will be taken away. Go on?", counted(revokes, "right")))? {
        return Ok(Exit::Failed);
    }
    let left: Vec<Line> = extra(&plan).collect();
    let (mut done, mut failed, mut lines) = (0, 0, Vec::new());
    for applied in apply(&admin, plan) {
        let (state, what) = match applied.result {
            Ok(()) => ("done", applied.change.to_string()),
            Err(error) => ("failed", error.to_string()),
        };
        if state == "done" {
            done += 1
        } else {
            failed += 1
        }
        lines.push(Line::of(state, applied.change.acl(), what));
    }
    if done > 0 {
        remember(global, session, done).await;
    }
    let beyond = left.len();
    lines.extend(left);
    global.output.rows(&lines);
    global.output.note(&format!(
        "{} done, {failed} failed, {} beyond what is needed left alone",
        counted(done, "change"),
        counted(beyond, "right")
    ));
    Ok(match (failed, beyond) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Found,
        _ => Exit::Failed,
    })
}

fn extra(plan: &AclPlan) -> impl Iterator<Item = Line> {
    plan.extra.iter().map(|acl| {
        let what = format!("no role needs {}; --remove-extra takes it away", words(acl));
        Line::of("extra", acl, what)
    })
}

/// The audit topic may not be there yet: then the changes stand without a record.
async fn remember(global: &Global, session: &Session, changes: usize) {
    let details = json!({ "changes": changes });
    let target = session.topics.prefix().to_owned();
    let written = async {
        let producer = Producer::new(session.kafka())?;
        audit::record(session, &producer, Action::AclsApply, &target, None, details).await
    };
    if let Err(error) = written.await {
        global.output.note(&format!("the changes are done but not in the audit topic: {error}"));
    }
}
