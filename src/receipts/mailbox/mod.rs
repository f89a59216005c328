//! Bounce mail from a Maildir: delivery reports (RFC 3464) that come back to the envelope's sender.
//!
//! A mail server puts mail into `new/`; what was read goes to `cur/`, as Maildir has it. Invariant: a mail leaves `new/`
//! only after its receipts are safe in Kafka; one that is no report moves too, and nothing else is done with it.

mod dsn;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::intake::{Intake, Received};
use crate::config::Receipts;
use crate::telemetry::metrics::bounce_mails;

/// A report with more is not read further: what matters comes first.
const MOST_BYTES: u64 = 4 << 20;

/// Mails read from one mailbox in one go.
const AT_ONCE: usize = 100;

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mail {
    Report,
    Other,
}

/// Watches every configured mailbox until `stop` is cancelled.
pub fn watch(settings: &Receipts, intake: &Intake, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
    let watch = |(name, mailbox): (&String, &crate::config::Mailbox)| {
        let watcher = Watcher {
            name: name.clone(),
            folder: mailbox.folder.clone(),
            provider: mailbox.provider.clone(),
            intake: intake.clone(),
        };
        let (stop, poll) = (stop.clone(), mailbox.poll.0);
        tokio::spawn(async move { watcher.run(poll, stop).await })
    };
    settings.mailboxes.iter().map(watch).collect()
}

struct Watcher {
    name: String,
    folder: PathBuf,
    provider: String,
    intake: Intake,
}

impl Watcher {
    async fn run(self, poll: Duration, stop: CancellationToken) {
        tracing::info!(mailbox = self.name, "bounce mail is read");
        loop {
            let found = self.round().await;
            if let Err(why) = &found {
                tracing::warn!(mailbox = self.name, why, "bounce mail cannot be read now");
            }
            if matches!(found, Ok(count) if count >= AT_ONCE) {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(poll) => {}
            }
        }
    }

    /// Reads what is new; returns how many mails that were.
    async fn round(&self) -> Result<usize, String> {
        let folder = self.folder.clone();
        let files =
            tokio::task::spawn_blocking(move || new_mails(&folder)).await.map_err(|error| error.to_string())??;
        for file in &files {
            let path = file.clone();
            let raw = tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| error.to_string())??;
            let receipts = dsn::read(&raw, &self.provider);
            let mail = if receipts.is_empty() { Mail::Other } else { Mail::Report };
            self.take(&receipts).await?;
            seen(&self.folder, file)?;
            bounce_mails(&self.name, if mail == Mail::Report { "report" } else { "other" }).increment(1);
        }
        Ok(files.len())
    }

    async fn take(&self, receipts: &[Received]) -> Result<(), String> {
        let source = format!("mail/{}", self.name);
        for receipt in receipts {
            self.intake.write(receipt, &source).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// What lies in `new/`, in the order of the names: those begin with a time.
fn new_mails(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let new = folder.join("new");
    let failed = |error: std::io::Error| format!("{}: {error}", new.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&new).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(AT_ONCE);
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut raw = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut raw))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(raw)
}

/// Moves a mail to `cur/`, flagged as seen.
fn seen(folder: &Path, file: &Path) -> Result<(), String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let unflagged = name.split(":2,").next().unwrap_or(&name);
    let to = folder.join("cur").join(format!("{unflagged}:2,S"));
    std::fs::rename(file, &to).map_err(|error| format!("{} to {}: {error}", file.display(), to.display()))
}
