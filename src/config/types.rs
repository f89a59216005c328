//! The shape of the configuration. Defaults are in `default.toml`, embedded; every key there is a known key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::providers::{Provider, one_or_several};
use super::push::Push;
use super::sms::Sms;
use crate::model::{Channel, Priority, SourceRule, format_delay, parse_delay};

/// All of `notilog.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to reach Kafka.
    pub kafka: Kafka,
    /// How to reach the schema registry.
    pub registry: Registry,
    /// The router role.
    pub router: Router,
    /// The delivery role.
    pub delivery: Delivery,
    /// Providers by channel; a channel without any is not configured.
    pub channels: Channels,
    /// What roles keep on local disk to start quickly.
    pub state: State,
    /// The suppression list.
    pub suppressions: Suppressions,
    /// The receipts role.
    pub receipts: super::Receipts,
    /// Where policies are.
    pub policies: Policies,
    /// Where templates are.
    pub templates: Templates,
    /// What `notilog topics` creates.
    pub topics: TopicSettings,
    /// What producers may claim; empty allows everything.
    pub sources: Vec<Source>,
    /// Metrics, health and logs.
    pub telemetry: Telemetry,
}

impl Config {
    /// What producers may claim, as the decision chain asks it.
    pub fn source_rules(&self) -> Vec<SourceRule> {
        let rule = |source: &Source| SourceRule {
            topics: source.topics.clone(),
            tenants: source.tenants.clone(),
            categories: source.categories.clone(),
            max_priority: source.max_priority,
        };
        self.sources.iter().map(rule).collect()
    }
}

/// How to reach Kafka.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub bootstrap_servers: String,
    /// Put before every topic, group and transactional id.
    pub topic_prefix: String,
    /// Any librdkafka property, save those that would break a guarantee. Values may be secrets.
    pub properties: BTreeMap<String, Secret>,
}

/// How to reach the schema registry (Confluent API).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Base URL; for Apicurio it ends in `/apis/ccompat/v7`.
    pub url: String,
    /// Basic authentication, when set.
    pub username: Option<String>,
    /// Basic authentication, when set.
    pub password: Option<Secret>,
    /// For one request.
    pub timeout: Delay,
}

/// The router role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Consumer group.
    pub group: String,
    /// Distinguishes processes of one group in transactional ids; stable over restarts.
    pub instance: String,
    /// Whether shards are static members of the group (KIP-345): one that is started again within the session
    /// timeout takes its partitions back at once, and one that is stopped for good keeps them until then.
    pub static_membership: bool,
    /// Threads, each with its own consumer and transactional producer.
    pub shards: usize,
    /// A transaction is committed at the latest after this, or after as long as the last commit took, and sooner where input is
    /// scarce.
    pub commit_interval: Delay,
    /// A transaction holds at most this many input records.
    pub max_transaction_records: usize,
    /// How long an event waits for its recipient's preferences.
    pub recipient_grace: Delay,
    /// Delays of `notify.retry.events.<delay>`, rising.
    pub tiers: Vec<Delay>,
    /// librdkafka's bound on prefetched input, per shard, in KiB.
    pub queue_kib: u32,
    /// An input topic is held when at least this part of what a shard took from it within the window, in percent, and
    /// at least 100 records, went to the dead letters.
    pub hold_share_percent: u32,
    /// See [`Router::hold_share_percent`].
    pub hold_window: Delay,
    /// How much of the preferences table a process holds.
    pub table: TableMode,
}

/// How much of the preferences table a router holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableMode {
    /// All of it: any event may come to any process.
    Whole,
    /// What belongs to its partitions of the events, which have to be keyed by recipient, in topics with as many
    /// partitions as `notify.preferences`.
    CoPartitioned,
}

/// The delivery role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Consumer groups are `<group>-<channel>`.
    pub group: String,
    /// See [`Router::instance`].
    pub instance: String,
    /// See [`Router::static_membership`].
    pub static_membership: bool,
    /// Delays of `notify.outbound.<channel>.retry.<delay>`, rising.
    pub tiers: Vec<Delay>,
    /// How long to wait before the second, third, … attempt; the last one repeats.
    pub backoff: Vec<Delay>,
    /// Part of a backoff, in percent, that is drawn at random and added.
    pub jitter_percent: u32,
    /// Calls under way at once, per channel. A crash can repeat those, and half as many again that are answered and not
    /// yet committed.
    pub max_in_flight: usize,
    /// Completed attempts are committed at the latest after this.
    pub commit_interval: Delay,
    /// How long to wait for calls under way at shutdown and on revoke.
    pub grace: Delay,
    /// How long a provider that answered Halt is left alone before one probe.
    pub halt_pause: Delay,
    /// What else than Halt makes a provider be left alone.
    pub breaker: Breaker,
    /// A customer's endpoint that has failed for so long is disabled; none is when not set.
    pub disable_after: Option<Delay>,
    /// How many calls each recipient gets on each channel; as many as come when not set.
    pub recipient_limit: Option<RecipientLimit>,
    /// The recipients (`tenant/user`) and addresses that are sent to, `*` matches any run of characters; everybody when
    /// empty. What is for others is recorded and not sent.
    pub allow_recipients: Vec<String>,
}

