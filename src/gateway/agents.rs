//! Which agents are connected: per cluster its sessions, and what is known of it without them.
//!
//! Owns the registry, the choice of a session for a new command (the least loaded, round robin
//! among equals), and what `/clusters` tells. Owns not handshakes ([`super::handshake`]).
//! Invariants: a session is listed from its `welcome` to its end; of two sessions of one instance
//! the newer stays; no session of another cluster is ever chosen.

mod duplicate;
mod primary;
mod returning;
mod view;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::metrics::{Metrics, Seen};
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{ClusterFacts, Hello, SessionRole};
use crate::protocol::message::{Heartbeat, Report, Summary};
use crate::session::{Incoming, Notice, Open, Session};
use duplicate::Duplicate;
use returning::Processes;

pub(crate) use view::ClusterView;

/// One agent's session.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The session's id, for logs on both sides.
    pub(crate) id: String,
    pub(crate) hello: Hello,
    /// It carries the cluster's telemetry.
    primary: AtomicBool,
    pub(crate) zstd: bool,
    session: OnceLock<Session>,
    /// Commands in flight.
    load: Arc<AtomicUsize>,
    since: Instant,
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// It has ended, and its process does not come back to go on.
    finally: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    report: Option<Report>,
    heartbeat: Option<Heartbeat>,
    /// All that the session's heartbeats said, put together (P-111).
    summary: Summary,
    seen: Seen,
}

/// A command in flight, until dropped.
#[derive(Debug)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connected {
    pub(crate) fn new(
        id: String,
        hello: Hello,
        role: SessionRole,
        zstd: bool,
        cluster: Arc<Cluster>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            hello,
            primary: AtomicBool::new(role == SessionRole::Primary),
            zstd,
            session: OnceLock::new(),
            load: Arc::default(),
            since: Instant::now(),
            cluster,
            metrics,
            state: Mutex::default(),
            finally: AtomicBool::new(false),
        })
    }

    /// The session, once it is established.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.get()
    }

    /// Counts a command in.
    pub(crate) fn load(&self) -> Load {
        self.load.fetch_add(1, Ordering::Relaxed);
        Load(Arc::clone(&self.load))
    }

    /// The cluster's UID, from the newest that the agent said.
    pub(crate) fn uid(&self) -> Option<String> {
        let state = self.state.lock().expect("no holder of this lock panics");
        let reported = state.report.as_ref().and_then(|r| r.cluster_uid.clone());
        reported.or_else(|| self.hello.cluster.uid.clone())
    }

    /// Adds what the session has counted since the last time to the gateway's figures.
    pub(crate) fn measure(&self) -> Option<crate::session::Counts> {
        let counts = self.session()?.counts();
        let mut state = self.state.lock().expect("no holder of this lock panics");
        self.metrics.grown(&mut state.seen, &counts);
        Some(counts)
    }

    fn is_open(&self) -> bool {
        self.session().is_some_and(Session::is_open)
    }

    fn reported(&self, report: Report) {
        tracing::info!(
            session = self.id,
            cluster = &*self.cluster.id,
            ready = report.ready,
            api_server = report.api_server,
            kubernetes = report.kubernetes,
            access = report.access,
            health = ?report.health,
            problems = report.problems.join(","),
            "Agent reported"
        );
        let uid = report.cluster_uid.clone();
        self.cluster.seen();
        let mut state = self.state.lock().expect("no holder of this lock panics");
        // A report is ahead of the next heartbeat.
        state.summary.health = report.health.or(state.summary.health);
        state.report = Some(report);
        drop(state);
        // The UID may be known only now; the one that was here first stays.
        let other = self.cluster.sessions().into_iter().any(|other| {
            other.id != self.id && other.is_open() && other.since <= self.since && {
                let theirs = other.uid();
                theirs.is_some() && uid.is_some() && theirs != uid
            }
        });
        if other && let Some(session) = self.session() {
            tracing::warn!(
                session = self.id,
                cluster = &*self.cluster.id,
                "Another cluster uses this id"
            );
            let facts = ClusterFacts {
                uid,
                ..self.hello.cluster.clone()
            };
            self.cluster.contested(&self.hello.agent, &facts);
            session.abort(
                ErrorCode::DuplicateAgent,
                "another cluster uses this agent id",
            );
        } else {
            self.cluster.name_primary();
        }
    }
}

impl Open for Connected {
    fn open(&self, incoming: Incoming) {
        // Only the gateway opens streams; the session does not let this happen.
        drop(incoming);
    }

    fn notice(&self, notice: Notice) {
        match notice {
            Notice::Report(report) => self.reported(report),
            Notice::Heartbeat(heartbeat) => {
                self.cluster.seen();
                if let Some(rtt) = self.session().and_then(|session| session.counts().rtt) {
                    self.metrics.round_trip(rtt);
                }
                let mut state = self.state.lock().expect("no holder of this lock panics");
                if let Some(said) = &heartbeat.summary {
                    state.summary.update(said);
                }
                state.heartbeat = Some(heartbeat);
            }
            Notice::Goaway(goaway) => {
                tracing::info!(session = self.id, cluster = &*self.cluster.id, code = %goaway.code, "Agent is leaving");
                self.cluster
                    .failed(format!("{}: {}", goaway.code, goaway.message));
                self.cluster.name_primary();
            }
            // Only an agent hears these.
            Notice::Ack(_) | Notice::Role(_) | Notice::Warning(_) => {}
        }
    }
}

/// A cluster that was heard of.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) id: Arc<str>,
    inner: Mutex<Known>,
    turn: AtomicUsize,
    /// Told whenever a session is listed or taken off, to those who wait for one.
    pub(crate) joined: Notify,
}

