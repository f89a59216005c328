//! Apple's push service, with a provider token, over HTTP/2.
//!
//! Sources: Apple, "Sending notification requests to APNs" and "Establishing a token-based connection to APNs"
//! (<https://developer.apple.com/documentation/usernotifications>).
//!
//! Invariant: a provider token is made anew at most every 20 minutes and at least every hour, as Apple asks; the key
//! goes nowhere.

mod outcome;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{of_kind, said};
use crate::channel::provider::{self, Failure};
use crate::channel::{Channel, ConfigProblem, Message, Outcome, Verdict};
use crate::config;
use crate::model::{Channel as ChannelName, Priority, Reason, Timestamp};
use crate::telemetry::clock::Clock;

const KIND: &str = "apns";
/// "Refresh your token no more than once every 20 minutes and no less than once every 60 minutes."
const TOKEN_LIFE: Duration = Duration::from_secs(40 * 60);
const SHORTEST_TOKEN_LIFE: Duration = Duration::from_secs(20 * 60);
/// The most bytes of `apns-collapse-id`.
const MAX_COLLAPSE_ID: usize = 64;

/// One app of one team.
pub struct Apns {
    client: Client,
    base: Url,
    topic: HeaderValue,
    signer: Signer,
    timeout: Duration,
    clock: Clock,
}

/// Makes provider tokens.
struct Signer {
    key: EncodingKey,
    key_id: String,
    team_id: String,
    current: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    made_at: Timestamp,
    refused: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl Signer {
    /// The token in use, or a new one when it is old, or was refused and may be replaced.
    fn token(&self, clock: &Clock) -> Option<String> {
        let now = clock.steady();
        let mut current = self.current.lock();
        if let Some(token) = current.as_ref() {
            let life = if token.refused { SHORTEST_TOKEN_LIFE } else { TOKEN_LIFE };
            if now.since(token.made_at) < life {
                return Some(token.text.clone());
            }
        }
        let text = self.sign(clock.now())?;
        *current = Some(Token { text: text.clone(), made_at: now, refused: false });
        Some(text)
    }

    fn sign(&self, now: Timestamp) -> Option<String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        encode(&header, &Claims { iss: &self.team_id, iat: now.0.div_euclid(1000) }, &self.key).ok()
    }

    fn refused(&self) {
        if let Some(token) = self.current.lock().as_mut() {
            token.refused = true;
        }
    }
}

impl Apns {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; the key is not quoted.
    pub fn new(config: &config::Apns, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut refuse = |setting: &str, text: String| {
            problems.push(ConfigProblem::new(format!("channels.push.{setting}"), text));
        };
        let not_a_key =
            || "is not a signing key (`.p8`, PKCS#8 in PEM); put its content here with ${file:…}".to_owned();
        let signer = EncodingKey::from_ec_pem(config.key.reveal().as_bytes()).ok().and_then(|key| {
            let (key_id, team_id) = (config.key_id.clone(), config.team_id.clone());
            let signer = Signer { key, key_id, team_id, current: Mutex::new(None) };
            signer.sign(Timestamp(0)).map(|_| signer)
        });
        if signer.is_none() {
            refuse("key", not_a_key());
        }
        let base = config.api_url.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
        if base.is_none() {
            refuse("api_url", "is not an https:// URL".to_owned());
        }
        let topic = HeaderValue::from_str(&config.topic).ok();
        if topic.is_none() {
            refuse("topic", "is not a bundle id".to_owned());
        }
        let client = provider::client(config.timeout.0, config.ca_file.as_deref());
        let client = client.map_err(|text| refuse("ca_file", text)).ok();
        match (signer, base, topic, client) {
            (Some(signer), Some(base), Some(topic), Some(client)) => {
                Ok(Apns { client, base, topic, signer, timeout: config.timeout.0, clock })
            }
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<RequestBuilder, Verdict> {
        let reject = |reason| Verdict::Reject { reason };
        let token = of_kind(&message.address, KIND).filter(|token| is_token(token));
        let token = token.ok_or(reject(Reason::AddressRefused))?;
        let body = body(message).map_err(reject)?;
        let event = &message.event;
        let silent = body["aps"].get("alert").is_none();
        // "Sending a background notification with priority 10 is an error"; 5 lets the device save power.
        let priority = if silent || event.priority == Priority::Low { "5" } else { "10" };
        // In lower case, as Apple writes it: Pushy's mock of its service takes no other.
        let bearer =
            self.signer.token(&self.clock).and_then(|token| HeaderValue::try_from(format!("bearer {token}")).ok());
        let mut bearer = bearer.ok_or(Verdict::Halt { reason: Reason::BadCredentials })?;
        bearer.set_sensitive(true);
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["3", "device", token]);
        }
        let mut request = self
            .client
            .post(url)
            .header("authorization", bearer)
            .header("apns-id", message.id.to_string())
            .header("apns-topic", self.topic.clone())
            .header("apns-push-type", if silent { "background" } else { "alert" })
            .header("apns-priority", priority);
        if let Some(at) = event.expires_at {
            request = request.header("apns-expiration", at.0.div_euclid(1000).max(1));
        }
        if let Some(key) = &event.collapse_key {
            request = request.header("apns-collapse-id", collapse_id(key));
        }
        Ok(request.json(&body))
    }
}

