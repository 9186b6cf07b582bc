//! The agent's own HTTP server, for probes and metrics.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | 200 while the program can answer at all; never depends on anybody else |
//! | `/ready` | 200 with a session and an API server that answers; otherwise 503 and the reasons |
//! | `/version` | the program's version and the protocol versions that it speaks |
//! | `/metrics` | OpenMetrics text |
//!
//! Owns the listener, its accept loop and these routes. Owns not: what they tell (`status`,
//! `metrics`). Invariants: bound early and stopped last; no route changes anything; connections
//! are capped, and each has a deadline for its head and for its life; a failing accept is waited
//! out and never ends the loop.

mod accept;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::status::{Status, Unready};
use crate::tasks::Tasks;

/// The server, bound and not yet serving.
#[derive(Debug)]
pub struct Local {
    listener: TcpListener,
    router: Router,
}

#[derive(Debug, Clone)]
struct Shared {
    status: Status,
    metrics: Arc<Metrics>,
    requests: Family<Endpoint, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
    code: u16,
}

impl Local {
    /// Binds the listener.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(
        address: SocketAddr,
        status: Status,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let requests = Family::default();
        metrics.register(|registry| {
            registry.register(
                "pipeops_http_requests",
                "Requests to the local server, by endpoint and status",
                Family::clone(&requests),
            );
        });
        let shared = Shared {
            status,
            metrics,
            requests,
        };
        Ok(Self {
            listener,
            router: router(shared),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` fires; connections are tasks of `tasks`.
    ///
    /// # Cancel safety
    /// Dropping it stops accepting; what was accepted goes on until `tasks` stop.
    pub async fn serve(self, tasks: Tasks, stop: CancellationToken) {
        accept::run(self.listener, self.router, &tasks, &stop).await;
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(scrape))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .with_state(shared)
}

async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let endpoint = match request.uri().path() {
        "/health" => "/health",
        "/ready" => "/ready",
        "/version" => "/version",
        "/metrics" => "/metrics",
        _ => "other",
    };
    let mut response = next.run(request).await;
    let code = response.status().as_u16();
    let label = Endpoint { endpoint, code };
    shared.requests.get_or_create(&label).inc();
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

async fn health() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let now = shared.status.snapshot();
    let reasons: Vec<_> = now.unready().into_iter().map(Unready::as_str).collect();
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // Causes only: this answers the whole pod network, and messages name hosts.
    let body = json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "channel": now.phase.as_str(),
        "api_server": now.api_server.is_up(),
        "last_cause": now.last_error.map(|error| error.cause),
    });
    (code, Json(body)).into_response()
}

async fn version() -> Response {
    let body = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
    });
    Json(body).into_response()
}

async fn scrape(State(shared): State<Shared>) -> Response {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, shared.metrics.encode()).into_response()
}

async fn unknown() -> Response {
    let body = json!({ "error": "there are /health, /ready, /version and /metrics" });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
