//! What arrives: the rules of the wire for an established session.
//!
//! Owns which signal is allowed when, and whose fault it is otherwise: a stream's (`fail`, the
//! others live on) or the session's ([`Fault`]). The table is in `proto/README.md`.

use std::time::Instant;

use bytes::Bytes;

use super::handle::Item;
use super::signal::{Arrival, Fault, Signal};
use super::state::Wire;
use super::streams::Key;
use super::{Mux, Role, Wake};
use crate::limits;
use crate::protocol::StreamId;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::message::{Goaway, Open};

impl Mux {
    /// Takes one signal from the peer.
    ///
    /// # Errors
    /// When the session must end.
    pub fn receive(&mut self, now: Instant, signal: Signal) -> Result<Option<Arrival>, Fault> {
        let role = self.config.role;
        match (signal, role) {
            (Signal::Open(open), Role::Agent) => return self.receive_open(now, open),
            (
                Signal::Data {
                    stream,
                    fin,
                    zstd,
                    payload,
                },
                _,
            ) => {
                self.receive_data(now, stream, fin, zstd, payload)?;
            }
            (Signal::Event { stream, event }, Role::Gateway) => {
                let bytes = event.get().len();
                if let Some(key) = self.stream(now, stream, bytes)? {
                    self.receive_event(now, key, Item::Event(event), bytes);
                }
            }
            (Signal::End { stream, outcome }, Role::Gateway) => {
                if let Some(key) = self.stream(now, stream, 0)? {
                    self.receive_end(key, outcome);
                }
            }
            (Signal::Window { stream, bytes }, _) => self.receive_window(now, stream, bytes)?,
            (Signal::Reset { stream, code }, Role::Agent) => {
                self.receive_reset(now, stream, code)?;
            }
            (Signal::Ping(nonce), _) => {
                self.budgets.ping(now)?;
                self.outbound.control(Signal::Pong(nonce));
            }
            (Signal::Pong(nonce), _) => {
                if !self.heartbeat.pong(nonce, now) {
                    self.budgets.unknown(now)?;
                }
            }
            (Signal::Goaway(goaway), _) => return Ok(Some(self.receive_goaway(goaway))),
            (Signal::Report(report), Role::Gateway) => {
                self.budgets.ping(now)?;
                self.outbound.control(Signal::Ack(report.seq));
                return Ok(Some(Arrival::Report(report)));
            }
            (Signal::Heartbeat(heartbeat), Role::Gateway) => {
                self.budgets.ping(now)?;
                return Ok(Some(Arrival::Heartbeat(heartbeat)));
            }
            (Signal::Ack(report), Role::Agent) => {
                self.budgets.ping(now)?;
                return Ok(Some(Arrival::Ack(report)));
            }
            (Signal::Role(role), Role::Agent) => {
                self.budgets.ping(now)?;
                return Ok(Some(Arrival::Role(role)));
            }
            (Signal::Warning(warning), Role::Agent) => {
                self.budgets.ping(now)?;
                return Ok(Some(Arrival::Warning(warning)));
            }
            (Signal::Unknown, _) => self.budgets.unknown(now)?,
            (
                Signal::Open(_)
                | Signal::Event { .. }
                | Signal::End { .. }
                | Signal::Reset { .. }
                | Signal::Report(_)
                | Signal::Heartbeat(_)
                | Signal::Ack(_)
                | Signal::Role(_)
                | Signal::Warning(_),
                _,
            ) => return Err(Fault::protocol("a message of the other direction")),
        }
        self.check_control()?;
        Ok(None)
    }

    fn receive_open(&mut self, now: Instant, open: Box<Open>) -> Result<Option<Arrival>, Fault> {
        let expected = self.last_id.map_or(Some(StreamId::FIRST), StreamId::next);
        if expected != Some(open.stream) {
            return Err(Fault::protocol("stream ids rise by one"));
        }
        self.last_id = Some(open.stream);
        let mut entry = self.entry(now, open.class, self.config.own_window, open.window);
        entry.id = Some(open.stream);
        entry.lasting = open.resume.is_some();
        let refusal = if self.leaving {
            Some(ErrorBody::new(
                ErrorCode::ShuttingDown,
                "this agent is going away",
            ))
        } else if self.live >= self.config.max_streams {
            Some(ErrorBody::new(
                ErrorCode::Busy,
                "this agent carries as many streams as it may",
            ))
        } else {
            None
        };
        if refusal.is_some() {
            (entry.reader, entry.writer, entry.ender) = (false, false, false);
        }
        let key = self.insert(entry);
        if let Some(body) = refusal {
            self.say_failure(key, body);
            self.check_control()?;
            return Ok(None);
        }
        Ok(Some(Arrival::Opened(key, open)))
    }

    /// The live stream of this id. `None` is one that has ended: the frame crossed the end on the
    /// wire, and is free as far as the peer's credit covers it (P-49).
    fn stream(&mut self, now: Instant, id: StreamId, bytes: usize) -> Result<Option<Key>, Fault> {
        if let Some(key) = self.ids.get(&id) {
            return Ok(Some(*key));
        }
        if self.last_id.is_none_or(|last| id > last) {
            return Err(Fault::protocol("a stream that was never opened"));
        }
        if !self.tombstones.covers(id, bytes) {
            self.budgets.late(now)?;
        }
        Ok(None)
    }

