//! Probes, version and metrics: what anyone may ask.
//!
//! Owns their bodies. Invariant: nothing here names a host, an address or a secret: these answer
//! the whole pod network.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

use super::Shared;
use super::query::{self, Pairs};
use crate::metrics;
use crate::release::Release;
use crate::status::Unready;

pub(super) async fn health(State(shared): State<Shared>) -> Response {
    // The one thing that a new start would mend. That somebody answers here at all says that the
    // event loop goes round.
    match shared.status.stuck() {
        None => Json(json!({ "status": "ok" })).into_response(),
        Some(late) => {
            let body = json!({
                "status": "stuck",
                "reason": "the channel's task makes no progress",
                "overdue_seconds": late.as_secs(),
            });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

pub(super) async fn ready(State(shared): State<Shared>, Query(query): Query<Pairs>) -> Response {
    let now = shared.status.snapshot();
    let reasons: Vec<_> = now.unready().into_iter().map(Unready::as_str).collect();
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // Causes only: messages name hosts.
    let mut body = json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "channel": now.phase.as_str(),
        "api_server": now.api_server.is_up(),
        "last_cause": now.last_error.map(|error| error.cause),
    });
    if query::value(&query, "verbose").is_some() {
        let component = |component: &crate::status::Component| {
            json!({
                "name": component.finding.component,
                "state": component.finding.state.as_str(),
                "message": component.finding.message,
            })
        };
        body["components"] = now.health.components.iter().map(component).collect();
    }
    (code, Json(body)).into_response()
}

pub(super) async fn version() -> Response {
    Json(Release::this()).into_response()
}

pub(super) async fn scrape(State(shared): State<Shared>) -> Response {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, shared.metrics.encode()).into_response()
}
