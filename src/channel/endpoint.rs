//! Customers' HTTP endpoints: one guarded client, what may be called, and how little of an answer is read.
//!
//! Invariant: an endpoint belongs to a customer. It cannot lead us to another address, make us read more than a little,
//! or reach what [`Guard`] forbids; and its URL, which may be a secret, is in no error that leaves this file.

use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, Url};
use tokio::time::timeout;

use super::guard::{Guard, GuardedResolver, Lookup, SystemLookup, is_forbidden};
use super::{ConfigProblem, Verdict, connect_timeout};
use crate::model::{Reason, Timestamp};

/// What is read of an answer, so that the connection can be used again; no more is kept waiting for.
const MAX_ANSWER: usize = 16 * 1024;
const MAX_READING: Duration = Duration::from_millis(500);
/// The longest that an endpoint may ask us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a channel's settings say of the endpoints that it calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access<'a> {
    /// For one call, connecting included.
    pub(super) timeout: Duration,
    /// Networks that may be called although they are special.
    pub(super) allow_networks: &'a [String],
    /// Whether plain HTTP may be used.
    pub(super) allow_http: bool,
}

/// A client for everyone's endpoints.
pub(super) struct Endpoints {
    client: Client,
    guard: Guard,
    allow_http: bool,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// What `Retry-After` asks for, at most a day.
    pub(super) after: Option<Duration>,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The name resolves to an address that may not be called.
    Forbidden,
    /// No name, no connection, no TLS: nothing was sent.
    NoConnection,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was on its way.
    Interrupted,
}

/// What a call without an answer says of a message.
pub(super) fn failed(failure: Failure) -> Verdict {
    let reason = match failure {
        Failure::Forbidden => return Verdict::Reject { reason: Reason::AddressForbidden },
        Failure::NoConnection => Reason::ConnectFailed,
        Failure::Timeout => Reason::Timeout,
        Failure::Interrupted => Reason::Interrupted,
    };
    Verdict::Retry { reason, after: None }
}

impl Endpoints {
    /// A client under these settings of `section`, as in `channels.webhook`; what is wrong with them goes to `problems`.
    pub(super) fn new(section: &str, access: Access<'_>, problems: &mut Vec<ConfigProblem>) -> Option<Self> {
        Endpoints::with_lookup(section, access, Arc::new(SystemLookup), problems)
    }

    /// [`Endpoints::new`] with another way to find the addresses of names.
    pub(super) fn with_lookup(
        section: &str,
        access: Access<'_>,
        lookup: Arc<dyn Lookup>,
        problems: &mut Vec<ConfigProblem>,
    ) -> Option<Self> {
        let guard = Guard::new(access.allow_networks).map_err(|wrong| {
            let text = format!("has entries that are no networks: {}; write them like 10.0.0.0/8", wrong.join(", "));
            problems.push(ConfigProblem::new(format!("{section}.allow_networks"), text));
        });
        let guard = guard.ok()?;
        let resolver = GuardedResolver::new(guard.clone(), lookup);
        let client = client(resolver, access.timeout).map_err(|_| {
            problems.push(ConfigProblem::new(section, "no HTTP client can be made: TLS does not start"));
        });
        Some(Endpoints { client: client.ok()?, guard, allow_http: access.allow_http })
    }

    /// The URL, if it may be called at all; what its name resolves to is judged when it is.
    ///
    /// # Errors
    /// [`Reason::AddressRefused`] for what is no such URL, [`Reason::AddressForbidden`] for what may not be called.
    pub(super) fn url(&self, address: &str) -> Result<Url, Reason> {
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

    /// The beginning of a GET of a URL that [`Endpoints::url`] let pass.
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.client.get(url)
    }

    /// The beginning of a POST to a URL that [`Endpoints::url`] let pass.
    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.client.post(url)
    }
}

/// One call, and the beginning of its answer. A longer answer costs its connection.
pub(super) async fn call(request: RequestBuilder, now: impl Fn() -> Timestamp) -> Result<Answer, Failure> {
    let response = request.send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let after = header(&response, RETRY_AFTER).and_then(|value| retry_after(value, now()));
    Ok(Answer { status, after, body: beginning(response).await })
}

/// What came of a GET.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The HTTP status.
    pub(super) status: u16,
    /// What `Retry-After` asks for, at most a day.
    pub(super) after: Option<Duration>,
    /// What it says to be.
    pub(super) content_type: Option<String>,
    /// All of it; none when it is longer than the limit, or the status is no success.
    pub(super) body: Option<Vec<u8>>,
}

/// Fetches something of at most `limit` bytes; no more is read.
pub(super) async fn fetch(
    request: RequestBuilder,
    limit: usize,
    now: impl Fn() -> Timestamp,
) -> Result<Fetched, Failure> {
    let response = request.send().await.map_err(|error| failure(&error))?;
    let status = response.status();
    let after = header(&response, RETRY_AFTER).and_then(|value| retry_after(value, now()));
    let content_type = header(&response, CONTENT_TYPE).map(str::to_owned);
    let body = if status.is_success() { whole(response, limit).await? } else { None };
    Ok(Fetched { status: status.as_u16(), after, content_type, body })
}

fn header(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The body, unless it is longer than the limit.
async fn whole(mut response: Response, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if chunk.len() > limit - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds or an HTTP date, at most a day; a date that has passed, and what
/// is neither, asks for nothing.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wanted = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 has is more than the most, too.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        // IMF-fixdate (RFC 9110, section 5.6.7) is a date of RFC 2822 with the zone `GMT`.
        let at = rfc2822::parse(value).ok()?.timestamp();
        Timestamp::from(at).since(now)
    };
    bounded(wanted)
}

/// What an endpoint asks for, as far as it is obeyed.
pub(super) fn bounded(wanted: Duration) -> Option<Duration> {
    (!wanted.is_zero()).then_some(wanted.min(MAX_RETRY_AFTER))
}

/// Without proxies: a proxy would resolve names itself, behind the guard's back.
fn client(resolver: GuardedResolver, timeout: Duration) -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .dns_resolver(resolver)
        .user_agent(concat!("notilog/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout(timeout))
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(8)
        .build()
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
    };
    let _ = timeout(MAX_READING, read).await;
    body
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("120", Some(120))]
    #[case(" 5 ", Some(5))]
    #[case("0", None)]
    #[case("86401", Some(86_400))]
    #[case("99999999999999999999999", Some(86_400))]
    #[case("Sun, 06 Nov 1994 08:50:37 GMT", Some(60))]
    #[case("Sun, 06 Nov 1994 08:49:37 GMT", None)]
    #[case("Tue, 06 Nov 2094 08:49:37 GMT", None)] // a Saturday: not a date
    #[case("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400))]
    #[case("-5", None)]
    #[case("1.5", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day(#[case] value: &str, #[case] expected: Option<u64>) {
        let now = "1994-11-06T08:49:37Z".parse::<jiff::Timestamp>().unwrap().into();
        assert_eq!(retry_after(value, now), expected.map(Duration::from_secs));
    }
}
