//! A cluster as `GET /clusters` shows it.
//!
//! Owns what is shown and how it is named. Owns not: where it comes from (`agents`, a session's
//! reports and heartbeats). Invariant: what is not known is left out, never guessed.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::time::Instant;

use super::duplicate::DuplicateView;
use super::{Cluster, Connected};
use crate::protocol::hello::SessionRole;
use crate::protocol::message::{HealthState, NodeCounts, PodCounts};
use crate::session::Session;

/// A cluster as `/clusters` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterView {
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// The newest of another cluster's agents that asked for this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<DuplicateView>,
    /// The primary's, as are the next three.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<NodeCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<PodCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unhealthy: Option<u32>,
    replicas: Vec<ReplicaView>,
}

#[derive(Debug, Serialize)]
struct ReplicaView {
    session: String,
    agent: String,
    instance: String,
    version: String,
    role: SessionRole,
    connected_s: u64,
    streams: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_server: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconnects: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commands: Option<u64>,
}

impl ClusterView {
    /// A cluster that a token names and that was never heard of.
    pub(crate) fn never(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            state: "never",
            name: None,
            kubernetes: None,
            uid: None,
            labels: BTreeMap::new(),
            last_seen_s: None,
            last_error: None,
            duplicate: None,
            health: None,
            nodes: None,
            pods: None,
            unhealthy: None,
            replicas: Vec::new(),
        }
    }

    /// A cluster as it is now.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let sessions = cluster.sessions();
        let newest = sessions.last();
        let report = newest.and_then(|session| {
            let state = session.state.lock().expect("no holder of this lock panics");
            state.report.clone()
        });
        let primary = sessions
            .iter()
            .find(|session| session.role() == SessionRole::Primary);
        let summary = primary.map(|session| {
            let state = session.state.lock().expect("no holder of this lock panics");
            state.summary
        });
        let summary = summary.unwrap_or_default();
        let (last_seen, _) = cluster.absence();
        let duplicate = cluster.known().duplicate.clone();
        Self {
            id: cluster.id.to_string(),
            state: match (sessions.is_empty(), last_seen) {
                (false, _) => "connected",
                (true, Some(_)) => "disconnected",
                (true, None) => "never",
            },
            name: newest.map(|session| session.hello.cluster.name.clone()),
            kubernetes: report
                .and_then(|report| report.kubernetes)
                .or_else(|| newest.and_then(|session| session.hello.cluster.version.clone())),
            uid: newest.and_then(|session| session.uid()),
            labels: newest
                .map(|session| session.hello.cluster.labels.clone())
                .unwrap_or_default(),
            last_seen_s: last_seen.map(|ago| {
                if sessions.is_empty() {
                    ago.as_secs()
                } else {
                    0
                }
            }),
            last_error: cluster.known().last_error.clone(),
            duplicate: duplicate.and_then(|duplicate| duplicate.view()),
            health: summary.health,
            nodes: summary.nodes,
            pods: summary.pods,
            unhealthy: summary.unhealthy,
            replicas: sessions.iter().map(|s| ReplicaView::of(s)).collect(),
        }
    }
}

impl ReplicaView {
    fn of(connected: &Connected) -> Self {
        let counts = connected.session().map(Session::counts).unwrap_or_default();
        let state = connected
            .state
            .lock()
            .expect("no holder of this lock panics");
        Self {
            session: connected.id.clone(),
            agent: connected.hello.agent.id.clone(),
            instance: connected.hello.agent.instance.clone(),
            version: connected.hello.agent.version.clone(),
            role: connected.role(),
            connected_s: Instant::now()
                .saturating_duration_since(connected.since)
                .as_secs(),
            streams: counts.streams.iter().sum(),
            round_trip_ms: counts.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            ready: state.report.as_ref().map(|report| report.ready),
            api_server: state.report.as_ref().map(|report| report.api_server),
            access: state.report.as_ref().map(|report| report.access.clone()),
            health: state.summary.health,
            problems: state
                .report
                .as_ref()
                .map(|report| report.problems.clone())
                .unwrap_or_default(),
            memory_kib: state.summary.rss_kib,
            cpu_ms: state.summary.cpu_ms,
            reconnects: state.summary.reconnects,
            commands: state.heartbeat.map(|heartbeat| heartbeat.commands),
        }
    }
}
