//! Leaving, and being gone.
//!
//! Owns `goaway`, the grace of what still runs, and what handles learn when the session is lost.

use std::time::{Duration, Instant};

use super::signal::Signal;
use super::state::Wire;
use super::streams::Key;
use super::{Mux, Role};
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::hello::ReconnectWindow;
use crate::protocol::message::Goaway;

impl Mux {
    /// Begins to leave: no new streams, the running ones have the grace.
    pub fn leave(
        &mut self,
        now: Instant,
        code: ErrorCode,
        message: &str,
        reconnect: Option<ReconnectWindow>,
    ) {
        self.leave_within(now, self.config.grace, code, message, reconnect);
    }

    /// As [`Mux::leave`], with another grace than the configured one.
    pub fn leave_within(
        &mut self,
        now: Instant,
        grace: Duration,
        code: ErrorCode,
        message: &str,
        reconnect: Option<ReconnectWindow>,
    ) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.grace = Some(now + grace);
        let last_stream = self.last_id.filter(|_| self.config.role == Role::Agent);
        self.outbound.control(Signal::Goaway(Goaway {
            code,
            message: message.to_owned(),
            last_stream,
            reconnect,
        }));
    }

    /// Whether this side has said that it leaves.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether the peer has said that it leaves.
    pub fn peer_is_leaving(&self) -> bool {
        self.peer_leaving
    }

    /// Whether new streams may be opened.
    pub fn is_open(&self) -> bool {
        !self.gone && !self.leaving && !self.peer_leaving
    }

    /// Whether nothing runs and nothing waits for the socket.
    pub fn is_drained(&self) -> bool {
        self.live == 0 && !self.outbound.has_output()
    }

    /// Ends every stream that still runs, because the grace is over. Each was begun: a code that
    /// invites to send it again (P-53) would be a lie.
    pub(super) fn end_all(&mut self) {
        for key in self.open_keys() {
            match self.config.role {
                Role::Gateway => self.fail(key, ErrorCode::ChannelLost, ""),
                Role::Agent => {
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.broken = Some(ErrorCode::ChannelLost);
                    }
                    let body = ErrorBody::new(ErrorCode::ChannelLost, "the agent went away");
                    self.say_failure(key, body);
                    self.wake_all(key);
                }
            }
        }
    }

    /// The session is gone: every handle learns it.
    pub fn lose(&mut self) {
        self.gone = true;
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            self.wake_all(key);
            self.finish(key);
        }
    }

    fn open_keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.wire != Wire::Done && entry.failure.is_none())
            .map(|(key, _)| *key)
            .collect();
        keys.sort_unstable_by_key(|key| key.0);
        keys
    }
}
