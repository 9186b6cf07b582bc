//! What the agent knows of itself, in one place: for probes, metrics, heartbeats and reports.
//!
//! Owns the snapshot and who may change which part of it. Owns not: how it is shown (`local`) or
//! sent (`uplink`). Invariants: readers never wait; causes and phases are bounded sets; no text
//! here holds a secret, because writers pass errors' own text only.

mod channel;
mod commands;
mod health;
mod progress;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits;
use progress::Progress;

pub use channel::{Channel, LastError, Warning};
pub use commands::{Commands, EndedCommand, RunningCommand, Shown};
pub use health::{Census, Component, Finding, Health, HealthState, Process};
pub use transport::{Carrier, Transport};

/// Where the channel stands.
///
/// ```text
/// Starting ─▶ Connecting ─▶ Connected ─▶ Waiting ─▶ Connecting …
///                  └──────▶ Waiting | Refused ─▶ Connecting …    Refused | any ─▶ Stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet dialled.
    Starting,
    /// Registering or dialling.
    Connecting,
    /// A session is established.
    Connected,
    /// Lost or not had; the next attempt comes by itself.
    Waiting,
    /// The control plane refused the credentials or the agent; attempts are rare.
    Refused,
    /// No further attempt is made.
    Stopped,
}

impl Phase {
    /// For logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether the API server answers the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ApiServer {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It does.
    Up {
        /// The UID of its namespace kube-system.
        uid: String,
        /// Its version.
        version: String,
    },
    /// It does not; what was known of it stays.
    Down {
        /// Why, in one line.
        message: String,
        /// The UID, if it was ever learnt.
        uid: Option<String>,
        /// The version, if it was ever learnt.
        version: Option<String>,
    },
}

impl ApiServer {
    /// Whether it answers.
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// The cluster's UID, once known.
    pub fn uid(&self) -> Option<&str> {
        match self {
            Self::Unknown => None,
            Self::Up { uid, .. } => Some(uid),
            Self::Down { uid, .. } => uid.as_deref(),
        }
    }

    /// The API server's version, once known.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Unknown => None,
            Self::Up { version, .. } => Some(version),
            Self::Down { version, .. } => version.as_deref(),
        }
    }
}

/// Everything, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Where the channel stands.
    pub phase: Phase,
    /// Since when.
    pub since: Instant,
    /// The id that the agent connects as, once it has one.
    pub agent: Option<String>,
    /// The session's id, while there is one.
    pub session: Option<String>,
    /// What carries the session, or carried the last one.
    pub carrier: Option<Carrier>,
    /// Sessions established since the start.
    pub sessions: u64,
    /// Sessions lost and attempts failed since the start, by cause.
    pub reconnects: BTreeMap<&'static str, u64>,
    /// The last of them.
    pub last_error: Option<LastError>,
    /// What the gateway warned of in this session.
    pub warning: Option<Warning>,
    /// Counts of the session.
    pub channel: Channel,
    /// Whether the API server answers.
    pub api_server: ApiServer,
    /// The program was asked to stop.
    pub draining: bool,
    /// How well the agent is.
    pub health: Health,
    /// What the cluster amounts to, once counted.
    pub census: Option<Census>,
    /// What the process uses.
    pub process: Process,
    /// Of the cluster's agents, this one says what is said once (P-15), or did in the last session.
    pub primary: bool,
}

impl Snapshot {
    /// Whether this agent says what is said once, now: without a session nobody hears it.
    pub fn is_primary(&self) -> bool {
        self.primary && self.phase == Phase::Connected
    }

    /// Why the agent is not ready; empty when it is.
    pub fn unready(&self) -> Vec<Unready> {
        let mut reasons = Vec::new();
        if self.draining {
            reasons.push(Unready::Draining);
        }
        match self.phase {
            Phase::Connected => {}
            Phase::Refused | Phase::Stopped => reasons.push(Unready::Auth),
            Phase::Starting | Phase::Connecting | Phase::Waiting => {
                reasons.push(Unready::Channel);
            }
        }
        if !self.api_server.is_up() {
            reasons.push(Unready::ApiServer);
        }
        reasons
    }
}

