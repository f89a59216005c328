//! How a call behaves against servers that do what well-behaved ones seldom do.

use crate::channel::{halt, retry};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rstest::rstest;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;
use crate::channel::{Content, EventFacts};
use crate::config::{Delay, Secret};
use crate::model::Timestamp;

/// What a scripted server does next.
#[derive(Clone)]
enum Answer {
    Line(&'static str),
    Stall,
    Close,
}
use Answer::{Close, Line, Stall};

/// Is asked at each command (`greeting`, `EHLO`, `MAIL`, …, `content`), with the number of the connection; None is
/// the usual answer.
type Script = Arc<dyn Fn(&str, usize) -> Option<Answer> + Send + Sync>;

struct TestServer {
    port: u16,
    /// `1 MAIL`: connection and command.
    log: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

impl TestServer {
    async fn start(script: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TestServer {
            port: listener.local_addr().unwrap().port(),
            log: Arc::default(),
            open: Arc::default(),
            most_open: Arc::default(),
        };
        let (log, open, most_open) = (server.log.clone(), server.open.clone(), server.most_open.clone());
        let script: Script = Arc::new(script);
        tokio::spawn(async move {
            for number in 1.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (script, log, open, most_open) = (script.clone(), log.clone(), open.clone(), most_open.clone());
                tokio::spawn(async move {
                    most_open.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _ = converse_with_client(socket, number, &script, &log).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    fn count(&self, command: &str) -> usize {
        self.log().iter().filter(|line| line.ends_with(command)).count()
    }
}

async fn converse_with_client(
    socket: TcpStream,
    number: usize,
    script: &Script,
    log: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut socket = BufReader::new(socket);
    let mut command = "greeting".to_owned();
    loop {
        log.lock().push(format!("{number} {command}"));
        let usual = match command.as_str() {
            "greeting" => "220 test",
            "EHLO" => "250-test\r\n250 8BITMIME",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        match script(&command, number).unwrap_or(Line(usual)) {
            Line(line) => socket.write_all(format!("{line}\r\n").as_bytes()).await.ok()?,
            Stall => tokio::time::sleep(Duration::from_secs(3600)).await,
            Close => return None,
        }
        let mut line = String::new();
        if command == "DATA" {
            while line != ".\r\n" {
                line.clear();
                (socket.read_line(&mut line).await.ok()? > 0).then_some(())?;
            }
            "content".clone_into(&mut command);
        } else {
            (socket.read_line(&mut line).await.ok()? > 0).then_some(())?;
            command = line.split([' ', '\r']).next()?.to_owned();
        }
    }
}

fn config(port: u16) -> config::Email {
    config::Email {
        host: "127.0.0.1".to_owned(),
        port,
        tls: TlsMode::None,
        ca_file: None,
        username: None,
        password: None,
        from: "Shop <shop@example.com>".to_owned(),
        reply_to: None,
        max_connections: 2,
        timeout: Delay(Duration::from_secs(20)),
        unsubscribe_url: None,
        dkim: Vec::new(),
        attachments: None,
    }
}

fn channel(port: u16) -> Email {
    Email::new(&config(port), Clock::manual(Timestamp(0))).unwrap()
}

fn mail_to(address: &str) -> Message {
    Message {
        id: Uuid::from_u128(7),
        address: address.to_owned(),
        content: Content::Mail {
            subject: "Hello".to_owned(),
            text: "Hello".to_owned(),
            html: None,
            attachments: serde_json::Value::Null,
        },
        traceparent: None,
        event: EventFacts::default(),
    }
}

async fn deliver(channel: &Email) -> Verdict {
    channel.deliver(&mail_to("ada@example.org")).await.result
}

fn is_sent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Sent { .. })
}

#[tokio::test]
async fn mails_one_after_another_share_a_connection() {
    let server = TestServer::start(|_, _| None).await;
    let channel = channel(server.port);
    for _ in 0..3 {
        assert!(is_sent(&deliver(&channel).await));
    }
    assert_eq!(server.count("greeting"), 1);
    assert_eq!(server.count("content"), 3);
}

#[tokio::test]
async fn no_more_connections_are_open_than_configured() {
    let server = TestServer::start(|_, _| None).await;
    let channel = channel(server.port);
    let sent = futures::future::join_all((0..20).map(|_| deliver(&channel))).await;
    assert!(sent.iter().all(is_sent));
    assert!(server.most_open.load(Ordering::SeqCst) <= 2);
    assert!(server.count("greeting") <= 2, "{:?}", server.log());
}

#[tokio::test]
async fn a_refused_address_costs_no_connection() {
    let refused = AtomicUsize::new(0);
    let server = TestServer::start(move |command, _| {
        (command == "RCPT" && refused.fetch_add(1, Ordering::SeqCst) == 0).then_some(Line("550 5.1.1 no such user"))
    })
    .await;
    let channel = channel(server.port);
    let outcome = channel.deliver(&mail_to("nobody@example.org")).await;
    assert_eq!(outcome.result, Verdict::Reject { reason: Reason::AddressRefused });
    assert_eq!(outcome.code.as_deref(), Some("550 5.1.1"));
    assert!(is_sent(&deliver(&channel).await));
    let log = server.log();
    assert_eq!(log, ["1 greeting", "1 EHLO", "1 MAIL", "1 RCPT", "1 RSET", "1 MAIL", "1 RCPT", "1 DATA", "1 content"]);
}

#[rstest]
#[case::silently(Close)]
#[case::with_a_word(Line("421 4.4.2 idle too long"))]
#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_replaced_unseen(#[case] farewell: Answer) {
    let mails = AtomicUsize::new(0);
    let server = TestServer::start(move |command, connection| {
        (command == "MAIL" && connection == 1 && mails.fetch_add(1, Ordering::SeqCst) == 1).then(|| farewell.clone())
    })
    .await;
    let channel = channel(server.port);
    assert!(is_sent(&deliver(&channel).await));
    assert!(is_sent(&deliver(&channel).await));
    assert_eq!(server.count("content"), 2);
    assert_eq!(server.count("greeting"), 2);
}

#[tokio::test]
async fn a_new_connection_that_closes_is_not_tried_twice() {
    let server = TestServer::start(|command, _| (command == "MAIL").then_some(Close)).await;
    let channel = channel(server.port);
    assert_eq!(deliver(&channel).await, retry(Reason::Interrupted));
    assert_eq!(server.count("greeting"), 1);
}

#[rstest]
#[case::greeting("greeting", halt(Reason::ConnectFailed))]
#[case::hello("EHLO", halt(Reason::ConnectFailed))]
#[case::sender("MAIL", retry(Reason::Timeout))]
#[case::recipient("RCPT", retry(Reason::Timeout))]
#[case::data("DATA", retry(Reason::Timeout))]
#[case::content("content", retry(Reason::Interrupted))]
#[tokio::test]
async fn a_server_that_falls_silent_is_left_and_its_connection_too(
    #[case] at: &'static str,
    #[case] expected: Verdict,
) {
    let server =
        TestServer::start(move |command, connection| (connection == 1 && command == at).then_some(Stall)).await;
    let config = config::Email { timeout: Delay(Duration::from_millis(1000)), ..config(server.port) };
    let channel = Email::new(&config, Clock::manual(Timestamp(0))).unwrap();
    assert_eq!(deliver(&channel).await, expected);
    let next = channel.deliver(&mail_to("grace@example.org")).await;
    assert!(is_sent(&next.result), "the next mail gets its own answer: {next:?}");
    assert_eq!(next.code.as_deref(), Some("250"));
    assert_eq!(server.count("greeting"), 2);
}

#[rstest]
#[case::greeting("greeting", "421 4.3.2 too busy", retry(Reason::ProviderBusy))]
#[case::no_service("greeting", "554 no SMTP service here", halt(Reason::ConnectFailed))]
#[case::sender("MAIL", "421 4.3.2 closing", retry(Reason::ProviderBusy))]
#[case::recipient("RCPT", "421 4.3.2 closing", retry(Reason::ProviderBusy))]
#[case::authenticate("MAIL", "530 5.7.0 authenticate first", halt(Reason::BadCredentials))]
#[case::greylist("RCPT", "450 4.2.0 greylisted", retry(Reason::ProviderBusy))]
#[case::spam("content", "554 5.7.1 spam", Verdict::Reject { reason: Reason::MessageRefused })]
#[case::out_of_step("content", "354 go on", retry(Reason::Interrupted))]
#[case::out_of_step_early("DATA", "250 ok", retry(Reason::ProviderError))]
#[case::not_smtp("content", "HTTP/1.1 400 Bad Request", retry(Reason::Interrupted))]
#[tokio::test]
async fn an_answer_counts_where_it_is_given(
    #[case] at: &'static str,
    #[case] line: &'static str,
    #[case] expected: Verdict,
) {
    let said = AtomicUsize::new(0);
    let server = TestServer::start(move |command, _| {
        (command == at && said.fetch_add(1, Ordering::SeqCst) == 0).then_some(Line(line))
    })
    .await;
    let channel = channel(server.port);
    assert_eq!(deliver(&channel).await, expected);
    assert!(is_sent(&deliver(&channel).await), "{:?}", server.log());
}

#[tokio::test]
async fn a_long_text_in_the_refusal_keeps_its_code() {
    let server = TestServer::start(|command, _| {
        (command == "RCPT")
            .then_some(Line("550-5.1.1 The email account that you tried to reach\r\n550 5.1.1 does not exist"))
    })
    .await;
    assert_eq!(deliver(&channel(server.port)).await, Verdict::Reject { reason: Reason::AddressRefused });
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_where_it_is_required() {
    let server = TestServer::start(|_, _| None).await;
    let config = config::Email { tls: TlsMode::Starttls, ..config(server.port) };
    let channel = Email::new(&config, Clock::manual(Timestamp(0))).unwrap();
    assert_eq!(deliver(&channel).await, halt(Reason::ConnectFailed));
    assert_eq!(server.count("MAIL"), 0);
    let problem = channel.check().await.unwrap_err();
    assert!(problem.contains("does not offer STARTTLS"), "{problem}");
}

#[tokio::test]
async fn without_auth_nothing_is_sent_where_it_is_required() {
    let server = TestServer::start(|_, _| None).await;
    let login = (Some("user".to_owned()), Some(Secret::new("hidden-password")));
    let config = config::Email { username: login.0, password: login.1, ..config(server.port) };
    let channel = Email::new(&config, Clock::manual(Timestamp(0))).unwrap();
    assert_eq!(deliver(&channel).await, halt(Reason::BadCredentials));
    assert_eq!(server.count("MAIL"), 0);
    let problem = channel.check().await.unwrap_err();
    assert!(problem.contains("refuses the login") && !problem.contains("hidden-password"), "{problem}");
}

#[tokio::test]
async fn a_server_that_is_not_there_halts_the_channel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let channel = channel(port);
    assert_eq!(deliver(&channel).await, halt(Reason::ConnectFailed));
    assert!(channel.check().await.unwrap_err().contains(&format!("127.0.0.1:{port} cannot be reached")));
}

#[tokio::test]
async fn an_address_beyond_ascii_needs_a_server_that_takes_it() {
    let server = TestServer::start(|_, _| None).await;
    let plain = channel(server.port);
    let refused = plain.deliver(&mail_to("jürgen@example.org")).await.result;
    assert_eq!(refused, Verdict::Reject { reason: Reason::AddressRefused });
    let sent = plain.deliver(&mail_to("juergen@bücher.example")).await.result;
    assert!(is_sent(&sent), "a domain is written in ASCII");
}

#[rstest]
#[case("")]
#[case("ada")]
#[case("ada@")]
#[case("@example.org")]
#[case("ada@example.org\r\nRCPT TO:<eve@example.org>")]
#[case("ada@example.org>\r\nDATA")]
#[case("ada@exa mple.org")]
#[case("ada@example.org, eve@example.org")]
#[tokio::test]
async fn what_is_no_address_is_refused_before_anyone_is_called(#[case] address: &str) {
    let server = TestServer::start(|_, _| None).await;
    let outcome = channel(server.port).deliver(&mail_to(address)).await;
    assert_eq!(outcome.result, Verdict::Reject { reason: Reason::AddressRefused });
    assert_eq!(server.log(), Vec::<String>::new());
}

#[tokio::test]
async fn a_check_uses_a_connection_that_is_there_and_replaces_one_that_is_dead() {
    let server = TestServer::start(|command, connection| (command == "NOOP" && connection == 1).then_some(Close)).await;
    let channel = channel(server.port);
    assert_eq!(channel.check().await, Ok(()));
    assert_eq!(channel.check().await, Ok(()), "{:?}", server.log());
    assert!(is_sent(&deliver(&channel).await));
    assert_eq!(server.count("greeting"), 2);
    assert_eq!(server.count("content"), 1);
}

#[tokio::test]
async fn a_check_opens_no_connection_beyond_the_limit() {
    let server = TestServer::start(|command, _| (command == "content").then_some(Stall)).await;
    let channel = Arc::new(
        Email::new(&config::Email { max_connections: 1, ..config(server.port) }, Clock::manual(Timestamp(0))).unwrap(),
    );
    let busy = tokio::spawn({
        let channel = channel.clone();
        async move { deliver(&channel).await }
    });
    while server.count("content") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(channel.check().await, Ok(()));
    busy.abort();
    assert_eq!(server.count("greeting"), 1);
}

#[tokio::test]
async fn a_connection_idle_for_long_is_not_trusted_again() {
    let server = TestServer::start(|_, _| None).await;
    let mut channel = channel(server.port);
    channel.pool.keep_idle = Duration::from_millis(20);
    assert!(is_sent(&deliver(&channel).await));
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(is_sent(&deliver(&channel).await));
    assert_eq!(server.count("greeting"), 2);
    while server.count("QUIT") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_connection_stays_in_the_runtime_that_made_it() {
    let server_runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let server = server_runtime.block_on(TestServer::start(|_, _| None));
    let channel = channel(server.port);
    assert!(is_sent(&first.block_on(deliver(&channel))));
    // The first one lives, but nobody drives its sockets now.
    assert!(is_sent(&second.block_on(deliver(&channel))));
    assert!(is_sent(&first.block_on(deliver(&channel))));
    assert_eq!(server.count("greeting"), 2);
}

#[test]
fn all_settings_that_cannot_work_are_named_at_once() {
    let wrong = config::Email {
        from: "nobody".to_owned(),
        reply_to: Some("<".to_owned()),
        tls: TlsMode::Tls,
        ca_file: Some("/nowhere/ca.pem".into()),
        username: Some("user".to_owned()),
        max_connections: 0,
        unsubscribe_url: Some("http://example.org/u?id={id}".to_owned()),
        ..config(25)
    };
    let problems = Email::new(&wrong, Clock::system()).err().unwrap();
    let named: Vec<&str> = problems.iter().map(|problem| problem.setting.as_str()).collect();
    let expected = ["from", "reply_to", "ca_file", "username", "unsubscribe_url", "max_connections"];
    assert_eq!(named, expected.map(|name| format!("channels.email.{name}")));
}

#[rstest]
#[case("https://example.org/u?n={notification_id}&r={recipient}&c={category}", true)]
#[case("https://example.org/u", true)]
#[case("http://example.org/u", false)]
#[case("mailto:u@example.org", false)]
#[case("https://example.org/{user}", false)]
#[case("https://example.org/> evil", false)]
#[case("https://example.org/\r\nBcc: x", false)]
fn an_unsubscribe_url_is_https_and_fits_into_a_header(#[case] url: &str, #[case] expected: bool) {
    assert_eq!(check_unsubscribe_url(url).is_ok(), expected);
}
