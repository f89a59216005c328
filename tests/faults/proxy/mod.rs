//! A TCP proxy that understands Kafka's framing: it knows each request's API and can hold it up, swallow it, swallow
//! its answer, or answer in the broker's place.
//!
//! Clients are kept on it by rewriting the ports in the two answers that name brokers, Metadata and FindCoordinator.
//! The alternative, a broker whose advertised port is the proxy's, would need a listener for each proxy; this way any
//! broker will do, three of them as well as one, and each test has a proxy of its own.

mod answers;
mod frame;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub use frame::{Api, Request};

use crate::scene::PATIENCE;

/// What happens to a request that a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It, and what follows it on its connection, comes so much later.
    Slow(Duration),
    /// It is taken out of the stream and kept until [`Proxy::release`]; the client waits for an answer.
    Hold,
    /// The same, and the client's connection breaks, as when a network loses the way back: the broker has the request
    /// in its queue, the client asks again on a new connection.
    HoldAndClose,
    /// The broker never gets it, and the client's connection breaks.
    Close,
    /// The broker acts on it; its answer is lost, and the client's connection breaks.
    LoseAnswer,
    /// The broker never gets it; the client is told this error code.
    Answer(i16),
    /// OffsetFetch: the client is told that the group has no offset for any partition.
    NoOffsets,
}

/// Which requests, and what happens to them.
struct Rule {
    fits: Box<dyn Fn(&Request) -> bool + Send>,
    fault: Fault,
    /// So many more times.
    left: usize,
}

/// What a held request came to when it was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The answer, header included; empty when the broker gave none.
    pub answer: Vec<u8>,
}

impl Released {
    /// The error code of an EndTxn's answer.
    pub fn end_txn_error(&self) -> Option<i16> {
        // Correlation id, throttle time, error code.
        Some(i16::from_be_bytes(self.answer.get(8..10)?.try_into().ok()?))
    }
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    held: Vec<(u16, Vec<u8>)>,
    seen: HashMap<Api, usize>,
    /// The connections on which a request of an API came.
    carriers: HashMap<Api, Vec<Arc<Notify>>>,
}

