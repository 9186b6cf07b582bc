//! The body of every answer: composed whole, the bytes of a stream, or the events of a command.
//!
//! Owns how an agent's answer becomes an HTTP body, and what ends it. Invariant: a stream that does
//! not end well ends the body with an error, so that hyper closes the connection without the final
//! chunk, and a cut answer never looks complete; a watch between two events is complete at any time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::access::{Access, Outcome};
use super::agents::Load;
use super::caller::Flow;
use super::resume::Reader;
use super::sse::Down;
use super::users::Slot;
use crate::protocol::error::ErrorCode;
use crate::session::{Item, StreamError};

/// Why an answer's body broke off. hyper closes the connection; nobody else sees it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub(crate) struct Broken(ErrorCode);

/// An answer's body.
#[derive(Debug)]
pub(crate) enum Body {
    /// Composed here.
    Whole(Option<Bytes>),
    /// A stream's bytes.
    Stream(Box<Answer>),
    /// A command's events.
    Events(Box<Events>),
    /// The messages of a channel.
    Down(Box<Down>),
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self::Whole(None)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Whole(Some(text.into()))
    }
}

/// What an answer holds until its last byte has gone.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reader: Reader,
    pub(crate) flow: Arc<Flow>,
    pub(crate) revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    pub(crate) access: Access,
    /// The rest of the request's body, if it still goes up.
    pub(crate) upload: Option<AbortHandle>,
    pub(crate) _slot: Slot,
    pub(crate) _load: Load,
    /// Where it is a watch whose events are lines.
    pub(crate) watch: Option<Watch>,
    /// An item that was taken to see what follows.
    pub(crate) next: Option<Result<Item, StreamError>>,
    pub(crate) ended: bool,
}

/// A watch may end at any time, and its client goes on from the last event; between two events an end
/// that one of us has planned looks like the API server's own.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The bytes so far are whole events.
    whole: bool,
    /// The gateway leaves.
    leaving: CancellationToken,
}

impl Watch {
    pub(crate) fn new(leaving: CancellationToken) -> Self {
        Self {
            whole: true,
            leaving,
        }
    }

    fn may_end(&self, code: ErrorCode) -> bool {
        let planned = match code {
            // The agent leaves, or the gateway has ended what still ran.
            ErrorCode::ShuttingDown => true,
            ErrorCode::ChannelLost => self.leaving.is_cancelled(),
            _ => false,
        };
        planned && self.whole
    }
}

