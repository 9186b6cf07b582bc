//! Messages up: one request at a time, with everything that is not acknowledged (P-122, P-124).
//!
//! Owns the loop. Invariant: while a request is under way no other is, so that none overtakes
//! another; what was not answered is sent again on a new connection.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::lane::Lane;
use super::{Repetition, SseError, Way, again};
use crate::limits;
use crate::link::sse::Port;
use crate::uplink::register::Refusal;

#[derive(Deserialize)]
struct Answer {
    next: u64,
}

/// Sends until the link is over.
pub(super) async fn run(way: Way, port: Port, lane: Lane) {
    let mut lane = Some(lane);
    let mut repetition = Repetition::default();
    while port.work().await {
        let request = send(&way, &mut lane, port.body());
        let sent = timeout(limits::SSE_REQUEST, request)
            .await
            .unwrap_or(Err(SseError::Slow(limits::SSE_REQUEST)));
        match sent {
            Ok(next) => {
                repetition.succeeded();
                // A number that was never sent breaks the link, and the next turn ends this.
                let _ = port.acknowledged(next.saturating_sub(1));
            }
            Err(error) => {
                lane = None;
                port.unheard();
                if !again(&port, error, &mut repetition).await {
                    return;
                }
            }
        }
    }
}

async fn send(way: &Way, lane: &mut Option<Lane>, body: Bytes) -> Result<u64, SseError> {
    let open = match lane {
        Some(lane) => lane,
        None => lane.insert(way.lane().await?),
    };
    let mut request = way.request(Method::POST, &way.path, body);
    let kind = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    let (status, headers, body) = open.exchange(request).await?;
    if status != StatusCode::OK {
        return Err(SseError::Refused(Refusal::new(status, &headers, &body)));
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| SseError::Strange("it acknowledges nothing"))?;
    Ok(answer.next)
}
