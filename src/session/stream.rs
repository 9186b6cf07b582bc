//! A handler's only way to read, talk, wait for credit, and know that it was cancelled.
//!
//! Owns the three handles of a stream. Dropping one is always safe and says what it means:
//! a gateway's reader or unfinished writer resets the stream, an agent's [`Ender`] that was not
//! used ends it with `internal`. A writer and an ender of a command that may be resumed go on over
//! another session (`resume`). Invariant: handles never block each other or the session.

mod direct;

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::Either;
use serde::Serialize;
use serde_json::value::RawValue;

use super::compress::Restorer;
use super::error::StreamError;
use super::resume::Line;
use super::shared::Shared;
use crate::limits;
use crate::mux::{self, Half, Key, Wake};
use crate::protocol::error::{ErrorBody, ErrorCode};

pub(super) use direct::{DirectEnder, DirectWriter};

/// What a stream delivers, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// A command's event (gateway).
    Event(Box<RawValue>),
    /// Bytes; reading them returns their credit. Already decompressed.
    Data(Bytes),
    /// No more bytes come.
    Fin,
    /// The stream's end (gateway); nothing follows.
    End(Result<Option<Box<RawValue>>, ErrorBody>),
}

/// One of the handles; letting go of it is the machine's business.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    key: Key,
    half: Half,
}

impl Handle {
    fn new(shared: Arc<Shared>, key: Key, half: Half) -> Self {
        Self { shared, key, half }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.release(self.key, self.half);
    }
}

/// The reading half.
#[derive(Debug)]
pub struct StreamReader {
    handle: Handle,
    restorer: Option<Box<Restorer>>,
}

impl StreamReader {
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self {
            handle: Handle::new(shared, key, Half::Reader),
            restorer: None,
        }
    }

    /// The next item. A gateway's reader delivers `End` last, an agent's `Fin`.
    ///
    /// # Errors
    /// `Reset` and `Lost` at once, whatever is still queued; `Ended` after the last item.
    ///
    /// # Cancel safety
    /// An item is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Item, StreamError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`StreamReader::recv`], for bodies and other pollers.
    ///
    /// # Errors
    /// As [`StreamReader::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        let Handle { shared, key, .. } = &self.handle;
        let key = *key;
        let item =
            ready!(shared.poll(Wake::Reader(key), cx.waker(), |mux, now| mux.read(now, key)))?;
        Poll::Ready(match item {
            mux::Item::Event(event) => Ok(Item::Event(event)),
            mux::Item::Data(bytes, false) => Ok(Item::Data(bytes)),
            mux::Item::Data(bytes, true) => self.restore(&bytes).map(Item::Data),
            mux::Item::Fin => Ok(Item::Fin),
            mux::Item::End(outcome) => Ok(Item::End(outcome)),
        })
    }

    /// Gives the stream up with this code (gateway).
    pub fn reset(self, code: ErrorCode) {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.reset(key, code));
    }

    fn restore(&mut self, payload: &[u8]) -> Result<Bytes, StreamError> {
        let shared = &self.handle.shared;
        let restored = if !shared.zstd {
            Err(std::io::ErrorKind::Unsupported.into())
        } else if let Some(restorer) = &mut self.restorer {
            restorer.restore(payload)
        } else {
            Restorer::new().and_then(|mut restorer| {
                let restored = restorer.restore(payload);
                self.restorer = Some(Box::new(restorer));
                restored
            })
        };
        restored.map_err(|_| {
            let (key, code) = (self.handle.key, ErrorCode::DecompressionFailed);
            shared.with(|mux, _| mux.give_up(key, code));
            StreamError::Reset(code)
        })
    }
}

/// The writing half.
#[derive(Debug)]
pub struct StreamWriter {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// One stream of one session.
    Direct(DirectWriter),
    /// Whichever stream carries the command.
    Lasting(Arc<Line>),
}

impl StreamWriter {
    pub(super) fn new(shared: Arc<Shared>, key: Key, may_compress: bool) -> Self {
        Self {
            way: Way::Direct(DirectWriter::new(shared, key, may_compress)),
        }
    }

    pub(super) const fn lasting(line: Arc<Line>) -> Self {
        Self {
            way: Way::Lasting(line),
        }
    }

    pub(super) const fn from_direct(writer: DirectWriter) -> Self {
        Self {
            way: Way::Direct(writer),
        }
    }

    /// The stream's own half, where it is one stream's.
    pub(super) fn into_direct(self) -> Result<DirectWriter, Self> {
        match self.way {
            Way::Direct(writer) => Ok(writer),
            way @ Way::Lasting(_) => Err(Self { way }),
        }
    }

