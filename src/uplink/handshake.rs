//! From a dialled connection to `welcome` (P-5, P-10 to P-13), under one deadline.
//!
//! Owns the upgrade, `hello` and what its answer means for the session. Owns not: registration,
//! nor the session itself. Invariant: anything but a 101 with our subprotocol and then `welcome`
//! or `refused` is a failure, and the connection is closed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dial::{Connection, DialError, Dialler};
use super::register::{AGENT, Refusal, bearer};
use super::sse::SseError;
use crate::config::secret::Secret;
use crate::limits;
use crate::link::websocket;
use crate::link::{Link, LinkError};
use crate::protocol::codec::{self, Decoded, Wire};
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{Feature, Hello, PingTimes, Refused, Welcome};
use crate::protocol::version::Version;
use crate::protocol::{ToAgent, ToGateway};
use crate::session::{self, Role};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// No connection.
    #[error("the channel could not connect")]
    Dial(#[from] DialError),
    /// The whole took too long.
    #[error("the handshake took longer than {0:?}")]
    Slow(Duration),
    /// The way without a WebSocket.
    #[error("the channel without a WebSocket cannot be had")]
    Sse(#[from] SseError),
    /// No way at all.
    #[error("no WebSocket passes ({websocket}), and no other way was found")]
    Neither {
        /// What stood in its way.
        websocket: String,
        /// What stood in that of the requests.
        #[source]
        source: Box<HandshakeError>,
    },
    /// A WebSocket is not to be used, and the control plane has no other way.
    #[error("WebSocket is switched off, and this control plane offers nothing else")]
    NoOther,
    /// The upgrade was answered with something other than 101.
    #[error("the channel was refused: {0}")]
    NotUpgraded(Refusal),
    /// The answer is one to a request without an upgrade, and ours has one (P-5).
    #[error("the upgrade does not arrive; a proxy in between strips it, perhaps ({0})")]
    Stripped(Refusal),
    /// What came is no WebSocket, or not our subprotocol.
    #[error("the upgrade failed")]
    Upgrade(#[source] Box<tungstenite::Error>),
    /// The connection broke before `welcome`.
    #[error("the connection broke during the handshake")]
    Link(#[from] LinkError),
    /// The gateway closed before `welcome`.
    #[error("the gateway closed during the handshake: {0:?}")]
    Closed(Option<(u16, String)>),
    /// The gateway said something else first, or asked for what was not offered.
    #[error("the gateway broke the protocol: {0}")]
    Protocol(ErrorCode),
    /// `refused`.
    #[error("the gateway refused: {}: {}", .0.code, .0.message)]
    Refused(Refused),
}

/// A channel on which both sides have agreed.
#[derive(Debug)]
pub(super) struct Agreed<L> {
    pub(super) link: L,
    pub(super) welcome: Welcome,
    pub(super) session: session::Config,
}

/// A dialled connection whose upgrade was answered with 101 and our subprotocol.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(super) async fn websocket(
    dialler: &Dialler,
    connection: Connection,
    path: &str,
    token: &Secret,
) -> Result<WebSocketStream<Connection>, HandshakeError> {
    let request = upgrade(dialler, path, token)?;
    let settings = websocket::config(limits::UPLINK_READ_BUFFER);
    let (socket, _) = client_async_with_config(request, connection, Some(settings))
        .await
        .map_err(not_upgraded)?;
    Ok(socket)
}

/// From `hello` to `welcome`, whatever carries them.
///
/// # Cancel safety
/// Dropping it closes the link.
pub(super) async fn greet<L: Link>(mut link: L, hello: Hello) -> Result<Agreed<L>, HandshakeError> {
    let offered = hello.features.clone();
    let own_window = hello.window;
    let max_streams = hello.max_streams;
    let first = codec::encode(&ToGateway::Hello(hello));
    link.send(Wire::Text(first)).await?;
    match answer(&mut link).await {
        Ok(welcome) => match agree(&welcome, &offered, own_window, max_streams) {
            Ok(session) => Ok(Agreed {
                link,
                welcome,
                session,
            }),
            Err(code) => Err(broken(link, code).await),
        },
        Err(HandshakeError::Protocol(code)) => Err(broken(link, code).await),
        Err(error) => Err(error),
    }
}

pub(super) fn upgrade(
    dialler: &Dialler,
    path: &str,
    token: &Secret,
) -> Result<Request<()>, HandshakeError> {
    let url = format!("wss://{}{path}", dialler.url().authority());
    let mut request = url
        .into_client_request()
        .map_err(|error| HandshakeError::Upgrade(Box::new(error)))?;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, bearer(token));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(Version::V2.subprotocol()),
    );
    Ok(request)
}

