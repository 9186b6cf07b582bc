//! A [`Link`] whose messages HTTP requests carry: either end's half that the session holds, and the
//! half that the carrier holds.
//!
//! ```text
//!  session ◀──▶ Sse │ shared: sequences, queue │ Port ◀──▶ requests and answers
//! ```
//!
//! Owns what is between them: the messages that were sent and not acknowledged, those that arrived
//! and were not read, and how the link ends. Owns not: the requests (`uplink`, `gateway`), nor when
//! a carrier is taken for gone. Invariants: the session waits when it is ahead of what is
//! acknowledged; a request is taken whole or not at all; no lock is held over a wait.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio_util::sync::CancellationToken;

use super::carriage::{self, Parcel};
use super::sequence::{Arrived, Incoming, OutOfOrder, Outgoing};
use super::{Link, LinkError};
use crate::limits;
use crate::protocol::codec::Wire;

/// A link and its carrier's end; the link keeps so many bytes that were not acknowledged.
pub fn pair(limit: usize) -> (Sse, Port) {
    let ended = CancellationToken::new();
    let inner = Inner {
        ended: ended.clone(),
        outgoing: Outgoing::new(limit),
        incoming: Incoming::default(),
        taken: VecDeque::new(),
        taken_bytes: 0,
        close: None,
        closing: false,
        peer_close: None,
        failed: None,
        deaf: false,
        reader: None,
        writer: None,
        carrier: None,
        room: None,
    };
    let shared = Arc::new(Mutex::new(inner));
    let port = Port {
        shared: Arc::clone(&shared),
        ended,
    };
    (Sse { shared }, port)
}

#[derive(Debug)]
struct Inner {
    /// Nothing goes either way any more.
    ended: CancellationToken,
    outgoing: Outgoing<Parcel>,
    incoming: Incoming,
    /// What arrived and was not read.
    taken: VecDeque<Wire>,
    taken_bytes: usize,
    /// What closing will say.
    close: Option<(u16, String)>,
    closing: bool,
    peer_close: Option<(u16, String)>,
    /// Why the link is over, until the session was told.
    failed: Option<LinkError>,
    /// Nothing more is taken: the peer broke the numbers.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    carrier: Option<Waker>,
    room: Option<Waker>,
}

impl Inner {
    fn wake_session(&mut self) {
        let waiting = [self.reader.take(), self.writer.take()];
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    fn wake_carrier(&mut self) {
        let waiting = [self.carrier.take(), self.room.take()];
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    fn end(&mut self, error: Option<LinkError>) {
        if !self.is_over() {
            self.ended.cancel();
            self.failed = error;
        }
        self.wake_session();
        self.wake_carrier();
    }
}

fn lock(shared: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> LinkError {
    LinkError::Io(io::ErrorKind::NotConnected.into())
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    *slot = Some(cx.waker().clone());
}

/// The session's end.
#[derive(Debug)]
pub struct Sse {
    shared: Arc<Mutex<Inner>>,
}

impl Drop for Sse {
    fn drop(&mut self) {
        let mut inner = lock(&self.shared);
        inner.taken.clear();
        inner.end(None);
    }
}

impl Stream for Sse {
    type Item = Result<Wire, LinkError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = lock(&self.shared);
        if let Some(wire) = inner.taken.pop_front() {
            inner.taken_bytes = inner.taken_bytes.saturating_sub(held(&wire));
            if inner.taken_bytes < limits::SSE_TAKEN
                && let Some(waker) = inner.room.take()
            {
                waker.wake();
            }
            return Poll::Ready(Some(Ok(wire)));
        }
        if let Some(error) = inner.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if inner.is_over() || inner.peer_close.is_some() {
            return Poll::Ready(None);
        }
        register(&mut inner.reader, cx);
        Poll::Pending
    }
}

impl Sink<Wire> for Sse {
    type Error = LinkError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let mut inner = lock(&self.shared);
        if inner.is_over() || inner.closing {
            return Poll::Ready(Err(gone()));
        }
        if inner.outgoing.has_room() {
            return Poll::Ready(Ok(()));
        }
        register(&mut inner.writer, cx);
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, item: Wire) -> Result<(), Self::Error> {
        let mut inner = lock(&self.shared);
        if inner.is_over() || inner.closing {
            return Err(gone());
        }
        let parcel = Parcel::Message(item);
        let bytes = parcel.bytes();
        inner.outgoing.push(parcel, bytes);
        inner.wake_carrier();
        Ok(())
    }

    /// What is kept is on its way already: to wait for its arrival would let nothing be gathered
    /// meanwhile.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(if lock(&self.shared).is_over() {
            Err(gone())
        } else {
            Ok(())
        })
    }

    /// Says goodbye, and waits until the other side has everything.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let mut inner = lock(&self.shared);
        if inner.is_over() {
            return Poll::Ready(Err(gone()));
        }
        if !inner.closing {
            inner.closing = true;
            let (code, reason) = inner.close.take().unwrap_or((1000, String::new()));
            let parcel = Parcel::Close(code, reason);
            let bytes = parcel.bytes();
            inner.outgoing.push(parcel, bytes);
            inner.wake_carrier();
        }
        if inner.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        register(&mut inner.writer, cx);
        Poll::Pending
    }
}

