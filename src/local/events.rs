//! `/api/realtime/events`: updates as server-sent events.
//!
//! Owns the query, `Last-Event-ID` and the heartbeats. Owns not: the updates (`hub`). Invariant: a
//! stream holds no more than its place in the hub, and ends when the server stops or its client
//! does not read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::accept::{Hold, Peer};
use super::answer;
use super::connected::{Connected, Protocol};
use super::hub::Client;
use super::query::{self, Pairs};

pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<Pairs>,
    headers: HeaderMap,
) -> Response {
    let asked = match query::value(&query, "channels") {
        None => Ok(shared.hub.usual()),
        Some(names) => {
            let names = names.split(',').map(str::trim);
            shared.hub.parse(names.filter(|name| !name.is_empty()))
        }
    };
    let channels = match asked {
        Ok(channels) if channels.is_empty() => return unknown(&shared, ""),
        Ok(channels) => channels,
        Err(name) => return unknown(&shared, name),
    };
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let last = last.or(query::value(&query, "last_event_id"));
    peer.hold.stream();
    let client = shared.hub.enter(channels, last, Arc::clone(&peer.hold));
    let stream = Events {
        client,
        every: shared.config.sse_heartbeat,
        stop: shared.stop.clone(),
        connected: Connected::new(&shared.streams, Protocol::EventStream, &peer),
        hold: Arc::clone(&peer.hold),
    };
    answer(Body::from_stream(stream.bytes()))
}

/// An event stream with this body.
pub(super) fn answer(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn unknown(shared: &Shared, name: &str) -> Response {
    // What was asked stands in the answer as JSON, cut: it may be anything.
    let name: String = name.chars().take(40).collect();
    answer::told(
        StatusCode::BAD_REQUEST,
        "unknown_channel",
        &format!("there is no channel {name:?}"),
        &format!(
            "choose of {}, with commas between them",
            shared.hub.names().join(", ")
        ),
    )
}

struct Events {
    client: Client,
    every: Duration,
    stop: CancellationToken,
    #[expect(dead_code, reason = "it counts by being there")]
    connected: Connected,
    #[expect(dead_code, reason = "the connection takes room as long as it streams")]
    hold: Arc<Hold>,
}

impl Events {
    fn bytes(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        // A browser comes back a second after the stream has ended.
        let first = Some(Bytes::from_static(b": pipeops-agent\nretry: 1000\n\n"));
        futures_util::stream::unfold((self, first), async |(mut it, first)| {
            if let Some(first) = first {
                return Some((Ok(first), (it, None)));
            }
            let bytes = tokio::select! {
                biased;
                () = it.stop.cancelled() => return None,
                update = it.client.next() => update?.sse.clone(),
                () = tokio::time::sleep(it.every) => Bytes::from_static(b": heartbeat\n\n"),
            };
            Some((Ok(bytes), (it, None)))
        })
    }
}
