//! What is asked for once: health, features, connectivity, runtime and configuration.
//!
//! Owns these routes and how often what stands behind them is asked. Owns not: the checks (`health`)
//! nor the shapes (`view`). Invariant: however many ask, the cluster and the control plane are asked
//! once in so long.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::answer::{self, Failure};
use super::view::{self, Pace};
use super::{Shared, collect};
use crate::commands::overview;
use crate::health::connectivity::{Check, Outcome, Target};
use crate::limits;

/// Something that is asked for once for all who want it within a while.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    known: tokio::sync::Mutex<Option<(Instant, Value)>>,
}

impl Fresh {
    async fn get(
        &self,
        lasts: Duration,
        ask: impl Future<Output = Option<Value>>,
    ) -> Option<Value> {
        let mut known = self.known.lock().await;
        if let Some((at, value)) = known.as_ref()
            && Instant::now().saturating_duration_since(*at) < lasts
        {
            return Some(value.clone());
        }
        let value = ask.await?;
        *known = Some((Instant::now(), value.clone()));
        Some(value)
    }

    /// What is known without asking, however old.
    pub(super) fn known(&self) -> Option<Value> {
        let known = self.known.try_lock().ok()?;
        known.as_ref().map(|(_, value)| value.clone())
    }
}

const STARTING: Failure = Failure::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "starting",
    "the agent has only just begun",
    "ask again in a second",
);

pub(super) async fn health(State(shared): State<Shared>) -> Response {
    let Some(sources) = shared.sources.get() else {
        return STARTING.into_response();
    };
    let told = shared.examined.get(limits::LOCAL_METRICS_EVERY, async {
        let examined = sources.health.examine().await;
        shared.took.send_modify(|took| {
            for one in &examined {
                took.insert(one.component.finding.component, one.took);
            }
        });
        let now = shared.status.snapshot();
        Some(view::health(&now, &shared.took(), &shared.clock))
    });
    Json(told.await.unwrap_or_default()).into_response()
}

pub(super) async fn features(State(shared): State<Shared>) -> Response {
    let Some(sources) = shared.sources.get() else {
        return STARTING.into_response();
    };
    let mut failed = None;
    let told = shared.features.get(limits::FEATURES_LAST, async {
        match timeout(limits::CLUSTER_CALL * 2, overview::features(sources)).await {
            Ok(Ok(told)) => Some(told),
            Ok(Err(error)) => {
                failed = Some(error.body().message);
                None
            }
            Err(_) => None,
        }
    });
    match told.await {
        Some(mut told) => {
            told["local"] = shared.features();
            Json(told).into_response()
        }
        None => answer::told(
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            failed
                .as_deref()
                .unwrap_or("the API server does not answer in time"),
            "see /api/status/connectivity",
        ),
    }
}

pub(super) async fn connectivity(State(shared): State<Shared>) -> Response {
    let Some(sources) = shared.sources.get() else {
        return STARTING.into_response();
    };
    let told = shared.connectivity.get(limits::CONNECTIVITY_LAST, async {
        let all = [Target::ControlPlane, Target::ApiServer, Target::Clock];
        let tests = join_all(all.map(|target| sources.health.test(target)));
        let checks = timeout(limits::CONNECTIVITY_DEADLINE, tests).await.ok()?;
        let checks: Vec<Check> = checks.into_iter().flatten().collect();
        let worst = checks.iter().map(|check| check.outcome).max();
        let checks: Vec<_> = checks.iter().map(check).collect();
        Some(json!({
            "at": shared.clock.now(),
            "outcome": worst.map(outcome),
            "checks": checks,
        }))
    });
    match told.await {
        Some(told) => Json(told).into_response(),
        None => answer::told(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline_exceeded",
            "the tests took too long",
            "ask again",
        ),
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Skipped => "skipped",
        Outcome::Ok => "ok",
        Outcome::Warn => "warn",
        Outcome::Fail => "fail",
    }
}

fn check(check: &Check) -> Value {
    json!({
        "name": check.name,
        "outcome": outcome(check.outcome),
        "latency_ms": check.latency.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
        "message": check.message,
        "remedy": check.remedy,
    })
}

pub(super) async fn runtime(State(shared): State<Shared>) -> Response {
    shared.metrics.refresh();
    let at = shared.clock.now();
    // Over the whole life where nobody has looked before.
    let mut pace = Pace::since(shared.status.started());
    Json(collect::runtime(&shared, &mut pace, Duration::ZERO, &at)).into_response()
}

pub(super) async fn status(State(shared): State<Shared>) -> Response {
    shared.metrics.refresh();
    Json(shared.status_now()).into_response()
}

pub(super) async fn config(State(shared): State<Shared>) -> Response {
    Json(&shared.config.facts.settings).into_response()
}
