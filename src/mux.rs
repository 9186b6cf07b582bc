//! One multiplexed connection as a state machine for either role: signals in, signals and wake-ups
//! out, `now` an argument. Pure: no I/O, no clock, no tasks.
//!
//! Owns the stream table, credit, what goes out next, liveness and the budgets against abuse.
//! Owns not: coding (`protocol::codec`), sockets and wakers (`session`), what a command means.
//! Invariants, each held by a property test in `mux/tests.rs`:
//! - what is sent on a stream never exceeds the credit that the peer gave (events may overdraw once);
//! - bytes are delivered once, in order, and no stream's bytes reach another;
//! - every stream that was opened gets exactly one end;
//! - bytes held for readers never exceed the pool, whatever the peer sends.

mod budget;
mod closing;
mod handle;
mod heartbeat;
mod numbers;
mod outbound;
mod receive;
mod signal;
mod state;
mod streams;
mod window;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use handle::{Half, HandleError, Item, Read, Room};
pub(crate) use numbers::NumberMap;
pub use signal::{Arrival, Fault, Signal};
pub use streams::{Key, NewStream, OpenRefused};

use crate::limits;
use crate::protocol::StreamId;
use crate::protocol::message::Class;
use budget::Budgets;
use heartbeat::Heartbeat;
use outbound::Outbound;
use streams::{Entry, Tombstones};

/// Which end of the channel this is. Only the gateway opens streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes streams.
    Agent,
    /// Opens streams.
    Gateway,
}

/// What a connection allows itself and its peer.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// Time between pings.
    pub ping_every: Duration,
    /// Time within which the echo is due.
    pub ping_within: Duration,
    /// Gateway: first credit for uploads, from the agent's `hello`. Agent: unused.
    pub peer_window: u32,
    /// First window that this side gives, at most.
    pub own_window: u32,
    /// Streams open at once.
    pub max_streams: u32,
    /// Bytes held for readers, at most.
    pub pool: usize,
    /// How long running streams may go on after `goaway`.
    pub grace: Duration,
}

/// A stream whose handle may have something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Its reader.
    Reader(Key),
    /// Its writer.
    Writer(Key),
    /// Whoever waits for it to be cancelled.
    Ender(Key),
}

/// Counts for status pages and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open streams: interactive, API, bulk.
    pub streams: [u32; 3],
    /// Bytes held for readers.
    pub held: usize,
    /// Times that a writer found no credit.
    pub credit_stalls: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
    /// The last round trip.
    pub rtt: Option<Duration>,
}

/// The state machine.
#[derive(Debug)]
pub struct Mux {
    config: Config,
    entries: NumberMap<Key, Entry>,
    ids: NumberMap<StreamId, Key>,
    next_key: u64,
    /// Gateway: the last id given. Agent: the last id taken.
    last_id: Option<StreamId>,
    /// Streams that count against `max_streams`.
    live: u32,
    outbound: Outbound,
    tombstones: Tombstones,
    heartbeat: Heartbeat,
    budgets: Budgets,
    wakes: VecDeque<Wake>,
    /// Bytes that all streams have queued towards the socket.
    queued: usize,
    held: usize,
    /// Credit that recently moved streams hold, as of the last tick, plus what was given since.
    credit_out: usize,
    next_tick: Instant,
    over_ceiling: bool,
    leaving: bool,
    /// When the grace of leaving is over; none before it begins and after it is.
    grace: Option<Instant>,
    peer_leaving: bool,
    gone: bool,
    class_counts: [u32; 3],
    stalls: u64,
    sent: u64,
    received: u64,
}

/// How often pressure is measured anew.
const TICK: Duration = Duration::from_secs(1);

impl Mux {
    /// A connection whose handshake has just been done.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            heartbeat: Heartbeat::new(config.ping_every, config.ping_within, now),
            budgets: Budgets::new(now),
            config,
            entries: NumberMap::default(),
            ids: NumberMap::default(),
            next_key: 0,
            last_id: None,
            live: 0,
            outbound: Outbound::default(),
            tombstones: Tombstones::default(),
            wakes: VecDeque::new(),
            queued: 0,
            held: 0,
            credit_out: 0,
            next_tick: now + TICK,
            over_ceiling: false,
            leaving: false,
            grace: None,
            peer_leaving: false,
            gone: false,
            class_counts: [0; 3],
            stalls: 0,
            sent: 0,
            received: 0,
        }
    }

    /// The next wake-up that the last calls caused.
    pub fn wake(&mut self) -> Option<Wake> {
        self.wakes.pop_front()
    }

    /// Whether [`Mux::outgoing`] has something.
    pub fn has_output(&self) -> bool {
        self.outbound.has_output()
    }

    /// When [`Mux::tick`] must be called at the latest.
    pub fn deadline(&self) -> Instant {
        let mut at = self.heartbeat.deadline();
        if self.credit_out > 0 || self.held > 0 {
            at = at.min(self.next_tick);
        }
        if let Some(grace) = self.grace {
            at = at.min(grace);
        }
        at
    }

    /// Lets time pass: pings, the liveness check, the pressure measure, the grace of leaving.
    ///
    /// # Errors
    /// `ping_timeout` when the peer is dead.
    pub fn tick(&mut self, now: Instant) -> Result<(), Fault> {
        if let Some(nonce) = self.heartbeat.tick(now)? {
            self.outbound.control(Signal::Ping(nonce));
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.credit_out = self
                .entries
                .values()
                .filter(|entry| entry.moved + limits::CREDIT_COUNTS_FOR > now)
                .map(|entry| entry.recv.window.outstanding())
                .sum();
            self.acknowledge();
        }
        if self.grace.is_some_and(|grace| now >= grace) {
            self.grace = None;
            self.end_all();
        }
        Ok(())
    }

    /// Tells whether all sessions of the process together hold too much.
    pub fn set_over_ceiling(&mut self, over: bool) {
        self.over_ceiling = over;
    }

    /// Bytes held for readers.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Counts, now.
    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.class_counts,
            held: self.held,
            credit_stalls: self.stalls,
            sent: self.sent,
            received: self.received,
            rtt: self.heartbeat.rtt(),
        }
    }

    /// Queues a session message.
    ///
    /// # Errors
    /// `flood` when the peer does not read and the queue is full.
    pub fn say(&mut self, signal: Signal) -> Result<(), Fault> {
        self.outbound.control(signal);
        self.check_control()
    }

    fn check_control(&self) -> Result<(), Fault> {
        if self.outbound.control_len() > limits::CONTROL_QUEUE {
            return Err(Fault::flood("the peer asks without reading the answers"));
        }
        Ok(())
    }

    /// The first window for a new stream: smaller under pressure (P-46).
    fn first_window(&self) -> u32 {
        let pressure = self.held + self.credit_out;
        let (most, least) = (self.config.own_window, limits::WINDOW_LEAST);
        if self.over_ceiling || pressure >= self.config.pool / 4 {
            least.min(most)
        } else if pressure >= self.config.pool / 8 {
            (most / 4).max(least).min(most)
        } else {
            most
        }
    }

    fn count_class(&mut self, class: Class, delta: i32) {
        let slot = &mut self.class_counts[class as usize];
        *slot = slot.saturating_add_signed(delta);
    }
}
