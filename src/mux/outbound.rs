//! What goes out next: session messages first, then by class, round robin within a class (P-23).
//!
//! Owns the control queue and the three rings of streams that have something to send. Invariant: a
//! stream is in at most one ring, once; whatever is queued on a stream has its credit already, so
//! nothing in a ring ever waits.

use std::collections::VecDeque;

use super::signal::Signal;
use super::state::Wire;
use super::streams::{Key, Opening, Queued};
use super::{Mux, Wake};
use crate::limits;
use crate::protocol::StreamId;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::{Class, Open};

#[derive(Debug)]
enum Control {
    Signal(Signal),
    Open(Key),
    Window(Key),
    Failure(Key),
}

#[derive(Debug, Default)]
pub(super) struct Outbound {
    control: VecDeque<Control>,
    rings: [VecDeque<Key>; 3],
}

impl Outbound {
    pub(super) fn control(&mut self, signal: Signal) {
        self.control.push_back(Control::Signal(signal));
    }

    pub(super) fn open(&mut self, key: Key) {
        self.control.push_back(Control::Open(key));
    }

    pub(super) fn window(&mut self, key: Key) {
        self.control.push_back(Control::Window(key));
    }

    pub(super) fn failure(&mut self, key: Key) {
        self.control.push_back(Control::Failure(key));
    }

    pub(super) fn ring(&mut self, class: Class, key: Key) {
        self.rings[class as usize].push_back(key);
    }

    pub(super) fn control_len(&self) -> usize {
        self.control.len()
    }

    pub(super) fn has_output(&self) -> bool {
        !self.control.is_empty() || self.rings.iter().any(|ring| !ring.is_empty())
    }

    fn next_in_rings(&mut self) -> Option<Key> {
        self.rings.iter_mut().find_map(VecDeque::pop_front)
    }
}

impl Mux {
    /// The next signal to write, if there is one. Gives ids to opens.
    pub fn outgoing(&mut self) -> Option<Signal> {
        while let Some(control) = self.outbound.control.pop_front() {
            let signal = match control {
                Control::Signal(signal) => Some(signal),
                Control::Open(key) => self.next_open(key),
                Control::Window(key) => self.next_window(key),
                Control::Failure(key) => self.next_failure(key),
            };
            if signal.is_some() {
                return signal;
            }
        }
        while let Some(key) = self.outbound.next_in_rings() {
            if let Some(signal) = self.next_of(key) {
                return Some(signal);
            }
        }
        None
    }

    fn next_open(&mut self, key: Key) -> Option<Signal> {
        let entry = self.entries.get_mut(&key)?;
        let Opening {
            command,
            compression,
            window,
            resume,
        } = *entry.opening.take()?;
        if entry.wire != Wire::Queued {
            return None;
        }
        let id = self.last_id.map_or(Some(StreamId::FIRST), StreamId::next)?;
        self.last_id = Some(id);
        entry.id = Some(id);
        entry.wire = Wire::Live;
        self.ids.insert(id, key);
        let class = entry.class;
        if !entry.send.queue.is_empty() {
            entry.in_ring = true;
            self.outbound.ring(class, key);
        }
        Some(Signal::Open(Box::new(Open {
            stream: id,
            window,
            class,
            compression,
            resume,
            command,
        })))
    }

    fn next_window(&mut self, key: Key) -> Option<Signal> {
        let entry = self.entries.get_mut(&key)?;
        let bytes = std::mem::take(&mut entry.recv.grant);
        if bytes == 0 || entry.wire != Wire::Live || !entry.recv.open {
            return None;
        }
        Some(Signal::Window {
            stream: entry.id?,
            bytes,
        })
    }

    fn next_failure(&mut self, key: Key) -> Option<Signal> {
        let entry = self.entries.get_mut(&key)?;
        let body = entry.failure.take()?;
        let stream = entry.id?;
        self.finish(key);
        Some(Signal::End {
            stream,
            outcome: Err(body),
        })
    }

