//! One connection as a stream and a sink of whole messages, whatever carries it.
//!
//! Owns what a session needs of a transport: [`Link`], and how it fails. Owns not: dialling,
//! handshakes, reconnecting. Invariant: a link never buffers more than its configured write
//! buffer; a full one makes the sink wait.

pub mod carriage;
pub mod sequence;
pub mod sse;
pub mod websocket;

use std::task::{Context, Poll};

use futures_util::future::Either;
use futures_util::{Sink, Stream};

use crate::protocol::codec::Wire;

pub use sse::Sse;
pub use websocket::WebSocket;

/// Why a link cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A message above the link's ceiling; nothing of it was kept.
    #[error("a message above the size limit arrived")]
    TooLarge,
    /// Something that is not the transport's protocol.
    #[error("the peer broke the transport's protocol")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection is gone.
    #[error("the connection was lost")]
    Io(#[source] std::io::Error),
}

/// A connection of whole messages. Closing the sink says goodbye in the transport's way.
pub trait Link:
    Stream<Item = Result<Wire, LinkError>> + Sink<Wire, Error = LinkError> + Send + Unpin + 'static
{
    /// The peer's goodbye, once the stream has ended: its code and reason.
    fn peer_close(&self) -> Option<(u16, String)>;

    /// Sets the code and reason that closing the sink will say.
    fn set_close(&mut self, code: u16, reason: &str);

    /// Reads what still comes and throws it away, until the peer has closed. For after the close:
    /// a socket that is dropped with unread bytes takes the goodbye back from the peer.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// One of two transports.
impl<A: Link, B: Link> Link for Either<A, B> {
    fn peer_close(&self) -> Option<(u16, String)> {
        match self {
            Self::Left(link) => link.peer_close(),
            Self::Right(link) => link.peer_close(),
        }
    }

    fn set_close(&mut self, code: u16, reason: &str) {
        match self {
            Self::Left(link) => link.set_close(code, reason),
            Self::Right(link) => link.set_close(code, reason),
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Left(link) => link.poll_discard(cx),
            Self::Right(link) => link.poll_discard(cx),
        }
    }
}
