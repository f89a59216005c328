//! `notilog prefs get|set|import|erase`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::confirm::Confirm;
use super::emit::json_lines;
use super::progress::Progress;
use super::{Exit, Failure, Global};
use crate::ops::documents::{CategoryDocument, EndpointDocument, Moment, PreferencesDocument, QuietDocument};
use crate::ops::prefs::{Found, erase, get, import, put};

/// Reads, changes, imports or erases recipients' preferences
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  notilog prefs get ada\n  notilog prefs set ada --timezone Europe/Berlin \
    --endpoint email=ada@example.org\n  notilog prefs import recipients.jsonl")]
pub(super) struct PrefsArgs {
    #[command(subcommand)]
    command: PrefsCommand,
}

#[derive(Debug, Subcommand)]
enum PrefsCommand {
    /// Prints a recipient's preferences as JSON, and where the record stands
    #[command(after_help = "Example:\n  notilog prefs get ada --tenant acme")]
    Get(Who),
    /// Changes some of a recipient's preferences; what is not named stays
    #[command(after_help = "Example:\n  notilog prefs set ada --category news=off --quiet-hours 22:00-07:00")]
    Set(Box<SetArgs>),
    /// Writes preferences from JSON lines, as `prefs get` prints them
    #[command(after_help = "Example:\n  notilog prefs import recipients.jsonl")]
    Import {
        /// A file, or `-` for stdin
        file: PathBuf,
        /// Why, for the audit record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Erases a recipient: nothing is sent to them from then on
    #[command(after_help = "Example:\n  notilog prefs erase ada --why 'asked by mail' --yes")]
    Erase {
        #[command(flatten)]
        who: Who,
        /// Why, for the audit record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Only shows what would be erased
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
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

#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    who: Who,
    /// BCP 47 tag
    #[arg(long)]
    locale: Option<String>,
    /// IANA time zone, as in Europe/Berlin
    #[arg(long)]
    timezone: Option<String>,
    /// Adds an address; it counts as verified unless --unverified is given
    #[arg(long, value_name = "CHANNEL=ADDRESS", value_parser = pair)]
    endpoint: Vec<(String, String)>,
    /// The addresses given are not proven: nothing is sent to them
    #[arg(long, requires = "endpoint")]
    unverified: bool,
    /// Removes an address
    #[arg(long, value_name = "CHANNEL=ADDRESS", value_parser = pair)]
    remove_endpoint: Vec<(String, String)>,
    /// Whether a channel is wanted at all
    #[arg(long, value_name = "CHANNEL=on|off", value_parser = pair)]
    channel: Vec<(String, String)>,
    /// Whether a category is wanted, or by which channels
    #[arg(long, value_name = "CATEGORY=on|off|CHANNEL,…", value_parser = pair)]
    category: Vec<(String, String)>,
    /// Adds a daily span of silence in the recipient's zone, as 22:00-07:00 or MON,FRI:22:00-07:00
    #[arg(long, value_name = "[DAYS:]FROM-TO", value_parser = quiet)]
    quiet_hours: Vec<QuietDocument>,
    /// Drops the spans of silence there were
    #[arg(long)]
    no_quiet_hours: bool,
    /// Nothing until then (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "resume")]
    pause_until: Option<Moment>,
    /// Ends a pause
    #[arg(long)]
    resume: bool,
    /// Changes as a JSON merge patch (RFC 7396), before the other flags
    #[arg(long, value_name = "JSON")]
    patch: Option<String>,
    /// Why, for the audit record
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Only shows what would be written
    #[arg(long)]
    dry_run: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn quiet(text: &str) -> Result<QuietDocument, String> {
    let wrong = || format!("`{text}` is not [DAYS:]FROM-TO, as in `22:00-07:00` or `MON,FRI:22:00-07:00`");
    let (days, span) = match text.split_once(':') {
        Some((days, span)) if days.chars().all(|c| c.is_ascii_alphabetic() || c == ',') => (days, span),
        _ => ("", text),
    };
    let (from, to) = span.split_once('-').ok_or_else(wrong)?;
    let days = days.split(',').filter(|day| !day.is_empty()).map(str::to_uppercase).collect();
    Ok(QuietDocument { days, from: from.to_owned(), to: to.to_owned() })
}

pub(super) async fn run(global: &Global, args: PrefsArgs) -> Result<Exit, Failure> {
    match args.command {
        PrefsCommand::Get(who) => show(global, &who).await,
        PrefsCommand::Set(args) => set(global, &args).await,
        PrefsCommand::Import { file, why } => {
            let documents: Vec<PreferencesDocument> = json_lines(&file)?;
            let session = global.session()?;
            let mut progress = Progress::new("writing preferences", documents.len());
            let count = import(&session, documents, why.as_deref(), || progress.step()).await?;
            drop(progress);
            global.output.value(&json!({ "imported": count }), || format!("{count} recipients imported"));
            Ok(Exit::Done)
        }
        PrefsCommand::Erase { who, why, dry_run, confirm } => forget(global, &who, why, dry_run, confirm).await,
    }
}

async fn show(global: &Global, who: &Who) -> Result<Exit, Failure> {
    let session = global.session()?;
    match get(&session, &who.tenant, &who.user).await? {
        Found::Known { document, partition, offset } => {
            global.output.value(&document, || pretty(&document));
            global.output.note(&format!("{}[{partition}]@{offset}", session.topics.preferences()));
            Ok(Exit::Done)
        }
        Found::Erased => Err(unknown(who, "was erased")),
        Found::Unknown => Err(unknown(who, "has no preferences")),
    }
}

fn unknown(who: &Who, what: &str) -> Failure {
    Failure::Failed(format!(
        "user `{}` of tenant `{}` {what}: nothing is sent to them; `notilog prefs set` writes preferences",
        who.user, who.tenant
    ))
}

fn pretty(document: &PreferencesDocument) -> String {
    serde_json::to_string_pretty(document).unwrap_or_else(|error| error.to_string())
}

async fn set(global: &Global, args: &SetArgs) -> Result<Exit, Failure> {
    let session = global.session()?;
    let present = match get(&session, &args.who.tenant, &args.who.user).await? {
        Found::Known { document, .. } => *document,
        Found::Erased | Found::Unknown => PreferencesDocument::new(&args.who.tenant, &args.who.user),
    };
    let changed = args.apply(present)?;
    if args.dry_run {
        global.output.value(&changed, || pretty(&changed));
        return Ok(Exit::Done);
    }
    let (written, at) = put(&session, changed, args.why.as_deref()).await?;
    let value = json!({ "version": written.version, "partition": at.partition, "offset": at.offset });
    global
        .output
        .value(&value, || format!("version {} at partition {}, offset {}", written.version, at.partition, at.offset));
    Ok(Exit::Done)
}

impl SetArgs {
    fn apply(&self, present: PreferencesDocument) -> Result<PreferencesDocument, Failure> {
        let mut document = match &self.patch {
            Some(patch) => patched(&present, patch)?,
            None => present,
        };
        document.locale = self.locale.clone().unwrap_or(document.locale);
        document.timezone = self.timezone.clone().unwrap_or(document.timezone);
        for (channel, address) in self.remove_endpoint.iter().chain(&self.endpoint) {
            document.endpoints.retain(|known| known.channel != *channel || known.address != *address);
        }
        document.endpoints.extend(self.endpoint.iter().map(|(channel, address)| EndpointDocument {
            channel: channel.clone(),
            address: address.clone(),
            verified: !self.unverified,
            label: None,
        }));
        for (channel, wanted) in &self.channel {
            document.channels.insert(channel.clone(), on_off(channel, wanted)?);
        }
        for (category, choice) in &self.category {
            let kept = document.categories.get(category).and_then(|choice| choice.digest.clone());
            document.categories.insert(category.clone(), choice_of(choice, kept));
        }
        if self.no_quiet_hours {
            document.quiet_hours.clear();
        }
        document.quiet_hours.extend(self.quiet_hours.iter().cloned());
        document.paused_until = if self.resume { None } else { self.pause_until.or(document.paused_until) };
        Ok(document)
    }
}

fn on_off(name: &str, text: &str) -> Result<bool, Failure> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(Failure::Usage(format!("--channel {name}={other}: write {name}=on or {name}=off"))),
    }
}

fn choice_of(text: &str, digest: Option<String>) -> CategoryDocument {
    match text {
        "on" => CategoryDocument { enabled: true, channels: None, digest },
        "off" => CategoryDocument { enabled: false, channels: None, digest },
        list => {
            let channels = list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
            CategoryDocument { enabled: true, channels: Some(channels), digest }
        }
    }
}

/// RFC 7396: objects merge, null removes, everything else replaces. Whose preferences they are cannot be changed.
fn patched(present: &PreferencesDocument, patch: &str) -> Result<PreferencesDocument, Failure> {
    let wrong = |error: serde_json::Error| Failure::Usage(format!("--patch: {error}"));
    let patch: Value = serde_json::from_str(patch).map_err(wrong)?;
    let mut value = serde_json::to_value(present).map_err(wrong)?;
    merge(&mut value, patch);
    let changed: PreferencesDocument = serde_json::from_value(value).map_err(wrong)?;
    if (&changed.tenant, &changed.user_id) != (&present.tenant, &present.user_id) {
        return Err(Failure::Usage("--patch: tenant and user_id cannot be changed".to_owned()));
    }
    Ok(PreferencesDocument { version: present.version, ..changed })
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

async fn forget(
    global: &Global,
    who: &Who,
    why: Option<String>,
    dry_run: bool,
    confirm: Confirm,
) -> Result<Exit, Failure> {
    let session = global.session()?;
    let found = match get(&session, &who.tenant, &who.user).await? {
        Found::Known { document, .. } => {
            format!("version {} with {} addresses", document.version, document.endpoints.len())
        }
        Found::Erased => "already erased".to_owned(),
        Found::Unknown => "no record".to_owned(),
    };
    let what = format!("user `{}` of tenant `{}` ({found})", who.user, who.tenant);
    if dry_run {
        global.output.value(&json!({ "would_erase": found }), || format!("would erase {what}"));
        return Ok(Exit::Done);
    }
    if !confirm.ask(&format!("Erase {what}? Nothing is sent to them from then on."))? {
        return Ok(Exit::Failed);
    }
    let at = erase(&session, &who.tenant, &who.user, why.as_deref()).await?;
    let value = json!({ "erased": true, "partition": at.partition, "offset": at.offset });
    global.output.value(&value, || format!("erased {what}"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("22:00-07:00", &[], "22:00", "07:00")]
    #[case("mon,FRI:22:00-07:00", &["MON", "FRI"], "22:00", "07:00")]
    fn quiet_hours_are_read(#[case] text: &str, #[case] days: &[&str], #[case] from: &str, #[case] to: &str) {
        let span = quiet(text).unwrap();
        assert_eq!(
            (span.days, span.from.as_str(), span.to.as_str()),
            (days.iter().map(ToString::to_string).collect(), from, to)
        );
    }

    #[test]
    fn a_patch_merges_and_null_removes() {
        let present =
            PreferencesDocument { locale: "de".to_owned(), version: 4, ..PreferencesDocument::new("t", "ada") };
        let changed = patched(&present, r#"{"locale":null,"channels":{"email":false},"version":99}"#).unwrap();
        assert_eq!((changed.locale.as_str(), changed.channels["email"], changed.version), ("", false, 4));
        assert!(patched(&present, r#"{"user_id":"bob"}"#).is_err());
        assert!(patched(&present, r#"{"timezon":"x"}"#).is_err());
    }
}
