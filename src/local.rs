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
mod api;
mod clock;
mod collect;
mod connected;
mod dashboard;
mod events;
mod guard;
mod hub;
mod logs;
mod own;
mod probes;
mod query;
mod routes;
mod view;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{SetOnce, watch};
use tokio_util::sync::CancellationToken;

use crate::commands::Shared as Sources;
use crate::config::secret::SecretSource;
use crate::limits;
use crate::metrics::Metrics;
use crate::status::Status;
use crate::tasks::Tasks;
use api::Fresh;
use clock::Clock;
use hub::{Channel, Channels, Hub};

pub use own::OwnChannel;

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
    /// What else is told; what is off is neither asked for nor sent.
    pub features: Features,
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
    /// What is shown of the agent itself.
    pub facts: Facts,
    /// The operator's own channels; at most [`limits::EXTENSION_CHANNELS`].
    pub channels: Vec<OwnChannel>,
    /// The answer to `GET /api/panels`.
    pub panels: Value,
}

/// What is told, beside what always is.
#[derive(Debug, Clone, Copy)]
pub struct Features {
    /// The components' health, which is watched for it.
    pub health_monitoring: bool,
    /// What the process uses.
    pub runtime_metrics: bool,
    /// What the cluster offers.
    pub feature_detection: bool,
    /// Tests of the ways out.
    pub connectivity_testing: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            health_monitoring: true,
            runtime_metrics: true,
            feature_detection: true,
            connectivity_testing: true,
        }
    }
}

/// What the agent is, as it is shown.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Its id, unless that derives from the cluster.
    pub agent_id: Option<String>,
    /// This process.
    pub instance: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The host of the control plane.
    pub url_host: String,
    /// The access preset.
    pub access: &'static str,
    /// What the agent can do, and whether it is on.
    pub features: Vec<(&'static str, bool)>,
    /// The effective configuration, redacted.
    pub settings: Vec<Setting>,
}

/// A value of the configuration, and where it comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value; a secret's is not shown.
    pub value: Value,
    /// `flag`, `environment`, `file` or `default`.
    pub source: String,
    /// The variable, or the file and line.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
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
            features: Features::default(),
            max_connections: limits::LOCAL_CONNECTIONS,
            rate_limit: limits::LOCAL_RATE,
            header_timeout: limits::HEADER_DEADLINE,
            sse_heartbeat: limits::LOCAL_HEARTBEAT,
            connection_timeout: limits::LOCAL_SILENCE,
            facts: Facts::default(),
            channels: Vec::new(),
            panels: json!({ "panels": [] }),
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
    requests: Family<routes::Endpoint, Counter>,
    websockets: Gauge,
    streams: Gauge,
    clock: Clock,
    hub: Hub,
    /// The cluster and the checks, once there are any.
    sources: Arc<SetOnce<Arc<Sources>>>,
    /// What was last seen of the cluster, as long as somebody looks.
    cluster: watch::Sender<Value>,
    /// How long checks took.
    took: watch::Sender<BTreeMap<&'static str, Duration>>,
    examined: Arc<Fresh>,
    features: Arc<Fresh>,
    connectivity: Arc<Fresh>,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Shared {
    /// The cluster and the checks, as soon as there are any.
    async fn sources(&self) -> &Sources {
        self.sources.wait().await
    }

    fn took(&self) -> BTreeMap<&'static str, Duration> {
        self.took.borrow().clone()
    }

    /// What the agent and its cluster can do, as far as that is known.
    fn features(&self) -> Value {
        let on = |(name, enabled): &(&str, bool)| json!({ "name": name, "enabled": enabled });
        let config = &self.config;
        let own = [
            ("dashboard", config.dashboard),
            ("local_websocket", config.websocket),
            ("local_sse", config.sse),
            ("health_monitoring", config.features.health_monitoring),
            ("runtime_metrics", config.features.runtime_metrics),
            ("feature_detection", config.features.feature_detection),
            ("connectivity_testing", config.features.connectivity_testing),
        ];
        let mut all: Vec<_> = config.facts.features.iter().chain(&own).map(on).collect();
        if let Some(known) = self.features.known() {
            let cluster = [
                ("metrics_server", &known["metrics"]["available"]),
                ("watch_bookmarks", &known["kubernetes"]["watch_bookmarks"]),
                (
                    "server_side_apply",
                    &known["kubernetes"]["server_side_apply"],
                ),
            ];
            all.extend(cluster.map(|(name, is)| json!({ "name": name, "enabled": is })));
        }
        all.into()
    }

    /// `status`, now.
    fn status_now(&self) -> Value {
        let cluster = self.cluster.borrow().clone();
        collect::status(self, &self.status.snapshot(), &cluster)
    }
}

/// Gives a server that serves already what only comes later.
#[derive(Debug, Clone)]
pub struct Handle {
    sources: Arc<SetOnce<Arc<Sources>>>,
}

impl Handle {
    /// There is a cluster, and checks.
    pub fn attach(&self, sources: Arc<Sources>) {
        // The first one stays.
        let _ = self.sources.set(sources);
    }
}

impl Local {
    /// Binds the listener.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn bind(config: Config, status: Status, metrics: Arc<Metrics>) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let requests = Family::default();
        let (websockets, streams) = (Gauge::default(), Gauge::default());
        let dropped = Counter::default();
        metrics.register(|registry| {
            registry.register(
                "pipeops_websocket_connections",
                "WebSocket connections to the local server",
                websockets.clone(),
            );
            registry.register(
                "pipeops_sse_connections",
                "Event streams of the local server",
                streams.clone(),
            );
            registry.register(
                "pipeops_local_clients_dropped",
                "Clients of the local server that did not read",
                dropped.clone(),
            );
            registry.register(
                "pipeops_http_requests",
                "Requests to the local server, by endpoint and status",
                Family::clone(&requests),
            );
        });
        let clock = Clock::new();
        let own = config.channels.iter().map(|own| own.name.clone());
        let off = [
            (Channel::Health, config.features.health_monitoring),
            (Channel::Metrics, config.features.runtime_metrics),
        ];
        let off = off.into_iter().filter(|(_, on)| !on);
        let off = off.fold(Channels::default(), |all, (channel, _)| all.with(channel));
        let hub = Hub::new(clock.epoch(), dropped, own.collect(), off);
        let shared = Shared {
            config: Arc::new(config),
            status,
            metrics,
            requests,
            websockets,
            streams,
            clock,
            hub,
            sources: Arc::default(),
            cluster: watch::Sender::new(json!({})),
            took: watch::Sender::default(),
            examined: Arc::default(),
            features: Arc::default(),
            connectivity: Arc::default(),
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
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

    /// To give it what it tells of.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            sources: Arc::clone(&self.shared.sources),
        }
    }

    /// Serves until `stop` fires; connections are tasks of `tasks`.
    ///
    /// # Cancel safety
    /// Dropping it stops accepting; what was accepted goes on until `tasks` stop.
    pub async fn serve(self, tasks: Tasks, stop: CancellationToken) {
        let shared = Shared {
            tasks: tasks.clone(),
            stop: stop.clone(),
            ..self.shared
        };
        let config = Arc::clone(&shared.config);
        tasks.spawn_logged("local updates", collect::run(shared.clone(), stop.clone()));
        let (own, ended) = (own::run(shared.clone()), stop.clone());
        tasks.spawn_logged("local own channels", async move {
            ended.run_until_cancelled(own).await;
        });
        accept::run(
            self.listener,
            routes::router(shared),
            &config,
            &tasks,
            &stop,
        )
        .await;
    }
}
