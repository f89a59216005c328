//! Receipts by HTTP: `POST /receipts/<hook>`, a shape for each kind of provider, signatures checked.
//!
//! Invariant: nothing is believed, or answered with more than a status, before its signature is verified; the answer is
//! 204 only after the receipts are safe in Kafka, so that a provider brings again what was not.

mod app;
mod mailgun;
mod twilio;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::intake::{Intake, Received};
use crate::config::{HookKind, Receipts};
use crate::model::Timestamp;
use crate::telemetry::metrics::receipt_requests;

/// No provider's receipt comes near.
const MOST_BYTES: usize = 1 << 20;

/// The address that receipts were to be taken at is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot take receipts at {listen}: {source}; set receipts.listen to a free address")]
pub struct HttpError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The signature is missing or wrong.
    Signature,
    /// It is signed, and not of the provider's shape.
    Shape(&'static str),
}

/// Who brings receipts.
struct Hook {
    kind: HookKind,
    provider: String,
    secret: crate::config::Secret,
    url: String,
}

impl Hook {
    /// The receipts of a request; none when it speaks of something else.
    fn read(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Vec<Received>, Refusal> {
        let secret = self.secret.reveal().as_bytes();
        match self.kind {
            HookKind::Twilio => twilio::read(&self.provider, secret, &self.url, headers, body),
            HookKind::Mailgun => mailgun::read(&self.provider, secret, body, now),
            HookKind::App => app::read(self.secret.reveal(), headers, body),
        }
    }
}

struct Hooks {
    hooks: BTreeMap<String, Hook>,
    intake: Intake,
}

/// A server under way.
pub struct Server {
    /// Where it listens; the real port when port 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Waits for its end.
    pub async fn ended(self) {
        // A panic of the server's task was already reported by the panic hook.
        let _ = self.task.await;
    }
}

/// Takes receipts at `receipts.listen`, if it is set, until `stop` is cancelled.
///
/// # Errors
/// [`HttpError`] when the address cannot be listened at.
pub async fn serve(settings: &Receipts, intake: Intake, stop: CancellationToken) -> Result<Option<Server>, HttpError> {
    let Some(listen) = settings.listen else { return Ok(None) };
    let failed = |source| HttpError { listen, source };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let hook = |hook: &crate::config::Hook| Hook {
        kind: hook.kind,
        provider: hook.provider.clone(),
        secret: hook.secret.clone(),
        url: hook.url.clone().unwrap_or_default(),
    };
    let hooks = settings.hooks.iter().map(|(name, settings)| (name.clone(), hook(settings))).collect();
    let app = Router::new()
        .route("/receipts/{hook}", post(take))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Arc::new(Hooks { hooks, intake }));
    tracing::info!(%address, hooks = settings.hooks.len(), "receipts are taken by HTTP");
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::error!(%error, %address, "receipts are no longer taken by HTTP");
        }
    });
    Ok(Some(Server { address, task }))
}

async fn take(
    State(hooks): State<Arc<Hooks>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let Some(hook) = hooks.hooks.get(&name) else { return StatusCode::NOT_FOUND };
    let (status, word) = match hook.read(&headers, &body, hooks.intake.now()) {
        Err(Refusal::Signature) => (StatusCode::FORBIDDEN, "signature"),
        Err(Refusal::Shape(what)) => {
            tracing::warn!(hook = name, what, "a signed request is not of the provider's shape");
            (StatusCode::BAD_REQUEST, "shape")
        }
        Ok(receipts) => match write(&hooks.intake, &name, &receipts).await {
            true => (StatusCode::NO_CONTENT, "taken"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "unwritten"),
        },
    };
    receipt_requests(&name, word).increment(1);
    status
}

async fn write(intake: &Intake, hook: &str, receipts: &[Received]) -> bool {
    let source = format!("http/{hook}");
    for receipt in receipts {
        if let Err(error) = intake.write(receipt, &source).await {
            tracing::warn!(hook, %error, "a receipt was not written; the provider is asked to bring it again");
            return false;
        }
    }
    true
}
