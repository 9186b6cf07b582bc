//! The closed list of error codes, and the body that carries one.
//!
//! Owns the strings, their numbers (for RESET frames) and the WebSocket close codes. Owns not: how
//! a code becomes an HTTP answer (`kubeapi::status`).
//! Invariant: a released string or number never changes its meaning (P-52).

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a stream or a session ended badly. The list is closed (P-50).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the list.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The string on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// The number in a RESET frame.
            pub const fn number(self) -> u16 {
                match self { $(ErrorCode::$variant => $number,)* }
            }

            /// The code of a RESET frame; a number outside the list reads as `cancelled` (P-33).
            pub const fn from_number(number: u16) -> Self {
                match number { $($number => ErrorCode::$variant,)* _ => ErrorCode::Cancelled }
            }
        }
    };
}

codes! {
    /// The requester wants no more of it.
    Cancelled = 1, "cancelled";
    /// The command's arguments are not what its schema says.
    BadRequest = 2, "bad_request";
    /// The peer does not know a command of this name.
    UnknownCommand = 3, "unknown_command";
    /// The policy of the cluster's owner refuses it.
    Forbidden = 4, "forbidden";
    /// A limit on concurrent work is reached; nothing was begun.
    Busy = 5, "busy";
    /// The command's deadline passed.
    DeadlineExceeded = 6, "deadline_exceeded";
    /// The API server could not be reached; nothing was sent to it.
    UpstreamUnreachable = 7, "upstream_unreachable";
    /// The API server refused the agent's own credential.
    CredentialRefused = 8, "credential_refused";
    /// The API server's answer broke off or made no sense.
    UpstreamFailed = 9, "upstream_failed";
    /// The API server answered with a redirect to somewhere else.
    RedirectRefused = 10, "redirect_refused";
    /// The reader did not read for so long that its buffer was needed.
    SlowReader = 11, "slow_reader";
    /// The peer sent more than it had credit for.
    CreditExceeded = 12, "credit_exceeded";
    /// A window would have grown past its ceiling.
    CreditOverflow = 13, "credit_overflow";
    /// A compressed frame could not be restored within its bounds.
    DecompressionFailed = 14, "decompression_failed";
    /// The side that answers is going away; nothing was begun.
    ShuttingDown = 15, "shutting_down";
    /// The channel went away while the command ran.
    ChannelLost = 16, "channel_lost";
    /// A command that may have run before cannot be told apart from one that has not.
    Indeterminate = 17, "indeterminate";
    /// A defect on the answering side.
    Internal = 18, "internal";
    /// A message or frame above its size limit.
    TooLarge = 19, "too_large";
    /// JSON nested deeper than allowed.
    TooDeep = 20, "too_deep";
    /// Not JSON, not a frame, or a field of the wrong kind.
    Malformed = 21, "malformed";
    /// A well-formed message that is not allowed here.
    ProtocolError = 22, "protocol_error";
    /// A critical message of an unknown type, or no common protocol version.
    Unsupported = 23, "unsupported";
    /// More useless work than an honest peer causes.
    Flood = 24, "flood";
    /// The token is not, or no longer, valid.
    Unauthorized = 25, "unauthorized";
    /// Another live agent of another cluster uses this id.
    DuplicateAgent = 26, "duplicate_agent";
    /// This cluster is no longer wanted; do not come back.
    Decommissioned = 27, "decommissioned";
    /// A ping was not echoed in time.
    PingTimeout = 28, "ping_timeout";
    /// The session has used up its stream ids.
    IdsExhausted = 29, "ids_exhausted";
    /// The API server has not what the command is about.
    NotFound = 30, "not_found";
    /// Somebody else's change stands in the way; nothing was changed.
    Conflict = 31, "conflict";
    /// The API server answered, and its answer is no; nothing was changed.
    UpstreamRefused = 32, "upstream_refused";
    /// The command of this idempotency key still runs.
    InProgress = 33, "in_progress";
    /// A command cannot go on at this offset.
    ResumeGap = 34, "resume_gap";
}

impl ErrorCode {
    /// The WebSocket close code that a session ended by this error closes with (P-9).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::ShuttingDown | Self::IdsExhausted => 1001,
            Self::Unauthorized => 4401,
            Self::PingTimeout => 4408,
            Self::DuplicateAgent => 4409,
            Self::Decommissioned => 4410,
            Self::Unsupported => 4426,
            Self::Flood | Self::Busy => 4429,
            Self::Internal => 4500,
            Self::Cancelled
            | Self::BadRequest
            | Self::UnknownCommand
            | Self::Forbidden
            | Self::DeadlineExceeded
            | Self::UpstreamUnreachable
            | Self::CredentialRefused
            | Self::UpstreamFailed
            | Self::RedirectRefused
            | Self::SlowReader
            | Self::CreditExceeded
            | Self::CreditOverflow
            | Self::DecompressionFailed
            | Self::ChannelLost
            | Self::Indeterminate
            | Self::TooDeep
            | Self::Malformed
            | Self::ProtocolError
            | Self::NotFound
            | Self::Conflict
            | Self::UpstreamRefused
            | Self::InProgress
            | Self::ResumeGap => 4400,
        }
    }

    /// Whether an answer with this code proves that the command was not begun, so that anybody may
    /// send it again, whatever it does (P-53).
    pub const fn not_begun(self) -> bool {
        matches!(self, Self::Busy | Self::ShuttingDown)
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an `end` with an error, a `refused` or a `goaway` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// The code, of the closed list.
    pub code: ErrorCode,
    /// One sentence for a person; no secrets, no paths of the host.
    pub message: String,
}

impl ErrorBody {
    /// A body with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ErrorBody {}