    fn receive_data(
        &mut self,
        now: Instant,
        stream: StreamId,
        fin: bool,
        zstd: bool,
        payload: Bytes,
    ) -> Result<(), Fault> {
        if payload.is_empty() && !fin {
            self.budgets.empty(now)?;
        }
        let bytes = payload.len();
        self.received += bytes as u64;
        let Some(key) = self.stream(now, stream, bytes)? else {
            return Ok(());
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return Ok(());
        };
        if entry.wire != Wire::Live {
            // This side's end is on its way; what crosses it is free as far as it had credit.
            let covered = entry.recv.window.received(bytes).is_ok();
            return if covered {
                Ok(())
            } else {
                self.budgets.late(now)
            };
        }
        if !entry.recv.open {
            self.fail(key, ErrorCode::ProtocolError, "data after its end");
            return Ok(());
        }
        if zstd && !entry.recv.zstd {
            self.fail(
                key,
                ErrorCode::ProtocolError,
                "compressed data that was not offered",
            );
            return Ok(());
        }
        if let Err(code) = entry.recv.window.received(bytes) {
            self.fail(key, code, "more data than there was credit for");
            return Ok(());
        }
        entry.moved = now;
        entry.answered |= self.config.role == Role::Gateway;
        self.credit_out = self.credit_out.saturating_sub(bytes);
        if fin {
            entry.recv.open = false;
        }
        if entry.reader {
            if bytes > 0 {
                if entry.recv.queue.is_empty() {
                    entry.read_at = now;
                }
                let payload = if self.held > self.config.pool / limits::POOL_UNCOPIED {
                    Bytes::copy_from_slice(&payload)
                } else {
                    payload
                };
                entry.recv.held += bytes;
                entry.recv.queue.push_back(Item::Data(payload, zstd));
                self.held += bytes;
            }
            if fin {
                entry.recv.queue.push_back(Item::Fin);
            }
            self.wakes.push_back(Wake::Reader(key));
            self.relieve(now);
        }
        Ok(())
    }

    fn receive_event(&mut self, now: Instant, key: Key, event: Item, bytes: usize) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        if let Err(code) = entry.recv.window.received_event(bytes) {
            self.fail(key, code, "an event without credit");
            return;
        }
        entry.moved = now;
        entry.answered = true;
        self.credit_out = self.credit_out.saturating_sub(bytes);
        if entry.reader {
            if entry.recv.queue.is_empty() {
                entry.read_at = now;
            }
            entry.recv.held += bytes;
            self.held += bytes;
            entry.recv.queue.push_back(event);
            self.wakes.push_back(Wake::Reader(key));
            self.relieve(now);
        }
    }

    fn receive_end(
        &mut self,
        key: Key,
        outcome: Result<Option<Box<serde_json::value::RawValue>>, ErrorBody>,
    ) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.answered = true;
        entry.recv.open = false;
        if entry.reader {
            entry.recv.queue.push_back(Item::End(outcome));
        }
        self.finish(key);
        self.wake_all(key);
    }

    fn receive_window(&mut self, now: Instant, stream: StreamId, bytes: u32) -> Result<(), Fault> {
        let Some(key) = self.ids.get(&stream).copied() else {
            // Credit for an ended stream crosses its end on every busy channel: the peer pays for
            // it only if it keeps coming for a stream that is not even remembered.
            self.stream(now, stream, 1)?;
            return Ok(());
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return Ok(());
        };
        match entry.send.window.add(bytes) {
            Ok(small) => {
                entry.moved = now;
                let acknowledges = entry.lasting && entry.send.window.is_whole();
                if small && !acknowledges {
                    self.budgets.small(now)?;
                }
                self.wakes.push_back(Wake::Writer(key));
            }
            Err(ErrorCode::ProtocolError) => {
                self.fail(key, ErrorCode::ProtocolError, "credit of nothing");
            }
            Err(code) => self.fail(key, code, "a window beyond its ceiling"),
        }
        Ok(())
    }

    fn receive_reset(
        &mut self,
        now: Instant,
        stream: StreamId,
        code: ErrorCode,
    ) -> Result<(), Fault> {
        let Some(key) = self.stream(now, stream, 1)? else {
            return Ok(());
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return Ok(());
        };
        let unanswered = !entry.answered && entry.failure.is_none();
        entry.broken = Some(code);
        entry.failure = None;
        self.held -= std::mem::take(&mut entry.recv.held);
        entry.recv.queue.clear();
        self.finish(key);
        self.wake_all(key);
        if unanswered {
            self.budgets.unanswered(now)
        } else {
            Ok(())
        }
    }

    fn receive_goaway(&mut self, goaway: Goaway) -> Arrival {
        self.peer_leaving = true;
        if self.config.role == Role::Gateway {
            // Streams that the agent never took were not begun: their callers may send them again.
            let last = goaway.last_stream;
            let mut late: Vec<Key> = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.wire.is_open() && entry.id > last)
                .map(|(key, _)| *key)
                .chain(self.queued())
                .collect();
            late.sort_unstable_by_key(|key| key.0);
            late.dedup();
            for key in late {
                self.receive_end(
                    key,
                    Err(ErrorBody::new(
                        ErrorCode::ShuttingDown,
                        "the agent was going away",
                    )),
                );
            }
        }
        Arrival::Goaway(goaway)
    }

    /// Streams whose open waits for the socket.
    fn queued(&self) -> impl Iterator<Item = Key> + '_ {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.opening.is_some())
            .map(|(key, _)| *key)
    }
}
