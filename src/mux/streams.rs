//! The stream table: entries, their keys, and what is remembered of the dead.
//!
//! Owns opening and forgetting. A stream has a key from the moment that it exists on this side, and
//! an id only once its open is written: ids rise on the wire because they are given there.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::handle::Item;
use super::state::Wire;
use super::window::{RecvWindow, SendWindow};
use super::{Mux, NumberMap, Role};
use crate::limits;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::message::{Class, Compression};
use crate::protocol::{CommandEnvelope, Resume, StreamId};

/// A stream on this side, for as long as anybody holds a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub(super) u64);

/// What a gateway opens.
#[derive(Debug)]
pub struct NewStream {
    /// The command.
    pub command: CommandEnvelope,
    /// Its class.
    pub class: Class,
    /// What the agent may compress with.
    pub compression: Option<Compression>,
    /// Whether bytes go to the agent.
    pub upload: bool,
    /// The command may be resumed, or is.
    pub resume: Option<Resume>,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenRefused {
    /// As many streams as allowed are open.
    Busy,
    /// Either side leaves, or the ids are used up.
    GoingAway,
    /// The session is gone.
    Gone,
}

/// What waits to go out on a stream, in order. All of it has its credit already.
#[derive(Debug)]
pub(super) enum Queued {
    Event(Box<RawValue>),
    Data {
        payload: Bytes,
        fin: bool,
        zstd: bool,
    },
    End(Option<Box<RawValue>>),
}

#[derive(Debug)]
pub(super) struct SendHalf {
    pub(super) window: SendWindow,
    pub(super) queue: VecDeque<Queued>,
    pub(super) bytes: usize,
    pub(super) open: bool,
    pub(super) total: u64,
    /// The writer found no credit, and has not been woken since.
    pub(super) starved: bool,
}

impl SendHalf {
    /// Bytes that may be queued now, where one stream's queue holds so many.
    pub(super) fn room(&self, queue: usize) -> usize {
        let credit = self.window.available();
        let queue = queue.saturating_sub(self.bytes);
        credit.min(queue).min(limits::CHUNK)
    }
}

#[derive(Debug)]
pub(super) struct RecvHalf {
    pub(super) window: RecvWindow,
    pub(super) queue: VecDeque<Item>,
    pub(super) held: usize,
    pub(super) open: bool,
    /// Credit to give that waits for the socket.
    pub(super) grant: u32,
    /// Compressed bytes may come: this side offered it.
    pub(super) zstd: bool,
}

/// An open that waits for the socket.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) command: CommandEnvelope,
    pub(super) compression: Option<Compression>,
    pub(super) window: u32,
    pub(super) resume: Option<Resume>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Option<StreamId>,
    pub(super) wire: Wire,
    pub(super) class: Class,
    /// The class that it counts under, which does not change.
    pub(super) counted: Class,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    /// The command, until the open is written.
    pub(super) opening: Option<Box<Opening>>,
    /// The command may be resumed, so that credit is exactly what the reader has taken (P-76).
    pub(super) lasting: bool,
    /// An error end that waits for the socket.
    pub(super) failure: Option<ErrorBody>,
    /// Why the handles must give up.
    pub(super) broken: Option<ErrorCode>,
    /// Anything was heard (gateway) or said (agent) on it.
    pub(super) answered: bool,
    pub(super) in_ring: bool,
    pub(super) reader: bool,
    pub(super) writer: bool,
    pub(super) ender: bool,
    /// The last time that anything moved, and that the reader took something.
    pub(super) moved: Instant,
    pub(super) read_at: Instant,
}

/// Streams that have ended lately, with the bytes that may still be on their way.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    order: VecDeque<StreamId>,
    left: NumberMap<StreamId, usize>,
}

impl Tombstones {
    fn bury(&mut self, id: StreamId, credit: usize) {
        if self.order.len() >= limits::TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.left.remove(&oldest);
        }
        self.order.push_back(id);
        self.left.insert(id, credit);
    }

    /// Whether late bytes are covered by the credit that the peer had.
    pub(super) fn covers(&mut self, id: StreamId, bytes: usize) -> bool {
        let Some(left) = self.left.get_mut(&id) else {
            return false;
        };
        match left.checked_sub(bytes) {
            Some(rest) if bytes > 0 => {
                *left = rest;
                true
            }
            _ => false,
        }
    }
}

