//! Events down: a request whose answer stays, read by `eventsource-client` (P-123).
//!
//! Owns the loop, the transport below that crate, and what it does not do: it has no bound for an
//! event and no idle time, follows redirects and goes on after errors. So it gets a connection of
//! ours for one request, a stream of bytes that counts, and is dropped at its first error.
//! Invariants: an event holds no more than its ceiling; a silence longer than two comments ends an
//! answer; where answers are kept back on the way, each is asked to end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use eventsource_client::{BoxStream, Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::{Stream, StreamExt};
use http::{Method, StatusCode};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};
use tokio::time::timeout;

use super::lane::{self, Lane, Sender};
use super::{Repetition, SseError, Way, again, is_events};
use crate::limits;
use crate::link::LinkError;
use crate::link::carriage;
use crate::link::sse::Port;
use crate::protocol::error::ErrorCode;
use crate::uplink::register::Refusal;

/// How an answer ended.
enum Ended {
    /// By itself; more may be had on the same connection.
    Whole,
    /// Something was heard, then it broke.
    Cut,
    /// Nothing was heard in time: it is kept back on the way.
    KeptBack,
    /// The link is over.
    Over,
}

/// Listens until the link is over.
pub(super) async fn run(way: Way, port: Port) {
    let mut repetition = Repetition::default();
    let mut poll = false;
    let mut lane = None;
    loop {
        match listen(&way, &port, &mut lane, poll).await {
            Ok(Ended::Whole) => repetition.succeeded(),
            Ok(Ended::Cut) => {
                lane = None;
                repetition.succeeded();
                // One that is cut at once, over and over, is no hot loop.
                tokio::time::sleep(limits::SSE_AGAIN.0).await;
            }
            Ok(Ended::KeptBack) => {
                lane = None;
                poll = true;
                tracing::warn!("Path keeps events back, asking for one answer at a time");
            }
            Ok(Ended::Over) => return,
            Err(error) => {
                lane = None;
                if !again(&port, error, &mut repetition).await {
                    return;
                }
            }
        }
    }
}

async fn listen(
    way: &Way,
    port: &Port,
    lane: &mut Option<Lane>,
    poll: bool,
) -> Result<Ended, SseError> {
    let slow = |_| SseError::Slow(limits::SSE_REQUEST);
    let open = match lane {
        Some(lane) => lane,
        None => {
            let opened = timeout(limits::SSE_REQUEST, way.lane()).await;
            lane.insert(opened.map_err(slow)??)
        }
    };
    let fault = Arc::default();
    let mut events = events(way, port, open.sender(), poll, &fault)?;
    let mut heard = false;
    loop {
        let within = match (poll, heard) {
            (true, _) => limits::SSE_POLL + limits::SSE_REQUEST,
            (false, false) => limits::SSE_FIRST,
            (false, true) => limits::SSE_SILENT,
        };
        let event = match timeout(within, events.next()).await {
            Ok(event) => event,
            Err(_) if heard => return Ok(Ended::Cut),
            Err(_) if poll => return Err(SseError::Slow(within)),
            Err(_) => return Ok(Ended::KeptBack),
        };
        match event {
            Some(Ok(SSE::Connected(_))) => {}
            Some(Ok(SSE::Comment(_))) => heard = true,
            Some(Ok(SSE::Event(event))) => {
                heard = true;
                port.room().await;
                let id = event.id.unwrap_or_default();
                let taken = match carriage::read_event(&id, &event.event_type, event.data) {
                    Ok((number, parcel)) => port.arrived(number, vec![parcel]).is_ok(),
                    Err(code) => {
                        port.refuse(broken(code));
                        false
                    }
                };
                if !taken {
                    return Ok(Ended::Over);
                }
            }
            // It goes on after errors; this does not.
            Some(Err(Error::Eof)) if poll => return Ok(Ended::Whole),
            Some(Err(error)) => {
                let known = fault.lock().unwrap_or_else(PoisonError::into_inner).take();
                return match known {
                    Some(SseError::Strange(why)) if heard => {
                        port.refuse(LinkError::Protocol(why.into()));
                        Ok(Ended::Over)
                    }
                    Some(error) => Err(error),
                    None if heard => Ok(Ended::Cut),
                    None => {
                        tracing::debug!(%error, "No events");
                        Err(SseError::Strange("it broke off before the first event"))
                    }
                };
            }
            None if heard => return Ok(Ended::Cut),
            None => return Err(SseError::Strange("it ended before the first event")),
        }
    }
}

fn broken(code: ErrorCode) -> LinkError {
    if code == ErrorCode::TooLarge {
        LinkError::TooLarge
    } else {
        LinkError::Protocol("an event that is none of P-123".into())
    }
}

type Fault = Arc<Mutex<Option<SseError>>>;

