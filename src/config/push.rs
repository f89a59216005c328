//! The shape of push providers: Firebase, Apple, and browsers' push services.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::types::{Delay, Secret};

/// One push provider; each takes the addresses of its own kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Push {
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm(Fcm),
    /// Apple Push Notification service.
    Apns(Apns),
    /// Web Push.
    WebPush(WebPush),
}

/// Firebase Cloud Messaging: addresses are `fcm:<registration token>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fcm {
    /// The service account's key file, its content.
    pub service_account: Secret,
    /// The project; the key file's when not set.
    #[serde(default)]
    pub project: Option<String>,
    /// Base URL of the API.
    #[serde(default = "fcm_url")]
    pub api_url: String,
    /// For one call.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

/// Apple Push Notification service: addresses are `apns:<device token>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apns {
    /// The signing key (`.p8`), its content.
    pub key: Secret,
    /// The key's id, 10 characters.
    pub key_id: String,
    /// The team's id, 10 characters.
    pub team_id: String,
    /// The app's bundle id.
    pub topic: String,
    /// Base URL; `https://api.sandbox.push.apple.com` for development builds.
    #[serde(default = "apns_url")]
    pub api_url: String,
    /// A PEM file with a CA to trust besides the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// For one call.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

/// Web Push: addresses are `webpush:` and the subscription's JSON in base64url.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebPush {
    /// The VAPID private key: 32 bytes in base64url.
    pub key: Secret,
    /// Whom push services write to: `mailto:` or `https:`.
    pub subject: String,
    /// How long a push service keeps a message that does not expire by itself.
    #[serde(default = "four_weeks")]
    pub ttl: Delay,
    /// Networks (CIDR) that may be called although they are private, loopback or otherwise special.
    #[serde(default)]
    pub allow_networks: Vec<String>,
    /// Whether `http://` endpoints are called.
    #[serde(default)]
    pub allow_http: bool,
    /// For one call.
    #[serde(default = "ten_seconds")]
    pub timeout: Delay,
}

fn fcm_url() -> String {
    "https://fcm.googleapis.com".to_owned()
}

fn apns_url() -> String {
    "https://api.push.apple.com".to_owned()
}

fn ten_seconds() -> Delay {
    Delay(Duration::from_secs(10))
}

fn four_weeks() -> Delay {
    Delay(Duration::from_secs(28 * 24 * 60 * 60))
}
