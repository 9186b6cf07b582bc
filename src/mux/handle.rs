//! What a stream's handles do: read, ask for room, push, end, let go.
//!
//! Owns the view from inside the process; `receive` is the view from the wire. No call waits: what
//! cannot be done yet says so, and a wake-up comes when it can.

use std::time::Instant;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::state::Wire;
use super::streams::{Key, Queued};
use super::{Mux, Role};
use crate::limits;
use crate::protocol::error::{ErrorBody, ErrorCode};

/// What a stream delivers, in order.
#[derive(Debug, Clone)]
pub enum Item {
    /// A command's event.
    Event(Box<RawValue>),
    /// Bytes as carried; `true` if they continue the stream's zstd stream.
    Data(Bytes, bool),
    /// No more bytes come.
    Fin,
    /// The end.
    End(Result<Option<Box<RawValue>>, ErrorBody>),
}

/// Why a handle cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleError {
    /// The stream was given up, by either side.
    Reset(ErrorCode),
    /// The session is gone.
    Lost,
    /// The stream is over.
    Ended,
}

/// The answer to a reader.
pub type Read = Result<Option<Item>, HandleError>;
/// The answer to a writer: how many bytes, or nothing yet.
pub type Room = Result<Option<usize>, HandleError>;

/// Which handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The reader.
    Reader,
    /// The writer.
    Writer,
    /// The ender.
    Ender,
}

impl Mux {
    /// The next item of a stream; `None` is nothing yet.
    ///
    /// # Errors
    /// `Reset` and `Lost` come before what is queued, unless the end itself is queued already.
    pub fn read(&mut self, now: Instant, key: Key) -> Read {
        let rtt = self.heartbeat.rtt();
        let roomy = !self.over_ceiling && self.held + self.credit_out < self.config.pool / 2;
        let gone = self.gone;
        let role = self.config.role;
        let Some(entry) = self.entries.get_mut(&key) else {
            return Err(HandleError::Ended);
        };
        if let Some(code) = entry.broken {
            return Err(HandleError::Reset(code));
        }
        let complete = matches!(entry.recv.queue.back(), Some(Item::End(_)));
        if gone && !complete {
            return Err(HandleError::Lost);
        }
        let Some(item) = entry.recv.queue.pop_front() else {
            // To a gateway the end still comes after FIN.
            let last_was_fin = role == Role::Agent && !entry.recv.open;
            let over = last_was_fin || entry.wire == Wire::Done;
            return if over {
                Err(HandleError::Ended)
            } else {
                Ok(None)
            };
        };
        entry.read_at = now;
        entry.moved = now;
        let bytes = match &item {
            Item::Data(bytes, _) => bytes.len(),
            Item::Event(event) => event.get().len(),
            Item::Fin | Item::End(_) => 0,
        };
        if bytes > 0 {
            entry.recv.held -= bytes;
            self.held -= bytes;
            if entry.recv.open
                && entry.wire == Wire::Live
                && let Some(grant) =
                    entry
                        .recv
                        .window
                        .consumed(bytes, now, rtt, roomy && !entry.lasting)
            {
                self.grant(key, grant);
            }
        }
        Ok(Some(item))
    }

    /// How many bytes a writer may push now, at most a chunk; `None` is none yet.
    ///
    /// # Errors
    /// When the stream or the writer is over.
    pub fn room(&mut self, key: Key) -> Room {
        let gone = self.gone;
        let Some(entry) = self.entries.get_mut(&key) else {
            return Err(HandleError::Ended);
        };
        if let Some(code) = entry.broken {
            return Err(HandleError::Reset(code));
        }
        if gone {
            return Err(HandleError::Lost);
        }
        if !entry.send.open {
            return Err(HandleError::Ended);
        }
        let credit = entry.send.window.available();
        if credit == 0 {
            if !std::mem::replace(&mut entry.send.starved, true) {
                self.stalls += 1;
            }
            return Ok(None);
        }
        entry.send.starved = false;
        let room = entry.send.room(queue_most(self.queued));
        Ok((room > 0).then_some(room))
    }

    /// Queues bytes that fit what [`Mux::room`] said.
    ///
    /// # Errors
    /// As `room`, and `Reset(credit_exceeded)` for more than it said.
    pub fn push(
        &mut self,
        now: Instant,
        key: Key,
        payload: Bytes,
        zstd: bool,
    ) -> Result<(), HandleError> {
        self.room(key)?;
        let Some(entry) = self.entries.get_mut(&key) else {
            return Err(HandleError::Ended);
        };
        // What `room` said holds, though others may have filled their queues since.
        if payload.len() > entry.send.room(limits::STREAM_QUEUE) {
            return Err(HandleError::Reset(ErrorCode::CreditExceeded));
        }
        if payload.is_empty() {
            return Ok(());
        }
        entry.send.window.take(payload.len());
        entry.send.bytes += payload.len();
        entry.moved = now;
        entry.answered = true;
        self.queued += payload.len();
        self.enqueue(
            key,
            Queued::Data {
                payload,
                fin: false,
                zstd,
            },
        );
        Ok(())
    }

