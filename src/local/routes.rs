//! Which path leads where, what is switched off, and how requests are counted.
//!
//! Owns the router and the answers of what is not there. Owns not: the routes' own answers. Invariant:
//! who may ask is checked before any route, and each request is counted under a name of a closed set.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use prometheus_client::encoding::EncodeLabelSet;

use super::answer::{self, Failure};
use super::guard::{self, Guard};
use super::{Shared, api, dashboard, events, logs, own, probes, websocket};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Endpoint {
    endpoint: &'static str,
    code: u16,
}

pub(super) fn router(shared: Shared) -> Router {
    let guard = Guard::new(&shared.config);
    let mut router = Router::new()
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .route("/version", get(probes::version))
        .route("/metrics", get(probes::scrape))
        .route("/api/status", get(api::status))
        .route("/api/config", get(api::config))
        .route("/api/panels", get(own::panels));
    let features = &shared.config.features;
    for (path, on, key, route) in [
        (
            "/api/health/detailed",
            features.health_monitoring,
            "features.health_monitoring",
            get(api::health),
        ),
        (
            "/api/status/features",
            features.feature_detection,
            "features.feature_detection",
            get(api::features),
        ),
        (
            "/api/status/connectivity",
            features.connectivity_testing,
            "features.connectivity_testing",
            get(api::connectivity),
        ),
        (
            "/api/metrics/runtime",
            features.runtime_metrics,
            "features.runtime_metrics",
            get(api::runtime),
        ),
        (
            "/api/realtime/events",
            shared.config.sse,
            "server.enable_sse",
            get(events::events),
        ),
        (
            "/api/realtime/logs",
            shared.config.sse,
            "server.enable_sse",
            get(logs::logs),
        ),
        (
            "/ws",
            shared.config.websocket,
            "server.enable_websocket",
            get(websocket::upgrade),
        ),
    ] {
        router = router.route(path, if on { route } else { off(key) });
    }
    router = if shared.config.dashboard {
        router.merge(dashboard::routes())
    } else {
        router.route("/dashboard", off("server.enable_dashboard"))
    };
    router
        .fallback(unknown)
        .method_not_allowed_fallback(not_that)
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .with_state(shared)
}

/// What stands in a route's place where the configuration has switched it off.
fn off(key: &'static str) -> MethodRouter<Shared> {
    get(async move || {
        answer::told(
            StatusCode::NOT_FOUND,
            "disabled",
            "the configuration has switched this off",
            &format!("set {key} to true and restart the agent"),
        )
    })
}

/// The routes as they are counted: a closed set.
const COUNTED: [&str; 15] = [
    "/health",
    "/ready",
    "/version",
    "/metrics",
    "/api/health/detailed",
    "/api/status",
    "/api/status/features",
    "/api/status/connectivity",
    "/api/metrics/runtime",
    "/api/config",
    "/api/panels",
    "/api/realtime/events",
    "/api/realtime/logs",
    "/ws",
    "/dashboard",
];

async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let known = |endpoint: &&&str| {
        path == **endpoint || (**endpoint == "/dashboard" && path.starts_with("/dashboard/"))
    };
    let endpoint = COUNTED.iter().find(known).copied().unwrap_or("other");
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let label = Endpoint { endpoint, code };
    shared.requests.get_or_create(&label).inc();
    response
}

async fn unknown() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here",
        "see docs/local-api.md for what there is",
    )
}

async fn not_that() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this server only tells, it changes nothing",
        "use GET",
    )
}
