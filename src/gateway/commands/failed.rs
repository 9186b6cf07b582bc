//! How a command fails.
//!
//! Owns a failure in the two forms in which callers are told, and which failures pass. Owns not what
//! follows from that (`run`). Pure.

use crate::gateway::failures::{self, Refusal};
use crate::protocol::error::ErrorCode;

/// Why a command has failed, for a caller who gets a status and for one who gets an event.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) refusal: Refusal,
}

impl Failed {
    pub(crate) fn new(code: ErrorCode, message: &str) -> Self {
        Self::of(code, failures::of_command(code, message))
    }

    pub(crate) fn of(code: ErrorCode, refusal: Refusal) -> Self {
        Self {
            code,
            message: refusal.failure.message(),
            refusal,
        }
    }

    /// The same, told otherwise.
    pub(crate) fn refused(self, refusal: Refusal) -> Self {
        Self::of(self.code, refusal)
    }

    pub(crate) fn parts(self) -> (Refusal, Option<ErrorCode>) {
        (self.refusal, Some(self.code))
    }
}

/// Whether a failure passes, so that the same command may do better later. The API server's own
/// absence does once it has answered before: at first it is the caller's to know.
pub(crate) const fn lasts(code: ErrorCode, begun: bool) -> bool {
    match code {
        ErrorCode::ChannelLost
        | ErrorCode::SlowReader
        | ErrorCode::Busy
        | ErrorCode::ShuttingDown => true,
        ErrorCode::UpstreamUnreachable
        | ErrorCode::UpstreamFailed
        | ErrorCode::CredentialRefused => begun,
        _ => false,
    }
}
