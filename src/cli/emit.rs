//! `notilog emit`.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::output::Row;
use super::progress::Progress;
use super::{Exit, Failure, Global};
use crate::model::Priority;
use crate::ops::documents::{EventDocument, Moment};
use crate::ops::emit::{Checks, Emitted, emit};
use crate::ops::session::Session;
use crate::policy;

/// Writes events to notify.events.<domain>, checked as the router would
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog emit --domain shop --source shop/orders --type order.shipped \
    --category orders --to ada --data '{\"order\":7}'\n  notilog emit --domain shop --json events.jsonl")]
pub(super) struct EmitArgs {
    /// The topic's domain: notify.events.<domain>
    #[arg(long, alias = "topic", default_value = "default", value_name = "NAME")]
    domain: String,
    /// Events as JSON lines, from a file or `-` for stdin, in place of the flags below
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "kind", "category", "to", "id", "data"])]
    json: Option<PathBuf>,
    /// Who says so, as in shop/orders
    #[arg(long, required_unless_present = "json")]
    source: Option<String>,
    /// What kind of thing happened, as in order.shipped
    #[arg(long = "type", required_unless_present = "json", value_name = "TYPE")]
    kind: Option<String>,
    /// What recipients opt in to or out of
    #[arg(long, required_unless_present = "json")]
    category: Option<String>,
    /// User to tell; may be given several times
    #[arg(long, value_name = "USER")]
    to: Vec<String>,
    /// The event's id [default: random]
    #[arg(long)]
    id: Option<String>,
    /// Whose it is
    #[arg(long, default_value = "default")]
    tenant: String,
    /// LOW, NORMAL, HIGH or CRITICAL
    #[arg(long, default_value_t = Priority::Normal)]
    priority: Priority,
    /// When it happened (RFC 3339) [default: now]
    #[arg(long)]
    time: Option<Moment>,
    /// Restricts the channels; may be given several times
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<String>,
    /// Template name [default: the policy's]
    #[arg(long)]
    template: Option<String>,
    /// A JSON object for the template
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<Map<String, Value>>,
    /// BCP 47 tag in place of the recipient's
    #[arg(long)]
    locale: Option<String>,
    /// Not to be sent before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<Moment>,
    /// Worthless after (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Moment>,
    /// Later notifications of the same key supersede waiting ones
    #[arg(long, value_name = "KEY")]
    collapse_key: Option<String>,
    /// Writes what the router would refuse, too
    #[arg(long)]
    unchecked: bool,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

impl Row for Emitted {
    const HEADERS: &'static [&'static str] = &["id", "topic", "partition", "offset"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.topic.clone(), self.partition.to_string(), self.offset.to_string()]
    }
}

pub(super) async fn run(global: &Global, args: EmitArgs) -> Result<Exit, Failure> {
    let documents = match &args.json {
        Some(path) => json_lines(path)?,
        None => vec![args.document()],
    };
    let session = global.session()?;
    let checks = if args.unchecked { None } else { Some(checks(&session)?) };
    let mut progress = Progress::new("writing events", documents.len());
    let emitted = emit(&session, &args.domain, &documents, checks.as_ref(), || progress.step()).await?;
    drop(progress);
    global.output.rows(&emitted);
    Ok(Exit::Done)
}

/// The rules that the router has, so that a mistake shows before it is written.
fn checks(session: &Session) -> Result<Checks, Failure> {
    let dir = &session.config.policies.dir;
    let policy = policy::load(dir).map_err(|errors| {
        Failure::Failed(format!(
            "{errors}\nevents are checked against the policies; set policies.dir, or give --unchecked"
        ))
    })?;
    Ok(Checks { policy, sources: session.config.source_rules() })
}

impl EmitArgs {
    fn document(&self) -> EventDocument {
        EventDocument {
            id: self.id.clone(),
            source: self.source.clone().unwrap_or_default(),
            kind: self.kind.clone().unwrap_or_default(),
            time: self.time,
            tenant: self.tenant.clone(),
            category: self.category.clone().unwrap_or_default(),
            priority: self.priority,
            recipients: self.to.clone(),
            audience: None,
            channels: (!self.channel.is_empty()).then(|| self.channel.clone()),
            template: self.template.clone(),
            data: self.data.clone().unwrap_or_default(),
            locale: self.locale.clone(),
            not_before: self.not_before,
            expires_at: self.expires_at,
            collapse_key: self.collapse_key.clone(),
        }
    }
}

/// Every line of a file, or of stdin for `-`; every line that cannot be read is named.
pub(super) fn json_lines<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<Vec<T>, Failure> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))?;
    }
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(document) => documents.push(document),
            Err(error) => problems.push(format!("\n  {}:{}: {error}", path.display(), index + 1)),
        }
    }
    if problems.is_empty() {
        return Ok(documents);
    }
    Err(Failure::Failed(format!("{} lines cannot be read, nothing was written:{}", problems.len(), problems.concat())))
}
