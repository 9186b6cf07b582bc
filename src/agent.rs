//! The agent's composition root: the only file that names every layer.
//!
//! Owns the order of starting and stopping. Owns not: what any layer does.
//!
//! Start: local listener (live, not ready) → credentials → the cluster's identity → policy and
//! dispatch → uplink. Stop: not ready, `goaway`, no new streams → running commands get half the
//! grace → the rest end with `shutting_down` → flush, close → every task has ended → the local
//! server last. Invariant: [`Agent::run`] returns only when every task that it started has ended,
//! or its time is up.

mod metrics;
mod watcher;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::announcer;
use crate::chance;
use crate::cluster::{self, Cluster, ConnectError};
use crate::commands;
use crate::config::proxy::Proxy;
use crate::config::secret::SecretSource;
use crate::config::value::{ApiUrl, InvalidValue};
use crate::config::{self, Access, ConfigErrors, Credentials};
use crate::dispatch::{self, Dispatch};
use crate::extensions::{self, Extensions};
use crate::health::{self, Monitor};
use crate::limits;
use crate::local::{self, Local};
use crate::metrics::Metrics;
use crate::policy::{self, Policy};
use crate::session::Notice;
use crate::status::Status;
use crate::tasks::Tasks;
use crate::uplink::{self, Transports, Uplink};

pub use crate::uplink::Outcome;

/// Everything that an agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The control plane's base URL.
    pub api_url: ApiUrl,
    /// The agent's token.
    pub token: SecretSource,
    /// Authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way to the control plane.
    pub proxy: Option<Proxy>,
    /// What may carry the channel.
    pub transports: Transports,
    /// Whether binary frames are offered.
    pub binary: bool,
    /// Return when refused for good.
    pub exit_when_refused: bool,
    /// The cluster's name.
    pub cluster_name: String,
    /// Labels that the operator gave it, told to the control plane.
    pub labels: BTreeMap<String, String>,
    /// The agent's id, unless it derives from the cluster.
    pub agent_id: Option<String>,
    /// The way to the API server.
    pub cluster: cluster::Config,
    /// What the control plane may do.
    pub access: policy::Access,
    /// Whether requests run as the gateway's user.
    pub impersonate: bool,
    /// How the local server is to be; without it there is none.
    pub local: Option<local::Config>,
    /// What the operator adds.
    pub extensions: extensions::Config,
    /// How long running commands may go on at the end.
    pub grace: Duration,
    /// The pod that it runs in, if the cluster's events are to tell of the channel.
    pub pod: Option<announcer::Config>,
}

impl From<config::Config> for Settings {
    fn from(config: config::Config) -> Self {
        let credentials = match config.kubernetes.credentials {
            Credentials::Auto => cluster::Credentials::Auto,
            Credentials::InCluster => cluster::Credentials::InCluster,
            Credentials::Kubeconfig { path, context } => {
                cluster::Credentials::Kubeconfig { path, context }
            }
        };
        Self {
            api_url: config.uplink.api_url,
            token: config.uplink.token,
            ca_file: config.uplink.ca_file,
            proxy: config.uplink.proxy,
            transports: Transports {
                websocket: config.server.websocket,
                sse: config.server.sse,
                ..Transports::default()
            },
            binary: config.uplink.binary,
            exit_when_refused: config.uplink.exit_when_refused,
            cluster_name: config.agent.cluster_name,
            labels: config.agent.labels.clone(),
            agent_id: config.agent.id,
            cluster: cluster::Config { credentials },
            access: preset(config.kubernetes.access),
            impersonate: config.kubernetes.impersonate,
            local: Some(local::Config {
                address: config.server.listen,
                token: config.server.token,
                allowed_hosts: config.server.allowed_hosts,
                allowed_origins: config.server.allowed_origins,
                dashboard: config.server.dashboard,
                websocket: config.server.websocket,
                sse: config.server.sse,
                features: local::Features {
                    health_monitoring: config.features.health_monitoring,
                    runtime_metrics: config.features.runtime_metrics,
                    feature_detection: config.features.feature_detection,
                    connectivity_testing: config.features.connectivity_testing,
                },
                max_connections: config.realtime.max_connections,
                rate_limit: config.server.rate_limit,
                header_timeout: config.server.header_timeout,
                sse_heartbeat: config.realtime.sse_heartbeat,
                connection_timeout: config.realtime.connection_timeout,
                facts: local::Facts {
                    labels: config.agent.labels,
                    settings: config.effective.into_iter().map(setting).collect(),
                    ..local::Facts::default()
                },
                ..local::Config::default()
            }),
            extensions: config.extensions,
            grace: limits::CLOSING,
            pod: None,
        }
    }
}

