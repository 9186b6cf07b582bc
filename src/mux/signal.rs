//! What the machine says and hears, free of direction and coding.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::streams::Key;
use crate::protocol::StreamId;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::hello::SessionRole;
use crate::protocol::message::{Goaway, Heartbeat, Open, Report, Warning};

/// One message or frame of an established session, in either direction.
#[derive(Debug, Clone)]
pub enum Signal {
    /// Opens a stream (to the agent).
    Open(Box<Open>),
    /// A command's event (to the gateway).
    Event {
        /// Whose.
        stream: StreamId,
        /// The event's JSON.
        event: Box<RawValue>,
    },
    /// Bytes.
    Data {
        /// Whose.
        stream: StreamId,
        /// The last ones in this direction.
        fin: bool,
        /// They continue the stream's zstd stream.
        zstd: bool,
        /// The bytes as carried.
        payload: Bytes,
    },
    /// A stream's end (to the gateway).
    End {
        /// Whose.
        stream: StreamId,
        /// How it ended.
        outcome: Result<Option<Box<RawValue>>, ErrorBody>,
    },
    /// Credit.
    Window {
        /// Whose.
        stream: StreamId,
        /// How many bytes more.
        bytes: u32,
    },
    /// A reset (to the agent).
    Reset {
        /// Whose.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// A ping.
    Ping(u32),
    /// Its echo.
    Pong(u32),
    /// The sender goes away.
    Goaway(Goaway),
    /// The agent's state (to the gateway).
    Report(Report),
    /// A report was taken (to the agent).
    Ack(u32),
    /// The session's role from now on (to the agent).
    Role(SessionRole),
    /// Something to know (to the agent).
    Warning(Warning),
    /// A sign of life (to the gateway).
    Heartbeat(Heartbeat),
    /// Something unknown that asks for nothing; only its number counts.
    Unknown,
}

/// What a received signal brings for the session's owner.
#[derive(Debug)]
pub enum Arrival {
    /// A new stream (agent).
    Opened(Key, Box<Open>),
    /// A report (gateway).
    Report(Report),
    /// A heartbeat (gateway).
    Heartbeat(Heartbeat),
    /// An acknowledgement (agent).
    Ack(u32),
    /// Another role (agent).
    Role(SessionRole),
    /// Something to know (agent).
    Warning(Warning),
    /// The peer goes away.
    Goaway(Goaway),
}

/// Why the whole session must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// The code that the peer is told.
    pub code: ErrorCode,
    /// The sentence that it is told.
    pub message: &'static str,
}

impl Fault {
    pub(super) const fn protocol(message: &'static str) -> Self {
        Self {
            code: ErrorCode::ProtocolError,
            message,
        }
    }

    pub(super) const fn flood(message: &'static str) -> Self {
        Self {
            code: ErrorCode::Flood,
            message,
        }
    }
}
