//! The agent's side of the channel: registering, dialling, serving a session, and coming back.
//!
//! ```text
//!            ┌──────────────────────── wait (backoff) ◀─────────────┐
//!            ▼                                                      │
//!  token ─▶ register ─▶ dial, upgrade, hello ─▶ session ─▶ ended ─▶ ending
//!            (HTTPS)       (one deadline)        (its own task)  ▲  │ fatal
//!                                                   │ goaway ────┘  ▼
//!                                                   ▼            stopped
//!                                                 moved (what runs there goes on)
//! ```
//!
//! Owns the loop, and what a session says of the agent: reports and heartbeats. Owns not: what
//! commands do (an [`Open`] is given), nor the session's inside. Invariants: the loop ends only
//! when it is told to or for good; there is never more than one attempt at a time, nor more than one
//! session that takes commands; the schedule starts anew only after a session that lived for a
//! minute.

mod better;
mod dial;
mod ending;
mod handshake;
mod hearing;
mod identity;
mod ladder;
mod liveness;
mod meter;
mod metrics;
mod moved;
mod path;
pub mod probe;
mod proxy;
mod register;
mod repeats;
mod sse;
mod telling;
mod tls;
mod waiting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, Window};
use crate::config::proxy::Proxy;
use crate::config::secret::{Secret, SecretSource};
use crate::config::value::ApiUrl;
use crate::limits;
use crate::metrics::Metrics;
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{
    AgentFacts, ClusterFacts, Feature, Hello, ReconnectWindow, Register, SessionRole,
};
use crate::protocol::message::Goaway;
use crate::protocol::version::Version;
use crate::session::{self, Ended, Open};
use crate::status::{Carrier, Phase, Snapshot, Status, Transport};
use crate::tasks::Tasks;
use better::Way;
use dial::Dialler;
use ending::Ending;
use handshake::Agreed;
use hearing::{Hearing, Said};
use identity::AgentId;
use ladder::{Carried, Known, Ladder};
use liveness::Pulse;
use meter::Meter;
use moved::{Live, Moved};
use path::Path;
use repeats::Repeats;
use telling::Telling;

pub use ladder::Transports;

/// How to reach the control plane, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control plane's base URL.
    pub api_url: ApiUrl,
    /// The agent's token.
    pub token: SecretSource,
    /// Authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way, if the control plane is not reached directly.
    pub proxy: Option<Proxy>,
    /// What may carry the channel.
    pub transports: Transports,
    /// Whether binary frames are offered.
    pub binary: bool,
    /// The cluster's name.
    pub cluster_name: String,
    /// Labels that the operator gave it.
    pub labels: BTreeMap<String, String>,
    /// The agent's id, unless it derives from the cluster.
    pub agent_id: Option<String>,
    /// This process, unique among replicas.
    pub instance: String,
    /// Milliseconds of wall clock at the process's start.
    pub epoch: u64,
    /// The name of the access preset in force.
    pub access: &'static str,
    /// Return when refused for good, instead of trying on.
    pub exit_when_refused: bool,
    /// How long running commands may go on at the end.
    pub grace: Duration,
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to stop, and has drained.
    Stopped,
    /// The control plane refused this agent for good.
    Refused,
}

/// The channel's loop.
pub struct Uplink {
    config: Config,
    dialler: Arc<Dialler>,
    status: Status,
    open: Arc<dyn Open>,
    tasks: Tasks,
    meter: Arc<Meter>,
    moved: Moved,
    backoff: Backoff,
    path: Path,
    repeats: Repeats,
    known: Known,
    way: Option<Way>,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// How a session was left.
enum Left {
    /// It has ended; `None` is a panic in it.
    Ended(Option<Ended>),
    /// Another one takes over.
    Better(Box<Agreed<Carried>>),
    /// Its gateway goes away, and lets what runs go on.
    Moving(Goaway),
}

impl Uplink {
    /// A loop that has not begun. Commands go to `open`; sessions run as tasks of `tasks`.
    pub fn new(
        config: Config,
        status: Status,
        metrics: &Metrics,
        open: Arc<dyn Open>,
        tasks: Tasks,
    ) -> Self {
        let meter = Arc::new(Meter::new(status.clone()));
        metrics::register(metrics, &status, &meter);
        Self {
            dialler: Arc::new(Dialler::new(
                config.api_url.clone(),
                tls::Tls::new(config.ca_file.clone()),
                config.proxy.clone(),
            )),
            config,
            status,
            open,
            moved: Moved::new(&tasks, Arc::clone(&meter)),
            tasks,
            meter,
            backoff: Backoff::new(Window::default()),
            path: Path::default(),
            repeats: Repeats::default(),
            known: Known::default(),
            way: None,
        }
    }

