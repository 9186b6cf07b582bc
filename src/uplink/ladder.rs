//! Which transport carries the channel: a WebSocket, or where none passes, plain requests (P-120).
//!
//! Owns the choice and the deadline of each. Owns not the transports (`handshake`, `sse`) nor when to
//! try again (`uplink`). Invariant: a transport that is switched off is never used.

use std::sync::Arc;

use futures_util::future::Either;

use super::dial::{Connection, Dialler};
use super::handshake::{self, Agreed, HandshakeError};
use super::sse;
use crate::config::secret::Secret;
use crate::limits;
use crate::link::{Sse, WebSocket};
use crate::protocol::hello::Hello;
use crate::tasks::Tasks;

/// What may carry the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// A WebSocket.
    pub websocket: bool,
    /// Requests, with events in their answers.
    pub sse: bool,
}

impl Default for Transports {
    fn default() -> Self {
        Self {
            websocket: true,
            sse: true,
        }
    }
}

/// The link, whichever transport it is.
pub(super) type Carried = Either<WebSocket<Connection>, Sse>;

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
    /// A channel on which both sides have agreed.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub(super) async fn climb(&self, hello: Hello) -> Result<Agreed<Carried>, HandshakeError> {
        if self.allowed.websocket {
            return self.websocket(hello).await;
        }
        match self.sse {
            Some(path) if self.allowed.sse => self.sse(path, hello).await,
            _ => Err(HandshakeError::NoOther),
        }
    }

    async fn websocket(&self, hello: Hello) -> Result<Agreed<Carried>, HandshakeError> {
        within(async {
            let link = handshake::websocket(self.dialler, self.channel, self.token).await?;
            handshake::greet(Either::Left(link), hello).await
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
