//! How streams and sessions end badly; a stream's error is never the session's.

use crate::link::LinkError;
use crate::mux::{HandleError, OpenRefused};
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Goaway;

/// Why a stream handle cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The peer, or this side on its own account (`slow_reader`), gave the stream up.
    #[error("the stream was reset: {0}")]
    Reset(ErrorCode),
    /// The session is gone.
    #[error("the channel was lost")]
    Lost,
    /// The stream has ended already.
    #[error("the stream has ended")]
    Ended,
}

/// Why a stream could not be opened; nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many streams are open as both sides allow.
    #[error("the session carries as many streams as it may")]
    Busy,
    /// Either side is going away.
    #[error("the session is going away")]
    GoingAway,
    /// The session is gone.
    #[error("the channel was lost")]
    Lost,
}

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// This side left, and everything was flushed.
    Drained,
    /// The peer said goodbye and everything that ran has ended or been ended.
    PeerLeft(Goaway),
    /// The peer closed the connection without `goaway`; the close code and reason, if it gave any.
    PeerClosed(Option<(u16, String)>),
    /// This side ended it: the peer broke a rule, did not echo a ping, or the owner aborted.
    Failed(ErrorCode, String),
    /// The connection broke.
    Link(LinkError),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drained => f.write_str("drained"),
            Self::PeerLeft(goaway) => write!(f, "the peer left: {}", goaway.code),
            Self::PeerClosed(Some((code, reason))) => write!(f, "the peer closed: {code} {reason}"),
            Self::PeerClosed(None) => f.write_str("the peer closed"),
            Self::Failed(code, message) => write!(f, "ended by this side: {code}: {message}"),
            Self::Link(error) => write!(f, "{error}"),
        }
    }
}

impl From<HandleError> for StreamError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Reset(code) => Self::Reset(code),
            HandleError::Lost => Self::Lost,
            HandleError::Ended => Self::Ended,
        }
    }
}

impl From<OpenRefused> for OpenError {
    fn from(refused: OpenRefused) -> Self {
        match refused {
            OpenRefused::Busy => Self::Busy,
            OpenRefused::GoingAway => Self::GoingAway,
            OpenRefused::Gone => Self::Lost,
        }
    }
}