fn not_upgraded(error: tungstenite::Error) -> HandshakeError {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let refusal = Refusal::new(response.status(), response.headers(), body);
            if is_stripped(&refusal) {
                HandshakeError::Stripped(refusal)
            } else {
                HandshakeError::NotUpgraded(refusal)
            }
        }
        tungstenite::Error::Io(error) => HandshakeError::Link(LinkError::Io(error)),
        other => HandshakeError::Upgrade(Box::new(other)),
    }
}

/// Whether the answer is one that an upgrade never gets from a gateway: it was a plain request by
/// the time that it arrived, or never arrived there.
fn is_stripped(refusal: &Refusal) -> bool {
    match refusal.status {
        StatusCode::BAD_REQUEST => true,
        StatusCode::UPGRADE_REQUIRED | StatusCode::NOT_IMPLEMENTED => refusal.body.is_none(),
        status => status.is_success(),
    }
}

/// The first message that means something.
async fn answer<L: Link>(link: &mut L) -> Result<Welcome, HandshakeError> {
    while let Some(message) = link.next().await {
        match codec::decode::<ToAgent>(&message?) {
            Ok(Decoded::Message(ToAgent::Welcome(welcome))) => return Ok(welcome),
            Ok(Decoded::Message(ToAgent::Refused(refused))) => {
                return Err(HandshakeError::Refused(refused));
            }
            Ok(Decoded::Ignored) => {}
            Ok(Decoded::Message(_) | Decoded::Frame(_)) => {
                return Err(HandshakeError::Protocol(ErrorCode::ProtocolError));
            }
            Err(code) => return Err(HandshakeError::Protocol(code)),
        }
    }
    Err(HandshakeError::Closed(link.peer_close()))
}

/// What `welcome` means for the session; its times are clamped to what is sane.
fn agree(
    welcome: &Welcome,
    offered: &[Feature],
    own_window: u32,
    max_streams: u32,
) -> Result<session::Config, ErrorCode> {
    let unasked = welcome
        .features
        .iter()
        .any(|feature| !offered.contains(feature));
    if unasked {
        return Err(ErrorCode::ProtocolError);
    }
    let (least, most) = limits::WELCOME_TIMES;
    Ok(session::Config {
        binary: welcome.features.contains(&Feature::Binary),
        zstd: welcome.features.contains(&Feature::Zstd),
        ping: PingTimes {
            every_ms: welcome.ping.every_ms.clamp(least, most),
            within_ms: welcome.ping.within_ms.clamp(least, most),
        },
        own_window,
        max_streams,
        resume: welcome
            .features
            .contains(&Feature::Resume)
            .then(|| match welcome.resume_ms {
                Some(ms) => Duration::from_millis(ms).min(limits::RESUME_FOR_MOST),
                None => limits::RESUME_FOR,
            }),
        ..session::Config::new(Role::Agent)
    })
}

/// Tells the gateway why, if it still listens, and gives the connection up.
async fn broken<L: Link>(mut link: L, code: ErrorCode) -> HandshakeError {
    link.set_close(code.close_code(), code.as_str());
    // The caller's deadline bounds this as well; what fails here changes nothing.
    let _ = link.close().await;
    HandshakeError::Protocol(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::hello::{ReconnectWindow, SessionRole};

    fn welcome(features: Vec<Feature>, ms: u64) -> Welcome {
        Welcome {
            session: "s-1".into(),
            features,
            heartbeat_ms: ms,
            ping: PingTimes {
                every_ms: ms,
                within_ms: ms,
            },
            reconnect: ReconnectWindow {
                first_ms: ms,
                cap_ms: ms,
            },
            role: SessionRole::Primary,
            resume_ms: None,
        }
    }

    #[test]
    fn only_what_was_offered_may_be_in_force() {
        let offered = [Feature::Binary];
        let config = agree(&welcome(vec![Feature::Binary], 1_000), &offered, 9, 3).unwrap();
        assert!(config.binary && !config.zstd);
        assert_eq!((config.own_window, config.max_streams), (9, 3));
        let config = agree(&welcome(Vec::new(), 1_000), &offered, 9, 3).unwrap();
        assert!(!config.binary);
        let refused = agree(&welcome(vec![Feature::Zstd], 1_000), &offered, 9, 3);
        assert_eq!(refused.unwrap_err(), ErrorCode::ProtocolError);
    }

    #[test]
    fn times_that_would_make_a_hot_loop_or_none_at_all_are_clamped() {
        let config = agree(&welcome(Vec::new(), 0), &[], 1, 1).unwrap();
        assert_eq!((config.ping.every_ms, config.ping.within_ms), (100, 100));
        let config = agree(&welcome(Vec::new(), u64::MAX), &[], 1, 1).unwrap();
        assert_eq!(config.ping.every_ms, 3_600_000);
    }
}
