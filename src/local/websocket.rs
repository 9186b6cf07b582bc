//! `/ws`: updates, answers and logs over one WebSocket.
//!
//! | client | server |
//! |---|---|
//! | | `welcome` with `connection_id` and `channels` |
//! | `subscribe`, `unsubscribe` with `channels` | `update` for each, the first of them how it stands |
//! | `ping` | `pong` |
//! | `get_status`, `get_metrics` | `status`, `metrics` with `data` |
//! | a type of the operator's own channels | the same type with `channel` and `data` |
//! | `logs.start` with `id` and what to read, `logs.stop` | `log`, `log_gap`, `log_note`, `log_end` |
//! | anything else | `error` with `code` and `message` |
//!
//! Owns the upgrade; `talk` the conversation, `followed` the logs in it. Owns not: the updates
//! (`hub`), the reading of logs (`logs`). Invariant: nothing that a client sends ends anything but
//! its own connection, and nothing is executed.

mod followed;
mod talk;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Shared;
use super::accept::Peer;
use super::answer::Failure;
use super::guard::PROTOCOL;
use crate::limits;
use talk::Talk;

const NO_UPGRADE: Failure = Failure::new(
    StatusCode::UPGRADE_REQUIRED,
    "upgrade_required",
    "this is a WebSocket of version 13",
    "use a WebSocket client, or /api/realtime/events",
);

/// `GET /ws`.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let Some(key) = key(headers) else {
        let mut response = NO_UPGRADE.into_response();
        let websocket = HeaderValue::from_static("websocket");
        response.headers_mut().insert(header::UPGRADE, websocket);
        return response;
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let ours = offers(headers, PROTOCOL);
    let upgrading = hyper::upgrade::on(&mut request);
    let tasks = shared.tasks.clone();
    tasks.spawn_logged("local websocket", async move {
        let cut = peer.hold.is_cut();
        let stop = shared.stop.clone();
        let Ok(Ok(upgraded)) = timeout(limits::HEADER_DEADLINE, upgrading).await else {
            return;
        };
        let talking = Talk::new(&shared, &peer, upgraded).await.run(stop);
        cut.run_until_cancelled(talking).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if ours {
        let protocol = HeaderValue::from_static(PROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    values
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    listed(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|one| one == protocol)
}

fn key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let has = |name, token: &str| listed(headers, name).any(|one| one.eq_ignore_ascii_case(token));
    let asked = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)
}
