//! How one of our own calls to the Kubernetes API fails.
//!
//! Owns the reading of the API server's `Status` objects. Invariant: what is shown holds no
//! credential and no address; the API server's own words are cut to a bound.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use crate::backoff;
use crate::cluster::ClusterError;
use crate::kubeapi::PathError;
use crate::kubeapi::headers::Headers;
use crate::limits;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// A name or selector makes no request of it; nothing was sent.
    #[error("the object cannot be named: {0}")]
    Path(#[from] PathError),
    /// On the way to the API server, or its answer broke off.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There is no such object, or no such resource: 404.
    #[error("{0}")]
    NotFound(Refusal),
    /// Somebody else's change stands in the way: 409.
    #[error("{0}")]
    Conflict(Refusal),
    /// A resourceVersion or continuation that is too old: 410.
    #[error("{0}")]
    Gone(Refusal),
    /// Any other answer that is no success.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer, or one object of it, is above its bound of so many bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not what was asked for.
    #[error("the answer is not usable: {0}")]
    Malformed(&'static str),
    /// The agent follows as many objects as it may.
    #[error("the agent follows as many objects as it may")]
    Crowded,
}

/// What the API server said when it said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The reason of its `Status`, `Forbidden`; empty when it gave none.
    pub reason: String,
    /// Its words, cut to [`limits::OBJECT_MESSAGE`].
    pub message: String,
    /// When to try again, if it said so.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server answered {}", self.status)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl ObjectError {
    /// Whether the API server surely never saw the request.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        match self {
            Self::Path(_) | Self::Crowded => true,
            Self::Cluster(error) => error.not_sent(),
            Self::NotFound(_)
            | Self::Conflict(_)
            | Self::Gone(_)
            | Self::Refused(_)
            | Self::TooLarge(_)
            | Self::Malformed(_) => false,
        }
    }

    /// What the API server said, if it answered with a no.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound(refusal)
            | Self::Conflict(refusal)
            | Self::Gone(refusal)
            | Self::Refused(refusal) => Some(refusal),
            Self::Path(_)
            | Self::Cluster(_)
            | Self::TooLarge(_)
            | Self::Malformed(_)
            | Self::Crowded => None,
        }
    }

    /// Whether the same call may well succeed in a while, without anybody mending anything.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Cluster(error) => matches!(
                error,
                ClusterError::Unreachable { .. }
                    | ClusterError::Failed(_)
                    | ClusterError::Deadline(_)
                    | ClusterError::Unusable(_)
                    | ClusterError::Credential(_)
                    // A rotated token is read again within a minute.
                    | ClusterError::CredentialRefused
            ),
            Self::Refused(refusal) => refusal.status == 429 || refusal.status >= 500,
            Self::Gone(_) | Self::Malformed(_) => true,
            Self::Path(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::Crowded => false,
        }
    }
}

/// A `Status` object, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    reason: String,
    message: String,
    code: u16,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: u64,
}

impl Status {
    /// The error that an `ERROR` event of a watch stands for.
    pub(super) fn error(self) -> ObjectError {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let expired = self.reason == "Expired" || self.reason == "Gone";
        named(if expired { StatusCode::GONE } else { status }, self, None)
    }
}

/// The error that an answer with this status stands for.
pub(super) fn refused(status: StatusCode, headers: &Headers, body: &[u8]) -> ObjectError {
    let said: Status = serde_json::from_slice(body).unwrap_or_default();
    let hint = headers
        .iter()
        .find(|(name, _)| name == RETRY_AFTER)
        .and_then(|(_, value)| value.to_str().ok())
        .and_then(|value| backoff::retry_after(value, None));
    named(status, said, hint)
}

fn named(status: StatusCode, said: Status, hint: Option<Duration>) -> ObjectError {
    let seconds = said.details.unwrap_or_default().retry_after_seconds;
    let refusal = Refusal {
        status: status.as_u16(),
        reason: cut(said.reason),
        message: cut(said.message),
        retry_after: hint.or((seconds > 0).then_some(Duration::from_secs(seconds))),
    };
    match status {
        StatusCode::NOT_FOUND => ObjectError::NotFound(refusal),
        StatusCode::CONFLICT => ObjectError::Conflict(refusal),
        StatusCode::GONE => ObjectError::Gone(refusal),
        _ => ObjectError::Refused(refusal),
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::OBJECT_MESSAGE));
    text
}