/// A reason not to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// The program is stopping.
    Draining,
    /// There is no session.
    Channel,
    /// The control plane refuses this agent.
    Auth,
    /// The API server does not answer, or was not asked yet.
    ApiServer,
}

impl Unready {
    /// The reason on `/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Channel => "channel",
            Self::Auth => "auth",
            Self::ApiServer => "api_server",
        }
    }
}

/// The agent's status. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    snapshot: watch::Sender<Snapshot>,
    commands: AtomicU64,
    table: watch::Sender<Commands>,
    progress: Progress,
    started: Instant,
}

impl Default for Status {
    fn default() -> Self {
        let (snapshot, _) = watch::channel(Snapshot {
            phase: Phase::Starting,
            since: Instant::now(),
            agent: None,
            session: None,
            carrier: None,
            sessions: 0,
            reconnects: BTreeMap::new(),
            last_error: None,
            warning: None,
            channel: Channel::default(),
            api_server: ApiServer::Unknown,
            draining: false,
            health: Health::default(),
            census: None,
            process: Process::default(),
            primary: false,
        });
        Self {
            inner: Arc::new(Inner {
                snapshot,
                commands: AtomicU64::new(0),
                table: watch::Sender::new(Commands::default()),
                progress: Progress::default(),
                started: Instant::now(),
            }),
        }
    }
}