/// When overload is a storm that a provider is left alone for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Answers of so long count together.
    pub window: Delay,
    /// Of a hundred answers, so many that tell of overload (429, 5xx, none at all) are a storm.
    pub share_percent: u32,
    /// Fewer answers are no storm.
    pub at_least: u32,
}

/// Providers by channel, in the file's order; a channel without any is not configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// SMTP.
    #[serde(default, deserialize_with = "one_or_several")]
    pub email: Vec<Provider<Email>>,
    /// Telegram Bot API.
    #[serde(default, deserialize_with = "one_or_several")]
    pub telegram: Vec<Provider<Telegram>>,
    /// Webhooks.
    #[serde(default, deserialize_with = "one_or_several")]
    pub webhook: Vec<Provider<Webhook>>,
    /// Team chats.
    #[serde(default, deserialize_with = "one_or_several")]
    pub chat: Vec<Provider<Chat>>,
    /// Text messages.
    #[serde(default, deserialize_with = "one_or_several")]
    pub sms: Vec<Provider<Sms>>,
    /// Push.
    #[serde(default, deserialize_with = "one_or_several")]
    pub push: Vec<Provider<Push>>,
    /// Customers' Kafka topics.
    #[serde(default, deserialize_with = "one_or_several")]
    pub kafka: Vec<Provider<KafkaTopics>>,
    /// What users have in the app.
    #[serde(default, deserialize_with = "one_or_several")]
    pub inbox: Vec<Provider<Inbox>>,
}

/// An SMTP provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Host name.
    pub host: String,
    /// Port: 587 for STARTTLS, 465 for TLS, 25 for neither.
    pub port: u16,
    /// How the connection is secured.
    pub tls: TlsMode,
    /// A PEM file with a CA to trust besides the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// AUTH, when set.
    #[serde(default)]
    pub username: Option<String>,
    /// AUTH, when set.
    #[serde(default)]
    pub password: Option<Secret>,
    /// `Name <address>` in From.
    pub from: String,
    /// Reply-To, when set.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// Open connections at once.
    #[serde(default = "email_max_connections")]
    pub max_connections: usize,
    /// For one mail, connecting included.
    #[serde(default = "thirty_seconds")]
    pub timeout: Delay,
    /// RFC 8058 one-click URL with `{notification_id}`, `{recipient}` and `{category}` placeholders; https.
    #[serde(default)]
    pub unsubscribe_url: Option<String>,
    /// Keys that sign every mail; none: the relay signs, or nobody.
    #[serde(default)]
    pub dkim: Vec<Dkim>,
    /// Where attachments may come from; without it there are none.
    #[serde(default)]
    pub attachments: Option<Attachments>,
}

/// Files that an event's `data.attachments` refers to, fetched when the mail is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachments {
    /// What each URL begins with, a folder each; relative references stand below the first.
    pub bases: Vec<String>,
    /// All files of one mail together, before they are encoded.
    #[serde(default = "ten_megabytes")]
    pub max_bytes: usize,
    /// Files of one mail.
    #[serde(default = "ten_files")]
    pub max_count: usize,
    /// For all files of one mail.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
    /// Networks (CIDR) that may be called although they are private, loopback or otherwise special.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Whether `http://` URLs are fetched.
    #[serde(default)]
    pub allow_http: bool,
}

fn ten_megabytes() -> usize {
    10 * 1024 * 1024
}

fn ten_files() -> usize {
    10
}

/// A key that signs mail (DKIM, RFC 6376).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// In whose name; the domain of From when not set.
    #[serde(default)]
    pub domain: Option<String>,
    /// Where the public key stands: `<selector>._domainkey.<domain>`.
    pub selector: String,
    /// The private key in PEM, RSA or Ed25519, its content.
    pub key: Secret,
}

fn email_max_connections() -> usize {
    10
}

fn thirty_seconds() -> Delay {
    Delay(Duration::from_secs(30))
}

fn ten_seconds() -> Delay {
    Delay(Duration::from_secs(10))
}