/// A proxy before one or several brokers; stops when dropped.
pub struct Proxy {
    ports: HashMap<u16, u16>,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a port of its own for each of these brokers.
    pub async fn before(brokers: &[u16]) -> Proxy {
        let (mut listeners, mut ports) = (Vec::new(), HashMap::new());
        for broker in brokers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.insert(*broker, listener.local_addr().unwrap().port());
            listeners.push((*broker, listener));
        }
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        for (broker, listener) in listeners {
            let relay = Relay { broker, ports: ports.clone(), state: Arc::clone(&state) };
            tasks.spawn(relay.serve(listener));
        }
        Proxy { ports, state, _tasks: tasks }
    }

    /// `host:port` of the proxy's side, for a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.ports.values().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// From now on the next `times` requests of this API that `fits` says yes to fail so.
    pub fn fail(&self, api: Api, times: usize, fault: Fault, fits: impl Fn(&Request) -> bool + Send + 'static) {
        let fits = Box::new(move |request: &Request| request.api == Some(api) && fits(request));
        self.state.lock().rules.push(Rule { fits, fault, left: times });
    }

    /// Breaks the connections on which requests of this API came so far, as a network does that forgets idle ones.
    pub fn cut(&self, api: Api) {
        self.state.lock().carriers.remove(&api).into_iter().flatten().for_each(|connection| connection.notify_one());
    }

    /// Forgets all rules; what is held stays held.
    pub fn heal(&self) {
        self.state.lock().rules.clear();
    }

    /// Requests of an API so far.
    pub fn seen(&self, api: Api) -> usize {
        self.state.lock().seen.get(&api).copied().unwrap_or(0)
    }

    /// Waits until so many requests of an API were seen.
    pub async fn wait_for_seen(&self, api: Api, count: usize) {
        tokio::time::timeout(PATIENCE, async {
            while self.seen(api) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("within {PATIENCE:?} no {count} requests {api:?} came"));
    }

    /// Waits until so many requests are held.
    pub async fn wait_for_held(&self, count: usize) {
        let held = || self.state.lock().held.len() >= count;
        tokio::time::timeout(PATIENCE, async {
            while !held() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("within {PATIENCE:?} no {count} requests came to be held"));
    }

    /// Lets the broker have the request that was held first, and says what it answered. It comes on a connection of
    /// its own: the client's is long gone, or waits for something else.
    pub async fn release(&self) -> Released {
        let (broker, frame) = self.state.lock().held.remove(0);
        let asked = async {
            let mut connection = TcpStream::connect(("127.0.0.1", broker)).await?;
            connection.write_all(&frame::framed(&frame)).await?;
            read_frame(&mut connection).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
        Released { answer: answer.ok().and_then(Result::ok).unwrap_or_default() }
    }

    /// Releases all that is held, in its order.
    pub async fn release_all(&self) {
        while !self.state.lock().held.is_empty() {
            self.release().await;
        }
    }

    /// Throws what is held away.
    pub fn forget_held(&self) {
        self.state.lock().held.clear();
    }
}

/// What one listener needs.
#[derive(Clone)]
struct Relay {
    broker: u16,
    ports: HashMap<u16, u16>,
    state: Arc<Mutex<State>>,
}

/// Requests under way on one connection, by correlation id.
type UnderWay = Arc<Mutex<HashMap<i32, (Request, bool)>>>;

impl Relay {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(self.clone().connection(client));
        }
    }

    async fn connection(self, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.broker)).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) = broker.into_split();
        let (answers, mut outbox) = mpsc::unbounded_channel::<Vec<u8>>();
        let under_way = UnderWay::default();
        let cut = Arc::new(Notify::new());
        let requests = async {
            while let Ok(frame) = read_frame(&mut from_client).await {
                let request = Request::parse(&frame);
                if let Some(api) = request.as_ref().and_then(|request| request.api) {
                    self.state.lock().note(api, &cut);
                }
                match self.judge(request, &frame, &under_way).await {
                    Verdict::Forward => to_broker.write_all(&frame::framed(&frame)).await.ok()?,
                    Verdict::Swallow => {}
                    Verdict::Answer(answer) => answers.send(answer).ok()?,
                    Verdict::Close => return None,
                }
            }
            None::<()>
        };
        let responses = async {
            while let Ok(frame) = read_frame(&mut from_broker).await {
                answers.send(self.answer(frame, &under_way)?).ok()?;
            }
            None::<()>
        };
        let writing = async {
            while let Some(frame) = outbox.recv().await {
                if to_client.write_all(&frame::framed(&frame)).await.is_err() {
                    return;
                }
            }
        };
        // Whichever side ends, both do.
        tokio::select! {
            _ = requests => {}
            _ = responses => {}
            () = writing => {}
            () = cut.notified() => {}
        }
    }

    async fn judge(&self, request: Option<Request>, frame: &[u8], under_way: &UnderWay) -> Verdict {
        let Some(request) = request else { return Verdict::Forward };
        let fault = self.state.lock().fault_for(&request);
        let remember = |lose| under_way.lock().insert(request.correlation, (request.clone(), lose));
        match fault {
            None => drop(remember(false)),
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                remember(false);
            }
            Some(Fault::LoseAnswer) => drop(remember(true)),
            Some(Fault::Close) => return Verdict::Close,
            Some(Fault::Hold) => {
                self.state.lock().held.push((self.broker, frame.to_vec()));
                return Verdict::Swallow;
            }
            Some(Fault::HoldAndClose) => {
                self.state.lock().held.push((self.broker, frame.to_vec()));
                return Verdict::Close;
            }
            Some(Fault::Answer(code)) => return Verdict::Answer(answers::error(&request, code)),
            Some(Fault::NoOffsets) => return Verdict::Answer(answers::no_offsets(&request)),
        }
        Verdict::Forward
    }

    /// The broker's answer as the client is to see it; none when it is lost on the way.
    fn answer(&self, mut frame: Vec<u8>, under_way: &UnderWay) -> Option<Vec<u8>> {
        let correlation = frame.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let Some((request, lose)) = correlation.and_then(|id| under_way.lock().remove(&id)) else { return Some(frame) };
        if lose {
            return None;
        }
        if matches!(request.api, Some(Api::Metadata | Api::FindCoordinator)) {
            frame::replace_ports(&mut frame, &self.ports);
        }
        Some(frame)
    }
}

enum Verdict {
    Forward,
    Swallow,
    Answer(Vec<u8>),
    Close,
}

impl State {
    fn note(&mut self, api: Api, connection: &Arc<Notify>) {
        *self.seen.entry(api).or_default() += 1;
        let carriers = self.carriers.entry(api).or_default();
        if !carriers.iter().any(|carrier| Arc::ptr_eq(carrier, connection)) {
            carriers.push(Arc::clone(connection));
        }
    }

    fn fault_for(&mut self, request: &Request) -> Option<Fault> {
        let index = self.rules.iter().position(|rule| (rule.fits)(request))?;
        let rule = &mut self.rules[index];
        let fault = rule.fault;
        rule.left = rule.left.saturating_sub(1);
        if rule.left == 0 {
            self.rules.remove(index);
        }
        Some(fault)
    }
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(64 << 20)];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}