impl Link for Sse {
    fn peer_close(&self) -> Option<(u16, String)> {
        lock(&self.shared).peer_close.clone()
    }

    fn set_close(&mut self, code: u16, reason: &str) {
        let end = reason.floor_char_boundary(carriage::REASON);
        lock(&self.shared).close = Some((code, reason[..end].to_owned()));
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.shared);
        inner.taken.clear();
        inner.taken_bytes = 0;
        if inner.is_over() || inner.peer_close.is_some() {
            return Poll::Ready(());
        }
        register(&mut inner.reader, cx);
        Poll::Pending
    }
}

fn held(wire: &Wire) -> usize {
    limits::SSE_MESSAGE
        + match wire {
            Wire::Text(text) => text.len(),
            Wire::Binary(bytes) => bytes.len(),
        }
}

/// Why the carrier's messages were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The session has not read what came before; nothing was taken.
    #[error("the session has not read what came before")]
    Full,
    /// A number is out of order; the link is over.
    #[error("a number is out of order")]
    OutOfOrder,
    /// The link is over.
    #[error("the link is over")]
    Over,
}

/// The carrier's end. Cloning shares it; one at a time may wait for something to send, and one for
/// room.
#[derive(Debug, Clone)]
pub struct Port {
    shared: Arc<Mutex<Inner>>,
    ended: CancellationToken,
}

