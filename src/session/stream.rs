//! A handler's only way to read, talk, wait for credit, and know that it was cancelled.
//!
//! Owns the three handles of a stream. Dropping one is always safe and says what it means:
//! a gateway's reader or unfinished writer resets the stream, an agent's [`Ender`] that was not
//! used ends it with `internal`. Invariant: handles never block each other or the session.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::compress::{Compressor, Restorer};
use super::error::StreamError;
use super::shared::Shared;
use crate::limits;
use crate::mux::{self, Half, Key, Wake};
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

/// One of the handles; letting go of it is the machine's business.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    key: Key,
    half: Half,
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
            handle: Handle {
                shared,
                key,
                half: Half::Reader,
            },
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
    handle: Handle,
    may_compress: bool,
    compressor: Option<Box<Compressor>>,
    /// One of the session's [`limits::COMPRESSED_STREAMS`].
    compressing: Option<Arc<()>>,
}

impl StreamWriter {
    pub(super) fn new(shared: Arc<Shared>, key: Key, may_compress: bool) -> Self {
        let handle = Handle {
            shared,
            key,
            half: Half::Writer,
        };
        Self {
            handle,
            may_compress,
            compressor: None,
            compressing: None,
        }
    }

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
    ///
    /// # Errors
    /// As [`StreamWriter::ready`].
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let compressing = self.compressor.is_some();
        let Handle { shared, key, .. } = &self.handle;
        shared.poll(Wake::Writer(*key), cx.waker(), |mux, _| {
            let room = mux.room(*key)?;
            // Compressed bytes may be more than they were: the input is cut so that they fit.
            let cut = if compressing {
                room.map(Compressor::input_for)
            } else {
                room
            };
            Ok(cut.filter(|room| *room > 0))
        })
    }

    /// Queues bytes, at most as many as `ready` just said. Never waits.
    ///
    /// # Errors
    /// As [`StreamWriter::ready`]; also `Reset(credit_exceeded)` if there are too many.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let key = self.handle.key;
        let (payload, zstd) = match &mut self.compressor {
            Some(compressor) if !bytes.is_empty() => {
                let payload = compressor
                    .compress(&bytes)
                    .map_err(|_| StreamError::Reset(ErrorCode::Internal))?;
                (payload, true)
            }
            Some(_) | None => (bytes, false),
        };
        Ok(self
            .handle
            .shared
            .with(|mux, now| mux.push(now, key, payload, zstd))?)
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
        self.ready().await?;
        let key = self.handle.key;
        Ok(self
            .handle
            .shared
            .with(|mux, now| mux.push_event(now, key, event))?)
    }

    /// Compresses what is pushed from now on, where zstd is in force, the stream offered it, and
    /// not too many others do; says whether it does.
    pub fn compress(&mut self) -> bool {
        let all = &self.handle.shared.compressing;
        // The session itself holds one.
        let room = Arc::strong_count(all) <= limits::COMPRESSED_STREAMS;
        if self.may_compress && self.compressor.is_none() && room {
            self.compressing = Some(Arc::clone(all));
            self.compressor = Compressor::new().ok().map(Box::new);
        }
        self.compressor.is_some()
    }

    /// No more bytes from here.
    pub fn fin(&mut self) {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.fin(key));
    }
}

/// An agent's way to end a stream, exactly once, and to learn that nobody wants it any more.
#[derive(Debug)]
pub struct Ender {
    handle: Handle,
}

impl Ender {
    pub(super) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self {
            handle: Handle {
                shared,
                key,
                half: Half::Ender,
            },
        }
    }

    /// Ends the stream. A good end goes after what is queued; a bad one drops it.
    pub fn end(self, outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.end(key, outcome));
    }

    /// Resolves when the stream was reset or the session is gone. Does not borrow the ender, and
    /// must not outlive it: afterwards it resolves with `Ended`.
    pub fn cancelled(&self) -> impl Future<Output = StreamError> + Send + 'static {
        let (shared, key) = (Arc::clone(&self.handle.shared), self.handle.key);
        std::future::poll_fn(move |cx| {
            let cancelled =
                shared.poll(
                    Wake::Ender(key),
                    cx.waker(),
                    |mux, _| Ok(mux.cancelled(key)),
                );
            cancelled.map(|result| result.map_or_else(|error| error, StreamError::from))
        })
    }
}
