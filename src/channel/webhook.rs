//! Webhooks, signed as Standard Webhooks 1.0.0 says.
//!
//! Invariant: the endpoint belongs to a customer. It can never halt the channel, lead us to another address, make us
//! read more than a little, or reach what [`Guard`] forbids; and its URL, which may carry a secret of his, is in no
//! error and no log.

mod outcome;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};
use standardwebhooks::Webhook as Signer;
use tokio::time::timeout;

use self::outcome::{Failure, answered, failed, retry_after};
use super::guard::{Guard, GuardedResolver, is_forbidden};
use super::{Channel, ConfigProblem, Content, Message, Outcome, Verdict, connect_timeout};
use crate::config::{self, Secret};
use crate::model::{Channel as ChannelName, Reason};
use crate::telemetry::clock::Clock;

/// What is read of an answer, so that the connection can be used again; no more is kept waiting for.
const MAX_DRAIN: usize = 16 * 1024;
const MAX_DRAIN_TIME: Duration = Duration::from_millis(500);
/// Keys shorter than this are no secret (Standard Webhooks, "Signature scheme": at least 192 bits).
const MIN_KEY_BYTES: usize = 24;
/// Stands for every tenant that has no secret of its own.
const ANY_TENANT: &str = "*";

/// Customers' endpoints.
pub struct Webhook {
    client: Client,
    guard: Guard,
    signers: BTreeMap<String, Signer>,
    allow_http: bool,
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
        let guard = Guard::new(&config.allow_networks).unwrap_or_else(|wrong| {
            let text = format!("has entries that are no networks: {}; write them like 10.0.0.0/8", wrong.join(", "));
            problems.push(ConfigProblem::new("channels.webhook.allow_networks", text));
            Guard::public_only()
        });
        let client = client(&guard, config.timeout.0).map_err(|_| {
            problems.push(ConfigProblem::new("channels.webhook", "no HTTP client can be made: TLS does not start"));
        });
        match client {
            Ok(client) if problems.is_empty() => {
                Ok(Webhook { client, guard, signers, allow_http: config.allow_http, clock })
            }
            _ => Err(problems),
        }
    }

    fn request(&self, message: &Message) -> Result<RequestBuilder, Verdict> {
        let Content::Json(body) = &message.content else { return Err(reject(Reason::TemplateFailed)) };
        let url = self.url(&message.address).map_err(reject)?;
        // Ours to mend, not the endpoint's, yet no reason to hold other tenants: it waits, and ends in the DLQ.
        let unsigned = Verdict::Retry { reason: Reason::BadCredentials, after: None };
        let signer = self.signers.get(&message.event.tenant).or_else(|| self.signers.get(ANY_TENANT));
        let id = message.id.to_string();
        let seconds = self.clock.now().0.div_euclid(1000);
        let signature = signer.and_then(|signer| signer.sign(&id, seconds, body.as_bytes()).ok()).ok_or(unsigned)?;
        let mut request = self
            .client
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

    /// The URL, if it may be called at all; what its name resolves to is judged when it is.
    fn url(&self, address: &str) -> Result<Url, Reason> {
        let url: Url = address.trim().parse().map_err(|_| Reason::AddressRefused)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(Reason::AddressForbidden),
            _ => return Err(Reason::AddressRefused),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Reason::AddressRefused);
        }
        let host = url.host().ok_or(Reason::AddressRefused)?;
        self.guard.check(&host).map_err(|_| Reason::AddressForbidden)?;
        Ok(url)
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

    async fn deliver(&self, message: &Message) -> Outcome {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(result) => return Outcome { result, code: None },
        };
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let wanted = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let after = wanted.and_then(|value| retry_after(value, self.clock.now()));
                drain(response).await;
                Outcome { result: answered(status, after), code: Some(format!("http_{status}")) }
            }
            Err(error) => Outcome { result: failed(failure(&error)), code: None },
        }
    }

    /// There is no provider to ask: each endpoint is a customer's own.
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

fn reject(reason: Reason) -> Verdict {
    Verdict::Reject { reason }
}

fn signers(secrets: &BTreeMap<String, Secret>, problems: &mut Vec<ConfigProblem>) -> BTreeMap<String, Signer> {
    let mut signers = BTreeMap::new();
    for (tenant, secret) in secrets {
        let mut refuse = |problem: &str| {
            problems.push(ConfigProblem::new(format!("channels.webhook.secrets.\"{tenant}\""), problem));
        };
        match key(secret.reveal()) {
            None => refuse("is not `whsec_` and base64; make one with `openssl rand -base64 32`"),
            Some(key) if key.len() < MIN_KEY_BYTES => refuse("is shorter than 24 bytes; make it 32"),
            Some(key) => match Signer::from_bytes(key) {
                Ok(signer) => drop(signers.insert(tenant.clone(), signer)),
                Err(_) => refuse("cannot be used as a key"),
            },
        }
    }
    signers
}

fn key(secret: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(secret.strip_prefix("whsec_")?).ok()
}

/// One client for all endpoints. Without proxies: a proxy would resolve names itself, behind the guard's back.
fn client(guard: &Guard, timeout: Duration) -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .dns_resolver(GuardedResolver(guard.clone()))
        .user_agent(concat!("notilog/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout(timeout))
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(8)
        .build()
}

/// Reads a little of the answer, so that its connection can be used again; a longer one costs its connection.
async fn drain(mut response: Response) {
    let read = async {
        let mut rest = MAX_DRAIN;
        while let Ok(Some(chunk)) = response.chunk().await {
            rest = rest.saturating_sub(chunk.len());
            if rest == 0 {
                break;
            }
        }
    };
    let _ = timeout(MAX_DRAIN_TIME, read).await;
}

/// What a failed call means; the error itself has the URL in it and goes no further.
fn failure(error: &reqwest::Error) -> Failure {
    if is_forbidden(error) {
        Failure::Forbidden
    } else if error.is_connect() {
        Failure::NoConnection
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Interrupted
    }
}