/// How an SMTP connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain text; for a relay on the same machine.
    None,
    /// STARTTLS, required.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

/// The Telegram Bot API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// The bot's token.
    pub token: Secret,
    /// Base URL of the API.
    #[serde(default = "telegram_api_url")]
    pub api_url: String,
    /// For one call.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

fn telegram_api_url() -> String {
    "https://api.telegram.org".to_owned()
}

/// Webhooks: the address is the customer's URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The signing secret (`whsec_…`) of each tenant, `*` for all others; two, separated by a space, while it is changed.
    pub secrets: BTreeMap<String, Secret>,
    /// For one call, connecting included.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
    /// Networks (CIDR) that may be called although they are private, loopback or otherwise special.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Whether `http://` URLs are called.
    #[serde(default)]
    pub allow_http: bool,
}

/// What roles keep on local disk to start quickly. All of it may be lost; it holds personal data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Folder of snapshots of tables; none are kept when not set.
    pub dir: Option<PathBuf>,
    /// Between two snapshots of a table.
    pub snapshot_interval: Delay,
}

/// Team chats: the address is the customer's incoming webhook of Slack, Mattermost, Teams or Discord.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// For one call, connecting included.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
    /// See [`Webhook::allow_networks`]; for a Mattermost of one's own.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Whether `http://` URLs are called.
    #[serde(default)]
    pub allow_http: bool,
}

/// The suppression list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressions {
    /// The secret that addresses are hashed with; without one there is no list.
    #[serde(default)]
    pub key: Option<Secret>,
    /// Earlier secrets, under names of the operator's: what was written under them still counts.
    pub previous_keys: BTreeMap<String, Secret>,
}

/// Customers' Kafka topics: the address is `topic`, or `cluster/topic`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTopics {
    /// Topics that may be written to: `*` is any run of characters, `{tenant}` the notification's tenant.
    pub topics: Vec<String>,
    /// Other clusters than notilog's own, by the name that addresses have.
    #[serde(default)]
    pub clusters: BTreeMap<String, KafkaCluster>,
}

/// Another Kafka cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaCluster {
    /// `host:port,host:port`.
    pub bootstrap_servers: String,
    /// See [`Kafka::properties`].
    #[serde(default)]
    pub properties: BTreeMap<String, Secret>,
}

/// The inbox: there is nothing to set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {}

/// Where policies are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    /// Folder of `*.toml`.
    pub dir: PathBuf,
}

/// Where templates are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    /// Folder of `<template>/<locale>/<channel>.*`.
    pub dir: PathBuf,
    /// The last locale to try.
    pub default_locale: String,
}

/// What `notilog topics` creates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// Folder of topic families in place of the embedded ones.
    pub dir: Option<PathBuf>,
    /// `notify.events.<domain>` exists for each.
    pub domains: Vec<String>,
    /// `notify.outbound.<channel>` and what belongs to it exists for each.
    pub channels: Vec<Channel>,
    /// Partitions by family (the file's name without `.toml`), in place of the family's own count.
    pub partitions: BTreeMap<String, u32>,
    /// Who plays which part, for `notilog topics --acls`: principals (`User:router`) by role (`router`, `deliver`,
    /// `deliver.<channel>`, `operator`, `producer`, `analyst`).
    pub principals: BTreeMap<String, Vec<String>>,
    /// Replicas of each partition; 3, or the number of brokers if there are fewer, when not set.
    pub replication_factor: Option<u16>,
}

/// What the producers of some topics may claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Input topics (without the prefix), `*` matches any run of characters.
    pub topics: Vec<String>,
    /// Tenants; empty means any.
    #[serde(default)]
    pub tenants: Vec<String>,
    /// Categories; empty means any.
    #[serde(default)]
    pub categories: Vec<String>,
    /// The highest priority.
    #[serde(default = "critical")]
    pub max_priority: Priority,
}

fn critical() -> Priority {
    Priority::Critical
}

/// How many calls a recipient gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientLimit {
    /// So many, on average.
    pub count: u32,
    /// In this time.
    pub per: Delay,
    /// At once after a pause; as many as `count` when not set.
    #[serde(default)]
    pub burst: Option<u32>,
}

/// Metrics, health and logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub listen: SocketAddr,
    /// `tracing` filter, for example `info,notilog::router=debug`.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A duration written as `500ms`, `10s`, `1m`, `1h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delay(pub Duration);

impl Serialize for Delay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_delay(self.0))
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_delay(&String::deserialize(deserializer)?).map(Delay).map_err(serde::de::Error::custom)
    }
}

/// A value that never shows itself: not in `Debug`, not in `config show`, not in errors.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, for the one who hands it to a client library.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
