//! One bound session: requests go out up to the window, answers find their requests, an idle link is asked whether it
//! lives, receipts are handed on and answered once they are kept.
//!
//! Invariant: every request is answered exactly once: by the message centre, or by how far it came. What was written
//! and not answered when the connection broke is lost, not refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use rusmpp::pdus::{BindTransceiver, DeliverSm, DeliverSmResp, SubmitSm};
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::{Command, CommandStatus, Pdu};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::receipt::report;
use crate::channel::receipt::{Receipt, ReceiptSink};
use crate::telemetry::clock::{Clock, steady_now};

/// The longest PDU that is read; a receipt has some 300 bytes.
const MAX_PDU: usize = 16 * 1024;
/// Receipts that are being kept at once.
const RECEIPTS: usize = 64;

/// How a session behaves.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) provider: String,
    pub(super) window: usize,
    pub(super) enquire_link: Duration,
    pub(super) timeout: Duration,
    pub(super) receipts: Arc<dyn ReceiptSink>,
    pub(super) clock: Clock,
}

/// What the message centre answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: CommandStatus,
    pub(super) message_id: Option<String>,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The session ended before it was written.
    NotSent,
    /// No place in the window came free in time; nothing was written.
    Busy,
    /// No answer in time.
    Timeout,
    /// The connection broke, and it had been written.
    Lost,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unbound {
    /// No connection, or none that answers.
    NoConnection,
    /// The bind was refused.
    Refused(CommandStatus),
}

/// A handle; the session unbinds when the last one is dropped.
pub(super) struct Session {
    requests: mpsc::Sender<Request>,
    window: Semaphore,
    timeout: Duration,
    closed: CancellationToken,
}

struct Request {
    submit: SubmitSm,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

impl Session {
    /// Binds as a transceiver over a fresh connection.
    pub(super) async fn open<S>(stream: S, bind: BindTransceiver, settings: Settings) -> Result<Session, Unbound>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut framed = Framed::new(stream, CommandCodec::new().with_max_length(MAX_PDU));
        let bound = timeout(settings.timeout, async {
            framed.send(&Command::new(CommandStatus::EsmeRok, 1, bind)).await.ok()?;
            loop {
                let command = framed.next().await?.ok()?;
                if command.sequence_number() == 1 {
                    return Some(command.status());
                }
            }
        });
        match bound.await {
            Ok(Some(CommandStatus::EsmeRok)) => {}
            Ok(Some(status)) => return Err(Unbound::Refused(status)),
            Ok(None) | Err(_) => return Err(Unbound::NoConnection),
        }
        let (requests, received) = mpsc::channel(settings.window);
        let closed = CancellationToken::new();
        let session = Session {
            requests,
            window: Semaphore::new(settings.window),
            timeout: settings.timeout,
            closed: closed.clone(),
        };
        tokio::spawn(async move {
            let _closed = closed.drop_guard();
            Talk::new(framed, settings).run(received).await;
        });
        Ok(session)
    }

    /// One request and its answer.
    pub(super) async fn submit(&self, submit: SubmitSm) -> Result<Answer, Failure> {
        let place = timeout(self.timeout, self.window.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(Failure::Busy) };
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { submit, answer }).await.map_err(|_| Failure::NotSent)?;
        // Dropped unanswered: it never left the queue.
        answered.await.unwrap_or(Err(Failure::NotSent))
    }

    /// Whether it ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits for its end.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// The session's task.
struct Talk<S> {
    framed: Framed<S, CommandCodec>,
    settings: Settings,
    next_sequence: u32,
    pending: HashMap<u32, Pending>,
    heard: Instant,
    /// When it was asked whether it lives, while that is not answered.
    asked: Option<Instant>,
    /// Where the tasks that keep receipts say what to answer.
    keepers: mpsc::Sender<Kept>,
    kept: mpsc::Receiver<Kept>,
}

/// What to answer to the receipt of this sequence number.
struct Kept {
    sequence: u32,
    status: CommandStatus,
}

struct Pending {
    answer: oneshot::Sender<Result<Answer, Failure>>,
    until: Instant,
}

