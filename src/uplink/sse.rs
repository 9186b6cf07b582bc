//! The channel without a WebSocket, the agent's end (P-120 to P-126): a request that stays for what
//! comes down (`down`), one after the other for what goes up (`up`).
//!
//! Owns the requests, their deadlines and their repetition. Owns not what they carry (`link::sse`),
//! nor when this way is taken (`ladder`). Invariants: the token goes to the control plane's own
//! origin, on each request; what a path does to a request, another one mends; an answer of the
//! control plane itself ends the channel; both tasks end with it.

mod down;
mod lane;
mod trial;
mod up;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::dial::{DialError, Dialler};
use super::register::Refusal;
use crate::config::secret::Secret;
use crate::limits;
use crate::link::sse::{self, Port, Sse};
use crate::protocol::error::ErrorCode;
use crate::protocol::version::Version;
use crate::tasks::Tasks;
use lane::Lane;

pub(super) use trial::{Passed, trial};

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SseError {
    /// No connection.
    #[error("the channel could not connect")]
    Dial(#[from] DialError),
    /// The whole took too long.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// The connection broke, or what came is no HTTP.
    #[error("the request was not answered in HTTP")]
    Http(#[from] hyper::Error),
    /// Another status.
    #[error("the channel was refused: {0}")]
    Refused(Refusal),
    /// The answer is not what P-121 to P-123 say.
    #[error("the answer is none of this channel: {0}")]
    Strange(&'static str),
}

impl SseError {
    /// Whether it is the control plane that says so, and the channel is over (P-126).
    fn is_final(&self) -> bool {
        let Self::Refused(refusal) = self else {
            return false;
        };
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        let broke_off = |code| matches!(code, ErrorCode::ChannelLost | ErrorCode::DeadlineExceeded);
        refusal.status.is_client_error()
            && !passing.contains(&refusal.status)
            && refusal.body.as_ref().is_some_and(|body| {
                refusal.status != StatusCode::BAD_REQUEST || !broke_off(body.code)
            })
    }

    /// What the control plane asks to be waited.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Dial(_) | Self::Slow(_) | Self::Http(_) | Self::Strange(_) => None,
        }
    }
}

/// What every request of a channel shares.
#[derive(Debug, Clone)]
struct Way {
    dialler: Arc<Dialler>,
    token: Secret,
    /// The channel's own path.
    path: String,
    tasks: Tasks,
}

impl Way {
    async fn lane(&self) -> Result<Lane, SseError> {
        Lane::open(&self.dialler, &self.tasks).await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> lane::Request {
        lane::request(&self.dialler, method, path, &self.token, body)
    }
}

#[derive(Deserialize)]
struct Opened {
    channel: String,
}

/// Opens a channel; its requests are tasks of `tasks`, and end with the link.
///
/// # Cancel safety
/// Dropping it leaves a channel that the gateway forgets by itself.
pub(super) async fn open(
    dialler: &Arc<Dialler>,
    path: &str,
    token: &Secret,
    tasks: &Tasks,
) -> Result<Sse, SseError> {
    let mut way = Way {
        dialler: Arc::clone(dialler),
        token: token.clone(),
        path: String::new(),
        tasks: tasks.clone(),
    };
    let mut lane = way.lane().await?;
    let mut request = way.request(Method::POST, path, Bytes::new());
    request.headers_mut().insert(
        HeaderName::from_static("pipeops-protocol"),
        HeaderValue::from_static(Version::V2.subprotocol()),
    );
    let (status, headers, body) = lane.exchange(request).await?;
    if status != StatusCode::CREATED {
        return Err(SseError::Refused(Refusal::new(status, &headers, &body)));
    }
    let opened: Opened =
        serde_json::from_slice(&body).map_err(|_| SseError::Strange("it names no channel"))?;
    let below = opened.channel.strip_prefix(path).unwrap_or_default();
    if !below.starts_with('/') {
        return Err(SseError::Strange("its channel is elsewhere"));
    }
    way.path = dialler
        .url()
        .channel(&opened.channel)
        .ok_or(SseError::Strange("its channel is elsewhere"))?;
    let (link, port) = sse::pair(limits::SSE_WAITING);
    start(way, &port, lane);
    Ok(link)
}

fn start(way: Way, port: &Port, lane: Lane) {
    let tasks = way.tasks.clone();
    let (over, up) = (port.over(), up::run(way.clone(), port.clone(), lane));
    tasks.spawn_logged("requests", until(over, up));
    let (over, down) = (port.over(), down::run(way, port.clone()));
    tasks.spawn_logged("events", until(over, down));
}

async fn until(over: CancellationToken, carrier: impl Future<Output = ()>) {
    over.run_until_cancelled(carrier).await;
}

/// When a request is made again, and when the way is given up.
#[derive(Debug)]
struct Repetition {
    pause: Duration,
    /// Since when nothing came of any.
    failing: Option<tokio::time::Instant>,
}

impl Default for Repetition {
    fn default() -> Self {
        Self {
            pause: limits::SSE_AGAIN.0,
            failing: None,
        }
    }
}

impl Repetition {
    fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// How long to wait; nothing when it is to be given up.
    fn failed(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let now = tokio::time::Instant::now();
        let since = *self.failing.get_or_insert(now);
        if now.saturating_duration_since(since) >= limits::SSE_AWAY {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(limits::SSE_AGAIN.1);
        Some(asked.map_or(pause, |asked| asked.min(limits::SSE_AWAY)))
    }
}

/// Gives the channel up, or waits until it is worth another request.
async fn again(port: &Port, error: SseError, repetition: &mut Repetition) -> bool {
    if error.is_final() {
        port.fail(std::io::Error::other(error));
        return false;
    }
    tracing::debug!(error = %crate::telemetry::error_chain(&error), "Request failed");
    match repetition.failed(error.retry_after()) {
        Some(pause) => {
            tokio::time::sleep(pause).await;
            true
        }
        None => {
            port.fail(std::io::Error::other(error));
            false
        }
    }
}

fn is_events(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &[u8]) -> SseError {
        let status = StatusCode::from_u16(status).unwrap();
        SseError::Refused(Refusal::new(status, &HeaderMap::new(), body))
    }

    #[test]
    fn only_the_control_plane_s_own_word_ends_a_channel() {
        let body = br#"{"code":"channel_lost","message":"gone"}"#;
        for status in [401, 403, 404, 409, 410, 413] {
            assert!(refused(status, body).is_final(), "{status}");
            assert!(
                !refused(status, b"<html>").is_final(),
                "{status} of a proxy"
            );
        }
        for status in [408, 429, 500, 502, 503, 504, 302] {
            assert!(!refused(status, body).is_final(), "{status}");
        }
        assert!(
            !refused(400, body).is_final(),
            "a body broke off on its way"
        );
        let malformed = br#"{"code":"malformed","message":"no"}"#;
        assert!(refused(400, malformed).is_final());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_repeated_for_as_long_as_the_gateway_waits() {
        let mut repetition = Repetition::default();
        let began = tokio::time::Instant::now();
        let mut waits = Vec::new();
        while let Some(pause) = repetition.failed(None) {
            waits.push(pause);
            tokio::time::sleep(pause).await;
        }
        assert_eq!(waits[0], limits::SSE_AGAIN.0);
        assert_eq!(waits.last(), Some(&limits::SSE_AGAIN.1));
        let took = began.elapsed();
        assert!(took >= limits::SSE_AWAY && took <= limits::SSE_AWAY + limits::SSE_AGAIN.1);
        repetition.succeeded();
        assert_eq!(repetition.failed(None), Some(limits::SSE_AGAIN.0));
    }
}
