//! `notilog.toml`: embedded defaults ← file ← environment ← flags; all problems at once.
//!
//! Invariant: the environment is read here alone, and a secret's value leaves only through [`Secret::reveal`].

mod check;
mod interpolate;
mod load;
mod problem;
mod properties;
mod providers;
mod push;
mod receipts;
mod schema;
mod show;
mod sms;
#[cfg(test)]
mod tests;
mod tree;
mod types;

pub use load::{FileChoice, LoadOptions, Loaded, actor_of, load, load_with_origins};
pub use problem::{ConfigErrors, Origin, Problem};
pub use properties::{REFUSED, is_secret, refusal, refused_table};
pub use providers::{Common, Mode, Provider, RateLimit};
pub use push::{Apns, Fcm, Push, WebPush};
pub use receipts::{Hook, HookKind, Mailbox, Receipts};
pub use sms::{Meaning, Preset, Smpp, Sms, SmsHttp};
pub use types::{
    Attachments, Breaker, Channels, Chat, Config, Delay, Delivery, Dkim, Email, Inbox, Kafka, KafkaCluster,
    KafkaTopics, LogFormat, Policies, RecipientLimit, Registry, Router, Secret, Source, State, Suppressions, TableMode,
    Telegram, Telemetry, Templates, TlsMode, TopicSettings, Webhook,
};
