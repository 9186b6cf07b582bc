//! The gateway's paths, and the token that each asks for.
//!
//! | path | method | token | answer |
//! |---|---|---|---|
//! | `/clusters/{id}/k8s/...` | any | user | the cluster's API |
//! | `/clusters/{id}/commands/{name}` | POST | user | a command of the agent's: its events |
//! | `/clusters/{id}/events`, `/metrics/live`, `/status`, `/services` | GET | user | the same, for people |
//! | `/clusters/{id}/kubeconfig` | GET | user | a kubeconfig with the token that was shown |
//! | `/clusters` | GET | user | the clusters that this user may use |
//! | `/register` | POST | agent | where the channel is |
//! | `/channel` | GET | agent | the channel's upgrade |
//! | `/channel/sse`, `/channel/sse/{id}` | GET, POST | agent | the channel without one |
//! | `/health`, `/ready` | GET | none | `ok`, or 503 while leaving |
//! | `/metrics` | GET | user, or none on loopback | Prometheus text |
//!
//! Matched by hand, the hot path first. Owns not what the handlers do. Invariant: no path but the
//! probes does anything before a token was checked.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use super::Shared;
use super::access;
use super::admission;
use super::agents::ClusterView;
use super::answers;
use super::body::Body;
use super::caller::Flow;
use super::commands;
use super::handshake;
use super::kubeconfig::Kubeconfig;
use super::kubernetes::{self, Target};
use super::register;
use super::sse;
use super::tokens::Entry;
use crate::kubeapi::status::{Failure, Hop};
use crate::protocol::error::{ErrorBody, ErrorCode};

/// Answers one request.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    flow: Arc<Flow>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    flow.begin();
    // What is left of a session without a WebSocket goes on over its connections.
    let sessions = request.uri().path().starts_with(sse::SSE);
    let mut response = route(&shared, &flow, peer, request).await;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if shared.stop.is_cancelled() && !upgraded && !sessions {
        // The next request is to find another gateway.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    // A stream's answer, or an upgrade, ends later.
    let whole = matches!(response.body(), Body::Whole(_));
    if whole && !upgraded {
        flow.end();
    }
    response
}

async fn route(
    shared: &Arc<Shared>,
    flow: &Arc<Flow>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    // The URI is cheap to clone; its path is borrowed while the request is consumed.
    let uri = request.uri().clone();
    let path = uri.path();
    if let Some((cluster, below)) = path
        .strip_prefix("/clusters/")
        .and_then(|rest| rest.split_once('/'))
    {
        let Some(entry) = user(shared, request.headers()) else {
            let id = shared.next_id("r");
            access::unauthorized(&id, cluster, request.method(), peer);
            shared.metrics.refused("unauthorized");
            return answers::status(&Failure::Unauthorized, Hop::Gateway, &id);
        };
        if let Some(path) = below.strip_prefix("k8s")
            && (path.is_empty() || path.starts_with('/'))
        {
            let path = if path.is_empty() { "/" } else { path };
            let target = Target { cluster, path };
            // hyper keeps the room of this future for as long as the connection lives: boxed, so
            // that a stalled answer does not hold what finding its agent needed.
            return Box::pin(kubernetes::serve(shared, &entry, flow, target, request)).await;
        }
        if let Some(name) = below.strip_prefix(commands::COMMANDS) {
            let answer = commands::serve(shared, &entry, flow, cluster, name, request);
            return Box::pin(answer).await;
        }
        if let Some(page) = commands::Page::of(below) {
            let answer = commands::page(shared, &entry, flow, cluster, page, request);
            return Box::pin(answer).await;
        }
        if below == "kubeconfig" && request.method() == Method::GET {
            return kubeconfig(shared, &entry, cluster, &request);
        }
        return not_here();
    }
    if let Some(below) = path.strip_prefix(sse::SSE)
        && (below.is_empty() || below.starts_with('/'))
    {
        return match agent(shared, request.headers()) {
            Ok((entry, id)) => Box::pin(sse::serve(shared, entry, &id, flow, below, request)).await,
            Err(refused) => *refused,
        };
    }
    match (request.method(), path) {
        (&Method::GET, "/health") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/ready") if shared.stop.is_cancelled() => {
            text(StatusCode::SERVICE_UNAVAILABLE, "leaving\n")
        }
        (&Method::GET, "/ready") => text(StatusCode::OK, "ok\n"),
        (&Method::POST, "/register") => match agent(shared, request.headers()) {
            Ok((entry, cluster)) => {
                Box::pin(register::register(shared, &entry, &cluster, request)).await
            }
            Err(refused) => *refused,
        },
        (&Method::GET, handshake::CHANNEL) => match agent(shared, request.headers()) {
            Ok((entry, cluster)) => handshake::channel(shared, entry, &cluster, request),
            Err(refused) => *refused,
        },
        (&Method::GET, "/clusters" | "/clusters/") => match user(shared, request.headers()) {
            Some(entry) => clusters(shared, &entry),
            None => unauthorized(shared),
        },
        (&Method::GET, "/metrics") => {
            if peer.ip().is_loopback() || user(shared, request.headers()).is_some() {
                metrics(shared)
            } else {
                unauthorized(shared)
            }
        }
        _ => not_here(),
    }
}

