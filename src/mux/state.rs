//! Where a stream stands on the wire.
//!
//! ```text
//!            gateway                                    agent
//!   open() ─▶ Queued ──written──▶ Live          open arrives ─▶ Live
//!               │ reset               │                           │ end queued
//!               ▼                     │ end arrives, or           ▼
//!              Done ◀─────────────────┘ reset queued            Ending
//!                                                                 │ end written,
//!              Done ◀─────────────────────────────────────────────┘ or reset arrives
//! ```
//!
//! Each direction's bytes have a state of their own: open until FIN, and over with the stream.

/// The stream as both sides know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// The gateway's open waits for the socket; there is no id yet.
    Queued,
    /// Both sides know it.
    Live,
    /// The agent's end waits for the socket.
    Ending,
    /// Nothing more goes either way.
    Done,
}

impl Wire {
    /// Whether the stream counts as open.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Live)
    }
}
