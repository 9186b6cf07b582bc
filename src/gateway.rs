//! The reference gateway: the control plane's end of the protocol, in front of kubectl.
//!
//! ```text
//!  kubectl ══TLS══▶ accept ─▶ caller (deadlines) ─▶ routes ─▶ kubernetes ─▶ agents (which session)
//!  curl                                               │        or commands       │
//!                                                     │            │ open          │
//!                                                     ▼            ▼               ▼
//!  agent ══TLS═══▶ accept ─▶ ... ─────────────▶ handshake ──▶ session ◀── stream ──┘
//!                                                                  body, upload, tunnel carry bytes
//! ```
//!
//! Owns the listener, the tokens, the registry of agents, and the way of a request through them.
//! Owns not the channel (`session`) nor what a Kubernetes request means (`kubeapi`).
//! Invariants: no path but the probes works without a token; beyond a limit there is a named
//! refusal, never a queue; a caller's token never leaves the gateway.

pub mod cli;
pub mod kubeconfig;
pub mod tls;
pub mod tokens;

mod accept;
mod access;
mod admission;
mod agents;
mod answers;
mod arrivals;
mod body;
mod caller;
mod commands;
mod failures;
mod handshake;
mod kubernetes;
mod metrics;
mod register;
mod resume;
mod routes;
mod sse;
mod tunnel;
mod upload;
mod users;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::chance;
use crate::limits;
use crate::protocol::hello::{PingTimes, ReconnectWindow};
use crate::session::SharedPool;
use crate::tasks::Tasks;

use arrivals::{Arrival, Arrivals};

pub use accept::raise_open_files;
pub use tls::{Certificate, TlsError};
pub use tokens::{Grant, TokenError, TokenFile, Tokens};
pub use users::UserLimits;

/// What a gateway is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// The listener's certificate.
    pub certificate: Certificate,
    /// The CA of that certificate, for kubeconfigs; nothing for a public one.
    pub ca_pem: Option<String>,
    /// The file of tokens, followed as it changes; without one only those in memory count.
    pub token_file: Option<TokenFile>,
    /// Whether agents may use binary frames.
    pub binary: bool,
    /// Whether agents may compress.
    pub compression: bool,
    /// The liveness check's times.
    pub ping: PingTimes,
    /// How often agents send a heartbeat.
    pub heartbeat: Duration,
    /// The reconnect window; by the size of the fleet if not given.
    pub reconnect: Option<ReconnectWindow>,
    /// How long running requests may go on after the stop.
    pub grace: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Agents' sessions at once.
    pub sessions: usize,
    /// Agents that are let in a second.
    pub admission_rate: u32,
    /// Bytes that one session may hold for slow callers.
    pub session_pool: usize,
    /// Bytes that all sessions together may hold.
    pub pool: usize,
    /// What one user may have in flight.
    pub user_limits: UserLimits,
    /// How long a command that observes waits for its agent to come back.
    pub observer_waits: Duration,
    /// How long a watch or a followed log waits for its agent to come back; without it none does.
    pub resume: Option<Duration>,
}

impl Config {
    /// The defaults, with this certificate.
    pub fn new(certificate: Certificate) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            certificate,
            ca_pem: None,
            token_file: None,
            binary: true,
            compression: true,
            ping: PingTimes {
                every_ms: ms(limits::PING_EVERY),
                within_ms: ms(limits::PING_WITHIN),
            },
            heartbeat: limits::HEARTBEAT_EVERY,
            reconnect: None,
            grace: limits::CLOSING,
            connections: limits::GATEWAY_CONNECTIONS,
            sessions: limits::GATEWAY_SESSIONS,
            admission_rate: limits::ADMISSION_RATE,
            session_pool: limits::GATEWAY_POOL,
            pool: limits::GATEWAY_POOL_ALL,
            user_limits: UserLimits::default(),
            observer_waits: limits::OBSERVER_WAITS,
            resume: Some(limits::RESUME_FOR),
        }
    }
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No usable certificate.
    #[error("no usable certificate")]
    Certificate(#[from] TlsError),
    /// The token file is there and cannot be used.
    #[error("no usable tokens")]
    Tokens(#[from] TokenError),
}

/// What every part of a gateway shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) tokens: Tokens,
    pub(crate) agents: Arc<agents::Agents>,
    pub(crate) sse: sse::Channels,
    pub(crate) metrics: Arc<metrics::Metrics>,
    pub(crate) arrivals: Mutex<Arrivals>,
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) tasks: Tasks,
    /// Fires first: agents are told to go, and whoever asks for something new is refused.
    pub(crate) stop: CancellationToken,
    /// Fires when no agent is left: nobody is listened to any more.
    pub(crate) closed: CancellationToken,
    /// Fires after the grace: nothing goes on.
    pub(crate) kill: CancellationToken,
    began: Instant,
    /// Tells this run's ids from those of another.
    run: u64,
    ids: AtomicU64,
    /// Bytes of answers that are being collected.
    pub(crate) collected: AtomicUsize,
}