fn events(
    way: &Way,
    port: &Port,
    sender: Sender,
    poll: bool,
    fault: &Fault,
) -> Result<BoxStream<Result<SSE, Error>>, SseError> {
    let strange = |_| SseError::Strange("its path makes no URL");
    let url = format!("https://{}{}", way.dialler.url().authority(), way.path);
    let once = ReconnectOptions::reconnect(false)
        .retry_initial(false)
        .build();
    let mut client = ClientBuilder::for_url(&url)
        .map_err(strange)?
        .reconnect(once)
        .redirect_limit(0);
    if poll {
        client = client.header("pipeops-poll", "1").map_err(strange)?;
    }
    let last = port.taken();
    if last > 0 {
        client = client.last_event_id(last.to_string());
    }
    let transport = OneRequest {
        way: way.clone(),
        sender,
        fault: Arc::clone(fault),
    };
    Ok(client.build_with_transport(transport).stream())
}

/// What `eventsource-client` sends its one request with.
#[derive(Clone)]
struct OneRequest {
    way: Way,
    sender: Sender,
    /// What came of it, where it is no answer with events.
    fault: Fault,
}

impl HttpTransport for OneRequest {
    fn request(&self, request: http::Request<Option<Bytes>>) -> ResponseFuture {
        let (mut head, body) = request.into_parts();
        head.method = Method::GET;
        lane::dress(&self.way.dialler, &self.way.token, &mut head.headers);
        let fault = Arc::clone(&self.fault);
        let failed = move |error: SseError| {
            let told = TransportError::new(std::io::Error::other(error.to_string()));
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        };
        if let Ok(path) = self.way.path.parse() {
            head.uri = path;
        }
        let request = http::Request::from_parts(head, Full::new(body.unwrap_or_default()));
        let answer = self.sender.send(request);
        let later = Arc::clone(&self.fault);
        Box::pin(async move {
            let answer = match answer.await {
                Ok(answer) => answer,
                Err(error) => return Err(failed(error.into())),
            };
            let (head, body) = answer.into_parts();
            if head.status != StatusCode::OK {
                let body = match lane::whole(body).await {
                    Ok(body) => body,
                    Err(error) => return Err(failed(error)),
                };
                let refusal = Refusal::new(head.status, &head.headers, &body);
                return Err(failed(SseError::Refused(refusal)));
            }
            if !is_events(&head.headers) {
                return Err(failed(SseError::Strange("it holds no events")));
            }
            let bytes: ByteStream = Box::pin(Counted {
                body,
                measure: Measure::default(),
                fault: later,
            });
            Ok(http::Response::from_parts(head, bytes))
        })
    }
}

/// How large the event is that comes in.
struct Measure {
    /// Bytes since the last blank line.
    event: usize,
    /// The line so far is blank.
    blank: bool,
}

impl Default for Measure {
    fn default() -> Self {
        Self {
            event: 0,
            blank: true,
        }
    }
}

impl Measure {
    fn fits(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                b'\n' if self.blank => self.event = 0,
                b'\n' => self.blank = true,
                b'\r' => {}
                _ => self.blank = false,
            }
            self.event += 1;
            if self.event > limits::SSE_EVENT {
                return false;
            }
        }
        true
    }
}

/// The bytes of an answer, none of whose events is larger than its ceiling.
struct Counted {
    body: Incoming,
    measure: Measure,
    fault: Fault,
}

impl Stream for Counted {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            let bytes = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(bytes)) => bytes,
                Ok(Err(_)) => continue,
                Err(error) => return Poll::Ready(Some(Err(TransportError::new(error)))),
            };
            if self.measure.fits(&bytes) {
                return Poll::Ready(Some(Ok(bytes)));
            }
            let large = SseError::Strange("an event above its size");
            let told = TransportError::new(std::io::Error::other("an event above its size"));
            *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(large);
            return Poll::Ready(Some(Err(told)));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::link::carriage::Parcel;
    use crate::protocol::codec::Wire;

    #[test]
    fn an_event_has_a_ceiling_and_a_stream_has_none() {
        let mut largest = BytesMut::new();
        let text = "x".repeat(limits::TEXT_MESSAGE);
        let parcel = Parcel::Message(Wire::Text(text));
        carriage::write_event(u64::MAX, &parcel, &mut largest);
        let mut measure = Measure::default();
        for _ in 0..3 {
            assert!(measure.fits(&largest), "the largest message fits");
        }
        for chunk in b"\r\n\r\ndata: x\n\n"
            .repeat(limits::SSE_EVENT / 8)
            .chunks(7)
        {
            assert!(measure.fits(chunk), "many small events fit");
        }
        assert!(measure.fits(&vec![b'x'; limits::SSE_EVENT - 1]));
        assert!(!measure.fits(b"x"), "one without an end does not");
    }
}
