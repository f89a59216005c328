//! The ways in which a customer's URL could lead to a server of ours, one test for each. The server is there, and the
//! same URL reaches it once its network is allowed: it is the guard that keeps the way shut, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use rstest::rstest;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::channel::EventFacts;
use crate::channel::guard::{Lookup, SystemLookup};
use crate::model::Timestamp;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrs=";

/// Stands for a customer's own server: it alone is allowed.
const PUBLIC: &str = "127.0.0.2/32";
/// Everything that is allowed when the guard lets pass.
const OPEN: &[&str] = &["127.0.0.0/8", "::1/128"];

/// A server of ours, or a customer's; counts who reached it.
struct Server {
    at: SocketAddr,
    reached: Arc<AtomicUsize>,
}

impl Server {
    /// At this address, at any port.
    async fn at(address: &str) -> Self {
        Server::with(address, 0, StatusCode::OK, None).await
    }

    async fn with(address: &str, port: u16, status: StatusCode, location: Option<String>) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let answer = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            // Each call looks its name up.
            let mut headers = vec![("connection", "close".to_owned())];
            headers.extend(location.clone().map(|location| ("location", location)));
            let headers = axum::response::AppendHeaders(headers);
            async move { (status, headers).into_response() }
        };
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Server { at, reached }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// A channel that may call these networks, and finds names by `lookup`.
fn channel(networks: &[&str], lookup: impl Lookup + 'static) -> Webhook {
    let mut problems = Vec::new();
    let allow_networks: Vec<String> = networks.iter().map(|&network| network.to_owned()).collect();
    let access = Access { timeout: Duration::from_secs(20), allow_networks: &allow_networks, allow_http: true };
    let endpoints = Endpoints::with_lookup("channels.webhook", access, Arc::new(lookup), &mut problems).unwrap();
    let signers = signers(&[("*".to_owned(), Secret::new(SECRET))].into(), &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    Webhook { endpoints, signers, clock: Clock::manual(Timestamp(0)) }
}

async fn call(channel: &Webhook, url: &str) -> Outcome {
    let message = Message {
        id: Uuid::from_u128(7),
        address: url.to_owned(),
        content: Content::Json("{}".to_owned()),
        traceparent: None,
        event: EventFacts::default(),
    };
    channel.deliver(&message).await
}

fn forbidden() -> Outcome {
    Outcome { result: reject(Reason::AddressForbidden), code: None }
}

/// The guard refuses the URL, and it leads to the server when the guard lets it pass.
async fn is_a_trap(url: &str, server: &Server) {
    assert_eq!(call(&channel(&[PUBLIC], SystemLookup), url).await, forbidden(), "{url}");
    assert_eq!(server.reached(), 0, "{url}");
    let open = call(&channel(OPEN, SystemLookup), url).await;
    assert_eq!((open.code.as_deref(), server.reached()), (Some("http_200"), 1), "{url} leads there");
}

/// Answers each question with the next of these, and from then on with the last.
struct Rebinding {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

fn rebinding(answers: &[&[&'static str]]) -> Rebinding {
    Rebinding { answers: answers.iter().map(|answer| answer.to_vec()).collect(), asked: AtomicUsize::new(0) }
}

#[async_trait::async_trait]
impl Lookup for Rebinding {
    async fn lookup(&self, _name: &str) -> std::io::Result<Vec<SocketAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        Ok(self.answers[asked].iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect())
    }
}

#[tokio::test]
async fn a_name_that_leads_to_us_the_second_time_is_refused_then() {
    let ours = Server::at("127.0.0.1").await;
    let theirs = Server::with("127.0.0.2", ours.at.port(), StatusCode::OK, None).await;
    let url = format!("http://rebind.example:{}/", ours.at.port());
    let answers: &[&[&str]] = &[&["127.0.0.2"], &["127.0.0.1"]];
    let guarded = channel(&[PUBLIC], rebinding(answers));
    assert_eq!(call(&guarded, &url).await.code.as_deref(), Some("http_200"));
    assert_eq!(call(&guarded, &url).await, forbidden());
    assert_eq!((theirs.reached(), ours.reached()), (1, 0));
    let open = channel(OPEN, rebinding(answers));
    call(&open, &url).await;
    call(&open, &url).await;
    assert_eq!((theirs.reached(), ours.reached()), (2, 1), "the name leads there");
}

#[tokio::test]
async fn a_name_that_leads_to_us_and_to_others_leads_to_the_others() {
    let ours = Server::at("127.0.0.1").await;
    let theirs = Server::with("127.0.0.2", ours.at.port(), StatusCode::OK, None).await;
    let url = format!("http://both.example:{}/", ours.at.port());
    let answers: &[&[&str]] = &[&["127.0.0.1", "127.0.0.2"]];
    assert_eq!(call(&channel(&[PUBLIC], rebinding(answers)), &url).await.code.as_deref(), Some("http_200"));
    assert_eq!((theirs.reached(), ours.reached()), (1, 0));
    call(&channel(OPEN, rebinding(answers)), &url).await;
    assert_eq!((theirs.reached(), ours.reached()), (1, 1), "the first one is tried first");
}

#[rstest]
#[case::loopback("127.0.0.1")]
#[case::mapped("::ffff:127.0.0.1")]
#[case::v6("::1")]
#[tokio::test]
async fn a_name_for_an_address_of_ours_is_refused(#[case] address: &'static str) {
    let ours = Server::at(if address == "::1" { "::1" } else { "127.0.0.1" }).await;
    let url = format!("http://ours.example:{}/", ours.at.port());
    assert_eq!(call(&channel(&[PUBLIC], rebinding(&[&[address]])), &url).await, forbidden());
    assert_eq!(ours.reached(), 0);
    let open = call(&channel(OPEN, rebinding(&[&[address]])), &url).await;
    assert_eq!((open.code.as_deref(), ours.reached()), (Some("http_200"), 1), "the name leads there");
}

#[tokio::test]
async fn an_ipv4_address_mapped_into_ipv6_is_refused() {
    let ours = Server::at("127.0.0.1").await;
    is_a_trap(&format!("http://[::ffff:127.0.0.1]:{}/", ours.at.port()), &ours).await;
}

#[tokio::test]
async fn an_ipv4_address_mapped_into_ipv6_in_hexadecimal_is_refused() {
    let ours = Server::at("127.0.0.1").await;
    is_a_trap(&format!("http://[0:0:0:0:0:ffff:7f00:1]:{}/", ours.at.port()), &ours).await;
}

#[rstest]
#[case::decimal("2130706433")]
#[case::octal("0177.0.0.1")]
#[case::octal_in_one("017700000001")]
#[case::hexadecimal("0x7f000001")]
#[case::hexadecimal_in_part("0x7f.0.0.1")]
#[case::short("127.1")]
#[case::full_width("１２７.0.0.1")]
#[case::percent_encoded("%31%32%37.0.0.1")]
#[case::trailing_dot("127.0.0.1.")]
#[case::zero("0")]
#[tokio::test]
async fn a_host_in_other_numbers_is_refused(#[case] host: &str) {
    let ours = Server::at("127.0.0.1").await;
    let url = format!("http://{host}:{}/", ours.at.port());
    if host == "0" {
        // Leads to this very machine on Linux, and no network that one would allow has it.
        assert_eq!(call(&channel(OPEN, SystemLookup), &url).await, forbidden());
        let open = call(&channel(&["0.0.0.0/8"], SystemLookup), &url).await;
        return assert_eq!((open.code.as_deref(), ours.reached()), (Some("http_200"), 1));
    }
    is_a_trap(&url, &ours).await;
}

#[tokio::test]
async fn ipv6_loopback_is_refused() {
    let ours = Server::at("::1").await;
    is_a_trap(&format!("http://[::1]:{}/", ours.at.port()), &ours).await;
}

#[rstest]
#[case::moved(StatusCode::MOVED_PERMANENTLY)]
#[case::found(StatusCode::FOUND)]
#[case::see_other(StatusCode::SEE_OTHER)]
#[case::temporary(StatusCode::TEMPORARY_REDIRECT)]
#[case::permanent(StatusCode::PERMANENT_REDIRECT)]
#[tokio::test]
async fn a_redirect_is_not_followed_even_where_we_could_call_ourselves(#[case] status: StatusCode) {
    let ours = Server::at("127.0.0.1").await;
    let inner = format!("http://{}/latest/meta-data/", ours.at);
    let theirs = Server::with("127.0.0.2", 0, status, Some(inner)).await;
    // An address in a Location passes no resolver: to follow none is the guard here, whatever is allowed.
    let outcome = call(&channel(OPEN, SystemLookup), &format!("http://{}/", theirs.at)).await;
    assert_eq!(outcome.code, Some(format!("http_{}", status.as_u16())));
    assert_eq!((theirs.reached(), ours.reached()), (1, 0));
}

#[rstest]
#[case::metadata("169.254.169.254")]
#[case::link_local_v6("fe80::1")]
#[case::metadata_mapped("::ffff:169.254.169.254")]
#[tokio::test]
async fn a_link_local_address_is_refused_as_it_is_and_by_name(#[case] address: &'static str) {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let guarded = channel(OPEN, rebinding(&[&[address]]));
    assert_eq!(call(&guarded, &format!("http://{host}/latest/meta-data/")).await, forbidden());
    assert_eq!(call(&guarded, "http://metadata.example/latest/meta-data/").await, forbidden());
}