#[async_trait::async_trait]
impl Channel for Apns {
    fn name(&self) -> ChannelName {
        ChannelName::Push
    }

    fn provider(&self) -> &'static str {
        KIND
    }

    fn accepts(&self, address: &str) -> bool {
        of_kind(address, KIND).is_some()
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(result) => return Outcome { result, code: None },
        };
        match provider::call(request, || self.clock.now()).await {
            Ok(answer) => {
                let outcome = outcome::answered(&answer, message.id);
                if answer.status == 403 {
                    self.signer.refused();
                }
                outcome
            }
            Err(failure) => Outcome { result: outcome::failed(failure), code: failure.code() },
        }
    }

    /// Apple can be asked nothing but to notify: this sees that it answers, by a request without a device.
    async fn check(&self) -> Result<(), String> {
        let host = self.base.host_str().unwrap_or_default();
        match provider::call(self.client.get(self.base.clone()), || self.clock.now()).await {
            Ok(_) => Ok(()),
            Err(Failure::Timeout) => Err(format!("APNs at {host} gives no answer within {:?}", self.timeout)),
            Err(_) => {
                Err(format!("APNs at {host} cannot be reached; check `api_url` in [channels.push] and the network"))
            }
        }
    }
}

/// The payload ("Generating a remote notification").
fn body(message: &Message) -> Result<Value, Reason> {
    let (push, data) = said(message)?;
    let mut alert = json!({});
    for (name, text) in [("title", &push.title), ("body", &push.body)] {
        if let Some(text) = text {
            alert[name] = json!(text);
        }
    }
    let mut aps = json!({});
    if push.title.is_none() && push.body.is_none() {
        aps["content-available"] = json!(1);
    } else {
        aps["alert"] = alert;
        if message.event.priority >= Priority::High {
            aps["sound"] = json!("default");
        }
    }
    let mut body = json!(data);
    // The dictionary of that name is Apple's; data cannot replace it.
    body["aps"] = aps;
    Ok(body)
}

/// A collapse key as `apns-collapse-id`: itself, or, where it is longer than Apple takes or no header can carry it, its
/// SHA-256 in hex, which has 64 bytes.
pub(super) fn collapse_id(key: &str) -> String {
    let fits = key.len() <= MAX_COLLAPSE_ID && !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { key.to_owned() } else { Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect() }
}

/// Device tokens are bytes in hex; their length is not fixed.
fn is_token(token: &str) -> bool {
    (8..=200).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}