    /// Connects and comes back until `stop` fires or the agent is refused for good.
    ///
    /// # Cancel safety
    /// Dropping it cuts the session.
    pub async fn run(mut self, stop: CancellationToken) -> Outcome {
        let outcome = self.cycle(&stop).await;
        if outcome == Outcome::Refused {
            self.moved.cut();
        }
        self.moved.wait().await;
        self.status.set_phase(Phase::Stopped);
        outcome
    }

    async fn cycle(&mut self, stop: &CancellationToken) -> Outcome {
        loop {
            self.status.set_phase(Phase::Connecting);
            liveness::connecting(&self.status);
            let token = self.config.token.read();
            let ending = match &token {
                Err(error) => Ending::of_token(error),
                Ok(token) => {
                    let agreed = stop.run_until_cancelled(self.connect(token)).await;
                    match agreed {
                        None => return Outcome::Stopped,
                        Some(Err(ending)) => ending,
                        Some(Ok((agreed, id))) => self.serve(agreed, id, stop).await,
                    }
                }
            };
            if stop.is_cancelled() {
                return Outcome::Stopped;
            }
            if let Some(outcome) = self.after(ending, token.ok(), stop).await {
                return outcome;
            }
        }
    }

    /// Registers and shakes hands.
    async fn connect(&mut self, token: &Secret) -> Result<(Agreed<Carried>, AgentId), Ending> {
        let now = self.status.snapshot();
        let id = AgentId::of(&self.config, &now);
        let agent = AgentFacts {
            id: id.text.clone(),
            instance: self.config.instance.clone(),
            epoch: self.config.epoch,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let cluster = ClusterFacts {
            name: self.config.cluster_name.clone(),
            uid: now.api_server.uid().map(str::to_owned),
            version: now.api_server.version().map(str::to_owned),
            labels: self.config.labels.clone(),
        };
        let facts = Register {
            protocols: Version::ALL.to_vec(),
            agent: agent.clone(),
            cluster: cluster.clone(),
        };
        let (registered, channels) = register::register(&self.dialler, token, &facts)
            .await
            .map_err(|error| Ending::of_registration(&error))?;
        self.use_window(registered.reconnect);
        tracing::debug!(cluster_id = registered.cluster_id, "Registered");

        let mut features = vec![Feature::Zstd, Feature::Resume];
        if self.config.binary {
            features.insert(0, Feature::Binary);
        }
        let hello = Hello {
            agent,
            cluster,
            features,
            window: limits::WINDOW_FIRST,
            max_streams: limits::STREAMS,
            beside: None,
        };
        // One channel is all that there is today; the list is in order of preference.
        let channel = channels.first().map_or("/channel", String::as_str);
        let way = Way {
            channel: channel.to_owned(),
            hello: hello.clone(),
            token: token.clone(),
        };
        let ladder = Ladder {
            dialler: &self.dialler,
            token,
            tasks: &self.tasks,
            allowed: self.config.transports,
            channel,
            sse: registered
                .sse
                .as_deref()
                .filter(|path| path.starts_with('/')),
        };
        let (mut agreed, carrier) = ladder
            .climb(hello, &mut self.known)
            .await
            .map_err(|error| Ending::of_handshake(&error))?;
        agreed.session.grace = self.config.grace;
        self.status.set_carrier(carrier);
        self.way = Some(way);
        Ok((agreed, id))
    }

    /// Serves one session to its end, or those that take over from it.
    async fn serve(
        &mut self,
        agreed: Agreed<Carried>,
        id: AgentId,
        stop: &CancellationToken,
    ) -> Ending {
        let mut next = agreed;
        loop {
            match self.serve_one(next, id.clone(), stop).await {
                Ok(better) => next = *better,
                Err(ending) => return ending,
            }
        }
    }

    /// Serves one session to its end; `Ok` is the one that takes over from it.
    async fn serve_one(
        &mut self,
        agreed: Agreed<Carried>,
        id: AgentId,
        stop: &CancellationToken,
    ) -> Result<Box<Agreed<Carried>>, Ending> {
        let Agreed {
            link,
            welcome,
            session: mut config,
        } = agreed;
        self.use_window(welcome.reconnect);
        let binary = config.binary;
        let told = Duration::from_millis(config.ping.every_ms);
        config.pace = Some(self.path.pace(told));
        let (hearing, said) =
            Hearing::new(Arc::clone(&self.open), self.status.clone(), welcome.role);
        let (session, driver) = session::establish(link, config, hearing);
        let mut live = Live {
            driver: self.tasks.spawn("session", liveness::faulty(driver)),
            session,
            id: welcome.session.clone(),
        };
        let began = Instant::now();
        let reading = self.meter.begin(live.session.clone());
        self.status
            .set_primary(welcome.role == SessionRole::Primary);
        self.status.connected(&welcome.session);
        self.repeats.over();
        tracing::info!(
            session = welcome.session,
            agent = id.text,
            binary,
            transport = self.status.snapshot().transport(),
            "Connected"
        );
        let every = Duration::from_millis(
            welcome
                .heartbeat_ms
                .clamp(limits::WELCOME_TIMES.0, limits::WELCOME_TIMES.1),
        );
        self.status.set_agent(&id.text);
        let left = self.attend(&mut live, said, id, every, stop).await;
        let lived = Instant::now().saturating_duration_since(began);
        if lived >= limits::RECONNECT_PROOF {
            self.backoff.reset();
        }
        let seconds = lived.as_secs();
        let ended = match left {
            Left::Ended(ended) => ended,
            Left::Better(agreed) => {
                tracing::info!(
                    session = welcome.session,
                    "WebSocket passes again, taking it"
                );
                self.known.forget();
                self.status.set_carrier(Carrier {
                    transport: Transport::Websocket,
                    obstacle: None,
                });
                self.moved.see_off(live, reading, stop.clone());
                return Ok(agreed);
            }
            Left::Moving(goaway) => {
                tracing::info!(session = welcome.session, seconds, "Moving");
                self.moved.see_off(live, reading, stop.clone());
                return Err(Ending::of_move(goaway));
            }
        };
        self.meter.end(reading);
        let silence = live.session.silence();
        let learned = ended
            .as_ref()
            .and_then(|ended| self.path.ended(ended, silence, lived));
        if let Some(limit) = learned {
            let pace = self.path.pace(told);
            tracing::warn!(
                idle_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                ping_ms = u64::try_from(pace.as_millis()).unwrap_or(u64::MAX),
                "Path cuts idle connections, pings will keep it busy"
            );
        }
        tracing::info!(session = welcome.session, seconds, "Disconnected");
        Err(match ended {
            Some(ended) => Ending::of_session(&ended),
            None => Ending::of_panic(),
        })
    }

    /// Says how the agent is, until the session has ended, another one takes over or is asked for.
    async fn attend(
        &self,
        live: &mut Live,
        mut said: watch::Receiver<Said>,
        mut id: AgentId,
        every: Duration,
        stop: &CancellationToken,
    ) -> Left {
        let name = live.id.clone();
        let mut better = pin!(self.better(&name));
        let mut watch = self.status.watch();
        let mut telling = Telling::new(self.config.access, Instant::now());
        let session = live.session.clone();
        let say = |telling: &mut Telling, now: &Snapshot| {
            if let Some(report) = telling.report(now, Instant::now()) {
                session.report(report);
            }
        };
        say(&mut telling, &watch.borrow_and_update());
        let mut heartbeat = tokio::time::interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = false;
        let mut pulse = Pulse::new(live.session.clone(), &self.status);
        loop {
            tokio::select! {
                biased;
                ended = &mut live.driver => return Left::Ended(ended.ok()),
                agreed = &mut better, if !leaving => return Left::Better(Box::new(agreed)),
                () = stop.cancelled(), if !leaving => {
                    leaving = true;
                    live.session.leave(ErrorCode::ShuttingDown, "the agent is stopping", None);
                }
                () = changed(&mut watch) => {
                    let now = watch.borrow_and_update().clone();
                    say(&mut telling, &now);
                    if !leaving && id.changed(&self.config, &now) {
                        // Streams cannot have done anything yet: the API server was not there.
                        leaving = true;
                        live.session.leave(ErrorCode::ShuttingDown, "the cluster is known now", None);
                    }
                }
                () = changed(&mut said) => {
                    let Said { role, goaway } = said.borrow_and_update().clone();
                    self.status.set_primary(role == SessionRole::Primary);
                    if let Some(goaway) = goaway.filter(|_| !leaving) {
                        return Left::Moving(goaway);
                    }
                }
                () = pulse.look(&self.status) => {}
                () = held_back(telling.due()) => say(&mut telling, &self.status.snapshot()),
                _ = heartbeat.tick() => {
                    self.meter.sample();
                    live.session.heartbeat(telling.heartbeat(&self.status));
                }
            }
        }
    }

    fn use_window(&mut self, window: ReconnectWindow) {
        self.backoff
            .set_window(Window::from_millis(window.first_ms, window.cap_ms));
    }
}

/// Waits until a report that was held back may go out.
async fn held_back(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Waits for a change; for ever when there can be none.
async fn changed<T>(watch: &mut watch::Receiver<T>) {
    if watch.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
