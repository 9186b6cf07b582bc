//! Kubernetes `Status` objects that we compose ourselves.
//!
//! Owns what each of our failures looks like to kubectl and client-go: code, reason, message, and
//! whether a retry is invited. What the API server answers passes byte for byte and never comes
//! here.
//!
//! Invariant: `Retry-After` stands only on failures after which the request surely never reached
//! the API server, because client-go repeats such a request in silence, whatever its verb.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::headers::HeaderError;
use super::path::PathError;

/// Who failed, on the way from the caller to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The control plane's end.
    Gateway,
    /// Between gateway and agent.
    Channel,
    /// The agent, or its owner's policy.
    Agent,
    /// The API server, or the way from the agent to it.
    ApiServer,
}

impl Hop {
    /// The word in `details.causes[].reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::Channel => "Channel",
            Self::Agent => "Agent",
            Self::ApiServer => "ApiServer",
        }
    }
}

/// A failure of ours that a caller of the Kubernetes API is told about.
///
/// Texts end up in front of the caller: they hold no secret and no address of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The path or query is refused before anything is decided: 400, 405 or 414.
    Path(PathError),
    /// The request's headers are refused: 400, 403 or 431.
    RequestHeaders(HeaderError),
    /// The caller has shown no valid credential to the gateway: 401.
    Unauthorized,
    /// The caller may not use this cluster, or there is none of that name: 403, one answer for
    /// both.
    NoAccess {
        /// The cluster id as the caller wrote it.
        cluster: String,
    },
    /// The policy says no: 403.
    Denied {
        /// What was asked for and which rule said no.
        message: String,
    },
    /// The cluster is known and its agent is not connected: 503.
    NotConnected {
        /// The cluster id.
        cluster: String,
        /// How long ago the agent was last heard of; nothing when never.
        last_seen: Option<Duration>,
        /// Set only within the reconnect window.
        retry_after: Option<Duration>,
    },
    /// A limit on concurrent requests is reached, nothing was dispatched: 429.
    Busy {
        /// Which limit.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Refused because this end is going away, nothing was dispatched: 503.
    ShuttingDown {
        /// When to try again.
        retry_after: Duration,
    },
    /// No answer in time: 504.
    Deadline {
        /// How long was waited.
        after: Duration,
    },
    /// The channel was lost after the request had been dispatched: 504.
    ChannelLost,
    /// Whether the request was carried out is not known: 504.
    Indeterminate,
    /// The API server could not be reached: 502.
    ApiServerUnreachable {
        /// What the connection failed at.
        message: String,
    },
    /// The API server answered 401 to the agent's own credential: 502.
    CredentialRefused,
    /// The agent cannot act as the caller, so it does not act at all: 502.
    IdentityNotSet,
    /// The API server's answer cannot be passed on: 502.
    ResponseHeaders(HeaderError),
    /// The answer was no HTTP, or broke off before its head: 502.
    BadResponse {
        /// What was wrong.
        message: String,
    },
    /// The one method or resource is not served here: 405.
    NotServed {
        /// What is not served.
        message: String,
    },
    /// There is no such object: 404. Only a server of the Kubernetes API may say so (the sample
    /// cluster); client-go takes it for "the object is gone".
    NotFound {
        /// What was not found.
        message: String,
    },
    /// A command that is not offered, or arguments that are not its own: 400.
    BadCommand {
        /// What is wrong with it.
        message: String,
    },
    /// Somebody else's change stands in the way, or the same command still runs: 409.
    Conflict {
        /// What stands in the way.
        message: String,
    },
    /// A request or an answer beyond what is carried in one piece: 413.
    TooLarge {
        /// Which, and how it can be had all the same.
        message: String,
    },
    /// The API server understood a change and does not make it: 422.
    NotMade {
        /// What it said.
        message: String,
    },
    /// A failure of ours that is a defect: 500.
    Internal,
}

/// A composed answer: status line, one optional header, body of type `application/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub code: StatusCode,
    /// The value of `Retry-After`, in whole seconds of 1 or more.
    pub retry_after: Option<u64>,
    /// The `Status` object.
    pub body: String,
}

/// The media type of [`Answer::body`].
pub const CONTENT_TYPE: &str = "application/json";