impl Status {
    /// Everything, now.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.snapshot.borrow().clone()
    }

    /// Learns of every change.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.inner.snapshot.subscribe()
    }

    /// Since the start of the program.
    pub fn uptime(&self) -> Duration {
        Instant::now().saturating_duration_since(self.inner.started)
    }

    /// Commands that have ended since the start.
    pub fn commands(&self) -> u64 {
        self.inner.commands.load(Ordering::Relaxed)
    }

    /// Counts a command's end.
    pub fn command_ended(&self) {
        self.inner.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// The commands that run and have ended.
    pub fn running(&self) -> watch::Receiver<Commands> {
        self.inner.table.subscribe()
    }

    /// A command runs, until what this gives is dropped.
    pub fn command_began(&self, id: &str, name: &'static str, actor: Option<&str>) -> Shown {
        let command = RunningCommand {
            id: id.to_owned(),
            name,
            actor: actor.map(str::to_owned),
            started: Instant::now(),
        };
        Shown::begin(&self.inner.table, command)
    }

    /// The channel's task is alive, and will be heard of again within this time.
    pub fn progress_within(&self, time: Duration) {
        self.inner.progress.within(time);
    }

    /// The channel's task is over.
    pub fn progress_over(&self) {
        self.inner.progress.over();
    }

    /// How long the channel's task is overdue: it is stuck.
    pub fn stuck(&self) -> Option<Duration> {
        self.inner.progress.overdue()
    }

    /// When the program began.
    pub fn started(&self) -> Instant {
        self.inner.started
    }

    /// The id that the agent connects as.
    pub fn set_agent(&self, id: &str) {
        self.inner.snapshot.send_if_modified(|now| {
            let changed = now.agent.as_deref() != Some(id);
            now.agent = Some(id.to_owned());
            changed
        });
    }

    /// The channel moved on, without a session.
    pub fn set_phase(&self, phase: Phase) {
        self.inner.snapshot.send_modify(|now| {
            if now.phase != phase {
                now.phase = phase;
                now.since = Instant::now();
            }
            now.session = None;
            now.channel.streams = [0; 3];
            now.channel.held = 0;
        });
    }

    /// A session is established.
    pub fn connected(&self, session: &str) {
        self.inner.snapshot.send_modify(|now| {
            now.phase = Phase::Connected;
            now.since = Instant::now();
            now.session = Some(session.to_owned());
            now.warning = None;
            now.sessions += 1;
        });
    }

    /// A session was lost, or an attempt failed.
    pub fn failed(&self, cause: &'static str, message: String) {
        self.inner.snapshot.send_modify(|now| {
            *now.reconnects.entry(cause).or_default() += 1;
            now.last_error = Some(LastError {
                cause,
                message,
                at: Instant::now(),
            });
        });
    }

    /// The gateway warns.
    pub fn warned(&self, code: &'static str, message: &str) {
        let most = message.floor_char_boundary(limits::WARNING_TEXT);
        self.inner.snapshot.send_modify(|now| {
            now.warning = Some(Warning {
                code,
                message: message[..most].to_owned(),
                at: Instant::now(),
            });
        });
    }

    /// Counts of the session; wakes nobody.
    pub fn set_channel(&self, channel: Channel) {
        self.inner.snapshot.send_if_modified(|now| {
            now.channel = channel;
            false
        });
    }

    /// The API server answered, or did not.
    pub fn set_api_server(&self, heard: Result<(String, String), String>) {
        self.inner.snapshot.send_if_modified(|now| {
            let next = match heard {
                Ok((uid, version)) => ApiServer::Up { uid, version },
                Err(message) => ApiServer::Down {
                    message,
                    uid: now.api_server.uid().map(str::to_owned),
                    version: now.api_server.version().map(str::to_owned),
                },
            };
            let changed = next != now.api_server;
            now.api_server = next;
            changed
        });
    }

    /// What checks found; wakes whoever watches only when a state changed.
    pub fn set_health(&self, findings: Vec<Finding>) -> bool {
        let now = Instant::now();
        self.inner
            .snapshot
            .send_if_modified(|snapshot| snapshot.health.take(findings, now))
    }

    /// What the cluster amounts to; wakes nobody.
    pub fn set_census(&self, census: Option<Census>) {
        self.inner.snapshot.send_if_modified(|now| {
            now.census = census;
            false
        });
    }

    /// What the process uses; wakes nobody.
    pub fn set_process(&self, process: Process) {
        self.inner.snapshot.send_if_modified(|now| {
            now.process = process;
            false
        });
    }

    /// Whether this agent says what is said once a cluster.
    pub fn set_primary(&self, primary: bool) {
        self.inner.snapshot.send_if_modified(|now| {
            if !primary {
                // What the cluster amounts to is another's to say, and grows old here.
                now.census = None;
            }
            std::mem::replace(&mut now.primary, primary) != primary
        });
    }

    /// The program was asked to stop.
    pub fn drain(&self) {
        self.inner.snapshot.send_modify(|now| now.draining = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(status: &Status) -> Vec<&'static str> {
        let unready = status.snapshot().unready();
        unready.into_iter().map(Unready::as_str).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn ready_needs_a_session_and_an_api_server() {
        let status = Status::default();
        assert_eq!(reasons(&status), ["channel", "api_server"]);
        status.connected("s-1");
        status.set_api_server(Ok(("uid".into(), "v1.36.0".into())));
        assert!(reasons(&status).is_empty());
        status.set_api_server(Err("refused".into()));
        assert_eq!(reasons(&status), ["api_server"]);
        assert_eq!(status.snapshot().api_server.uid(), Some("uid"));
        status.set_phase(Phase::Refused);
        status.drain();
        assert_eq!(reasons(&status), ["draining", "auth", "api_server"]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_by_cause_and_counts_wake_nobody() {
        let status = Status::default();
        let mut watch = status.watch();
        status.failed("dns", "no such name".into());
        status.failed("dns", "no such name".into());
        assert_eq!(status.snapshot().reconnects["dns"], 2);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        status.set_channel(Channel {
            sent: 9,
            ..Channel::default()
        });
        assert!(!watch.has_changed().unwrap());
        assert_eq!(status.snapshot().channel.sent, 9);
    }
}
