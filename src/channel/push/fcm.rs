//! Firebase Cloud Messaging by the HTTP v1 API.
//!
//! Source: <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>.
//!
//! Invariant: the key signs short-lived assertions and goes nowhere; FCM's words, which may quote a token, go nowhere
//! either: statuses carry codes.

mod access;
mod outcome;
#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::{Value, json};

use self::access::{Access, Account, Refused};
use super::{of_kind, said};
use crate::channel::provider::{self, Failure};
use crate::channel::{Channel, ConfigProblem, Message, Outcome, Verdict};
use crate::config;
use crate::model::{Channel as ChannelName, Priority, Reason, Timestamp};
use crate::telemetry::clock::Clock;

const KIND: &str = "fcm";
/// The longest that FCM keeps a message (`AndroidConfig.ttl`).
const LONGEST_TTL: u64 = 28 * 24 * 60 * 60;

/// One Firebase project.
pub struct Fcm {
    client: Client,
    send: Url,
    access: Access,
    timeout: Duration,
    clock: Clock,
}

impl Fcm {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; the key is not quoted.
    pub fn new(config: &config::Fcm, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let mut refuse = |setting: &str, text: String| {
            problems.push(ConfigProblem::new(format!("channels.push.{setting}"), text));
        };
        let account =
            Account::parse(config.service_account.reveal()).map_err(|text| refuse("service_account", text)).ok();
        let client = provider::client(config.timeout.0, None).map_err(|text| refuse("timeout", text)).ok();
        let project = config.project.clone().or_else(|| account.as_ref().and_then(|account| account.project.clone()));
        let send = match &project {
            Some(project) => send_url(&config.api_url, project)
                .ok_or_else(|| refuse("api_url", "is not an http:// or https:// URL".to_owned()))
                .ok(),
            None if account.is_some() => {
                refuse("project", "is missing, and the key file names none; set it".to_owned());
                None
            }
            None => None,
        };
        match (account, client, send) {
            (Some(account), Some(client), Some(send)) => {
                let access = Access::new(account, client.clone(), clock.clone());
                Ok(Fcm { client, send, access, timeout: config.timeout.0, clock })
            }
            _ => Err(problems),
        }
    }

    async fn send(&self, body: &Value) -> Result<Outcome, Failure> {
        let token = match self.access.token().await {
            Ok(token) => token,
            Err(refused) => return Ok(outcome::no_access(refused)),
        };
        let request = self.client.post(self.send.clone()).bearer_auth(&token).json(body);
        let answer = provider::call(request, || self.clock.now()).await?;
        if answer.status == 401 {
            // Withdrawn before its time: the next call fetches another.
            self.access.forget(&token);
        }
        Ok(outcome::answered(&answer))
    }
}

#[async_trait::async_trait]
impl Channel for Fcm {
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
        let body = match body(message, self.clock.now()) {
            Ok(body) => body,
            Err(reason) => return Outcome { result: Verdict::Reject { reason }, code: None },
        };
        self.send(&body)
            .await
            .unwrap_or_else(|failure| Outcome { result: outcome::failed(failure), code: failure.code() })
    }

    async fn check(&self) -> Result<(), String> {
        match self.access.token().await {
            Ok(_) => Ok(()),
            Err(Refused::Credentials) => Err("Google refuses the service account; check `service_account` and \
                                              `project` in [channels.push], and the machine's clock"
                .to_owned()),
            Err(Refused::Unavailable(status)) => {
                Err(format!("Google's token service answers with HTTP status {status}; try again later"))
            }
            Err(Refused::Unreachable) => Err(format!(
                "Google's token service cannot be reached within {:?}; check `token_uri` of the key file and the network",
                self.timeout
            )),
        }
    }
}

/// The request (`SendMessageRequest`).
fn body(message: &Message, now: Timestamp) -> Result<Value, Reason> {
    let token = of_kind(&message.address, KIND).filter(|token| is_token(token)).ok_or(Reason::AddressRefused)?;
    let (push, data) = said(message)?;
    let event = &message.event;
    let urgent = event.priority >= Priority::High;
    let left = event.expires_at.map(|at| at.since(now).as_secs().min(LONGEST_TTL));
    let mut android = json!({"priority": if urgent { "HIGH" } else { "NORMAL" }});
    let mut apns = json!({});
    let mut webpush = json!({"Urgency": if urgent { "high" } else { "normal" }});
    if let Some(left) = left {
        android["ttl"] = json!(format!("{left}s"));
        webpush["TTL"] = json!(left.to_string());
        apns["apns-expiration"] = json!(event.expires_at.map_or(0, |at| at.0.div_euclid(1000)).to_string());
    }
    if let Some(key) = &event.collapse_key {
        android["collapseKey"] = json!(key);
        apns["apns-collapse-id"] = json!(super::apns::collapse_id(key));
        webpush["Topic"] = json!(super::webpush::topic(key));
    }
    let mut wire = json!({
        "token": token, "data": data, "android": android,
        "apns": {"headers": apns}, "webpush": {"headers": webpush},
    });
    if push.title.is_some() || push.body.is_some() {
        let mut notification = json!({});
        for (name, text) in [("title", &push.title), ("body", &push.body)] {
            if let Some(text) = text {
                notification[name] = json!(text);
            }
        }
        wire["notification"] = notification;
    }
    Ok(json!({"message": wire}))
}

fn send_url(base: &str, project: &str) -> Option<Url> {
    let mut url: Url = base.parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "projects", project, "messages:send"]);
    Some(url)
}

/// What FCM's tokens are made of; others would be refused, and could break out of nothing.
fn is_token(token: &str) -> bool {
    token.len() <= 4096 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':'))
}
