//! Why an attempt or a session ended, and what follows from it.
//!
//! Owns the mapping to causes (a bounded set, for metrics) and to what comes next. Owns not: the
//! waiting (`backoff`, `uplink`). Invariant: only what an operator must mend is slow, and only
//! what no operator of this agent can mend is final.

use std::fmt::Display;
use std::time::Duration;

use http::StatusCode;

use super::dial::DialError;
use super::handshake::HandshakeError;
use super::register::{Refusal, RegisterError};
use super::sse::SseError;
use crate::backoff::Pace;
use crate::config::secret::SecretError;
use crate::link::LinkError;
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::ReconnectWindow;
use crate::protocol::message::Goaway;
use crate::session::Ended;
use crate::telemetry::error_chain;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, by the schedule.
    Retry(Pace),
    /// Another attempt, not before this.
    RetryAfter(Duration),
    /// The agent is refused: attempts are rare, and an operator must act.
    Refused,
    /// No further attempt.
    Fatal,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// Of a bounded set.
    pub(super) cause: &'static str,
    /// One line for a person.
    pub(super) message: String,
    pub(super) next: Next,
    /// A token other than the one that was used may mend it.
    pub(super) token: bool,
    /// How to come back, if the peer said so.
    pub(super) window: Option<ReconnectWindow>,
    /// The gateway goes away in good order: nothing is wrong.
    pub(super) planned: bool,
}

impl Ending {
    fn new(cause: &'static str, message: &dyn Display, next: Next) -> Self {
        Self {
            cause,
            message: message.to_string(),
            next,
            token: false,
            window: None,
            planned: false,
        }
    }

    /// The token could not be read.
    pub(super) fn of_token(error: &SecretError) -> Self {
        let message = format!("the token cannot be used: {}", error_chain(error));
        Self::new("token", &message, Next::Retry(Pace::Usual))
    }

    /// Registration failed.
    pub(super) fn of_registration(error: &RegisterError) -> Self {
        let message = error_chain(error);
        match error {
            RegisterError::Dial(dial) => Self::of_dial(dial, &message),
            RegisterError::Refused(refusal) => Self::of_refusal(refusal, &message),
            RegisterError::Slow(_) => Self::retry("timeout", &message),
            RegisterError::Http(_) => Self::retry("http", &message),
            RegisterError::WebPage => Self::retry("web_page", &message),
            RegisterError::TooLarge | RegisterError::Malformed(_) | RegisterError::NoChannel => {
                Self::retry("registration", &message)
            }
        }
    }

    /// The handshake failed.
    pub(super) fn of_handshake(error: &HandshakeError) -> Self {
        let message = error_chain(error);
        match error {
            HandshakeError::Neither { source, .. } => Self {
                message: message.to_string(),
                ..Self::of_handshake(source)
            },
            HandshakeError::Dial(dial) => Self::of_dial(dial, &message),
            HandshakeError::NotUpgraded(refusal) => Self::of_refusal(refusal, &message),
            HandshakeError::Slow(_) => Self::retry("timeout", &message),
            HandshakeError::Sse(SseError::Dial(dial)) => Self::of_dial(dial, &message),
            HandshakeError::Sse(SseError::Refused(refusal)) => Self::of_refusal(refusal, &message),
            HandshakeError::Sse(SseError::Slow(_)) => Self::retry("timeout", &message),
            HandshakeError::Sse(SseError::Http(_) | SseError::Strange(_)) => {
                Self::retry("sse", &message)
            }
            HandshakeError::NoOther => Self::new("transport", &message, Next::Retry(Pace::Slow)),
            HandshakeError::Stripped(_) => Self::new("upgrade", &message, Next::Retry(Pace::Slow)),
            HandshakeError::Upgrade(_) => Self::retry("upgrade", &message),
            HandshakeError::Link(_) => Self::retry("reset", &message),
            HandshakeError::Closed(close) => Self::of_close(close.as_ref(), &message),
            HandshakeError::Protocol(code) => Self::retry(code.as_str(), &message),
            HandshakeError::Refused(refused) => {
                let next = if refused.code == ErrorCode::Decommissioned {
                    Next::Fatal
                } else if refused.permanent {
                    Next::Refused
                } else {
                    match refused.retry_after_ms {
                        Some(ms) => Next::RetryAfter(Duration::from_millis(ms)),
                        None => Next::Retry(Pace::Usual),
                    }
                };
                Self {
                    token: refused.code == ErrorCode::Unauthorized,
                    ..Self::new(refused.code.as_str(), &message, next)
                }
            }
        }
    }