impl Mux {
    /// Queues a new stream (gateway).
    ///
    /// # Errors
    /// Nothing was queued then.
    pub fn open(&mut self, now: Instant, new: NewStream) -> Result<Key, OpenRefused> {
        if self.gone {
            return Err(OpenRefused::Gone);
        }
        let used = self.last_id.map_or(0, StreamId::get);
        if !self.is_open() || used.saturating_add(self.live) >= StreamId::LAST.get() {
            return Err(OpenRefused::GoingAway);
        }
        if self.live >= self.config.max_streams {
            return Err(OpenRefused::Busy);
        }
        let window = self.first_window();
        let mut entry = self.entry(now, new.class, window, self.config.peer_window);
        entry.wire = Wire::Queued;
        entry.send.open = new.upload;
        entry.recv.zstd = new.compression.is_some();
        entry.lasting = new.resume.is_some();
        entry.opening = Some(Box::new(Opening {
            command: new.command,
            compression: new.compression,
            window,
            resume: new.resume,
        }));
        let key = self.insert(entry);
        self.outbound.open(key);
        Ok(key)
    }

    pub(super) fn entry(&self, now: Instant, class: Class, own: u32, peer: u32) -> Entry {
        Entry {
            id: None,
            wire: Wire::Live,
            class,
            counted: class,
            send: SendHalf {
                window: SendWindow::new(peer),
                queue: VecDeque::new(),
                bytes: 0,
                open: true,
                total: 0,
                starved: false,
            },
            recv: RecvHalf {
                window: RecvWindow::new(own, now),
                queue: VecDeque::new(),
                held: 0,
                open: true,
                grant: 0,
                zstd: false,
            },
            opening: None,
            lasting: false,
            failure: None,
            broken: None,
            answered: false,
            in_ring: false,
            reader: true,
            writer: true,
            ender: self.config.role == Role::Agent,
            moved: now,
            read_at: now,
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        self.live += 1;
        self.credit_out += entry.recv.window.outstanding();
        self.count_class(entry.counted, 1);
        if let Some(id) = entry.id {
            self.ids.insert(id, key);
        }
        self.entries.insert(key, entry);
        key
    }

    /// The stream is over on the wire: it stops counting, its late bytes are expected for a while.
    pub(super) fn finish(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if entry.wire == Wire::Done {
            return;
        }
        entry.wire = Wire::Done;
        entry.send.queue.clear();
        self.queued -= std::mem::take(&mut entry.send.bytes);
        entry.send.open = false;
        let counted = entry.counted;
        let (id, credit) = (entry.id, entry.recv.window.outstanding());
        self.live -= 1;
        self.credit_out = self.credit_out.saturating_sub(credit);
        self.count_class(counted, -1);
        if let Some(id) = id {
            self.ids.remove(&id);
            self.tombstones.bury(id, credit);
        }
        self.forget(key);
    }

    /// Drops the entry once the wire and every handle are done with it.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.reader && entry.recv.held > 0 {
            self.held -= std::mem::take(&mut entry.recv.held);
            entry.recv.queue.clear();
        }
        if entry.wire == Wire::Done && !entry.reader && !entry.writer && !entry.ender {
            self.entries.remove(&key);
        }
    }

    /// This side gives a stream up because of `code`: the peer is told, the handles too.
    pub(super) fn fail(&mut self, key: Key, code: ErrorCode, message: &'static str) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if !entry.wire.is_open() {
            return;
        }
        entry.broken = Some(code);
        self.held -= std::mem::take(&mut entry.recv.held);
        entry.recv.queue.clear();
        match self.config.role {
            Role::Gateway => self.say_reset(key, code),
            Role::Agent => self.say_failure(key, ErrorBody::new(code, message)),
        }
        self.wake_all(key);
    }

    /// Gateway: the stream is reset; an open that was not written is taken back.
    pub(super) fn say_reset(&mut self, key: Key, code: ErrorCode) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        if let Some(id) = entry.id {
            self.outbound
                .control(super::Signal::Reset { stream: id, code });
        }
        self.finish(key);
    }

    /// Agent: the stream ends badly; what is queued is dropped.
    pub(super) fn say_failure(&mut self, key: Key, body: ErrorBody) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.send.queue.clear();
        self.queued -= std::mem::take(&mut entry.send.bytes);
        entry.send.open = false;
        entry.wire = Wire::Ending;
        entry.failure = Some(body);
        self.outbound.failure(key);
    }
}
