//! Keeps one session open: connects when it is first wanted, and again, after rising pauses, when it is lost.
//!
//! Invariant: one session at a time. Who wants one waits for a first attempt under way, and for no pause.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusmpp::pdus::BindTransceiver;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::session::{Session, Settings, Unbound};
use crate::telemetry::clock::steady_now;
use crate::telemetry::random;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a message centre is reached.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) bind: BindTransceiver,
    pub(super) settings: Settings,
}

impl Connector {
    async fn open(&self) -> Result<Session, Unbound> {
        let limit = self.settings.timeout;
        let connected = timeout(limit, TcpStream::connect((self.host.as_str(), self.port))).await;
        let Ok(Ok(stream)) = connected else { return Err(Unbound::NoConnection) };
        // A request is one small packet that must not wait for the next.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => Session::open(stream, self.bind.clone(), self.settings.clone()).await,
            Some((connector, name)) => match timeout(limit, connector.connect(name.clone(), stream)).await {
                Ok(Ok(stream)) => Session::open(stream, self.bind.clone(), self.settings.clone()).await,
                _ => Err(Unbound::NoConnection),
            },
        }
    }
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Arc<Session>),
    Down(Unbound),
}

/// The session, or the way to one.
pub(super) struct Link {
    connector: Connector,
    kept: OnceLock<(watch::Receiver<State>, DropGuard)>,
}

impl Link {
    pub(super) fn new(connector: Connector) -> Self {
        Link { connector, kept: OnceLock::new() }
    }

    /// The session that is open, or why there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Unbound> {
        let mut state = self.kept.get_or_init(|| keep(self.connector.clone())).0.clone();
        let settled = |state: &State| match state {
            State::Connecting => false,
            State::Up(session) => !session.is_closed(),
            State::Down(_) => true,
        };
        // Connecting and binding are bounded by twice the time-out each; TLS by one more.
        let found = timeout(self.connector.settings.timeout * 3, state.wait_for(settled)).await;
        let Ok(Ok(state)) = found else { return Err(Unbound::NoConnection) };
        match &*state {
            State::Up(session) => Ok(Arc::clone(session)),
            State::Down(why) => Err(*why),
            State::Connecting => Err(Unbound::NoConnection),
        }
    }
}

/// Starts the keeper; it ends with the guard.
fn keep(connector: Connector) -> (watch::Receiver<State>, DropGuard) {
    let (states, state) = watch::channel(State::Connecting);
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    tokio::spawn(async move {
        let keeping = async {
            let mut failures = 0;
            loop {
                let began = steady_now();
                let why = match connector.open().await {
                    Ok(session) => {
                        let session = Arc::new(session);
                        states.send_replace(State::Up(Arc::clone(&session)));
                        session.closed().await;
                        tracing::warn!(host = connector.host, "the SMPP session was lost");
                        Unbound::NoConnection
                    }
                    Err(why) => {
                        tracing::warn!(host = connector.host, why = ?why, "no SMPP session could be had");
                        why
                    }
                };
                // A session that held is worth an attempt at once.
                failures = if began.elapsed() > connector.settings.timeout * 3 { 0 } else { failures + 1 };
                if failures == 0 {
                    states.send_replace(State::Connecting);
                    continue;
                }
                states.send_replace(State::Down(why));
                tokio::time::sleep(pause(failures, random::fraction())).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeping => {}
        }
    });
    (state, guard)
}

/// How long to wait after so many failures in a row: twice as long each time, and up to a fifth more, so that many
/// processes do not come back as one.
fn pause(failures: u32, fraction: f64) -> Duration {
    let doubled = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE);
    doubled.mul_f64(1.0 + fraction / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<u64> = (1..=9).map(|failures| pause(failures, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX, 0.999).as_secs(), 71);
    }
}
