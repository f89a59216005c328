//! Channels: one trait, one file per channel; templates and guards beside them.
//!
//! Invariant: a channel knows providers, not notilog's own topics; it never decides whether to send, never retries by
//! itself and never logs an address or a body.

pub mod chat;
pub mod email;
mod endpoint;
pub mod guard;
pub mod inbox;
pub mod kafka;
pub mod markup;
mod provider;
pub mod push;
pub mod receipt;
mod setup;
pub mod sms;
pub mod telegram;
pub mod templates;
pub mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

pub use setup::{ChannelConfigErrors, ConfigProblem, Provider, Providers, Surroundings, build, build_with};
pub use templates::{Context, RenderError, TemplateErrors, Templates};

use crate::model::{Channel as ChannelName, Priority, Reason, Timestamp};

/// One rendered notification on its way to one provider.
#[derive(Debug, Clone)]
pub struct Message {
    /// The idempotency key of this run: the notification id, or its derivative on a redrive.
    pub id: Uuid,
    /// Where it goes; personal data.
    pub address: String,
    /// What it says.
    pub content: Content,
    /// W3C trace context of the event, handed on to the provider call where the protocol has a place for it.
    pub traceparent: Option<String>,
    /// What channels may put into machine-readable bodies and headers.
    pub event: EventFacts,
}

/// The facts of the event that receivers may want to see, without personal data beyond what the recipient knows.
#[derive(Debug, Clone, Default)]
pub struct EventFacts {
    /// The event's id.
    pub id: String,
    /// The event's type.
    pub kind: String,
    /// The event's source.
    pub source: String,
    /// RFC 3339.
    pub time: String,
    /// Whose it is.
    pub tenant: String,
    /// The recipient within the tenant.
    pub user_id: String,
    /// The event's category.
    pub category: String,
    /// See [`crate::model::Event::collapse_key`].
    pub collapse_key: Option<String>,
    /// How urgent it is, for providers that can be told.
    pub priority: Priority,
    /// Worthless after, for providers that can be told.
    pub expires_at: Option<Timestamp>,
}

/// What a template made, by channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// E-mail.
    Mail {
        /// One line.
        subject: String,
        /// The text part.
        text: String,
        /// The HTML part.
        html: Option<String>,
        /// `attachments` of the event's data, as it came; null without.
        attachments: serde_json::Value,
    },
    /// Chat-like channels: text, and whether it is HTML.
    Text { text: String, html: bool },
    /// Webhooks: the body as JSON text.
    Json(String),
    /// Push.
    Push(Push),
    /// Chats: text with some formatting, which each service writes in its own way.
    Markup(markup::Document),
    /// The inbox.
    Inbox(InboxEntry),
    /// A message of chat-like channels, and buttons below it.
    WithButtons {
        /// What it says.
        message: Box<Content>,
        /// The buttons, row by row.
        rows: Vec<Vec<Button>>,
    },
}

/// What an item of the inbox says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// One line.
    pub title: String,
    /// Plain text; may be empty.
    pub body: String,
    /// Where it leads: a URL, or a path within the app.
    pub link: Option<String>,
}

/// A record that a notification becomes, for channels that are Kafka topics. Whoever concludes the notification writes
/// it in the very transaction that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Produce {
    /// To a customer's topic on notilog's own cluster.
    Topic {
        /// Its name.
        topic: String,
        /// The record's key.
        key: Vec<u8>,
        /// The record's value.
        value: Vec<u8>,
        /// In order.
        headers: Vec<(String, Vec<u8>)>,
    },
    /// To the inbox.
    Inbox(InboxEntry),
}

/// A button that opens a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// Where it leads.
    pub url: url::Url,
}

/// What a push notification says; one without title and body is not shown, and wakes the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Push {
    /// The first line.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// For the app; texts, since FCM carries nothing else.
    pub data: BTreeMap<String, String>,
}

/// What came of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The conclusion.
    pub result: Verdict,
    /// The provider's status code (`451`, `http_429`), never its text.
    pub code: Option<String>,
}

/// The conclusion of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The provider took it.
    Sent {
        /// The provider's name for it.
        provider_message_id: Option<String>,
    },
    /// Nobody was called: it is taken when these records are committed, together with the status that says so.
    Written {
        /// What to write.
        records: Vec<Produce>,
    },
    /// Later, perhaps not before `after`.
    Retry {
        /// Why.
        reason: Reason,
        /// What the provider asked for.
        after: Option<Duration>,
    },
    /// The recipient's side refuses; terminal.
    Reject {
        /// Why.
        reason: Reason,
    },
    /// Our side fails (credentials, provider down): costs no attempt, holds the channel.
    Halt {
        /// Why.
        reason: Reason,
    },
}

impl Verdict {
    /// Whether the message may have been taken although nothing says so: no other provider may be asked then, or the
    /// recipient could get it twice.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Verdict::Retry { reason: Reason::Timeout | Reason::Interrupted, .. })
    }

    /// Whether the provider was asked: not where something to attach could not be had.
    pub fn is_of_provider(&self) -> bool {
        use Reason::{AttachmentMissing, AttachmentRefused, AttachmentTooLarge, AttachmentUnavailable};
        let (Verdict::Reject { reason } | Verdict::Retry { reason, .. }) = self else { return true };
        !matches!(reason, AttachmentMissing | AttachmentRefused | AttachmentTooLarge | AttachmentUnavailable)
    }
}

/// Later, and the provider asked for no time.
fn retry(reason: Reason) -> Verdict {
    Verdict::Retry { reason, after: None }
}

/// Never.
fn reject(reason: Reason) -> Verdict {
    Verdict::Reject { reason }
}

/// Our side fails.
fn halt(reason: Reason) -> Verdict {
    Verdict::Halt { reason }
}

/// A way to hand messages to one provider.
#[async_trait::async_trait]
pub trait Channel: Send + Sync {
    /// Which channel.
    fn name(&self) -> ChannelName;

    /// The kind of provider: its name in statuses and metrics, unless the configuration gives it another.
    fn provider(&self) -> &str;

    /// Whether it can deliver to this address at all; where providers of one channel have addresses of different
    /// kinds, this chooses among them.
    fn accepts(&self, _address: &str) -> bool {
        true
    }

    /// Whether its answers speak of the provider, which all recipients share; not so where the address is an endpoint of
    /// the recipient's own (webhooks), and one that is overloaded says nothing of the others.
    fn is_shared(&self) -> bool {
        true
    }

    /// Whether it delivers a message once, however often it is handed over under the same id: after an unknown outcome
    /// it is then safe to ask it again, and its answer speaks of all attempts.
    fn idempotent(&self) -> bool {
        false
    }

    /// One call. Bounded by the channel's own timeouts; never panics, never retries.
    async fn deliver(&self, message: &Message) -> Outcome;

    /// Whether the provider may say later what became of a message, under the id that [`Verdict::Sent`] names.
    fn gives_receipts(&self) -> bool {
        false
    }

    /// Whether the provider can be reached, where it can be asked; for readiness and `doctor`. The error says what
    /// failed and what to do, without secrets.
    async fn check(&self) -> Result<(), String>;
}

#[cfg(doctest)]
#[doc = include_str!("../../docs/adding-a-channel.md")]
struct AddingAChannel;

/// How long an HTTP client waits for a connection: well within the call's own limit, so that an endpoint that cannot be
/// reached is told from one that does not answer.
fn connect_timeout(call: Duration) -> Duration {
    (call / 2).min(Duration::from_secs(5))
}