#[derive(Debug, Default)]
struct Known {
    sessions: Vec<Arc<Connected>>,
    last_seen: Option<Instant>,
    last_error: Option<String>,
    lost: Option<Instant>,
    processes: Processes,
    duplicate: Option<Duplicate>,
    /// When those who hold the place were last told of a duplicate.
    told: Option<Instant>,
}

impl Cluster {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Connected>> {
        self.known().sessions.clone()
    }

    fn seen(&self) {
        self.known().last_seen = Some(Instant::now());
    }

    pub(crate) fn failed(&self, why: String) {
        self.known().last_error = Some(why);
    }

    /// Lists an established session. An older one of the same instance is asked to go.
    pub(crate) fn join(&self, connected: &Arc<Connected>, session: Session) {
        let _ = connected.session.set(session);
        let mut known = self.known();
        known.last_seen = Some(Instant::now());
        known.lost = None;
        known.processes.met(&connected.hello.agent);
        let instance = &connected.hello.agent.instance;
        let older: Vec<_> = known
            .sessions
            .extract_if(.., |other| other.hello.agent.instance == *instance)
            .collect();
        known.sessions.push(Arc::clone(connected));
        drop(known);
        self.name_primary();
        self.joined.notify_waiters();
        for older in older {
            tracing::info!(
                session = older.id,
                cluster = &*self.id,
                "Session replaced by a newer one"
            );
            // One that was told to go, and has moved, ends what it does.
            let Some(session) = older.session().filter(|session| session.is_open()) else {
                continue;
            };
            if connected.hello.beside.as_deref() == Some(&older.id) {
                session.yield_to_another();
            } else {
                session.abort(
                    ErrorCode::DuplicateAgent,
                    "the same instance connected again",
                );
            }
        }
    }

    /// Takes a session off the list.
    pub(crate) fn part(&self, connected: &Arc<Connected>, why: String) {
        let mut known = self.known();
        let before = known.sessions.len();
        known
            .sessions
            .retain(|other| !Arc::ptr_eq(other, connected));
        if known.sessions.len() == before {
            return;
        }
        known.last_seen = Some(Instant::now());
        known.last_error = Some(why);
        if known.sessions.is_empty() {
            known.lost = Some(Instant::now());
        }
        drop(known);
        self.name_primary();
        self.joined.notify_waiters();
    }

    /// The session for a new command: the least loaded that takes any, but for those in `not`.
    pub(crate) fn choose(&self, not: &[String]) -> Option<Arc<Connected>> {
        let known = self.known();
        let count = known.sessions.len();
        let first = if count > 1 {
            self.turn.fetch_add(1, Ordering::Relaxed)
        } else {
            0
        };
        (0..count)
            .map(|step| &known.sessions[first.wrapping_add(step) % count])
            .filter(|session| session.is_open() && !not.contains(&session.id))
            .min_by_key(|session| session.load.load(Ordering::Relaxed))
            .cloned()
    }

    /// The open session of this instance, if it has one.
    pub(crate) fn of_instance(&self, instance: &str) -> Option<Arc<Connected>> {
        let sessions = self.sessions();
        sessions
            .into_iter()
            .find(|session| session.is_open() && session.hello.agent.instance == instance)
    }

    /// How long ago the agent was last heard of, and whether it is due back.
    pub(crate) fn absence(&self) -> (Option<Duration>, Option<Duration>) {
        let now = Instant::now();
        let known = self.known();
        let ago = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        (ago(known.last_seen), ago(known.lost))
    }
}

/// Every cluster that was heard of since the start.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    clusters: RwLock<BTreeMap<Arc<str>, Arc<Cluster>>>,
    sessions: AtomicUsize,
    /// The most that there were.
    most: AtomicUsize,
    /// Told when the last session is gone.
    empty: Notify,
}

/// A session's place among all.
#[derive(Debug)]
pub(crate) struct Place(Arc<Agents>);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.sessions.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

impl Agents {
    /// A cluster, if it was heard of.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Cluster>> {
        let clusters = self.clusters.read().expect("no holder of this lock panics");
        clusters.get(id).cloned()
    }

    /// A cluster that a token names.
    pub(crate) fn cluster(&self, id: &str) -> Arc<Cluster> {
        if let Some(cluster) = self.get(id) {
            return cluster;
        }
        let mut clusters = self
            .clusters
            .write()
            .expect("no holder of this lock panics");
        let id: Arc<str> = id.into();
        let cluster = clusters.entry(Arc::clone(&id)).or_insert_with(|| {
            Arc::new(Cluster {
                id,
                inner: Mutex::default(),
                turn: AtomicUsize::new(0),
                joined: Notify::new(),
            })
        });
        Arc::clone(cluster)
    }

    /// Every session.
    pub(crate) fn all(&self) -> Vec<Arc<Connected>> {
        let clusters = self.clusters.read().expect("no holder of this lock panics");
        clusters
            .values()
            .flat_map(|cluster| cluster.sessions())
            .collect()
    }

    /// Waits until there is no session.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn left(&self) {
        let mut gone = pin!(self.empty.notified());
        loop {
            gone.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            gone.as_mut().await;
            gone.set(self.empty.notified());
        }
    }

    /// How many sessions there were at most.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Takes a place, unless `most` are taken.
    pub(crate) fn place(self: &Arc<Self>, most: usize) -> Option<Place> {
        let before = self
            .sessions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            })
            .ok()?;
        self.most.fetch_max(before + 1, Ordering::Relaxed);
        Some(Place(Arc::clone(self)))
    }
}
