//! `/metrics`, `/healthz` and `/readyz`.
//!
//! `/healthz` says that the process answers; `/readyz` that it does its work.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::health::Readiness;
use super::metrics::Exposition;

/// How often the samples of histograms are put into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// The address that metrics and health were to be served at is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics and health at {listen}: {source}; set telemetry.listen to a free address")]
pub struct ServeError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// A server under way.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; the real port when port 0 was asked for.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Waits for it to end, which it does when its token is cancelled.
    pub async fn ended(self) {
        // A panic of the server's task was already reported by the panic hook.
        let _ = self.task.await;
    }
}

/// Binds `listen` and serves until `stop` is cancelled.
pub async fn serve(
    listen: SocketAddr,
    readiness: Readiness,
    exposition: Exposition,
    stop: CancellationToken,
) -> Result<Server, ServeError> {
    let failed = |source| ServeError { listen, source };
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let task = tokio::spawn(async move {
        let upkeep = tokio::spawn(keep_up(exposition.clone()));
        let served =
            axum::serve(listener, routes(readiness, exposition)).with_graceful_shutdown(stop.cancelled_owned());
        let served = served.await;
        upkeep.abort();
        if let Err(error) = served {
            tracing::error!(%error, %address, "metrics and health are no longer served");
        }
    });
    Ok(Server { address, task })
}

/// Whether anyone asks for the metrics or not.
async fn keep_up(exposition: Exposition) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        exposition.keep_up();
    }
}

fn routes(readiness: Readiness, exposition: Exposition) -> Router {
    Router::new()
        .route("/metrics", get(metrics).with_state(exposition))
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready).with_state(readiness))
}

async fn metrics(State(exposition): State<Exposition>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition.render())
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let waiting = readiness.waiting();
    if waiting.is_empty() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not_ready", "waiting_for": waiting }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_the_conditions_and_health_does_not() {
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let condition = readiness.condition("preferences");
        let exposition = super::super::metrics::install().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(any, readiness, exposition, stop.clone()).await.unwrap();
        assert_eq!(get(server.address, "/healthz").await.0, 200);
        condition.not_ready("restoring");
        let (status, body) = get(server.address, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body, r#"{"status":"not_ready","waiting_for":{"preferences":"restoring"}}"#);
        condition.ready();
        assert_eq!(get(server.address, "/readyz").await.0, 200);
        let (status, body) = get(server.address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("notilog_build_info{version="), "{body}");
        stop.cancel();
        server.ended().await;
    }

    #[tokio::test]
    async fn a_taken_address_is_named_with_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let exposition = super::super::metrics::install().unwrap();
        let error = serve(listen, Readiness::default(), exposition, CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(&listen.to_string()) && error.to_string().contains("telemetry.listen"));
    }
}
