//! What carries the channel, and what keeps the better way from it.
//!
//! Owns these two words of the status. Owns not the choice (`uplink`).

use super::{Phase, Snapshot, Status};

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A WebSocket.
    Websocket,
    /// Requests, with events in their answers.
    Sse,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Websocket, Self::Sse];

    /// For logs, metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "wss",
            Self::Sse => "sse",
        }
    }
}

/// What carries the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    /// It.
    pub transport: Transport,
    /// Why it is no WebSocket, where one was tried.
    pub obstacle: Option<String>,
}

impl Status {
    /// What carries the session that begins now.
    pub fn set_carrier(&self, carrier: Carrier) {
        self.inner
            .snapshot
            .send_modify(|now| now.carrier = Some(carrier));
    }
}

impl Snapshot {
    /// What carries the session, by its name; `none` without one.
    pub fn transport(&self) -> &'static str {
        match &self.carrier {
            Some(carrier) if self.phase == Phase::Connected => carrier.transport.as_str(),
            _ => "none",
        }
    }

    /// Why it is no WebSocket, where one was tried.
    pub fn obstacle(&self) -> Option<&str> {
        let carrier = self.carrier.as_ref()?;
        let connected = self.phase == Phase::Connected;
        carrier.obstacle.as_deref().filter(|_| connected)
    }
}