    /// Queues an event after [`Mux::room`] said that there is room for anything (agent).
    ///
    /// # Errors
    /// As `room`.
    pub fn push_event(
        &mut self,
        now: Instant,
        key: Key,
        event: Box<RawValue>,
    ) -> Result<(), HandleError> {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.send.open
        {
            entry.send.window.take(event.get().len());
            entry.send.bytes += event.get().len();
            self.queued += event.get().len();
            entry.moved = now;
            entry.answered = true;
            self.enqueue(key, Queued::Event(event));
            return Ok(());
        }
        self.room(key).and(Err(HandleError::Ended))
    }

    /// No more bytes in this direction. Needs no credit.
    pub fn fin(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.send.open || entry.broken.is_some() {
            return;
        }
        entry.send.open = false;
        if let Some(Queued::Data { fin, .. }) = entry.send.queue.back_mut() {
            *fin = true;
            return;
        }
        self.enqueue(
            key,
            Queued::Data {
                payload: Bytes::new(),
                fin: true,
                zstd: false,
            },
        );
    }

    /// Ends a stream (agent): a good end goes after what is queued, a bad one drops it. A stream
    /// that has ended already stays as it is.
    pub fn end(&mut self, key: Key, outcome: Result<Option<Box<RawValue>>, ErrorBody>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.wire.is_open() || self.gone {
            return;
        }
        match outcome {
            Ok(result) => {
                entry.send.open = false;
                entry.wire = Wire::Ending;
                self.enqueue(key, Queued::End(result));
            }
            Err(body) => self.say_failure(key, body),
        }
    }

    /// Gives a stream up (gateway).
    pub fn reset(&mut self, key: Key, code: ErrorCode) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if self.config.role == Role::Gateway && entry.wire.is_open() && !self.gone {
            entry.broken = Some(code);
            self.held -= std::mem::take(&mut entry.recv.held);
            entry.recv.queue.clear();
            self.say_reset(key, code);
            self.wake_all(key);
        }
    }

    /// Gives a stream up because its reader cannot use what arrived, in either role.
    pub fn give_up(&mut self, key: Key, code: ErrorCode) {
        self.fail(key, code, "what arrived could not be used");
    }

    /// A handle was dropped, which means something of its own where the stream still runs.
    pub fn release(&mut self, key: Key, half: Half) {
        let role = self.config.role;
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let open = entry.wire.is_open();
        match half {
            Half::Reader => entry.reader = false,
            Half::Writer => entry.writer = false,
            Half::Ender => entry.ender = false,
        }
        match (role, half) {
            (Role::Gateway, Half::Reader) if open => self.reset(key, ErrorCode::Cancelled),
            (Role::Gateway, Half::Writer) if open && entry.send.open => {
                self.reset(key, ErrorCode::Cancelled);
            }
            (Role::Agent, Half::Ender) if open => {
                let body =
                    ErrorBody::new(ErrorCode::Internal, "the command ended without a result");
                self.end(key, Err(body));
            }
            (Role::Agent | Role::Gateway, Half::Reader | Half::Writer | Half::Ender) => {}
        }
        self.forget(key);
    }

    /// How much credit the peer has returned: on a lasting stream, what its reader has taken.
    pub fn returned(&self, key: Key) -> u64 {
        let entry = self.entries.get(&key);
        entry.map_or(0, |entry| entry.send.window.returned())
    }

    /// Whether the stream's end has been written.
    pub fn is_written(&self, key: Key) -> bool {
        let entry = self.entries.get(&key);
        entry.is_none_or(|entry| entry.wire == Wire::Done)
    }

    /// Whether the stream's work is no longer wanted, and why.
    pub fn cancelled(&self, key: Key) -> Option<HandleError> {
        let Some(entry) = self.entries.get(&key) else {
            return Some(HandleError::Ended);
        };
        match entry.broken {
            Some(code) => Some(HandleError::Reset(code)),
            None if self.gone => Some(HandleError::Lost),
            None => None,
        }
    }
}

/// How much one stream may queue while all together have queued so much.
const fn queue_most(queued: usize) -> usize {
    if queued < limits::QUEUES_FULL {
        limits::STREAM_QUEUE
    } else if queued < 4 * limits::QUEUES_FULL {
        limits::STREAM_QUEUE / 2
    } else {
        limits::STREAM_QUEUE / 8
    }
}