fn text(code: StatusCode, body: &str) -> Response<Body> {
    answers::text(code, "text/plain; charset=utf-8", body.to_owned())
}

/// A path that is no cluster's: nobody's object is gone, so this 404 is no `Status`.
fn not_here() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "nothing is served here\n")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn user(shared: &Shared, headers: &HeaderMap) -> Option<Arc<Entry>> {
    let entry = shared.tokens.check(bearer(headers)?)?;
    entry.is_user().then_some(entry)
}

/// The entry of an agent's token, and its cluster; otherwise the refusal (P-3).
fn agent(
    shared: &Shared,
    headers: &HeaderMap,
) -> Result<(Arc<Entry>, String), Box<Response<Body>>> {
    let refused = |status, code, message| {
        shared.metrics.handshake_refused(code);
        Box::new(answers::refusal(status, &ErrorBody::new(code, message)))
    };
    let entry = bearer(headers).and_then(|token| shared.tokens.check(token));
    let Some(entry) = entry else {
        return Err(refused(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "the token is not valid",
        ));
    };
    match entry.agent_of().map(str::to_owned) {
        Some(cluster) => Ok((entry, cluster)),
        None => Err(refused(
            StatusCode::FORBIDDEN,
            ErrorCode::Forbidden,
            "this is a user's token, not an agent's",
        )),
    }
}

fn unauthorized(shared: &Shared) -> Response<Body> {
    shared.metrics.refused("unauthorized");
    answers::status(&Failure::Unauthorized, Hop::Gateway, &shared.next_id("r"))
}

fn clusters(shared: &Shared, entry: &Entry) -> Response<Body> {
    let views: Vec<_> = shared
        .tokens
        .clusters()
        .into_iter()
        .filter(|id| entry.may_use(id))
        .map(|id| match shared.agents.get(&id) {
            Some(cluster) => ClusterView::of(&cluster),
            None => ClusterView::never(&id),
        })
        .collect();
    answers::json(StatusCode::OK, &json!({ "clusters": views }))
}

/// The kubeconfig holds the token of this very request, so nothing is told that was not known.
fn kubeconfig(
    shared: &Shared,
    entry: &Entry,
    cluster: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    if let Err(refused) = admission::access(shared, entry, cluster) {
        return answers::status(&refused.failure, refused.hop, &shared.next_id("r"));
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .filter(|host| host.parse::<http::uri::Authority>().is_ok() && !host.contains('@'));
    let (Some(host), Some(token)) = (host, bearer(request.headers())) else {
        return text(StatusCode::BAD_REQUEST, "the request has no host\n");
    };
    let text = Kubeconfig {
        gateway: &format!("https://{host}"),
        ca_pem: shared.config.ca_pem.as_deref(),
        cluster,
        user: &entry.actor.user,
        token,
    }
    .render();
    answers::text(StatusCode::OK, "application/yaml", text)
}

fn metrics(shared: &Shared) -> Response<Body> {
    let sessions = shared.agents.all();
    let mut streams = [0_u32; 3];
    for counts in sessions.iter().filter_map(|session| session.measure()) {
        for (sum, count) in streams.iter_mut().zip(counts.streams) {
            *sum = sum.saturating_add(count);
        }
    }
    let (agents, users) = shared.tokens.count();
    let held = shared.pool.held();
    let body = shared
        .metrics
        .scrape(sessions.len(), streams, held, agents + users);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    answers::text(StatusCode::OK, content_type, body)
}
