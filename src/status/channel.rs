//! What is known of the channel beside its phase.
//!
//! Owns the shapes alone; who writes them is said where they stand in the snapshot.

use std::time::Duration;

use tokio::time::Instant;

/// Why the channel was last lost or not had.
#[derive(Debug, Clone)]
pub struct LastError {
    /// Of a bounded set.
    pub cause: &'static str,
    /// One line for a person.
    pub message: String,
    /// When.
    pub at: Instant,
}

/// What the gateway says that the agent's operator should know.
#[derive(Debug, Clone)]
pub struct Warning {
    /// What it is about: one of the protocol's codes.
    pub code: &'static str,
    /// One line for a person.
    pub message: String,
    /// When it was last said.
    pub at: Instant,
}

/// Counts of the session, as they were last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Channel {
    /// Open streams: interactive, API, bulk.
    pub streams: [u32; 3],
    /// Bytes held for slow readers.
    pub held: usize,
    /// Times that a stream with bytes to send found no credit, all sessions together.
    pub credit_stalls: u64,
    /// Payload bytes sent, all sessions together.
    pub sent: u64,
    /// Payload bytes received, all sessions together.
    pub received: u64,
    /// The last round trip of a ping.
    pub round_trip: Option<Duration>,
}
