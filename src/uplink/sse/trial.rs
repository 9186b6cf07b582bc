//! A test of this way, which leaves nothing behind at the control plane: a channel is opened, heard,
//! and closed again before `hello`.
//!
//! Owns the three requests. Owns not their deadline, which is the caller's.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::lane::{self, Lane, Request};
use super::{Opened, SseError, is_events};
use crate::config::secret::Secret;
use crate::limits;
use crate::link::carriage::{self, Parcel};
use crate::protocol::version::Version;
use crate::tasks::Tasks;
use crate::uplink::dial::Dialler;
use crate::uplink::register::Refusal;

/// Where channels are opened, where nobody has registered to learn it.
const SSE: &str = "/channel/sse";

/// How requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::uplink) enum Passed {
    /// Events come as they happen.
    AtOnce,
    /// Something keeps an answer back until it is whole.
    KeptBack,
}

/// Tests the way.
///
/// # Cancel safety
/// Dropping it closes what was opened; the gateway forgets the channel by itself.
pub(in crate::uplink) async fn trial(
    dialler: &Dialler,
    token: &Secret,
) -> Result<Passed, SseError> {
    let tasks = Tasks::new();
    let request = |method, path: &str, body| lane::request(dialler, method, path, token, body);
    let mut lane = Lane::open(dialler, &tasks).await?;
    let mut open: Request = request(Method::POST, &dialler.url().below(SSE), Bytes::new());
    open.headers_mut().insert(
        HeaderName::from_static("pipeops-protocol"),
        HeaderValue::from_static(Version::V2.subprotocol()),
    );
    let (status, headers, body) = lane.exchange(open).await?;
    if status != StatusCode::CREATED {
        return Err(SseError::Refused(Refusal::new(status, &headers, &body)));
    }
    let opened: Opened =
        serde_json::from_slice(&body).map_err(|_| SseError::Strange("it names no channel"))?;
    let path = dialler
        .url()
        .channel(&opened.channel)
        .ok_or(SseError::Strange("its channel is elsewhere"))?;

    let events = Lane::open(dialler, &tasks).await?;
    let sender = events.sender();
    let get = sender.send(request(Method::GET, &path, Bytes::new()));
    let first = timeout(limits::SSE_FIRST, async {
        let mut answer = get.await?;
        if answer.status() != StatusCode::OK || !is_events(answer.headers()) {
            return Err(SseError::Strange("it holds no events"));
        }
        match answer.body_mut().frame().await {
            Some(Ok(_)) => Ok(Passed::AtOnce),
            Some(Err(error)) => Err(error.into()),
            None => Err(SseError::Strange("it ended before the first event")),
        }
    });
    let passed = first.await.unwrap_or(Ok(Passed::KeptBack))?;

    let mut goodbye = BytesMut::new();
    carriage::begin_body(1, 0, &mut goodbye);
    carriage::write_parcel(&Parcel::Close(1000, "check".into()), &mut goodbye);
    let (status, headers, body) = lane
        .exchange(request(Method::POST, &path, goodbye.freeze()))
        .await?;
    if status == StatusCode::OK {
        Ok(passed)
    } else {
        Err(SseError::Refused(Refusal::new(status, &headers, &body)))
    }
}
