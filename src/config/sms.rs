//! The shape of SMS providers: an HTTP API, or SMPP.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::types::{Delay, Secret};

/// One SMS provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Sms {
    /// An HTTP API.
    Http(SmsHttp),
    /// SMPP 3.4.
    Smpp(Smpp),
}

/// An SMS provider's HTTP API. Without a preset, `url`, `form` or `body`, and where the answer has its parts are set
/// here; with one, what is set here takes the place of the preset's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsHttp {
    /// Whose API it is.
    #[serde(default)]
    pub preset: Preset,
    /// Where messages are posted; a template.
    #[serde(default)]
    pub url: Option<String>,
    /// What `doctor` and readiness GET to see whether the account is accepted; a template.
    #[serde(default)]
    pub check_url: Option<String>,
    /// The sender: a number, a name, or what the provider takes for one.
    pub from: String,
    /// The account, where it is not `username`.
    #[serde(default)]
    pub account: Option<String>,
    /// Basic authentication, when set.
    #[serde(default)]
    pub username: Option<String>,
    /// Basic authentication, when set.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Bearer authentication, when set.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The fields of a form, each a template; those that come out empty are left out.
    #[serde(default)]
    pub form: BTreeMap<String, String>,
    /// A JSON body in place of a form; a template.
    #[serde(default)]
    pub body: Option<String>,
    /// Where receipts are to be sent, for providers that are told with each message.
    #[serde(default)]
    pub callback_url: Option<String>,
    /// Where the answer has the message's id: a JSON pointer (RFC 6901).
    #[serde(default)]
    pub message_id: Option<String>,
    /// Where the answer has an error's code: a JSON pointer, in which `*` stands for every element of a list.
    #[serde(default)]
    pub error_code: Option<String>,
    /// What codes, and `http_<status>`, mean, before the preset's and the general rules.
    #[serde(default)]
    pub outcomes: BTreeMap<String, Meaning>,
    /// Messages that need more parts than this are refused.
    #[serde(default = "ten_parts")]
    pub max_parts: usize,
    /// A PEM file with a CA to trust besides the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// For one call, connecting included.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

/// Whose API it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nobody's: everything is set by hand.
    #[default]
    None,
    /// Twilio's Programmable Messaging, or one like it.
    Twilio,
    /// Vonage's SMS API, or one like it.
    Vonage,
}

/// What a provider's code means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It was taken.
    Sent,
    /// The number does not exist or cannot be one; terminal.
    AddressRefused,
    /// We may not send to this number or region; terminal.
    AddressForbidden,
    /// The recipient does not want to hear of us; terminal.
    Blocked,
    /// The message is refused; terminal.
    MessageRefused,
    /// Slower; it is tried again.
    RateLimited,
    /// Later; it is tried again.
    ProviderBusy,
    /// The provider's own fault; it is tried again.
    ProviderError,
    /// Our credentials are refused: the provider is left alone for a while.
    BadCredentials,
    /// Our account is refused (suspended, out of credit, the sender not ours): the provider is left alone for a while.
    AccountRefused,
}

impl Meaning {
    /// Every meaning.
    pub const ALL: &'static [Meaning] = &[
        Meaning::Sent,
        Meaning::AddressRefused,
        Meaning::AddressForbidden,
        Meaning::Blocked,
        Meaning::MessageRefused,
        Meaning::RateLimited,
        Meaning::ProviderBusy,
        Meaning::ProviderError,
        Meaning::BadCredentials,
        Meaning::AccountRefused,
    ];

    /// Its spelling in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Meaning::Sent => "sent",
            Meaning::AddressRefused => "address_refused",
            Meaning::AddressForbidden => "address_forbidden",
            Meaning::Blocked => "blocked",
            Meaning::MessageRefused => "message_refused",
            Meaning::RateLimited => "rate_limited",
            Meaning::ProviderBusy => "provider_busy",
            Meaning::ProviderError => "provider_error",
            Meaning::BadCredentials => "bad_credentials",
            Meaning::AccountRefused => "account_refused",
        }
    }
}

/// A message centre that speaks SMPP 3.4.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smpp {
    /// Host name.
    pub host: String,
    /// Port; 2775 is usual, 3550 with TLS.
    #[serde(default = "smpp_port")]
    pub port: u16,
    /// Whether the connection is TLS from its first byte.
    #[serde(default)]
    pub tls: bool,
    /// A PEM file with a CA to trust besides the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The login, at most 15 characters.
    pub system_id: String,
    /// The login's password, at most 8 characters.
    pub password: Secret,
    /// What the provider wants it to be; usually empty.
    #[serde(default)]
    pub system_type: String,
    /// The sender: `+` and a number, a short number, or a name of at most 11 characters.
    pub from: String,
    /// Requests that wait for an answer at once.
    #[serde(default = "smpp_window")]
    pub window: usize,
    /// How often an idle connection is asked whether it lives.
    #[serde(default = "thirty_seconds")]
    pub enquire_link: Delay,
    /// Whether receipts are asked for.
    #[serde(default = "yes")]
    pub receipts: bool,
    /// Messages that need more parts than this are refused.
    #[serde(default = "ten_parts")]
    pub max_parts: usize,
    /// For one answer, and for connecting and binding.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

fn yes() -> bool {
    true
}

fn smpp_port() -> u16 {
    2775
}

fn smpp_window() -> usize {
    10
}

fn ten_parts() -> usize {
    10
}

fn ten_seconds() -> Delay {
    Delay(Duration::from_secs(10))
}

fn thirty_seconds() -> Delay {
    Delay(Duration::from_secs(30))
}
