//! Web Push: a message encrypted for one browser, handed to the push service that its subscription names.
//!
//! Sources: RFC 8030 (TTL, Urgency, Topic, 404 and 410), RFC 8291 (encryption), RFC 8292 (VAPID).
//!
//! Invariant: the endpoint's URL comes from a browser, so it is judged like a customer's webhook: it can reach nothing
//! of ours, and can never halt the channel. The push service sees who sends and how urgent it is, and nothing else.

mod outcome;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{RequestBuilder, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use web_push_native::p256::elliptic_curve::sec1::ToEncodedPoint as _;
use web_push_native::p256::pkcs8::EncodePrivateKey as _;
use web_push_native::{Auth, p256};

use super::{of_kind, said};
use crate::channel::endpoint::{Access, Endpoints, call};
use crate::channel::{Channel, ConfigProblem, Message, Outcome, Verdict};
use crate::config;
use crate::model::{Channel as ChannelName, Priority, Reason};
use crate::telemetry::clock::Clock;

const KIND: &str = "webpush";
/// How long a VAPID token holds; at most a day (RFC 8292, section 2).
const TOKEN_LIFE: i64 = 12 * 60 * 60;
/// The most bytes before encryption: every push service takes a body of 4,096 (RFC 8030, section 7.2), of which the
/// header has 86, the padding's delimiter 1 and the tag 16.
const MAX_PLAIN: usize = 4096 - 86 - 1 - 16;
/// The most characters of a topic (RFC 8030, section 5.4).
const MAX_TOPIC: usize = 32;

/// One application server.
pub struct WebPush {
    endpoints: Endpoints,
    vapid: Vapid,
    ttl: Duration,
    clock: Clock,
}

/// Who we are, to push services.
struct Vapid {
    key: EncodingKey,
    public: String,
    subject: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: String,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    fn new(key: &str, subject: &str) -> Option<Vapid> {
        let secret = p256::SecretKey::from_slice(&bytes(key)?).ok()?;
        let public = URL_SAFE_NO_PAD.encode(secret.public_key().to_encoded_point(false).as_bytes());
        let der = secret.to_pkcs8_der().ok()?;
        Some(Vapid { key: EncodingKey::from_ec_der(der.as_bytes()), public, subject: subject.to_owned() })
    }

    /// The value of `Authorization` (RFC 8292, section 3).
    fn authorization(&self, endpoint: &Url, seconds: i64) -> Option<String> {
        let aud = endpoint.origin().ascii_serialization();
        let claims = Claims { aud, exp: seconds + TOKEN_LIFE, sub: &self.subject };
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.key).ok()?;
        Some(format!("vapid t={token}, k={}", self.public))
    }
}

/// What a browser gave the app.
struct Subscription {
    endpoint: String,
    key: p256::PublicKey,
    auth: Auth,
}

#[derive(Deserialize)]
struct Written {
    endpoint: String,
    keys: Keys,
}

#[derive(Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

impl Subscription {
    fn parse(address: &str) -> Option<Subscription> {
        let json = bytes(of_kind(address, KIND)?)?;
        let written: Written = serde_json::from_slice(&json).ok()?;
        let key = p256::PublicKey::from_sec1_bytes(&bytes(&written.keys.p256dh)?).ok()?;
        let auth: [u8; 16] = bytes(&written.keys.auth)?.try_into().ok()?;
        Some(Subscription { endpoint: written.endpoint, key, auth: auth.into() })
    }
}

impl WebPush {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; the key is not quoted.
    pub fn new(config: &config::WebPush, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let vapid = Vapid::new(config.key.reveal(), &config.subject);
        if vapid.as_ref().and_then(|vapid| vapid.authorization(&Url::parse("https://example.org").ok()?, 0)).is_none() {
            let text = "is not a VAPID private key: 32 bytes of P-256 in base64url";
            problems.push(ConfigProblem::new("channels.push.key", text));
        }
        if !["mailto:", "https:"].iter().any(|scheme| config.subject.starts_with(scheme)) {
            let text = "must be a mailto: or https: URI, so that push services can reach you (RFC 8292, section 2.1)";
            problems.push(ConfigProblem::new("channels.push.subject", text));
        }
        let access =
            Access { timeout: config.timeout.0, allow_networks: &config.allow_networks, allow_http: config.allow_http };
        match (Endpoints::new("channels.push", access, &mut problems), vapid) {
            (Some(endpoints), Some(vapid)) if problems.is_empty() => {
                Ok(WebPush { endpoints, vapid, ttl: config.ttl.0, clock })
            }
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<RequestBuilder, Reason> {
        let subscription = Subscription::parse(&message.address).ok_or(Reason::AddressRefused)?;
        let url = self.endpoints.url(&subscription.endpoint)?;
        let body = body(message)?;
        let event = &message.event;
        let now = self.clock.now();
        let authorization = self.vapid.authorization(&url, now.0.div_euclid(1000)).ok_or(Reason::BadCredentials)?;
        let encrypted = web_push_native::encrypt(body, &subscription.key, &subscription.auth)
            .map_err(|_| Reason::MessageRefused)?;
        let ttl = event.expires_at.map_or(self.ttl, |at| at.since(now).min(self.ttl)).as_secs();
        let mut request = self
            .endpoints
            .post(url)
            .header("authorization", authorization)
            .header("content-encoding", "aes128gcm")
            .header("content-type", "application/octet-stream")
            .header("ttl", ttl)
            .header("urgency", urgency(event.priority));
        if let Some(key) = &event.collapse_key {
            request = request.header("topic", topic(key));
        }
        Ok(request.body(encrypted))
    }
}

#[async_trait::async_trait]
impl Channel for WebPush {
    fn name(&self) -> ChannelName {
        ChannelName::Push
    }

    fn provider(&self) -> &'static str {
        KIND
    }

    fn accepts(&self, address: &str) -> bool {
        of_kind(address, KIND).is_some()
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        match call(request, || self.clock.now()).await {
            Ok(answer) => Outcome {
                result: outcome::answered(answer.status, answer.after),
                code: Some(format!("http_{}", answer.status)),
            },
            Err(failure) => Outcome { result: outcome::failed(failure), code: None },
        }
    }

    /// There is no provider to ask: each browser's maker has a push service of its own.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the service worker gets: `{"id", "title", "body", "data"}`.
fn body(message: &Message) -> Result<Vec<u8>, Reason> {
    let (push, data) = said(message)?;
    let body = json!({"id": message.id, "title": push.title, "body": push.body, "data": data}).to_string();
    if body.len() > MAX_PLAIN { Err(Reason::MessageRefused) } else { Ok(body.into_bytes()) }
}

/// RFC 8030, section 5.3.
fn urgency(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High | Priority::Critical => "high",
    }
}

/// A collapse key as `Topic`: itself if it is of that alphabet and length, else 24 bytes of its SHA-256.
pub(super) fn topic(key: &str) -> String {
    let fits = (1..=MAX_TOPIC).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits { key.to_owned() } else { URL_SAFE_NO_PAD.encode(&Sha256::digest(key)[..24]) }
}

/// Base64url, with or without padding.
fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim()).or_else(|_| URL_SAFE.decode(text.trim())).ok()
}
