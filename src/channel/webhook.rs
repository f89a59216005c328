//! Webhooks, signed as Standard Webhooks 1.0.0 says.
//!
//! Invariant: the endpoint belongs to a customer (see `endpoint`). It can never halt the channel, and nothing leaves
//! unsigned.

mod outcome;
#[cfg(test)]
mod ssrf;
#[cfg(test)]
mod tests;

use crate::channel::reject;
use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use standardwebhooks::Webhook as Signer;

use self::outcome::{answered, failed};
use super::endpoint::{Access, Endpoints, Failure, call};
use super::{Channel, ConfigProblem, Content, Message, Outcome, Verdict};
use crate::config::{self, Secret};
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

/// Keys shorter than this are no secret (Standard Webhooks, "Signature scheme": at least 192 bits).
const MIN_KEY_BYTES: usize = 24;
/// The new one and the old one, while a secret is changed.
const MAX_SECRETS: usize = 2;
/// Stands for every tenant that has no secret of its own.
const ANY_TENANT: &str = "*";

/// Customers' endpoints.
pub struct Webhook {
    endpoints: Endpoints,
    signers: BTreeMap<String, Vec<Signer>>,
    clock: Clock,
}

impl Webhook {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// Every setting that cannot work; secrets are not quoted.
    pub fn new(config: &config::Webhook, clock: Clock) -> Result<Self, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let signers = signers(&config.secrets, &mut problems);
        let access =
            Access { timeout: config.timeout.0, allow_networks: &config.allow_networks, allow_http: config.allow_http };
        match Endpoints::new("channels.webhook", access, &mut problems) {
            Some(endpoints) if problems.is_empty() => Ok(Webhook { endpoints, signers, clock }),
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<RequestBuilder, Verdict> {
        let Content::Json(body) = &message.content else { return Err(reject(Reason::TemplateFailed)) };
        let url = self.endpoints.url(&message.address).map_err(reject)?;
        // Ours to mend, not the endpoint's, yet no reason to hold other tenants: it waits, and ends in the DLQ.
        let unsigned = Verdict::Retry { reason: Reason::BadCredentials, after: None };
        let signers = self.signers.get(&message.event.tenant).or_else(|| self.signers.get(ANY_TENANT));
        let id = message.id.to_string();
        let seconds = self.clock.now().0.div_euclid(1000);
        let sign = |signer: &Signer| signer.sign(&id, seconds, body.as_bytes());
        let signatures = signers.and_then(|signers| signers.iter().map(sign).collect::<Result<Vec<_>, _>>().ok());
        // While a secret is changed there are two, and a receiver is content with one that it can verify.
        let signature = signatures.ok_or(unsigned)?.join(" ");
        let mut request = self
            .endpoints
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(standardwebhooks::HEADER_WEBHOOK_ID, id)
            .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, seconds)
            .header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature);
        let traceparent = message.traceparent.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        Ok(request.body(body.clone()))
    }
}

#[async_trait::async_trait]
impl Channel for Webhook {
    fn name(&self) -> ChannelName {
        ChannelName::Webhook
    }

    fn provider(&self) -> &'static str {
        "webhook"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn deliver(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(result) => return Outcome { result, code: None },
        };
        match call(request, || self.clock.now()).await {
            Ok(answer) => {
                Outcome { result: answered(answer.status, answer.after), code: Some(format!("http_{}", answer.status)) }
            }
            Err(failure) => Outcome { result: failed(failure), code: None },
        }
    }

    /// There is no provider to ask: each endpoint is a customer's own.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What it means that a customer's endpoint gave no answer.
pub(super) fn unanswered(failure: Failure) -> Verdict {
    failed(failure)
}

fn signers(secrets: &BTreeMap<String, Secret>, problems: &mut Vec<ConfigProblem>) -> BTreeMap<String, Vec<Signer>> {
    let mut signers: BTreeMap<String, Vec<Signer>> = BTreeMap::new();
    for (tenant, secret) in secrets {
        let mut refuse = |problem: &str| {
            problems.push(ConfigProblem::new(format!("channels.webhook.secrets.\"{tenant}\""), problem));
        };
        let each: Vec<&str> = secret.reveal().split_whitespace().collect();
        if each.len() > MAX_SECRETS {
            refuse("has more than two secrets; while one is changed, the new one and the old one sign");
        }
        for secret in each {
            match key(secret) {
                None => refuse("is not `whsec_` and base64; make one with `openssl rand -base64 32`"),
                Some(key) if key.len() < MIN_KEY_BYTES => refuse("is shorter than 24 bytes; make it 32"),
                Some(key) => match Signer::from_bytes(key) {
                    Ok(signer) => signers.entry(tenant.clone()).or_default().push(signer),
                    Err(_) => refuse("cannot be used as a key"),
                },
            }
        }
    }
    signers
}

fn key(secret: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(secret.strip_prefix("whsec_")?).ok()
}
