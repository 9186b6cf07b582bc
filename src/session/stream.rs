//! A handler's only way to read, talk, wait for credit, and know that it was cancelled.
//!
//! Owns the three handles of a stream. Dropping one is always safe and says what it means:
//! a gateway's reader or unfinished writer resets the stream, an agent's [`Ender`] that was not
//! used ends it with `internal`. Invariant: handles never block each other or the session.

use std::future::Future;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::StreamError;
use crate::protocol::error::{ErrorBody, ErrorCode};

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

/// The reading half.
#[derive(Debug)]
pub struct StreamReader {}

impl StreamReader {
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
    pub fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        unimplemented!()
    }

    /// Gives the stream up with this code (gateway).
    pub fn reset(self, _code: ErrorCode) {
        unimplemented!()
    }
}

/// The writing half.
#[derive(Debug)]
pub struct StreamWriter {}

impl StreamWriter {
    /// Waits until bytes may be sent, and says how many (at least 1, at most
    /// [`crate::limits::CHUNK`]). Read from a backend only after this, so that a stalled stream
    /// holds nothing.
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
    pub fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        unimplemented!()
    }

    /// Queues bytes, at most as many as `ready` just said. Never waits.
    ///
    /// # Errors
    /// As [`StreamWriter::ready`]; also `Reset(credit_exceeded)` if there are too many.
    pub fn push(&mut self, _bytes: Bytes) -> Result<(), StreamError> {
        unimplemented!()
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
    /// As [`StreamWriter::ready`].
    ///
    /// # Cancel safety
    /// The event is sent whole or not at all.
    pub async fn event<E: Serialize + Sync>(&mut self, _event: &E) -> Result<(), StreamError> {
        self.ready().await.map(|_| ())
    }

    /// Compresses what is pushed from now on, where zstd is in force and the stream offered it;
    /// says whether it does.
    pub fn compress(&mut self) -> bool {
        unimplemented!()
    }

    /// No more bytes from here.
    pub fn fin(&mut self) {
        unimplemented!()
    }
}

/// An agent's way to end a stream, exactly once, and to learn that nobody wants it any more.
#[derive(Debug)]
pub struct Ender {}

impl Ender {
    /// Ends the stream. A good end goes after what is queued; a bad one drops it.
    pub fn end(self, _outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        unimplemented!()
    }

    /// Resolves when the stream was reset or the session is gone. Does not borrow the ender.
    pub fn cancelled(&self) -> impl Future<Output = StreamError> + Send + 'static {
        std::future::pending()
    }
}
