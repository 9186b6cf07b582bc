//! Which transport carries the channel: a WebSocket, or where none passes, plain requests (P-120).
//!
//! Owns the choice, what is remembered of an obstacle, and the deadline of each way. Owns not the
//! transports (`handshake`, `sse`) nor when to try again (`uplink`). Invariants: a transport that is
//! switched off is never used; what the control plane itself refuses is asked for once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use tokio::time::Instant;

use super::dial::{Connection, Dialler};
use super::handshake::{self, Agreed, HandshakeError};
use super::sse;
use crate::config::secret::Secret;
use crate::limits;
use crate::link::{Sse, WebSocket};
use crate::protocol::hello::Hello;
use crate::status::{Carrier, Transport};
use crate::tasks::Tasks;
use crate::telemetry::error_chain;

/// What may carry the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// A WebSocket.
    pub websocket: bool,
    /// Requests, with events in their answers.
    pub sse: bool,
    /// How soon a WebSocket is tried again while requests carry the session.
    pub again: Duration,
}

impl Default for Transports {
    fn default() -> Self {
        Self {
            websocket: true,
            sse: true,
            again: limits::WEBSOCKET_AGAIN,
        }
    }
}

/// The link, whichever transport it is.
pub(super) type Carried = Either<WebSocket<Connection>, Sse>;

/// What is known of the better way, from one attempt to the next.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What stood in its way, and until when that is taken for granted.
    obstacle: Option<(String, Instant)>,
}

impl Known {
    fn standing(&self, now: Instant) -> Option<String> {
        let (obstacle, until) = self.obstacle.as_ref()?;
        (now < *until).then(|| obstacle.clone())
    }

    fn met(&mut self, obstacle: String, now: Instant, again: Duration) {
        self.obstacle = Some((obstacle, now + again));
    }

    pub(super) fn forget(&mut self) {
        self.obstacle = None;
    }
}

/// The rungs of one attempt.
#[derive(Debug)]
pub(super) struct Ladder<'a> {
    pub(super) dialler: &'a Arc<Dialler>,
    pub(super) token: &'a Secret,
    pub(super) tasks: &'a Tasks,
    pub(super) allowed: Transports,
    /// The path of the upgrade.
    pub(super) channel: &'a str,
    /// The path of the way without one, where the control plane has it.
    pub(super) sse: Option<&'a str>,
}

impl Ladder<'_> {
    /// A channel on which both sides have agreed, by the best way that there is.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub(super) async fn climb(
        &self,
        hello: Hello,
        known: &mut Known,
    ) -> Result<(Agreed<Carried>, Carrier), HandshakeError> {
        let other = self.sse.filter(|_| self.allowed.sse);
        let mut obstacle = other.and(known.standing(Instant::now()));
        let mut fresh = None;
        if self.allowed.websocket && obstacle.is_none() {
            let dialled = AtomicBool::new(false);
            let error = match self.websocket(hello.clone(), &dialled).await {
                Ok(agreed) => {
                    known.forget();
                    let transport = Transport::Websocket;
                    return Ok((
                        agreed,
                        Carrier {
                            transport,
                            obstacle: None,
                        },
                    ));
                }
                Err(error) => error,
            };
            if other.is_none() || !is_obstacle(&error, dialled.into_inner()) {
                return Err(error);
            }
            let said = error_chain(&error).to_string();
            known.met(said.clone(), Instant::now(), self.allowed.again);
            fresh = Some(error);
            obstacle = Some(said);
        }
        let Some(path) = other else {
            return Err(HandshakeError::NoOther);
        };
        match self.sse(path, hello).await {
            Ok(agreed) => {
                if let (Some(_), Some(obstacle)) = (&fresh, &obstacle) {
                    tracing::warn!(obstacle, "WebSocket does not pass, going by SSE and POST");
                }
                let transport = Transport::Sse;
                Ok((
                    agreed,
                    Carrier {
                        transport,
                        obstacle,
                    },
                ))
            }
            Err(error) => {
                // The obstacle may be another one, or none, by the next attempt.
                known.forget();
                Err(match fresh {
                    Some(websocket) => HandshakeError::Neither {
                        websocket: error_chain(&websocket).to_string(),
                        source: Box::new(error),
                    },
                    None => error,
                })
            }
        }
    }

    async fn websocket(
        &self,
        hello: Hello,
        dialled: &AtomicBool,
    ) -> Result<Agreed<Carried>, HandshakeError> {
        within(async {
            let connection = self.dialler.dial().await?;
            dialled.store(true, Ordering::Relaxed);
            let (dialler, channel) = (self.dialler, self.channel);
            let socket = handshake::websocket(dialler, connection, channel, self.token).await?;
            let link = Either::Left(WebSocket::new(socket));
            handshake::greet(link, hello).await
        })
        .await
    }

    async fn sse(&self, path: &str, hello: Hello) -> Result<Agreed<Carried>, HandshakeError> {
        within(async {
            let link = sse::open(self.dialler, path, self.token, self.tasks).await?;
            handshake::greet(Either::Right(link), hello).await
        })
        .await
    }
}

