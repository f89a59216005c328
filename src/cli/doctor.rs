//! `notilog doctor`.

use clap::Args;

use super::output::{Row, counted};
use super::{Exit, Failure, Global};
use crate::ops::doctor::{Finding, Severity, examine};

/// Looks at Kafka, topics, schemas, policies, templates and providers, and says what is wrong and what to do
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  notilog doctor --config notilog.toml")]
pub(super) struct DoctorArgs {}

impl Row for Finding {
    const HEADERS: &'static [&'static str] = &["", "check", "found", "what to do"];

    fn cells(&self) -> Vec<String> {
        let mark = match self.severity {
            Severity::Ok => "ok",
            Severity::Notice => "notice",
            Severity::Fault => "FAULT",
        };
        vec![mark.to_owned(), self.check.clone(), self.found.clone(), self.advice.clone()]
    }
}

pub(super) async fn run(global: &Global, _: DoctorArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    let findings = examine(&session).await;
    global.output.rows(&findings);
    let faults = findings.iter().filter(|finding| finding.severity == Severity::Fault).count();
    if faults == 0 {
        global.output.note("no faults");
        return Ok(Exit::Done);
    }
    global.output.note(&counted(faults, "fault"));
    Ok(Exit::Found)
}
