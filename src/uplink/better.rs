//! A WebSocket beside a session that requests carry, once the path lets one pass (P-127).
//!
//! Owns the trial every five minutes. Owns not: which transport an attempt begins with (`ladder`), nor
//! the last time of the session that was taken over from (`moved`). Invariants: `hello` is said only on a
//! WebSocket that has carried bytes both ways, so that a session is never given up for one that says
//! nothing; what runs in the old session runs on.

use futures_util::future::Either;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::Uplink;
use super::handshake::{self, Agreed, HandshakeError};
use super::ladder::Carried;
use crate::config::secret::Secret;
use crate::limits;
use crate::link::WebSocket;
use crate::protocol::hello::Hello;
use crate::status::Transport;
use crate::telemetry::error_chain;

/// What the last attempt began with.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// The path of the upgrade.
    pub(super) channel: String,
    pub(super) hello: Hello,
    pub(super) token: Secret,
}

impl Uplink {
    /// A session over a WebSocket, where the present one goes without and one passes again.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub(super) async fn better(&self, session: &str) -> Agreed<Carried> {
        let carrier = self.status.snapshot().carrier;
        let without = carrier.is_some_and(|carrier| carrier.transport == Transport::Sse);
        let way = self.way.as_ref();
        let Some(way) = way.filter(|_| without && self.config.transports.websocket) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(self.config.transports.again).await;
            let tried = timeout(limits::HANDSHAKE, self.try_websocket(way, session)).await;
            match tried.unwrap_or(Err(HandshakeError::Slow(limits::HANDSHAKE))) {
                Ok(agreed) => return agreed,
                Err(error) => {
                    tracing::debug!(error = %error_chain(&error), "Still no WebSocket");
                }
            }
        }
    }

    async fn try_websocket(
        &self,
        way: &Way,
        session: &str,
    ) -> Result<Agreed<Carried>, HandshakeError> {
        let connection = self.dialler.dial().await?;
        let (channel, token) = (&way.channel, &way.token);
        let mut socket = handshake::websocket(&self.dialler, connection, channel, token).await?;
        // A path that holds back what follows the upgrade lets no answer through.
        let lost = |_| HandshakeError::Closed(None);
        socket
            .send(Message::Ping("passes".into()))
            .await
            .map_err(lost)?;
        match socket.next().await {
            Some(Ok(Message::Pong(_))) => {}
            _ => return Err(HandshakeError::Closed(None)),
        }
        let mut hello = way.hello.clone();
        hello.beside = Some(session.to_owned());
        let mut agreed = handshake::greet(Either::Left(WebSocket::new(socket)), hello).await?;
        agreed.session.grace = self.config.grace;
        Ok(agreed)
    }
}
