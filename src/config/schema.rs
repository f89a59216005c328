//! The known keys: what may stand where, and how each value is checked by itself.
//!
//! A test holds this against `types.rs` and `default.toml`.

mod phones;

use crate::model::{Channel, Priority, Share, parse_delay};

/// What may stand at a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// A table of known keys.
    Section(&'static [Key]),
    /// A table whose keys the operator chooses; the check is handed the key.
    Map { of: &'static Shape, check_key: fn(&str) -> Result<(), String> },
    /// A channel's providers: a table, or a list of tables. Where there are several kinds, the key `kind` says which.
    Providers(&'static [Kind]),
    /// A list of at least so many.
    List { of: &'static Shape, min: usize },
    /// Durations, at least one, each longer than the one before.
    Rising,
    /// Text.
    Text(fn(&str) -> Result<(), String>),
    /// Text that is never shown.
    Secret,
    /// A librdkafka property's value: text, a number or a flag, kept as text.
    Property,
    /// A whole number between these.
    Whole(i64, i64),
    /// True or false.
    Flag,
    /// A duration of at least so many milliseconds.
    Delay(u64),
    /// One of these words.
    Choice(fn() -> Vec<&'static str>),
}

/// A known key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// A kind of provider: its name and the keys it has besides [`COMMON`].
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key],
}

impl Kind {
    /// The kind that a provider's table is of: the only one, or the one that `kind` names.
    pub(super) fn of(kinds: &'static [Kind], named: Option<&str>) -> Option<&'static Kind> {
        match kinds {
            [only] => Some(only),
            several => several.iter().find(|kind| Some(kind.name) == named),
        }
    }
}

const fn must(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: true }
}

const fn may(name: &'static str, shape: Shape) -> Key {
    Key { name, shape, required: false }
}

const TEXT: Shape = Shape::Text(not_empty);
const POSITIVE: Shape = Shape::Whole(1, u32::MAX as i64);

/// All of `notilog.toml`.
pub(super) static ROOT: Shape = Shape::Section(&[
    must(
        "kafka",
        Shape::Section(&[
            must("bootstrap_servers", Shape::Text(bootstrap)),
            must("topic_prefix", Shape::Text(topic_prefix)),
            must("properties", Shape::Map { of: &Shape::Property, check_key: property }),
        ]),
    ),
    must(
        "registry",
        Shape::Section(&[
            must("url", Shape::Text(http_url)),
            may("username", TEXT),
            may("password", Shape::Secret),
            must("timeout", Shape::Delay(1)),
        ]),
    ),
    must(
        "router",
        Shape::Section(&[
            must("group", Shape::Text(name)),
            must("instance", Shape::Text(name)),
            must("shards", Shape::Whole(1, 1_024)),
            must("commit_interval", Shape::Delay(1)),
            must("max_transaction_records", POSITIVE),
            must("recipient_grace", Shape::Delay(0)),
            must("tiers", Shape::Rising),
            must("queue_kib", Shape::Whole(64, 2_097_151)),
            must("hold_share_percent", Shape::Whole(1, 100)),
            must("hold_window", Shape::Delay(1_000)),
            must("static_membership", Shape::Flag),
            must("table", Shape::Choice(|| vec!["whole", "co-partitioned"])),
        ]),
    ),
    must(
        "delivery",
        Shape::Section(&[
            must("group", Shape::Text(name)),
            must("instance", Shape::Text(name)),
            must("static_membership", Shape::Flag),
            must("tiers", Shape::Rising),
            must("backoff", Shape::List { of: &Shape::Delay(1), min: 1 }),
            must("jitter_percent", Shape::Whole(0, 100)),
            must("max_in_flight", POSITIVE),
            must("commit_interval", Shape::Delay(1)),
            must("grace", Shape::Delay(0)),
            must("halt_pause", Shape::Delay(1)),
            must(
                "breaker",
                Shape::Section(&[
                    must("window", Shape::Delay(100)),
                    must("share_percent", Shape::Whole(1, 100)),
                    must("at_least", POSITIVE),
                ]),
            ),
            may("disable_after", Shape::Delay(1)),
            may(
                "recipient_limit",
                Shape::Section(&[must("count", POSITIVE), must("per", Shape::Delay(1)), may("burst", POSITIVE)]),
            ),
            must("allow_recipients", Shape::List { of: &TEXT, min: 0 }),
        ]),
    ),
    must("state", Shape::Section(&[may("dir", TEXT), must("snapshot_interval", Shape::Delay(1))])),
    must("channels", Shape::Section(CHANNELS)),
    must(
        "receipts",
        Shape::Section(&[
            must("enabled", Shape::Flag),
            must("group", Shape::Text(name)),
            must("instance", Shape::Text(name)),
            must("commit_interval", Shape::Delay(1)),
            must("tiers", Shape::Rising),
            must("patience", Shape::Delay(1)),
            may("listen", Shape::Text(socket_address)),
            must("hooks", Shape::Map { of: &Shape::Section(HOOK), check_key: name }),
            must("mailboxes", Shape::Map { of: &Shape::Section(MAILBOX), check_key: name }),
        ]),
    ),
    must(
        "suppressions",
        Shape::Section(&[
            may("key", Shape::Secret),
            must("previous_keys", Shape::Map { of: &Shape::Secret, check_key: name }),
        ]),
    ),
    must("policies", Shape::Section(&[must("dir", TEXT)])),
    must("templates", Shape::Section(&[must("dir", TEXT), must("default_locale", TEXT)])),
    must(
        "topics",
        Shape::Section(&[
            may("dir", TEXT),
            must("domains", Shape::List { of: &Shape::Text(name), min: 0 }),
            must("channels", Shape::List { of: &Shape::Choice(channel_names), min: 0 }),
            must("partitions", Shape::Map { of: &Shape::Whole(1, 10_000), check_key: name }),
            must(
                "principals",
                Shape::Map { of: &Shape::List { of: &Shape::Text(principal), min: 1 }, check_key: share },
            ),
            may("replication_factor", Shape::Whole(1, 100)),
        ]),
    ),
    must(
        "sources",
        Shape::List {
            of: &Shape::Section(&[
                must("topics", Shape::List { of: &TEXT, min: 1 }),
                may("tenants", Shape::List { of: &TEXT, min: 0 }),
                may("categories", Shape::List { of: &TEXT, min: 0 }),
                may("max_priority", Shape::Choice(priority_names)),
            ]),
            min: 0,
        },
    ),
    must(
        "telemetry",
        Shape::Section(&[
            must("listen", Shape::Text(socket_address)),
            must("log", Shape::Text(log_filter)),
            must("log_format", Shape::Choice(|| vec!["text", "json"])),
        ]),
    ),
]);

/// The keys that every provider has.
pub(super) const COMMON: &[Key] = &[
    may("name", Shape::Text(name)),
    may("priority", Shape::Whole(0, 1_000)),
    may("weight", Shape::Whole(1, 1_000_000)),
    may("mode", Shape::Choice(|| vec!["live", "sandbox"])),
    may("limit", Shape::Section(&[must("per_second", POSITIVE), may("burst", POSITIVE)])),
];

/// Where there are several kinds of providers.
pub(super) const KIND: &[Key] = &[must("kind", TEXT)];
const HOOK: &[Key] = &[
    must("kind", Shape::Choice(|| vec!["twilio", "mailgun", "app"])),
    must("provider", TEXT),
    must("secret", Shape::Secret),
    may("url", Shape::Text(http_url)),
];

const DKIM: &[Key] = &[may("domain", TEXT), must("selector", TEXT), must("key", Shape::Secret)];

const ATTACHMENTS: &[Key] = &[
    must("bases", Shape::List { of: &Shape::Text(http_url), min: 1 }),
    may("max_bytes", POSITIVE),
    may("max_count", POSITIVE),
    may("timeout", Shape::Delay(1)),
    may("allow_networks", Shape::List { of: &Shape::Text(network), min: 0 }),
    may("allow_http", Shape::Flag),
];

const MAILBOX: &[Key] = &[must("folder", TEXT), must("provider", TEXT), may("poll", Shape::Delay(1))];

const CHANNELS: &[Key] = &[
    may(
        "email",
        Shape::Providers(&[Kind {
            name: "smtp",
            keys: &[
                must("host", TEXT),
                must("port", Shape::Whole(1, 65_535)),
                must("tls", Shape::Choice(|| vec!["none", "starttls", "tls"])),
                may("ca_file", TEXT),
                may("username", TEXT),
                may("password", Shape::Secret),
                must("from", Shape::Text(mailbox)),
                may("reply_to", Shape::Text(mailbox)),
                may("max_connections", POSITIVE),
                may("timeout", Shape::Delay(1)),
                may("unsubscribe_url", Shape::Text(https_url)),
                may("dkim", Shape::List { of: &Shape::Section(DKIM), min: 0 }),
                may("attachments", Shape::Section(ATTACHMENTS)),
            ],
        }]),
    ),
    may(
        "telegram",
        Shape::Providers(&[Kind {
            name: "telegram",
            keys: &[
                must("token", Shape::Secret),
                may("api_url", Shape::Text(http_url)),
                may("timeout", Shape::Delay(1)),
            ],
        }]),
    ),
    may(
        "webhook",
        Shape::Providers(&[Kind {
            name: "webhook",
            keys: &[
                must("secrets", Shape::Map { of: &Shape::Secret, check_key: not_empty }),
                may("timeout", Shape::Delay(1)),
                may("allow_networks", Shape::List { of: &Shape::Text(network), min: 0 }),
                may("allow_http", Shape::Flag),
            ],
        }]),
    ),
    may(
        "chat",
        Shape::Providers(&[Kind {
            name: "chat",
            keys: &[
                may("timeout", Shape::Delay(1)),
                may("allow_networks", Shape::List { of: &Shape::Text(network), min: 0 }),
                may("allow_http", Shape::Flag),
            ],
        }]),
    ),
    may("sms", Shape::Providers(phones::SMS)),
    may("push", Shape::Providers(phones::PUSH)),
    may(
        "kafka",
        Shape::Providers(&[Kind {
            name: "kafka",
            keys: &[
                must("topics", Shape::List { of: &TEXT, min: 1 }),
                may(
                    "clusters",
                    Shape::Map {
                        of: &Shape::Section(&[
                            must("bootstrap_servers", Shape::Text(bootstrap)),
                            may("properties", Shape::Map { of: &Shape::Property, check_key: property }),
                        ]),
                        check_key: name,
                    },
                ),
            ],
        }]),
    ),
    may("inbox", Shape::Providers(&[Kind { name: "inbox", keys: &[] }])),
];

/// The known key of this name in a section.
pub(super) fn find<'a>(keys: &'a [Key], name: &str) -> Option<&'a Key> {
    keys.iter().find(|key| key.name == name)
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

fn bootstrap(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let wrong = text.split(',').find(|server| {
        let port = server.trim().rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        !matches!(port, Some(Ok(_)))
    });
    wrong.map_or(Ok(()), |server| Err(format!("`{}` is not `host:port`", server.trim())))
}

/// Kafka's rule for topic names, 249 characters of these; the longest of ours after the prefix has some 60.
fn topic_prefix(text: &str) -> Result<(), String> {
    topic_characters(text)?;
    if text.len() > 100 { Err("is longer than 100 characters".to_owned()) } else { Ok(()) }
}

fn name(text: &str) -> Result<(), String> {
    not_empty(text)?;
    topic_characters(text)
}

fn topic_characters(text: &str) -> Result<(), String> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        Ok(())
    } else {
        Err("may hold letters, digits, `.`, `_` and `-` only".to_owned())
    }
}