impl Shared {
    /// An id that no other request or session of this run has, for logs on every hop.
    pub(crate) fn next_id(&self, kind: &str) -> String {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{:08x}-{number:x}", self.run)
    }

    /// Lets an agent in, now or in its turn, or asks it back; `step` says which way it comes (P-114).
    pub(crate) fn admit(&self, step: impl FnOnce(&mut Arrivals, Instant) -> Arrival) -> Arrival {
        let mut arrivals = self.arrivals.lock().expect("no holder of this lock panics");
        let arrival = step(&mut arrivals, Instant::now());
        drop(arrivals);
        self.metrics.arrived(arrival);
        arrival
    }

    /// How agents are to come back.
    pub(crate) fn reconnect(&self) -> ReconnectWindow {
        self.config
            .reconnect
            .unwrap_or_else(|| register::window(self.fleet()))
    }

    /// How many agents may come back at once: as many as were ever here together, and while the gateway
    /// is young every cluster that has a token, because those of the one before it do.
    fn fleet(&self) -> usize {
        let known = if self.age() < limits::GATEWAY_YOUNG {
            self.tokens.cluster_count()
        } else {
            0
        };
        self.agents.most().max(known)
    }

    /// How agents are to come back when the gateway leaves: in turn.
    pub(crate) fn farewell(&self) -> ReconnectWindow {
        self.config
            .reconnect
            .unwrap_or_else(|| register::farewell(self.agents.count()))
    }

    /// Time since the start.
    pub(crate) fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.began)
    }
}

/// A gateway that listens, and serves once it runs.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    listener: wire::Listener,
    tls: Arc<rustls::ServerConfig>,
    current: Arc<tls::Current>,
}

impl Gateway {
    /// Reads certificate and tokens, and listens.
    ///
    /// # Errors
    /// When one of the three cannot be.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind(config: Config) -> Result<Self, GatewayError> {
        let (tls, current) = tls::server(&config.certificate)?;
        let tokens = Tokens::new();
        if let Some(file) = &config.token_file {
            tokens.replace(file.read()?);
        }
        let address = config.listen;
        let listener = wire::Listener::bind(address)
            .map_err(|source| GatewayError::Listen { address, source })?;
        let shared = Arc::new(Shared {
            tokens,
            agents: Arc::default(),
            sse: sse::Channels::default(),
            metrics: Arc::default(),
            arrivals: Mutex::new(Arrivals::new(config.admission_rate, Instant::now())),
            pool: SharedPool::new(config.pool),
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
            closed: CancellationToken::new(),
            kill: CancellationToken::new(),
            began: Instant::now(),
            run: chance::run_id() >> 32,
            ids: AtomicU64::new(1),
            collected: AtomicUsize::new(0),
            config,
        });
        Ok(Self {
            shared,
            listener,
            tls,
            current,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The tokens that count now; those added here are not in the file, and are forgotten when the
    /// file changes.
    pub fn tokens(&self) -> Tokens {
        self.shared.tokens.clone()
    }

    /// Serves until `stop` fires, and then leaves: agents are told to go and when to come back, running
    /// requests get the grace, new ones are refused with 503 and `Retry-After`, and the rest is cut.
    ///
    /// # Cancel safety
    /// Dropping it leaves its tasks to the runtime; fire `stop` instead.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            shared,
            listener,
            tls,
            current,
        } = self;
        let files = shared.tasks.child();
        let accepting = accept::run(Arc::clone(&shared), listener, tls);
        shared.tasks.spawn_logged("accept", accepting);
        let certificate = shared.config.certificate.clone();
        let end = files.stopping();
        files.spawn_logged("certificate", async move {
            end.run_until_cancelled(tls::follow(certificate, current))
                .await;
        });
        if let Some(file) = shared.config.token_file.clone() {
            let tokens = shared.tokens.clone();
            let end = files.stopping();
            files.spawn_logged("tokens", async move {
                end.run_until_cancelled(file.follow(tokens)).await;
            });
        }
        stop.cancelled().await;
        tracing::info!(sessions = shared.agents.count(), "Gateway is leaving");
        shared.stop.cancel();
        let until = Instant::now() + shared.config.grace + limits::GATEWAY_LAST;
        // As long as agents are here, what stands in front of the gateway learns from answers that
        // others are to be asked; a connection that is refused tells a caller nothing.
        let _ = timeout_at(until, shared.agents.left()).await;
        shared.closed.cancel();
        if timeout_at(until, shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                tasks = shared.tasks.len(),
                "Grace is over, cutting what is left"
            );
            shared.kill.cancel();
            let _ = timeout(limits::GATEWAY_LAST, shared.tasks.wait()).await;
        }
        // Tokens are followed to the end: one that is removed meanwhile counts.
        files.stop();
        files.wait().await;
        tracing::info!("Gateway has left");
    }
}
