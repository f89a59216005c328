//! Calls to a provider's HTTP API: what the channels that make them have in common.
//!
//! Invariant: the provider is ours to choose, and its answers are bounded all the same. A failed call is told by how
//! far it came; the error itself, which may have a secret in its URL, goes no further than here.

use std::path::Path;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder};

use super::connect_timeout;
use super::endpoint::retry_after;
use crate::model::Timestamp;

/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 256 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// What `Retry-After` asks for, at most a day.
    pub(super) after: Option<Duration>,
    /// The body, or its first [`MAX_ANSWER`] bytes.
    pub(super) body: Vec<u8>,
}

/// Why nothing, or not all, came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No name, no connection, no TLS: nothing was sent.
    NoConnection,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was on its way; `status` is what the answer began with.
    Interrupted {
        /// The HTTP status, if it came.
        status: Option<u16>,
    },
}

impl Failure {
    /// As statuses carry it.
    pub(super) fn code(self) -> Option<String> {
        match self {
            Failure::Interrupted { status: Some(status) } => Some(format!("http_{status}")),
            _ => None,
        }
    }
}

/// A client for one provider. Without redirects, which would carry the credentials elsewhere.
///
/// # Errors
/// What is wrong with the CA's file, or that TLS does not start.
pub(super) fn client(timeout: Duration, ca_file: Option<&Path>) -> Result<Client, String> {
    let mut builder = builder(timeout);
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|_| format!("{}: is not PEM", path.display()))?;
        if found.is_empty() {
            return Err(format!("{}: has no certificate; it must be PEM", path.display()));
        }
        for certificate in found {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|_| "no HTTP client can be made: TLS does not start".to_owned())
}

fn builder(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("notilog/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout(timeout))
        .timeout(timeout)
}

/// One call, its answer read to the end or to the limit.
///
/// # Errors
/// How far it came.
pub(super) async fn call(request: RequestBuilder, now: impl Fn() -> Timestamp) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let wanted = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = wanted.and_then(|value| retry_after(value, now()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Interrupted { status: Some(status) })? {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    Ok(Answer { status, after, body })
}

/// What a failed exchange means.
fn failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() {
        Failure::NoConnection
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Interrupted { status: None }
    }
}