fn share(text: &str) -> Result<(), String> {
    text.parse::<Share>().map(|_| ())
}

fn principal(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok(()),
        _ => Err("is not a principal, as in `User:router`".to_owned()),
    }
}

fn property(text: &str) -> Result<(), String> {
    super::refusal(text).map_or(Ok(()), |reason| Err(format!("may not be set: {reason}")))
}

fn http_url(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err("must not carry a user or password; they have keys of their own".to_owned());
    }
    Ok(())
}

/// RFC 8058 section 3.1 wants https. The placeholders are not part of URL syntax and are filled for the check.
fn https_url(text: &str) -> Result<(), String> {
    let filled = text.replace(['{', '}'], "");
    http_url(&filled)?;
    if filled.starts_with("https://") { Ok(()) } else { Err("must begin with https:// (RFC 8058)".to_owned()) }
}

fn mailbox(text: &str) -> Result<(), String> {
    text.parse::<lettre::message::Mailbox>()
        .map(|_| ())
        .map_err(|_| "is not a mail address, as in `Shop <no-reply@example.org>`".to_owned())
}

fn network(text: &str) -> Result<(), String> {
    text.parse::<ipnet::IpNet>().map(|_| ()).map_err(|_| "is not a network, as in `10.0.0.0/8`".to_owned())
}

fn socket_address(text: &str) -> Result<(), String> {
    text.parse::<std::net::SocketAddr>()
        .map(|_| ())
        .map_err(|_| "is not `address:port`, as in `127.0.0.1:9464`".to_owned())
}

fn log_filter(text: &str) -> Result<(), String> {
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| ())
        .map_err(|error| format!("is not a log filter, as in `info,notilog::router=debug`: {error}"))
}

/// The message of a wrong duration, if it is one.
pub(super) fn delay(text: &str, min_ms: u64) -> Result<(), String> {
    let delay = parse_delay(text)?;
    if delay.as_millis() < u128::from(min_ms) { Err(format!("must be at least {min_ms}ms")) } else { Ok(()) }
}

fn channel_names() -> Vec<&'static str> {
    Channel::ALL.iter().map(|channel| channel.as_str()).collect()
}

fn priority_names() -> Vec<&'static str> {
    Priority::ALL.iter().map(|priority| priority.as_str()).collect()
}