/// Holds what the operator adds to the rules of an agent's start, and begins nothing.
///
/// # Errors
/// With everything that is wrong, each with its line.
pub fn examine(config: &config::Config) -> Result<(), ConfigErrors> {
    let access = preset(config.kubernetes.access);
    let policy = Policy::new(policy::Config { access });
    let Err(extensions::Invalid(faults)) = Extensions::read(&config.extensions, &policy) else {
        return Ok(());
    };
    let place = config.places();
    let errors = faults.into_iter().map(|fault| InvalidValue {
        name: place(&fault.at),
        problem: fault.problem,
        remedy: fault.remedy,
    });
    Err(ConfigErrors(errors.collect()))
}

const fn preset(access: Access) -> policy::Access {
    match access {
        Access::Readonly => policy::Access::Readonly,
        Access::Admin => policy::Access::Admin,
    }
}

/// A value in force, as the local server shows it.
fn setting(effective: config::effective::Effective) -> local::Setting {
    local::Setting {
        key: effective.key.to_owned(),
        value: effective.value.into(),
        source: effective.source.to_string(),
        place: effective.place,
    }
}

/// Why an agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local server's address is taken, or not ours.
    #[error("cannot listen on {address}; choose another with --port or --listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What the operator adds cannot be done.
    #[error("the section extensions cannot be used:\n{0}")]
    Extensions(extensions::Invalid),
    /// No way to the API server.
    #[error("no credentials for the API server")]
    Cluster(#[from] ConnectError),
}

impl StartError {
    /// Whether other settings would mend it.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Extensions(_))
    }
}

/// An agent that has started: the local server answers, nothing is dialled yet.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    status: Status,
    metrics: Arc<Metrics>,
    cluster: Cluster,
    tasks: Tasks,
    /// The local server's tasks, which end last.
    local: Tasks,
    handle: Option<local::Handle>,
    address: Option<SocketAddr>,
    instance: String,
    extensions: Extensions,
}

impl Agent {
    /// Starts: binds the local server and reads the credentials.
    ///
    /// # Errors
    /// When either cannot be.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let policy = Policy::new(policy::Config {
            access: settings.access,
        });
        let extensions = Extensions::read(&settings.extensions, &policy);
        let extensions = extensions.map_err(StartError::Extensions)?;
        let status = Status::default();
        let metrics = Arc::new(Metrics::default());
        metrics::register(&metrics, &status);
        let (tasks, local) = (Tasks::new(), Tasks::new());
        let instance = format!("{:016x}", chance::run_id());
        let (mut handle, mut listens) = (None, None);
        if let Some(mut config) = settings.local.clone() {
            let address = config.address;
            complete(&mut config.facts, &settings, &instance);
            config.panels = extensions.panels();
            config.channels = extensions.channels().iter().map(own).collect();
            let server = Local::bind(config, status.clone(), Arc::clone(&metrics))
                .await
                .map_err(|source| StartError::Listen { address, source })?;
            let address = server.address().unwrap_or(address);
            tracing::info!(%address, "Local server listens");
            handle = Some(server.handle());
            listens = Some(address);
            let serving = server.serve(local.clone(), local.stopping());
            local.spawn_logged("local", serving);
        }
        let cluster = Cluster::connect(settings.cluster.clone(), &tasks).await?;
        Ok(Self {
            settings,
            status,
            metrics,
            cluster,
            tasks,
            local,
            handle,
            address: listens,
            instance,
            extensions,
        })
    }

    /// Where the local server listens, if there is one.
    pub const fn local_address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the agent knows of itself.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Connects and serves until `stop` fires or the agent is refused for good.
    ///
    /// # Cancel safety
    /// Dropping it leaves its tasks to the runtime; fire `stop` instead.
    pub async fn run(self, stop: CancellationToken) -> Outcome {
        let Self {
            settings,
            status,
            metrics,
            cluster,
            tasks,
            local,
            handle,
            address: _,
            instance,
            extensions,
        } = self;
        cluster.observe(&metrics);
        watcher::start(&cluster, &status, &tasks).await;
        let health = health::Config {
            access: settings.access,
            control_plane: Some(uplink::probe::Config {
                api_url: settings.api_url.clone(),
                token: settings.token.clone(),
                ca_file: settings.ca_file.clone(),
                proxy: settings.proxy.clone(),
            }),
        };
        let health = Monitor::new(cluster.clone(), status.clone(), health);
        let local_features = settings.local.as_ref().map(|local| local.features);
        if local_features.unwrap_or_default().health_monitoring {
            tasks.spawn_logged("health", health.clone().run(tasks.stopping()));
        }
        if let Some(pod) = settings.pod.clone() {
            let telling = announcer::run(cluster.objects(), status.clone(), pod);
            let stop = tasks.stopping();
            tasks.spawn_logged("announcer", async move {
                stop.run_until_cancelled(telling).await;
            });
        }
        tasks.spawn_logged("census", health.clone().count(tasks.stopping()));

        extensions.start(&settings.cluster_name, &cluster, &health, &metrics, &tasks);

        let shared = Arc::new(commands::Shared {
            cluster,
            impersonate: settings.impersonate,
            health,
        });
        if let Some(handle) = handle {
            handle.attach(Arc::clone(&shared));
        }
        let policy = Policy::new(policy::Config {
            access: settings.access,
        });
        let commands = tasks.child();
        let counted = {
            let mut families = None;
            metrics.register(|registry| {
                families = Some(dispatch::metrics::Metrics::register(registry));
            });
            families.unwrap_or_default().telling(status.clone())
        };
        let dispatch = Arc::new(Dispatch::new(
            shared,
            policy,
            counted,
            commands.clone(),
            Box::new(heard),
        ));

        dispatch.observe(&metrics);

        let leaving = leave(
            stop.clone(),
            status.clone(),
            Arc::clone(&dispatch),
            commands.clone(),
            settings.grace / 2,
        );
        tasks.spawn_logged("leaving", leaving);
        let config = uplink_config(settings, instance);
        let uplink = Uplink::new(config, status.clone(), &metrics, dispatch, tasks.clone());
        let outcome = uplink.run(stop.clone()).await;

        status.progress_over();
        // Refused for good ends like a stop.
        stop.cancel();
        commands.stop();
        tasks.stop();
        let ended = async {
            commands.wait().await;
            tasks.wait().await;
        };
        if timeout(limits::CLOSING, ended).await.is_err() {
            tracing::error!(tasks = tasks.len(), "Tasks did not end");
        }
        local.stop();
        let _ = timeout(limits::LOCAL_GOODBYE * 2, local.wait()).await;
        tracing::info!("Stopped");
        outcome
    }
}

