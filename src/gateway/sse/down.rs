//! `GET` of a channel: its events, for as long as the answer lasts (P-123).
//!
//! Owns the answer's head and body. Owns not what is sent (`link::sse`). Invariants: the newest GET
//! is the one that gets events; a caller that does not read holds no more than any other; however
//! the answer ends, nothing is lost that was not acknowledged.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, Sleep};

use super::{Attended, Channel, lock, not_taken};
use crate::gateway::answers;
use crate::gateway::body::Body;
use crate::gateway::caller::Flow;
use crate::limits;
use crate::protocol::error::{ErrorBody, ErrorCode};

/// The events of a channel, as an answer's body.
#[derive(Debug)]
pub(crate) struct Down {
    channel: Arc<Channel>,
    flow: Arc<Flow>,
    turn: u64,
    /// The number of the last event that was given.
    number: u64,
    /// The answer ends with the first events.
    poll: bool,
    begun: bool,
    ended: bool,
    timer: Pin<Box<Sleep>>,
}

pub(super) fn serve(
    channel: &Arc<Channel>,
    flow: &Arc<Flow>,
    headers: &HeaderMap,
) -> Response<Body> {
    let Some(number) = last_event(headers) else {
        let body = ErrorBody::new(ErrorCode::Malformed, "Last-Event-ID is no number");
        return answers::refusal(StatusCode::BAD_REQUEST, &body);
    };
    let turn = channel.turn.fetch_add(1, Ordering::Relaxed) + 1;
    if let Err(error) = channel.port.resume(number) {
        return not_taken(error);
    }
    *lock(&channel.attended) = Attended::Now;
    let poll = headers.contains_key("pipeops-poll");
    let mut response = Response::new(Body::Down(Box::new(Down {
        channel: Arc::clone(channel),
        flow: Arc::clone(flow),
        turn,
        number,
        poll,
        begun: false,
        ended: false,
        timer: Box::pin(tokio::time::sleep(silence(poll))),
    })));
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
    set(header::CACHE_CONTROL, "no-store, no-transform");
    // nginx does as this says, unless it was told not to.
    set(HeaderName::from_static("x-accel-buffering"), "no");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// The last event that the agent has; 0 where it names none.
fn last_event(headers: &HeaderMap) -> Option<u64> {
    match headers.get("last-event-id") {
        None => Some(0),
        Some(value) => {
            let text = value.to_str().ok()?;
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok())?
        }
    }
}

const fn silence(poll: bool) -> Duration {
    if poll {
        limits::SSE_POLL
    } else {
        limits::SSE_COMMENT
    }
}

impl Down {
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended || self.channel.turn.load(Ordering::Relaxed) != self.turn {
            return Poll::Ready(None);
        }
        ready!(self.flow.poll_room(cx));
        if !self.begun {
            self.begun = true;
            return self.give(Bytes::from_static(b": pipeops\n\n"));
        }
        match self.channel.port.poll_events(cx, self.number) {
            Poll::Ready(true) => {
                // One answer of a path that keeps answers back is as much as there is.
                let most = if self.poll {
                    limits::SSE_WINDOW
                } else {
                    limits::CHUNK
                };
                let mut events = BytesMut::new();
                self.number = self.channel.port.events(self.number, most, &mut events);
                self.ended = self.poll;
                self.give(events.freeze())
            }
            Poll::Ready(false) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.timer.as_mut().poll(cx));
                if self.poll {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                self.give(Bytes::from_static(b":\n\n"))
            }
        }
    }

    fn give(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        self.flow.give(bytes.len());
        let next = Instant::now() + silence(self.poll);
        self.timer.as_mut().reset(next);
        Poll::Ready(Some(bytes))
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if self.channel.turn.load(Ordering::Relaxed) == self.turn {
            *lock(&self.channel.attended) = Attended::Until(Instant::now());
        }
        self.flow.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_is_a_number_or_absent() {
        let named = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", HeaderValue::from_static(text));
            last_event(&headers)
        };
        assert_eq!(last_event(&HeaderMap::new()), Some(0));
        assert_eq!(named("18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "x", "1 2", "18446744073709551616"] {
            assert_eq!(named(text), None, "{text}");
        }
    }
}