    /// A session ended.
    pub(super) fn of_session(ended: &Ended) -> Self {
        match ended {
            Ended::Drained => Self::retry("drained", ended),
            Ended::PeerLeft(goaway) => Self {
                window: goaway.reconnect,
                planned: matches!(
                    goaway.code,
                    ErrorCode::ShuttingDown | ErrorCode::IdsExhausted
                ),
                ..Self::of_code(goaway.code, &format!("{ended}: {}", goaway.message))
            },
            Ended::PeerClosed(close) => Self::of_close(close.as_ref(), ended),
            Ended::Failed(code, _) => Self::retry(code.as_str(), ended),
            Ended::Link(error) => {
                let cause = match error {
                    LinkError::Io(_) => "reset",
                    LinkError::TooLarge => ErrorCode::TooLarge.as_str(),
                    LinkError::Protocol(_) => "websocket",
                };
                Self::retry(cause, &error_chain(error))
            }
        }
    }

    /// The gateway goes away, and what runs in the session goes on beside the next one.
    pub(super) fn of_move(goaway: Goaway) -> Self {
        Self::of_session(&Ended::PeerLeft(goaway))
    }

    /// The session's task panicked: a defect of ours, and no reason to stay away.
    pub(super) fn of_panic() -> Self {
        Self::retry("panic", &"the session ended by a defect")
    }

    fn retry(cause: &'static str, message: &dyn Display) -> Self {
        Self::new(cause, message, Next::Retry(Pace::Usual))
    }

    /// The gateway's own word for the end of a session. A token that was withdrawn is found out
    /// by the next registration.
    fn of_code(code: ErrorCode, message: &str) -> Self {
        let next = if code == ErrorCode::Decommissioned {
            Next::Fatal
        } else {
            Next::Retry(Pace::Usual)
        };
        Self::new(code.as_str(), &message, next)
    }

    fn of_close(close: Option<&(u16, String)>, message: &dyn Display) -> Self {
        let named = close.and_then(|(close, reason)| {
            ErrorCode::ALL
                .iter()
                .find(|code| code.close_code() == *close && code.as_str() == reason)
        });
        match named {
            Some(code) => Self::of_code(*code, &message.to_string()),
            None => Self::retry("closed", message),
        }
    }

    fn of_dial(error: &DialError, message: &dyn Display) -> Self {
        let (cause, pace) = match error {
            DialError::Resolve { .. } => ("dns", Pace::Usual),
            DialError::Connect { .. } => ("connect", Pace::Usual),
            DialError::Setup(_) => ("tls_setup", Pace::Slow),
            DialError::Untrusted { .. } => ("tls_untrusted", Pace::Slow),
            DialError::OldTls { .. } => ("tls_version", Pace::Slow),
            DialError::Handshake { .. } => ("tls", Pace::Usual),
            // Attempts with credentials that are refused lock accounts.
            DialError::NoTunnel { source, .. } if source.is_unauthorized() => {
                ("proxy_unauthorized", Pace::Slow)
            }
            DialError::Proxy { .. } | DialError::NoTunnel { .. } => ("proxy", Pace::Usual),
        };
        Self::new(cause, message, Next::Retry(pace))
    }

