//! The agent's own HTTP server: probes, metrics, live data, logs and the dashboard, on one port.
//!
//! | path | who | answer |
//! |---|---|---|
//! | `/health` | anyone | 200 while the channel's task makes progress; never depends on anybody else |
//! | `/ready` | anyone | 200 with a session and an API server that answers; otherwise 503 and the reasons; `?verbose` |
//! | `/version` | anyone | the program's version |
//! | `/metrics` | anyone | OpenMetrics text |
//! | `/dashboard`, `/dashboard/*` | anyone where there is a token, else loopback | the page; it holds no data |
//! | everything else | loopback or bearer | see `docs/local-api.md` |
//!
//! Owns the listener, its accept loop, who may ask, and these routes. Owns not: what they tell
//! (`status`, `metrics`, `health`, `cluster`). Invariants: bound early and stopped last; no route
//! changes anything and no cookie is read or set; no other origin gets data unless it is listed;
//! connections are capped, and each has a deadline for its head, for its life or for its reading; a
//! failing accept is waited out and never ends the loop.

mod accept;
mod answer;
mod dashboard;
mod guard;
mod probes;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::secret::SecretSource;
use crate::limits;
use crate::metrics::Metrics;
use crate::status::Status;
use crate::tasks::Tasks;
use answer::Failure;
use guard::Guard;

/// How the server is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub address: SocketAddr,
    /// What others than loopback must show; without one they get probes and metrics only.
    pub token: Option<SecretSource>,
    /// Names that the server may be called by, beside loopback's and its own address.
    pub allowed_hosts: Vec<String>,
    /// Other origins that may read; empty where CORS is off.
    pub allowed_origins: Vec<String>,
    /// Whether there is a dashboard.
    pub dashboard: bool,
    /// Whether there is a `/ws`.
    pub websocket: bool,
    /// Whether there are event streams.
    pub sse: bool,
    /// Connections of people.
    pub max_connections: usize,
    /// New connections of people in a second.
    pub rate_limit: u32,
    /// A request's head.
    pub header_timeout: Duration,
    /// Time between heartbeats of a stream.
    pub sse_heartbeat: Duration,
    /// Silence after which a WebSocket is closed.
    pub connection_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            token: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            dashboard: true,
            websocket: true,
            sse: true,
            max_connections: limits::LOCAL_CONNECTIONS,
            rate_limit: limits::LOCAL_RATE,
            header_timeout: limits::HEADER_DEADLINE,
            sse_heartbeat: limits::LOCAL_HEARTBEAT,
            connection_timeout: limits::LOCAL_SILENCE,
        }
    }
}

impl Config {
    /// The default, at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }
}

/// The server, bound and not yet serving.
#[derive(Debug)]
pub struct Local {
    listener: TcpListener,
    shared: Shared,
}

/// What the routes share.
#[derive(Debug, Clone)]
struct Shared {
    config: Arc<Config>,
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
    pub async fn bind(config: Config, status: Status, metrics: Arc<Metrics>) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let requests = Family::default();
        metrics.register(|registry| {
            registry.register(
                "pipeops_http_requests",
                "Requests to the local server, by endpoint and status",
                Family::clone(&requests),
            );
        });
        let shared = Shared {
            config: Arc::new(config),
            status,
            metrics,
            requests,
        };
        Ok(Self { listener, shared })
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
        let config = Arc::clone(&self.shared.config);
        let router = router(self.shared);
        accept::run(self.listener, router, &config, &tasks, &stop).await;
    }
}

fn router(shared: Shared) -> Router {
    let guard = Guard::new(&shared.config);
    let mut router = Router::new()
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .route("/version", get(probes::version))
        .route("/metrics", get(probes::scrape));
    if shared.config.dashboard {
        router = router.merge(dashboard::routes());
    }
    router
        .fallback(unknown)
        .method_not_allowed_fallback(not_that)
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .with_state(shared)
}

/// The routes as they are counted: a closed set.
const COUNTED: [&str; 13] = [
    "/health",
    "/ready",
    "/version",
    "/metrics",
    "/api/health/detailed",
    "/api/status/features",
    "/api/status/connectivity",
    "/api/metrics/runtime",
    "/api/config",
    "/api/realtime/events",
    "/api/realtime/logs",
    "/ws",
    "/dashboard",
];

async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let known = |endpoint: &&&str| {
        path == **endpoint || (**endpoint == "/dashboard" && path.starts_with("/dashboard/"))
    };
    let endpoint = COUNTED.iter().find(known).copied().unwrap_or("other");
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let label = Endpoint { endpoint, code };
    shared.requests.get_or_create(&label).inc();
    response
}

async fn unknown() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here",
        "see docs/local-api.md for what there is",
    )
}

async fn not_that() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this server only tells, it changes nothing",
        "use GET",
    )
}
