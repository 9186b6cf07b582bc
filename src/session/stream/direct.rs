//! An agent's writing half and end of one stream of one session.
//!
//! Owns what a stream of the machine can do for its command. Owns not which stream that is, where a
//! command outlives its session (`resume`). Invariant: nothing here waits for another session.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Handle;
use crate::limits;
use crate::mux::{Half, Key, Wake};
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::session::compress::Compressor;
use crate::session::error::StreamError;
use crate::session::shared::Shared;

/// The writing half.
#[derive(Debug)]
pub(in crate::session) struct DirectWriter {
    handle: Handle,
    may_compress: bool,
    compressor: Option<Box<Compressor>>,
    /// One of the session's [`limits::COMPRESSED_STREAMS`].
    compressing: Option<Arc<()>>,
}

impl DirectWriter {
    pub(in crate::session) fn new(shared: Arc<Shared>, key: Key, may_compress: bool) -> Self {
        Self {
            handle: Handle::new(shared, key, Half::Writer),
            may_compress,
            compressor: None,
            compressing: None,
        }
    }

    pub(in crate::session) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
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

    pub(in crate::session) fn push(&mut self, bytes: Bytes) -> Result<(), StreamError> {
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

    pub(in crate::session) fn push_event(&self, event: Box<RawValue>) -> Result<(), StreamError> {
        let key = self.handle.key;
        Ok(self
            .handle
            .shared
            .with(|mux, now| mux.push_event(now, key, event))?)
    }

    pub(super) fn compress(&mut self) -> bool {
        let all = &self.handle.shared.compressing;
        // The session itself holds one.
        let room = Arc::strong_count(all) <= limits::COMPRESSED_STREAMS;
        if self.may_compress && self.compressor.is_none() && room {
            self.compressing = Some(Arc::clone(all));
            self.compressor = Compressor::new().ok().map(Box::new);
        }
        self.compressor.is_some()
    }

    pub(in crate::session) fn fin(&self) {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.fin(key));
    }

    /// How much credit has come back so far; wakes when more does, or when there is room.
    pub(in crate::session) fn returned(&self, cx: &Context<'_>) -> u64 {
        let Handle { shared, key, .. } = &self.handle;
        let mut returned = 0;
        let waiting: Poll<Result<(), StreamError>> =
            shared.poll(Wake::Writer(*key), cx.waker(), |mux, _| {
                returned = mux.returned(*key);
                Ok(None)
            });
        debug_assert!(waiting.is_pending(), "it only looks");
        returned
    }
}

/// The end.
#[derive(Debug)]
pub(in crate::session) struct DirectEnder {
    handle: Handle,
}

impl DirectEnder {
    pub(in crate::session) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self {
            handle: Handle::new(shared, key, Half::Ender),
        }
    }

    pub(in crate::session) fn end(&self, outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.end(key, outcome));
    }

    /// Resolves when the stream was reset or the session is gone. Does not borrow the ender, and
    /// must not outlive it: afterwards it resolves with `Ended`.
    pub(super) fn cancelled(&self) -> impl Future<Output = StreamError> + Send + 'static {
        let (shared, key) = (Arc::clone(&self.handle.shared), self.handle.key);
        std::future::poll_fn(move |cx| poll_cancelled(&shared, key, cx))
    }

    pub(in crate::session) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<StreamError> {
        poll_cancelled(&self.handle.shared, self.handle.key, cx)
    }

    /// Whether the end has been written to the socket.
    pub(in crate::session) fn is_written(&self) -> bool {
        let key = self.handle.key;
        self.handle.shared.with(|mux, _| mux.is_written(key))
    }

    /// How long a command may outlive the session.
    pub(super) fn resume_for(&self) -> Option<Duration> {
        self.handle.shared.resume
    }

    /// The time within which the session finds out that its peer is dead.
    pub(in crate::session) fn liveness(&self) -> Duration {
        self.handle.shared.liveness
    }
}

fn poll_cancelled(shared: &Shared, key: Key, cx: &Context<'_>) -> Poll<StreamError> {
    let cancelled = shared.poll(
        Wake::Ender(key),
        cx.waker(),
        |mux, _| Ok(mux.cancelled(key)),
    );
    cancelled.map(|result| result.map_or_else(|error| error, StreamError::from))
}
