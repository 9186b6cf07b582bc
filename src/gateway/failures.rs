//! What each failure of a dispatched request is to its caller.
//!
//! Owns the mapping of the protocol's error codes onto `kubeapi::status`, with the hop that failed.
//! Invariant: only what surely never began invites a retry.

use std::time::Duration;

use super::Shared;
use super::agents::Cluster;
use super::answers::RETRY;
use crate::kubeapi::HeaderError;
use crate::kubeapi::status::{Failure, Hop};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::session::OpenError;

/// A failure, whose it is, and the word for the metrics.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    pub(crate) hop: Hop,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) const fn new(failure: Failure, hop: Hop, reason: &'static str) -> Self {
        Self {
            failure,
            hop,
            reason,
        }
    }
}

/// A stream that could not be opened: nothing was sent.
pub(crate) fn unopened(error: OpenError) -> Refusal {
    match error {
        OpenError::Busy => Refusal::new(
            Failure::Busy {
                message: "the channel carries as many requests as it may".to_owned(),
                retry_after: RETRY,
            },
            Hop::Channel,
            "channel_full",
        ),
        // The agent will be back, or another replica is there already.
        OpenError::GoingAway | OpenError::Lost => Refusal::new(
            Failure::ShuttingDown { retry_after: RETRY },
            Hop::Channel,
            "channel_gone",
        ),
    }
}

/// A stream that ended, with this code, before its head.
pub(crate) fn ended(code: ErrorCode, message: &str) -> Refusal {
    let message = || message.to_owned();
    let (failure, hop) = match code {
        ErrorCode::Forbidden => (Failure::Denied { message: message() }, Hop::Agent),
        ErrorCode::Busy => (
            Failure::Busy {
                message: message(),
                retry_after: RETRY,
            },
            Hop::Agent,
        ),
        ErrorCode::ShuttingDown => (Failure::ShuttingDown { retry_after: RETRY }, Hop::Agent),
        ErrorCode::DeadlineExceeded => (
            Failure::Deadline {
                after: limits::HEAD_DEADLINE,
            },
            Hop::ApiServer,
        ),
        ErrorCode::UpstreamUnreachable => (
            Failure::ApiServerUnreachable { message: message() },
            Hop::ApiServer,
        ),
        ErrorCode::CredentialRefused => (Failure::CredentialRefused, Hop::ApiServer),
        ErrorCode::UpstreamFailed => (Failure::BadResponse { message: message() }, Hop::ApiServer),
        ErrorCode::RedirectRefused => (
            Failure::ResponseHeaders(HeaderError::Redirect),
            Hop::ApiServer,
        ),
        ErrorCode::Indeterminate => (Failure::Indeterminate, Hop::Agent),
        ErrorCode::Unauthorized => (Failure::Unauthorized, Hop::Gateway),
        ErrorCode::ChannelLost
        | ErrorCode::Cancelled
        | ErrorCode::SlowReader
        | ErrorCode::Flood
        | ErrorCode::DuplicateAgent
        | ErrorCode::Decommissioned
        | ErrorCode::PingTimeout
        | ErrorCode::IdsExhausted
        | ErrorCode::ResumeGap
        | ErrorCode::TooLarge
        | ErrorCode::TooDeep
        | ErrorCode::Malformed
        | ErrorCode::Unsupported => (Failure::ChannelLost, Hop::Channel),
        // The two ends disagree about what may be sent: one of them has a defect.
        ErrorCode::BadRequest
        | ErrorCode::UnknownCommand
        | ErrorCode::CreditExceeded
        | ErrorCode::CreditOverflow
        | ErrorCode::DecompressionFailed
        | ErrorCode::ProtocolError
        | ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::UpstreamRefused
        | ErrorCode::InProgress
        | ErrorCode::Internal => (Failure::Internal, Hop::Agent),
    };
    Refusal::new(failure, hop, code.as_str())
}

/// A command that ended with this code: beyond what a request to the API can end with, it may be the
/// caller's own mistake, and the API server's plain answer.
pub(crate) fn of_command(code: ErrorCode, message: &str) -> Refusal {
    let text = || {
        if message.is_empty() {
            code.as_str().to_owned()
        } else {
            message.to_owned()
        }
    };
    let (failure, hop) = match code {
        ErrorCode::BadRequest | ErrorCode::UnknownCommand => {
            (Failure::BadCommand { message: text() }, Hop::Agent)
        }
        ErrorCode::NotFound => (Failure::NotFound { message: text() }, Hop::ApiServer),
        ErrorCode::Conflict => (Failure::Conflict { message: text() }, Hop::ApiServer),
        ErrorCode::UpstreamRefused => (Failure::NotMade { message: text() }, Hop::ApiServer),
        ErrorCode::InProgress => (Failure::Conflict { message: text() }, Hop::Agent),
        _ => return ended(code, message),
    };
    Refusal::new(failure, hop, code.as_str())
}

/// A cluster without a session.
pub(crate) fn not_connected(shared: &Shared, id: &str, cluster: Option<&Cluster>) -> Refusal {
    let (last_seen, lost) = cluster.map_or((None, None), Cluster::absence);
    // A gateway that has just begun has lost nobody, but everybody is on their way back to it.
    // A cluster whose every session is leaving is about to come back too.
    let leaving = cluster.is_some_and(|cluster| !cluster.sessions().is_empty());
    let since = match lost {
        _ if leaving => Duration::ZERO,
        Some(lost) => lost,
        None => shared.age(),
    };
    let window = Duration::from_millis(shared.reconnect().first_ms) + limits::RECONNECT_BEHIND;
    Refusal::new(
        Failure::NotConnected {
            cluster: id.to_owned(),
            last_seen,
            retry_after: (since < window).then_some(RETRY),
        },
        Hop::Gateway,
        "not_connected",
    )
}