    fn next_of(&mut self, key: Key) -> Option<Signal> {
        let entry = self.entries.get_mut(&key)?;
        entry.in_ring = false;
        let stream = entry.id?;
        let queued = entry.send.queue.pop_front()?;
        let signal = match queued {
            Queued::Event(event) => {
                entry.send.bytes -= event.get().len();
                self.queued -= event.get().len();
                Signal::Event { stream, event }
            }
            Queued::Data { payload, fin, zstd } => {
                entry.send.bytes -= payload.len();
                self.queued -= payload.len();
                entry.send.total += payload.len() as u64;
                self.sent += payload.len() as u64;
                if entry.send.total > limits::BULK_AFTER {
                    entry.class = Class::Bulk;
                }
                Signal::Data {
                    stream,
                    fin,
                    zstd,
                    payload,
                }
            }
            Queued::End(result) => {
                self.finish(key);
                self.wakes.push_back(Wake::Ender(key));
                return Some(Signal::End {
                    stream,
                    outcome: Ok(result),
                });
            }
        };
        if !entry.send.queue.is_empty() {
            entry.in_ring = true;
            let class = entry.class;
            self.outbound.ring(class, key);
        }
        if self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.send.open && entry.writer)
        {
            self.wakes.push_back(Wake::Writer(key));
        }
        Some(signal)
    }

    pub(super) fn enqueue(&mut self, key: Key, queued: Queued) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.send.queue.push_back(queued);
        if !entry.in_ring && entry.wire != Wire::Queued {
            entry.in_ring = true;
            self.outbound.ring(entry.class, key);
        }
    }

    pub(super) fn wake_all(&mut self, key: Key) {
        self.wakes
            .extend([Wake::Reader(key), Wake::Writer(key), Wake::Ender(key)]);
    }

    /// Gives credit back for what a reader took, or for bytes that nobody will read.
    pub(super) fn grant(&mut self, key: Key, bytes: u32) {
        self.credit_out += bytes as usize;
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if entry.recv.grant == 0 {
            self.outbound.window(key);
        }
        entry.recv.grant = entry.recv.grant.saturating_add(bytes);
    }

    /// Returns all that the readers of lasting streams have taken: their senders keep what they do
    /// not know to be taken (P-76).
    pub(super) fn acknowledge(&mut self) {
        let due: Vec<(Key, u32)> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.lasting && entry.recv.open && entry.wire == Wire::Live)
            .filter_map(|(key, entry)| Some((*key, entry.recv.window.rest()?)))
            .collect();
        for (key, bytes) in due {
            self.grant(key, bytes);
        }
    }

    /// Resets streams, the longest-stalled first, until what is held fits the pool again (P-47).
    pub(super) fn relieve(&mut self, now: std::time::Instant) {
        while self.held > self.config.pool || (self.over_ceiling && self.held > 0) {
            let victim = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.recv.held > 0)
                .max_by_key(|(key, entry)| {
                    let stalled = now.saturating_duration_since(entry.read_at);
                    // A reader that read within the last second is not stalled, whatever its class.
                    (
                        stalled.as_secs() >= 1,
                        entry.class,
                        stalled,
                        std::cmp::Reverse(key.0),
                    )
                })
                .map(|(key, _)| *key);
            let Some(victim) = victim else { return };
            self.fail(victim, ErrorCode::SlowReader, "its reader did not read");
            self.drop_held(victim);
            if self.over_ceiling && self.held <= self.config.pool {
                // Other sessions share the relief; one stream a time is enough.
                return;
            }
        }
    }

    /// Takes back what is held for a stream that is over on the wire already: its reader gets no
    /// end that would make it look complete.
    fn drop_held(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if entry.recv.held > 0 {
            self.held -= std::mem::take(&mut entry.recv.held);
            entry.recv.queue.clear();
            entry.broken = Some(ErrorCode::SlowReader);
            self.wake_all(key);
        }
    }
}