impl Port {
    /// Messages arrive, the first with this number; `None` is one that says nothing. Those that were
    /// taken before are dropped.
    ///
    /// # Errors
    /// [`NotTaken`]; a gap ends the link, because the peer broke the protocol.
    pub fn arrived(&self, first: u64, parcels: Vec<Option<Parcel>>) -> Result<(), NotTaken> {
        let mut inner = lock(&self.shared);
        if inner.is_over() || inner.deaf {
            return Err(NotTaken::Over);
        }
        if inner.taken_bytes >= limits::SSE_TAKEN {
            return Err(NotTaken::Full);
        }
        for (number, parcel) in (first..).zip(parcels) {
            let bytes = parcel.as_ref().map_or(0, Parcel::bytes);
            match inner.incoming.arrived(number, bytes) {
                Ok(Arrived::New) => {}
                Ok(Arrived::Repeated) => continue,
                Err(error) => return Err(broken(&mut inner, error)),
            }
            match parcel {
                None => {}
                // Nothing is numbered after a goodbye.
                Some(_) if inner.peer_close.is_some() => {
                    return Err(broken(&mut inner, OutOfOrder));
                }
                Some(Parcel::Message(wire)) => {
                    inner.taken_bytes += held(&wire);
                    inner.taken.push_back(wire);
                }
                Some(Parcel::Close(code, reason)) => {
                    inner.peer_close = Some((code, reason));
                    // The peer waits for it.
                    inner.incoming.owe();
                }
            }
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        if inner.incoming.is_owed() {
            inner.wake_carrier();
        }
        Ok(())
    }

    /// The peer has everything up to this number.
    ///
    /// # Errors
    /// A number that was never sent, which ends the link; and that it is over.
    pub fn acknowledged(&self, number: u64) -> Result<(), NotTaken> {
        let mut inner = lock(&self.shared);
        if inner.is_over() {
            return Err(NotTaken::Over);
        }
        if let Err(error) = inner.outgoing.acknowledged(number) {
            return Err(broken(&mut inner, error));
        }
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// A carrier begins anew after this number; another that waits ends.
    ///
    /// # Errors
    /// A number that was never sent, or that is before what was acknowledged: the link is over then.
    /// Or it is over already.
    pub fn resume(&self, after: u64) -> Result<(), NotTaken> {
        self.acknowledged(after)?;
        let mut inner = lock(&self.shared);
        let known = inner.outgoing.after(after).is_ok();
        if !known {
            return Err(broken(&mut inner, OutOfOrder));
        }
        inner.wake_carrier();
        Ok(())
    }

    /// The number of the last message that was taken.
    pub fn taken(&self) -> u64 {
        lock(&self.shared).incoming.last()
    }

    /// Fires when the link is over, at whichever end.
    pub fn over(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// What the last body acknowledged did not arrive.
    pub fn unheard(&self) {
        lock(&self.shared).incoming.owe();
    }

    /// The peer broke the carrier's rules: nothing more is taken, and the session says why.
    pub fn refuse(&self, error: LinkError) {
        let mut inner = lock(&self.shared);
        if !inner.deaf {
            inner.deaf = true;
            inner.failed = Some(error);
        }
        inner.wake_session();
    }

    /// The carrier has failed for good: the session learns it.
    pub fn fail(&self, error: io::Error) {
        lock(&self.shared).end(Some(LinkError::Io(error)));
    }

    /// Ready when there is something to send after `number`, or when there never will be (`false`).
    pub fn poll_events(&self, cx: &Context<'_>, number: u64) -> Poll<bool> {
        let mut inner = lock(&self.shared);
        if inner.is_over() {
            return Poll::Ready(false);
        }
        if inner.outgoing.last() > number {
            return Poll::Ready(true);
        }
        register(&mut inner.carrier, cx);
        Poll::Pending
    }

    /// Waits until something is not acknowledged, by the peer or to it; `false` when there never
    /// will be.
    ///
    /// # Cancel safety
    /// Nothing is taken by waiting.
    pub async fn work(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut inner = lock(&self.shared);
            if inner.is_over() {
                return Poll::Ready(false);
            }
            if !inner.outgoing.is_empty() || inner.incoming.is_owed() {
                return Poll::Ready(true);
            }
            register(&mut inner.carrier, cx);
            Poll::Pending
        })
        .await
    }

    /// Waits until messages that arrive would be taken.
    ///
    /// # Cancel safety
    /// Nothing is taken by waiting.
    pub async fn room(&self) {
        std::future::poll_fn(|cx| {
            let mut inner = lock(&self.shared);
            if inner.is_over() || inner.taken_bytes < limits::SSE_TAKEN {
                return Poll::Ready(());
            }
            register(&mut inner.room, cx);
            Poll::Pending
        })
        .await;
    }

    /// Everything that is not acknowledged, as the body of a request.
    pub fn body(&self) -> Bytes {
        let mut inner = lock(&self.shared);
        let acknowledged = inner.incoming.tell();
        let first = inner.outgoing.first();
        let mut body = BytesMut::with_capacity(16 + inner.outgoing.held());
        carriage::begin_body(first, acknowledged, &mut body);
        if let Ok(messages) = inner.outgoing.after(first - 1) {
            for (_, parcel) in messages {
                carriage::write_parcel(parcel, &mut body);
            }
        }
        body.freeze()
    }

    /// Writes events after `number`, until there are so many bytes; the number of the last.
    pub fn events(&self, number: u64, most: usize, events: &mut BytesMut) -> u64 {
        let inner = lock(&self.shared);
        let mut last = number;
        if let Ok(messages) = inner.outgoing.after(number) {
            for (number, parcel) in messages {
                carriage::write_event(number, parcel, events);
                last = number;
                if events.len() >= most {
                    break;
                }
            }
        }
        last
    }
}

/// The peer broke the numbers: the session says so on what is left of the way.
fn broken(inner: &mut Inner, error: OutOfOrder) -> NotTaken {
    // The goodbye may still go: only what is read is at its end.
    if !inner.deaf {
        inner.deaf = true;
        inner.failed = Some(LinkError::Protocol(Box::new(error)));
    }
    inner.wake_session();
    NotTaken::OutOfOrder
}

#[cfg(test)]
mod tests;
