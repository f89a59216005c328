//! `[receipts]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Delay, Secret};

/// The receipts role, and whether delivery says which messages it sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// Whether there are receipts: delivery then notes each message that a provider took, and `notilog up` runs the role.
    pub enabled: bool,
    /// Consumer group.
    pub group: String,
    /// See [`super::Router::instance`].
    pub instance: String,
    /// A transaction is committed at the latest after this.
    pub commit_interval: Delay,
    /// Delays of `notify.receipts.retry.<delay>`, rising.
    pub tiers: Vec<Delay>,
    /// How long a receipt waits for the message it speaks of.
    pub patience: Delay,
    /// Where receipts are taken by HTTP; nowhere when not set.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Providers that bring receipts by HTTP, to `/receipts/<name>`.
    pub hooks: BTreeMap<String, Hook>,
    /// Mailboxes that bounces come back to.
    pub mailboxes: BTreeMap<String, Mailbox>,
}

/// A provider that brings receipts by HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The shape of its requests, and how they are signed.
    pub kind: HookKind,
    /// Its name in the statuses of its messages; an app has none there, and may say which it is.
    pub provider: String,
    /// What it signs with: Twilio's auth token, Mailgun's webhook signing key, a Standard Webhooks secret.
    pub secret: Secret,
    /// The URL that it was told to call, in full: part of Twilio's signature.
    #[serde(default)]
    pub url: Option<String>,
}

/// The shape of a provider's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookKind {
    /// Twilio's message status callbacks.
    Twilio,
    /// Mailgun's event webhooks.
    Mailgun,
    /// An app that says which notifications were seen.
    App,
}

/// A mailbox that bounces come back to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// A Maildir: `new/` is read, and what was read goes to `cur/`.
    pub folder: PathBuf,
    /// The provider whose mails come back there, as statuses name it.
    pub provider: String,
    /// How often to look.
    #[serde(default = "ten_seconds")]
    pub poll: Delay,
}

fn ten_seconds() -> Delay {
    Delay(Duration::from_secs(10))
}