/// A channel of the operator's own, as the local server takes it.
fn own(live: &extensions::Live) -> local::OwnChannel {
    local::OwnChannel {
        name: live.name.clone(),
        message_type: live.message_type.clone(),
        data: live.data.clone(),
    }
}

/// What is shown of the agent, beside what the configuration says of itself.
fn complete(facts: &mut local::Facts, settings: &Settings, instance: &str) {
    facts.agent_id.clone_from(&settings.agent_id);
    instance.clone_into(&mut facts.instance);
    facts.cluster_name.clone_from(&settings.cluster_name);
    settings.api_url.host().clone_into(&mut facts.url_host);
    facts.access = settings.access.as_str();
    facts.features.extend([
        ("binary_frames", settings.binary),
        ("compression", true),
        ("resume", true),
        ("impersonation", settings.impersonate),
    ]);
}

/// The first steps of stopping; the uplink says `goaway` by itself.
async fn leave(
    stop: CancellationToken,
    status: Status,
    dispatch: Arc<Dispatch>,
    commands: Tasks,
    half: Duration,
) {
    stop.cancelled().await;
    status.drain();
    dispatch.close();
    tokio::select! {
        biased;
        () = commands.stopping().cancelled_owned() => {}
        () = tokio::time::sleep(half) => commands.stop(),
    }
}

/// What the gateway says about the session.
fn heard(notice: Notice) {
    match notice {
        Notice::Ack(report) => tracing::debug!(report, "Report taken"),
        Notice::Goaway(goaway) => {
            tracing::info!(code = goaway.code.as_str(), "Gateway goes away");
        }
        // The uplink makes the two the agent's own.
        Notice::Role(role) => tracing::info!(?role, "Role given"),
        Notice::Warning(warning) => {
            let (code, message) = (warning.code.as_str(), warning.message);
            tracing::warn!(code, message, "Gateway warns");
        }
        // Only a gateway hears these.
        Notice::Report(_) | Notice::Heartbeat(_) => {}
    }
}

fn uplink_config(settings: Settings, instance: String) -> uplink::Config {
    uplink::Config {
        api_url: settings.api_url,
        token: settings.token,
        ca_file: settings.ca_file,
        proxy: settings.proxy,
        transports: settings.transports,
        binary: settings.binary,
        cluster_name: settings.cluster_name,
        labels: settings.labels,
        agent_id: settings.agent_id,
        instance,
        epoch: epoch(),
        access: settings.access.as_str(),
        exit_when_refused: settings.exit_when_refused,
        grace: settings.grace,
    }
}

/// Milliseconds of wall clock: of two processes with one instance id, the later one stays.
#[expect(
    clippy::disallowed_methods,
    reason = "the protocol orders processes by their wall clock (P-1)"
)]
fn epoch() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Asks for as many descriptors as a full agent or gateway may need; what cannot be had is no
/// reason not to start.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(limits::OPEN_FILES);
    let wanted = limits::OPEN_FILES.min(most);
    if now.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: now.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, wanted, "Descriptor limit not raised");
        }
    }
}
