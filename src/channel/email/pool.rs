//! Connections to one SMTP server: made as configured, counted, reused, and dropped when in doubt.
//!
//! Invariant: a connection whose last exchange did not end cleanly never serves another mail. A future that is
//! dropped takes its connection with it.

use std::time::{Duration, Instant};

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::outcome::{Failure, Reply, Stage};
use crate::telemetry::clock::steady_now;

/// An idle connection is not used after this: servers close theirs after 5 minutes at the earliest (RFC 5321,
/// section 4.5.3.2.7), many much sooner.
const IDLE: Duration = Duration::from_secs(30);

const GOODBYE: Duration = Duration::from_secs(2);

/// How the server is reached and spoken to.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<Credentials>,
    pub(super) hello: ClientId,
}

/// How a connection is secured.
pub(super) enum Security {
    None,
    Starttls(TlsParameters),
    Tls(TlsParameters),
}

/// At most as many connections as configured; idle ones wait for the next mail.
pub(super) struct Pool {
    server: Server,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
    pub(super) keep_idle: Duration,
}

struct Idle {
    connection: AsyncSmtpConnection,
    state: Used,
    since: Instant,
    /// A socket lives in the runtime that made it.
    runtime: tokio::runtime::Id,
}

/// What a connection went through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// Nothing.
    Never,
    /// A mail that was taken.
    Cleanly,
    /// A mail that was refused half-way: the transaction must be reset (RSET, RFC 5321, section 4.1.1.5).
    HalfWay,
}

/// A connection on loan.
pub(super) struct Leased {
    pub(super) connection: AsyncSmtpConnection,
    /// Unless it is new, the server may have closed it meanwhile.
    pub(super) used: Used,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) failure: Failure,
    /// For the operator who checks the provider; no recipient is involved yet.
    pub(super) detail: String,
}

impl Pool {
    pub(super) fn new(server: Server, max_connections: usize) -> Self {
        Pool { server, permits: Semaphore::new(max_connections), idle: Mutex::new(Vec::new()), keep_idle: IDLE }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    /// Waits for a place among the counted connections.
    pub(super) async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("this semaphore is never closed")
    }

    /// A place among the counted connections, if one is free.
    pub(super) fn free_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.try_acquire().ok()
    }

    /// An idle connection of this runtime, or a new one. `stage` follows.
    pub(super) async fn lease(&self, stage: &mut Stage) -> Result<Leased, ConnectError> {
        match self.take_idle() {
            Some(leased) => Ok(leased),
            None => self.fresh(stage).await,
        }
    }

    /// A new connection. `stage` follows.
    pub(super) async fn fresh(&self, stage: &mut Stage) -> Result<Leased, ConnectError> {
        *stage = Stage::Connect;
        let connection = self.server.connect(stage).await?;
        Ok(Leased { connection, used: Used::Never })
    }

    /// Takes a connection back for the next mail; only after an exchange that ended cleanly.
    pub(super) fn give_back(&self, connection: AsyncSmtpConnection, state: Used) {
        if !connection.has_broken() {
            let runtime = tokio::runtime::Handle::current().id();
            self.idle.lock().push(Idle { connection, state, since: steady_now(), runtime });
        }
    }

    fn take_idle(&self) -> Option<Leased> {
        let runtime = tokio::runtime::Handle::current().id();
        let mut idle = self.idle.lock();
        for aged in idle.extract_if(.., |idle| idle.since.elapsed() >= self.keep_idle) {
            if aged.runtime == runtime {
                tokio::spawn(say_goodbye(aged.connection));
            }
        }
        let position = idle.iter().rposition(|idle| idle.runtime == runtime)?;
        let Idle { connection, state, .. } = idle.swap_remove(position);
        Some(Leased { connection, used: state })
    }
}

/// QUIT, as RFC 5321, section 4.1.1.10 asks for; the server may have left already.
async fn say_goodbye(mut connection: AsyncSmtpConnection) {
    let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
}

impl Server {
    async fn connect(&self, stage: &mut Stage) -> Result<AsyncSmtpConnection, ConnectError> {
        let wrapper = match &self.security {
            Security::Tls(parameters) => Some(parameters.clone()),
            Security::None | Security::Starttls(_) => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, None, &self.hello, wrapper, None).await?;
        if let Security::Starttls(parameters) = &self.security {
            if !connection.can_starttls() {
                return Err(ConnectError::not_offered("STARTTLS"));
            }
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            *stage = Stage::Auth;
            authenticate(&mut connection, credentials).await?;
        }
        Ok(connection)
    }
}

async fn authenticate(connection: &mut AsyncSmtpConnection, credentials: &Credentials) -> Result<(), ConnectError> {
    const MECHANISMS: &[Mechanism] = &[Mechanism::Plain, Mechanism::Login];
    if connection.server_info().get_auth_mechanism(MECHANISMS).is_none() {
        return Err(ConnectError::not_offered("AUTH PLAIN or LOGIN"));
    }
    let response = connection.auth(MECHANISMS, credentials).await?;
    expect(&response, &[235]).map_err(|failure| ConnectError { failure, detail: "unexpected answer".to_owned() })
}

impl ConnectError {
    fn not_offered(what: &str) -> Self {
        ConnectError { failure: Failure::NotOffered, detail: format!("the server does not offer {what}") }
    }
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        ConnectError { failure: failure(&error), detail: error.to_string() }
    }
}

/// A positive answer must be the one that belongs here: else the conversation is out of step.
pub(super) fn expect(response: &Response, codes: &[u16]) -> Result<(), Failure> {
    if codes.contains(&u16::from(response.code())) { Ok(()) } else { Err(Failure::Protocol) }
}

/// What lettre's error says about the connection.
pub(super) fn failure(error: &Error) -> Failure {
    if let Some(code) = error.status() {
        let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        return Failure::Refused(Reply::new(code.into(), &text));
    }
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_response() {
        // "incomplete response" is how lettre says that the connection ended; anything else is not SMTP. Both end
        // the connection, and after the content both leave its fate open.
        Failure::Lost
    } else if error.is_client() {
        Failure::Protocol
    } else {
        Failure::Lost
    }
}