impl Answer {
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        match self.next.take() {
            Some(item) => Poll::Ready(item),
            None => self.reader.poll_recv(cx),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.revoked.as_mut().poll(cx).is_ready() {
            return self.broken(ErrorCode::Unauthorized);
        }
        ready!(self.flow.poll_room(cx));
        loop {
            match ready!(self.poll_item(cx)) {
                Ok(Item::Data(bytes)) => {
                    if bytes.is_empty() {
                        continue;
                    }
                    // A frame's bytes are part of a read of the channel, which a caller who stops
                    // reading would keep whole.
                    let bytes = Bytes::copy_from_slice(&bytes);
                    self.flow.give(bytes.len());
                    self.access.down += bytes.len() as u64;
                    if let Some(watch) = &mut self.watch {
                        watch.whole = bytes.ends_with(b"\n");
                    }
                    if self.access.expected == Some(self.access.down) {
                        self.look_ahead(cx);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Ok(Item::Fin) => {}
                // A second head, or anything else that this program does not know.
                Ok(Item::Event(_)) => {}
                Ok(Item::End(Ok(_))) => {
                    self.ended = true;
                    self.access.outcome = Outcome::Complete;
                    return Poll::Ready(None);
                }
                Ok(Item::End(Err(body))) => return self.broken(body.code),
                Err(StreamError::Reset(code)) => return self.broken(code),
                Err(StreamError::Lost | StreamError::Ended) => {
                    return self.broken(ErrorCode::ChannelLost);
                }
            }
        }
    }

    /// After the last byte of an announced length hyper drops the body. An end that is there already is taken with that
    /// byte, so that dropping the reader resets nothing.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        loop {
            match self.reader.poll_recv(cx) {
                Poll::Ready(Ok(Item::Fin)) => {}
                Poll::Ready(Ok(Item::End(Ok(_)))) => {
                    self.ended = true;
                    self.access.outcome = Outcome::Complete;
                    return;
                }
                Poll::Ready(item) => {
                    self.next = Some(item);
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    fn broken(&mut self, code: ErrorCode) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.ended = true;
        if self.watch.as_ref().is_some_and(|watch| watch.may_end(code)) {
            self.access.outcome = Outcome::Complete;
            return Poll::Ready(None);
        }
        self.access.outcome = Outcome::Broken(code);
        Poll::Ready(Some(Err(Broken(code))))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        // hyper takes no more after the announced length; what it took was then all.
        let access = &mut self.access;
        if access.outcome == Outcome::CallerGone && access.expected == Some(access.down) {
            access.outcome = Outcome::Complete;
        }
        self.flow.end();
    }
}

/// A part of an answer that is made here.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// How the answer ends with it, and whether its body says so itself.
    pub(crate) last: Option<(Outcome, bool)>,
}

/// What an answer in events holds until its last byte has gone.
pub(crate) struct Events {
    pub(crate) pieces: Pin<Box<dyn Stream<Item = Piece> + Send>>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) revoked: Pin<Box<WaitForCancellationFutureOwned>>,
    pub(crate) access: Option<Access>,
    pub(crate) ended: Option<Result<(), Broken>>,
    /// What the socket had taken before the last words of an answer that breaks off.
    pub(crate) before: Option<u64>,
    pub(crate) _slot: Slot,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// One piece a time, and none while the caller does not read: what makes them rests as well.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(ended) = &mut self.ended {
            if let (Err(_), Some(before)) = (&ended, self.before) {
                ready!(self.flow.poll_written(cx, before));
            }
            let last = std::mem::replace(ended, Ok(()));
            return Poll::Ready(last.err().map(Err));
        }
        if self.revoked.as_mut().poll(cx).is_ready() {
            self.before = None;
            self.end(Outcome::Broken(ErrorCode::Unauthorized), false);
            return self.poll_frame(cx);
        }
        ready!(self.flow.poll_room(cx));
        let Some(piece) = ready!(self.pieces.as_mut().poll_next(cx)) else {
            self.end(Outcome::Broken(ErrorCode::Internal), false);
            return self.poll_frame(cx);
        };
        self.before = Some(self.flow.written());
        self.flow.give(piece.bytes.len());
        if let Some(access) = &mut self.access {
            access.down += piece.bytes.len() as u64;
        }
        if let Some((outcome, clean)) = piece.last {
            self.end(outcome, clean);
        }
        Poll::Ready(Some(Ok(Frame::data(piece.bytes))))
    }

    fn end(&mut self, outcome: Outcome, clean: bool) {
        self.ended = Some(match outcome {
            Outcome::Broken(code) if !clean => Err(Broken(code)),
            _ => Ok(()),
        });
        if let Some(access) = &mut self.access {
            access.outcome = outcome;
        }
        // What the command held is let go of with its end, not with the caller's connection.
        self.pieces = Box::pin(futures_util::stream::empty());
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.flow.end();
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(answer) => answer.poll_frame(cx),
            Self::Events(events) => events.poll_frame(cx),
            Self::Down(down) => down
                .poll_bytes(cx)
                .map(|bytes| Some(Ok(Frame::data(bytes?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(answer) => {
                answer.ended && matches!(answer.access.outcome, Outcome::Complete)
            }
            Self::Events(events) => matches!(events.ended, Some(Ok(()))),
            Self::Down(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) | Self::Events(_) | Self::Down(_) => SizeHint::default(),
        }
    }
}