    /// Waits until bytes may be sent, and says how many (at least 1, at most
    /// [`crate::limits::CHUNK`]). Read from a backend only after this, so that a stalled stream
    /// holds nothing. While a command that may be resumed has no channel, it waits for one.
    ///
    /// # Errors
    /// When the stream was reset, has ended, or the session is gone.
    ///
    /// # Cancel safety
    /// Nothing is reserved.
    pub async fn ready(&mut self) -> Result<usize, StreamError> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// As [`StreamWriter::ready`].
    ///
    /// # Errors
    /// As [`StreamWriter::ready`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        match &mut self.way {
            Way::Direct(writer) => writer.poll_ready(cx),
            Way::Lasting(line) => line.poll_ready(cx),
        }
    }

    /// Queues bytes, at most as many as `ready` just said. Never waits.
    ///
    /// # Errors
    /// As [`StreamWriter::ready`]; also `Reset(credit_exceeded)` if there are too many.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        match &mut self.way {
            Way::Direct(writer) => writer.push(bytes),
            Way::Lasting(line) => line.push(bytes),
        }
    }

    /// Sends all of `bytes`, in chunks, waiting for credit.
    ///
    /// # Errors
    /// As [`StreamWriter::ready`].
    ///
    /// # Cancel safety
    /// Not safe: a part may have been sent.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), StreamError> {
        while !bytes.is_empty() {
            let room = self.ready().await?;
            self.push(bytes.split_to(room.min(bytes.len())))?;
        }
        Ok(())
    }

    /// Sends an event (agent), waiting for credit.
    ///
    /// # Errors
    /// As [`StreamWriter::ready`]; `Reset(internal)` for an event that does not serialise.
    ///
    /// # Cancel safety
    /// The event is sent whole or not at all.
    pub async fn event<E: Serialize + Sync>(&mut self, event: &E) -> Result<(), StreamError> {
        let event = serde_json::value::to_raw_value(event)
            .map_err(|_| StreamError::Reset(ErrorCode::Internal))?;
        if event.get().len() > limits::EVENT_BYTES {
            return Err(StreamError::Reset(ErrorCode::Internal));
        }
        self.ready().await?;
        match &self.way {
            Way::Direct(writer) => writer.push_event(event),
            Way::Lasting(line) => line.push_event(event),
        }
    }

    /// Compresses what is pushed from now on, where zstd is in force, the stream offered it, and
    /// not too many others do; says whether it does. What may be resumed is never compressed.
    pub fn compress(&mut self) -> bool {
        match &mut self.way {
            Way::Direct(writer) => writer.compress(),
            Way::Lasting(_) => false,
        }
    }

    /// No more bytes from here.
    pub fn fin(&mut self) {
        match &self.way {
            Way::Direct(writer) => writer.fin(),
            Way::Lasting(line) => line.fin(),
        }
    }
}

/// An agent's way to end a stream, exactly once, and to learn that nobody wants it any more.
#[derive(Debug)]
pub struct Ender {
    way: Option<EndWay>,
}

#[derive(Debug)]
enum EndWay {
    Direct(DirectEnder),
    Lasting(Arc<Line>),
}

impl Ender {
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self {
            way: Some(EndWay::Direct(DirectEnder::new(shared, key))),
        }
    }

    pub(super) const fn lasting(line: Arc<Line>) -> Self {
        Self {
            way: Some(EndWay::Lasting(line)),
        }
    }

    pub(super) const fn from_direct(ender: DirectEnder) -> Self {
        Self {
            way: Some(EndWay::Direct(ender)),
        }
    }

    /// The stream's own end, where it is one stream's.
    pub(super) fn into_direct(mut self) -> Result<DirectEnder, Self> {
        match self.way.take() {
            Some(EndWay::Direct(ender)) => Ok(ender),
            way @ (Some(EndWay::Lasting(_)) | None) => Err(Self { way }),
        }
    }

    /// How long a command may outlive the session of this stream.
    pub(super) fn resume_for(&self) -> Option<std::time::Duration> {
        match &self.way {
            Some(EndWay::Direct(ender)) => ender.resume_for(),
            Some(EndWay::Lasting(_)) | None => None,
        }
    }

    /// Ends the stream. A good end goes after what is queued; a bad one drops it. A command that
    /// may be resumed ends with the channel that it has now: see [`Ender::finish`].
    pub fn end(mut self, outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        let outcome = fitting(outcome);
        match self.way.take() {
            Some(EndWay::Direct(ender)) => ender.end(outcome),
            Some(EndWay::Lasting(line)) => line.close(outcome),
            None => {}
        }
    }

    /// As [`Ender::end`]; the end of a command that may be resumed is kept until the gateway surely
    /// has it, or its time is over.
    ///
    /// # Cancel safety
    /// Dropping it forgets the end; what was told already stays told.
    pub async fn finish(mut self, outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        let outcome = fitting(outcome);
        match &self.way {
            Some(EndWay::Lasting(line)) => {
                let told = line.told(outcome);
                told.await;
            }
            Some(EndWay::Direct(ender)) => ender.end(outcome),
            None => {}
        }
        self.way = None;
    }

    /// Resolves when the stream was reset or the session is gone; for a command that may be resumed,
    /// when its time without a channel is over. Does not borrow the ender, and must not outlive it:
    /// afterwards it resolves with `Ended`. It must be polled for such a command to go on.
    pub fn cancelled(&self) -> impl Future<Output = StreamError> + Send + 'static {
        match &self.way {
            Some(EndWay::Lasting(line)) => Either::Left(line.cancelled()),
            Some(EndWay::Direct(ender)) => Either::Right(ender.cancelled()),
            None => unreachable!("only the calls that consume it take its way"),
        }
    }
}

impl Drop for Ender {
    fn drop(&mut self) {
        // A direct end's own handle says `internal` where none was said.
        if let Some(EndWay::Lasting(line)) = &self.way {
            line.abandon();
        }
    }
}

/// The outcome, where its message is one that the peer takes (P-7).
fn fitting(
    outcome: Result<Option<Box<RawValue>>, ErrorBody>,
) -> Result<Option<Box<RawValue>>, ErrorBody> {
    match outcome {
        Ok(Some(result)) if result.get().len() > limits::EVENT_BYTES => Err(ErrorBody::new(
            ErrorCode::Internal,
            "the result does not fit a message",
        )),
        outcome => outcome,
    }
}