    /// The table of P-3.
    fn of_refusal(refusal: &Refusal, message: &dyn Display) -> Self {
        let (cause, next) = match refusal.status {
            StatusCode::UNAUTHORIZED => ("unauthorized", Next::Refused),
            StatusCode::FORBIDDEN => ("forbidden", Next::Refused),
            StatusCode::CONFLICT => ("duplicate_agent", Next::Refused),
            StatusCode::GONE => ("decommissioned", Next::Fatal),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                ("bad_request", Next::Refused)
            }
            StatusCode::UPGRADE_REQUIRED => ("unsupported", Next::Refused),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let next = match refusal.retry_after {
                    Some(wait) => Next::RetryAfter(wait),
                    None => Next::Retry(Pace::Usual),
                };
                ("busy", next)
            }
            status if status.is_redirection() => ("redirect", Next::Retry(Pace::Usual)),
            _ => ("http_status", Next::Retry(Pace::Usual)),
        };
        Self {
            token: refusal.status == StatusCode::UNAUTHORIZED,
            ..Self::new(cause, message, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::hello::Refused;
    use http::HeaderMap;

    fn refused(status: u16, retry_after: Option<&str>) -> Ending {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = Refusal::new(status, &headers, b"<html>");
        Ending::of_registration(&RegisterError::Refused(refusal))
    }

    #[test]
    fn each_status_of_the_table_has_its_consequence() {
        for status in [400, 401, 403, 409, 413, 426] {
            assert_eq!(refused(status, None).next, Next::Refused, "{status}");
        }
        assert!(refused(401, None).token && !refused(403, None).token);
        assert_eq!(refused(410, None).next, Next::Fatal);
        for status in [302, 307, 404, 500, 502, 200 + 4] {
            let next = refused(status, Some("7")).next;
            assert_eq!(next, Next::Retry(Pace::Usual), "{status}");
        }
        for status in [429, 503] {
            let seven = Next::RetryAfter(Duration::from_secs(7));
            assert_eq!(refused(status, Some("7")).next, seven);
            let by_schedule = Next::Retry(Pace::Usual);
            assert_eq!(refused(status, Some("garbage")).next, by_schedule);
        }
    }

    #[test]
    fn a_refusal_in_the_handshake_is_permanent_only_when_it_says_so() {
        let refused = |code, permanent, retry_after_ms| {
            Ending::of_handshake(&HandshakeError::Refused(Refused {
                code,
                message: "no".into(),
                permanent,
                retry_after_ms,
            }))
            .next
        };
        assert_eq!(refused(ErrorCode::Forbidden, true, None), Next::Refused);
        assert_eq!(refused(ErrorCode::Decommissioned, true, None), Next::Fatal);
        let later = Next::RetryAfter(Duration::from_secs(4));
        assert_eq!(refused(ErrorCode::Busy, false, Some(4_000)), later);
        let usual = Next::Retry(Pace::Usual);
        assert_eq!(refused(ErrorCode::Busy, false, None), usual);
    }

    #[test]
    fn a_session_that_the_gateway_closed_is_named_by_its_code_and_reason() {
        let closed = |code, reason: &str| {
            Ending::of_session(&Ended::PeerClosed(Some((code, reason.to_owned()))))
        };
        assert_eq!(closed(4401, "unauthorized").cause, "unauthorized");
        assert_eq!(closed(4410, "decommissioned").next, Next::Fatal);
        assert_eq!(closed(4410, "forged").cause, "closed");
        assert_eq!(closed(1006, "").cause, "closed");
    }

    #[test]
    fn a_goaway_brings_its_window_along() {
        let window = ReconnectWindow {
            first_ms: 5_000,
            cap_ms: 9_000,
        };
        let ending = Ending::of_session(&Ended::PeerLeft(Goaway {
            code: ErrorCode::ShuttingDown,
            message: "rolling update".into(),
            last_stream: None,
            reconnect: Some(window),
        }));
        assert_eq!(ending.window, Some(window));
        assert_eq!(ending.cause, "shutting_down");
    }
}