impl Failure {
    /// The answer that tells the caller, with the hop that failed and the correlation id under
    /// which our logs know the request.
    #[must_use]
    pub fn answer(&self, hop: Hop, correlation: &str) -> Answer {
        let (code, reason) = self.code();
        let retry_after = self.retry_after().map(whole_seconds);
        let cause = self.message();
        let status = Status {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &format!("{cause} (request {correlation})"),
            reason,
            details: Details {
                causes: [Cause {
                    reason: hop.as_str(),
                    message: &cause,
                }],
                retry_after_seconds: retry_after,
            },
            code: code.as_u16(),
        };
        let body = serde_json::to_string(&status).expect("text and numbers always serialise");
        Answer {
            code,
            retry_after,
            body,
        }
    }

    /// HTTP status and Kubernetes reason; reasons without a constant in Kubernetes are named in its
    /// manner.
    #[must_use]
    pub const fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Path(PathError::Method) | Self::NotServed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")
            }
            Self::Path(PathError::TooLong | PathError::QueryTooLong) => {
                (StatusCode::URI_TOO_LONG, "URITooLong")
            }
            Self::Path(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::RequestHeaders(HeaderError::Impersonation)
            | Self::NoAccess { .. }
            | Self::Denied { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::RequestHeaders(HeaderError::TooLarge) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "RequestHeaderFieldsTooLarge",
            ),
            Self::RequestHeaders(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::NotConnected { .. } | Self::ShuttingDown { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
            }
            Self::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Deadline { .. } | Self::ChannelLost | Self::Indeterminate => {
                (StatusCode::GATEWAY_TIMEOUT, "Timeout")
            }
            Self::ApiServerUnreachable { .. }
            | Self::CredentialRefused
            | Self::IdentityNotSet
            | Self::ResponseHeaders(_)
            | Self::BadResponse { .. } => (StatusCode::BAD_GATEWAY, "BadGateway"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "NotFound"),
            Self::BadCommand { .. } => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Conflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::NotMade { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotConnected { retry_after, .. } => *retry_after,
            Self::Busy { retry_after, .. } | Self::ShuttingDown { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }

    /// One sentence for the caller.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Path(error) => error.to_string(),
            Self::RequestHeaders(error) => error.to_string(),
            Self::Unauthorized => "the gateway needs a valid bearer token".into(),
            Self::NoAccess { cluster } => format!("no access to cluster \"{cluster}\""),
            Self::Denied { message }
            | Self::Busy { message, .. }
            | Self::NotServed { message }
            | Self::NotFound { message }
            | Self::BadCommand { message }
            | Self::Conflict { message }
            | Self::TooLarge { message }
            | Self::NotMade { message } => message.clone(),
            Self::NotConnected {
                cluster,
                last_seen: None,
                ..
            } => {
                format!("cluster \"{cluster}\" is not connected, and has not been seen yet")
            }
            Self::NotConnected {
                cluster,
                last_seen: Some(ago),
                ..
            } => {
                format!(
                    "cluster \"{cluster}\" is not connected, last seen {} ago",
                    rounded(*ago)
                )
            }
            Self::ShuttingDown { .. } => "going away, nothing was sent to the API server".into(),
            Self::Deadline { after } => format!("no answer within {}", rounded(*after)),
            Self::ChannelLost => "the channel to the cluster was lost after the request had been \
                                  sent; it may have been carried out"
                .into(),
            Self::Indeterminate => "it is not known whether the request was carried out".into(),
            Self::ApiServerUnreachable { message } => {
                format!("the agent cannot reach the API server: {message}")
            }
            Self::CredentialRefused => {
                "the API server refused the agent's own credential (401)".into()
            }
            Self::IdentityNotSet => "the agent cannot act as the caller".into(),
            Self::ResponseHeaders(error) => {
                format!("the API server's answer cannot be passed on: {error}")
            }
            Self::BadResponse { message } => {
                format!("the API server's answer is not usable: {message}")
            }
            Self::Internal => "internal error".into(),
        }
    }
}

/// client-go reads whole seconds, and takes 0 for "no wait": 1 is the least.
const fn whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs() + if wait.subsec_nanos() > 0 { 1 } else { 0 };
    if seconds == 0 { 1 } else { seconds }
}

/// One unit is precise enough for a person: `45 s`, `3 min`, `2 h`, `5 d`.
fn rounded(time: Duration) -> String {
    match time.as_secs() {
        0 if time.subsec_millis() > 0 => format!("{} ms", time.subsec_millis()),
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

// The order of the fields is the one the API server writes.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    details: Details<'a>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    causes: [Cause<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Cause<'a> {
    reason: &'static str,
    message: &'a str,
}
