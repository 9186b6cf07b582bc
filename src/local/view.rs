//! What the agent knows, as JSON for people.
//!
//! Owns the shapes of `status`, `health`, `metrics` and `commands` (`docs/local-api.md`). Pure but
//! for the clock that times are written with. Invariant: no secret is in what it is given, and none
//! is looked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Facts;
use super::clock::Clock;
use crate::health::Usage;
use crate::status::{ApiServer, Commands, Component, HealthState, Phase, Snapshot, Status};

const fn state(state: HealthState) -> &'static str {
    match state {
        HealthState::Ok => "healthy",
        HealthState::Degraded => "degraded",
        HealthState::Failing => "unhealthy",
    }
}

/// `health`; `took` says how long some of the checks took.
pub(super) fn health(
    now: &Snapshot,
    took: &BTreeMap<&'static str, Duration>,
    clock: &Clock,
) -> Value {
    let component = |component: &Component| {
        let finding = &component.finding;
        let took = took.get(finding.component);
        json!({
            "name": finding.component,
            "state": state(finding.state),
            "message": finding.message,
            "since": clock.text(component.since),
            "took_ms": took.map(|took| took.as_millis()),
        })
    };
    let components: Vec<_> = now.health.components.iter().map(component).collect();
    json!({ "state": state(now.health.state()), "components": components })
}

/// `status`, but for what is only known while the cluster is looked at.
pub(super) fn status(
    status: &Status,
    now: &Snapshot,
    facts: &Facts,
    cluster: &Value,
    features: &Value,
    clock: &Clock,
) -> Value {
    let (up, message) = match &now.api_server {
        ApiServer::Unknown => (None, None),
        ApiServer::Up { .. } => (Some(true), None),
        ApiServer::Down { message, .. } => (Some(false), Some(message)),
    };
    let connected = now.phase == Phase::Connected;
    let [interactive, api, bulk] = now.channel.streams;
    json!({
        "agent": {
            "id": now.agent.as_deref().or(facts.agent_id.as_deref()),
            "name": facts.cluster_name,
            "instance": facts.instance,
            "version": env!("CARGO_PKG_VERSION"),
            "cluster_name": facts.cluster_name,
            "labels": facts.labels,
            "access": facts.access,
            "started_at": clock.text(status.started()),
            "uptime_seconds": status.uptime().as_secs(),
        },
        "link": {
            "phase": now.phase.as_str(),
            "transport": now.transport(),
            "obstacle": now.obstacle(),
            "since": clock.text(now.since),
            "round_trip_ms": now.channel.round_trip.filter(|_| connected).map(millis),
            "reconnects": now.reconnects.values().sum::<u64>(),
            "reconnects_by_cause": now.reconnects,
            "sessions": now.sessions,
            "primary": now.is_primary(),
            "last_error": now.last_error.as_ref().map(|error| json!({
                "cause": error.cause,
                "message": error.message,
                "at": clock.text(error.at),
            })),
            "warning": now.warning.as_ref().map(|warning| json!({
                "code": warning.code,
                "message": warning.message,
                "at": clock.text(warning.at),
            })),
            "url_host": facts.url_host,
            "bytes_sent": now.channel.sent,
            "bytes_received": now.channel.received,
            "streams": { "interactive": interactive, "api": api, "bulk": bulk },
        },
        "ready": now.unready().is_empty(),
        "reasons": now.unready().into_iter().map(crate::status::Unready::as_str).collect::<Vec<_>>(),
        "api_server": { "up": up, "version": now.api_server.version(), "message": message },
        "cluster": cluster,
        "features": features,
    })
}

/// The parts of `status` that move all the time, put at rest: what is left says whether there is
/// news.
pub(super) fn at_rest(status: &Value) -> Value {
    let mut still = status.clone();
    still["agent"]["uptime_seconds"] = Value::Null;
    for moves in ["round_trip_ms", "bytes_sent", "bytes_received", "streams"] {
        still["link"][moves] = Value::Null;
    }
    still
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// What is reckoned from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<(Instant, u64)>,
    cores: Option<f64>,
}

impl Pace {
    /// Reckons from `start` on, when nothing had been used.
    pub(super) fn since(start: Instant) -> Self {
        Self {
            last: Some((start, 0)),
            cores: None,
        }
    }

    /// CPU cores in use since the last look, `cpu_ms` being what the process has used in all.
    pub(super) fn cores(&mut self, now: Instant, cpu_ms: Option<u64>) -> Option<f64> {
        let cpu_ms = cpu_ms?;
        if let Some((at, before)) = self.last {
            let time = now.saturating_duration_since(at);
            // The kernel counts in ticks of ten milliseconds: less than this says nothing.
            if time < Duration::from_millis(500) {
                return self.cores;
            }
            let used = cpu_ms.saturating_sub(before) as f64 / 1000.0;
            self.cores = Some((used / time.as_secs_f64() * 1000.0).round() / 1000.0);
        }
        self.last = Some((now, cpu_ms));
        self.cores
    }
}

/// What `metrics` is made of, beside the status.
#[derive(Debug)]
pub(super) struct Runtime<'a> {
    pub(super) usage: Usage,
    pub(super) cores: Option<f64>,
    pub(super) lag: Duration,
    pub(super) tasks: usize,
    pub(super) websockets: i64,
    pub(super) streams: i64,
    pub(super) at: &'a str,
}

/// `metrics`.
pub(super) fn metrics(now: &Snapshot, runtime: &Runtime<'_>) -> Value {
    let [interactive, api, bulk] = now.channel.streams;
    let usage = &runtime.usage;
    json!({
        "at": runtime.at,
        "cpu_cores": runtime.cores,
        "cpu_seconds": usage.cpu_ms.map(|ms| ms as f64 / 1000.0),
        "rss_bytes": usage.rss,
        "memory_bytes": usage.memory.map(|(used, _)| used),
        "memory_limit_bytes": usage.memory.map(|(_, limit)| limit),
        "open_fds": usage.descriptors,
        "max_fds": usage.most_descriptors,
        "tasks": runtime.tasks,
        "streams": { "interactive": interactive, "api": api, "bulk": bulk },
        "held_bytes": now.channel.held,
        "credit_stalls": now.channel.credit_stalls,
        "bytes_sent": now.channel.sent,
        "bytes_received": now.channel.received,
        "round_trip_ms": now.channel.round_trip.map(millis),
        "loop_lag_ms": millis(runtime.lag),
        "websocket_clients": runtime.websockets,
        "sse_clients": runtime.streams,
    })
}

/// `commands`.
pub(super) fn commands(table: &Commands, clock: &Clock) -> Value {
    let running: Vec<_> = table
        .running
        .values()
        .map(|command| {
            json!({
                "id": command.id,
                "name": command.name,
                "actor": command.actor,
                "started_at": clock.text(command.started),
            })
        })
        .collect();
    let recent: Vec<_> = table
        .recent
        .iter()
        .rev()
        .map(|ended| {
            json!({
                "id": ended.command.id,
                "name": ended.command.name,
                "actor": ended.command.actor,
                "started_at": clock.text(ended.command.started),
                "outcome": ended.outcome,
                "duration_ms": ended.took.as_millis(),
            })
        })
        .collect();
    json!({ "running": running, "more_running": table.more, "recent": recent })
}