/// The connection is of no further use.
struct Ended;

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(framed: Framed<S, CommandCodec>, settings: Settings) -> Self {
        let (keepers, kept) = mpsc::channel(RECEIPTS);
        Talk { framed, settings, next_sequence: 2, pending: HashMap::new(), heard: now(), asked: None, keepers, kept }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut wanted = true;
        while wanted || !self.pending.is_empty() {
            let due = self.due();
            let step = tokio::select! {
                request = requests.recv(), if wanted => match request {
                    Some(request) => self.submit(request).await,
                    None => {
                        wanted = false;
                        Ok(())
                    }
                },
                frame = self.framed.next() => match frame {
                    Some(Ok(command)) => self.incoming(command).await,
                    Some(Err(_)) | None => Err(Ended),
                },
                Some(Kept { sequence, status }) = self.kept.recv() => self.acknowledge(sequence, status).await,
                () = sleep_until(due) => self.tick().await,
            };
            if step.is_err() {
                break;
            }
        }
        if !wanted && self.pending.is_empty() {
            let sequence = self.sequence();
            let _ = self.write(sequence, Pdu::Unbind, CommandStatus::EsmeRok).await;
        }
        for (_, Pending { answer, .. }) in self.pending.drain() {
            let _ = answer.send(Err(Failure::Lost));
        }
    }

    async fn submit(&mut self, request: Request) -> Result<(), Ended> {
        if request.answer.is_closed() {
            return Ok(());
        }
        let sequence = self.sequence();
        let until = now() + self.settings.timeout;
        self.pending.insert(sequence, Pending { answer: request.answer, until });
        self.write(sequence, Pdu::from(request.submit), CommandStatus::EsmeRok).await
    }

    async fn incoming(&mut self, command: Command) -> Result<(), Ended> {
        self.heard = now();
        self.asked = None;
        let sequence = command.sequence_number();
        match command.pdu() {
            Some(Pdu::DeliverSm(deliver)) => self.deliver(sequence, deliver).await,
            Some(Pdu::EnquireLink) => self.write(sequence, Pdu::EnquireLinkResp, CommandStatus::EsmeRok).await,
            Some(Pdu::Unbind) => {
                let _ = self.write(sequence, Pdu::UnbindResp, CommandStatus::EsmeRok).await;
                Err(Ended)
            }
            // An answer of whatever kind: a refusal may come without a body, or as a generic_nack.
            pdu => {
                let message_id = match pdu {
                    Some(Pdu::SubmitSmResp(answer)) => {
                        Some(answer.message_id().as_str().trim_end_matches('\0').to_owned())
                    }
                    _ => None,
                };
                if let Some(pending) = self.pending.remove(&sequence) {
                    let message_id = message_id.filter(|id| !id.is_empty());
                    let _ = pending.answer.send(Ok(Answer { status: command.status(), message_id }));
                }
                Ok(())
            }
        }
    }

    /// Keeps a receipt and answers when that is done; someone's message is taken and dropped: nobody reads them.
    async fn deliver(&mut self, sequence: u32, deliver: &DeliverSm) -> Result<(), Ended> {
        let Some(report) = report(deliver) else {
            return self.acknowledge(sequence, CommandStatus::EsmeRok).await;
        };
        let receipt = Receipt {
            provider: self.settings.provider.clone(),
            provider_message_id: report.message_id,
            state: report.state,
            code: report.code,
            at: report.done.unwrap_or_else(|| self.settings.clock.now()),
        };
        let (receipts, keepers) = (Arc::clone(&self.settings.receipts), self.keepers.clone());
        tokio::spawn(async move {
            // "ESME Receiver Temporary App Error": it is sent again.
            let status = match receipts.take(receipt).await {
                Ok(()) => CommandStatus::EsmeRok,
                Err(_) => CommandStatus::EsmeRxTAppn,
            };
            let _ = keepers.send(Kept { sequence, status }).await;
        });
        Ok(())
    }

    async fn acknowledge(&mut self, sequence: u32, status: CommandStatus) -> Result<(), Ended> {
        self.write(sequence, Pdu::from(DeliverSmResp::default()), status).await
    }

    /// When something has to be done although nothing comes.
    fn due(&self) -> Instant {
        let link = match self.asked {
            Some(asked) => asked + self.settings.timeout,
            None => self.heard + self.settings.enquire_link,
        };
        self.pending.values().map(|pending| pending.until).chain([link]).min().unwrap_or(link)
    }

    async fn tick(&mut self) -> Result<(), Ended> {
        let now = now();
        let late: Vec<u32> =
            self.pending.iter().filter(|(_, pending)| pending.until <= now).map(|(sequence, _)| *sequence).collect();
        for pending in late.into_iter().filter_map(|sequence| self.pending.remove(&sequence)) {
            let _ = pending.answer.send(Err(Failure::Timeout));
        }
        match self.asked {
            Some(asked) if asked + self.settings.timeout <= now => Err(Ended),
            None if self.heard + self.settings.enquire_link <= now => {
                self.asked = Some(now);
                let sequence = self.sequence();
                self.write(sequence, Pdu::EnquireLink, CommandStatus::EsmeRok).await
            }
            _ => Ok(()),
        }
    }

    async fn write(&mut self, sequence: u32, pdu: Pdu, status: CommandStatus) -> Result<(), Ended> {
        let command = Command::new(status, sequence, pdu);
        match timeout(self.settings.timeout, self.framed.send(&command)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Ended),
        }
    }

    /// 1 to 0x7fffffff (SMPP 3.4, section 5.1.4).
    fn sequence(&mut self) -> u32 {
        let sequence = self.next_sequence;
        self.next_sequence = if sequence == 0x7fff_ffff { 1 } else { sequence + 1 };
        sequence
    }
}

fn now() -> Instant {
    Instant::from_std(steady_now())
}