async fn within<T>(
    attempt: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    tokio::time::timeout(limits::HANDSHAKE, attempt)
        .await
        .unwrap_or(Err(HandshakeError::Slow(limits::HANDSHAKE)))
}

/// Whether it is the path that lets no WebSocket pass (P-120): what the control plane itself has said
/// is none, nor is a connection that was never had.
fn is_obstacle(error: &HandshakeError, dialled: bool) -> bool {
    match error {
        HandshakeError::Stripped(_)
        | HandshakeError::Upgrade(_)
        | HandshakeError::Link(_)
        | HandshakeError::Closed(None) => true,
        HandshakeError::NotUpgraded(refusal) => refusal.body.is_none(),
        HandshakeError::Slow(_) => dialled,
        HandshakeError::Dial(_)
        | HandshakeError::Sse(_)
        | HandshakeError::NoOther
        | HandshakeError::Neither { .. }
        | HandshakeError::Closed(Some(_))
        | HandshakeError::Protocol(_)
        | HandshakeError::Refused(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::uplink::register::Refusal;

    #[test]
    fn only_the_path_is_an_obstacle() {
        let refusal = |status, body: &[u8]| Refusal::new(status, &HeaderMap::new(), body);
        let said = br#"{"code":"forbidden","message":"no"}"#;
        let theirs = HandshakeError::NotUpgraded(refusal(StatusCode::FORBIDDEN, said));
        assert!(!is_obstacle(&theirs, true), "the control plane's own word");
        let page = HandshakeError::NotUpgraded(refusal(StatusCode::FORBIDDEN, b"<html>"));
        assert!(is_obstacle(&page, true), "a proxy's");
        let slow = HandshakeError::Slow(limits::HANDSHAKE);
        assert!(is_obstacle(&slow, true) && !is_obstacle(&slow, false));
        assert!(is_obstacle(&HandshakeError::Closed(None), true));
        let closed = HandshakeError::Closed(Some((4401, "unauthorized".into())));
        assert!(!is_obstacle(&closed, true));
    }

    #[test]
    fn an_obstacle_is_taken_for_granted_until_it_is_time_to_look_again() {
        let mut known = Known::default();
        let now = Instant::now();
        assert_eq!(known.standing(now), None);
        known.met("stripped".into(), now, limits::WEBSOCKET_AGAIN);
        let before = now + limits::WEBSOCKET_AGAIN - Duration::from_millis(1);
        assert_eq!(known.standing(before).as_deref(), Some("stripped"));
        assert_eq!(known.standing(now + limits::WEBSOCKET_AGAIN), None);
        known.met("stripped".into(), now, limits::WEBSOCKET_AGAIN);
        known.forget();
        assert_eq!(known.standing(now), None);
    }
}
