//! A WebSocket as a [`Link`].
//!
//! Owns the five buffer and size settings (tungstenite's defaults cost 134 KiB a connection and
//! have no write limit) and the mapping of its messages and errors. WebSocket pings are answered by
//! tungstenite; our own liveness is the protocol's ping (P-40), which passes every proxy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    error::{CapacityError, ProtocolError},
};

use super::{Link, LinkError};
use crate::limits;
use crate::protocol::codec::Wire;

/// The settings of every WebSocket of ours. `read_buffer` is 16 KiB in the agent and 8 KiB in the
/// gateway, which has many.
pub fn config(read_buffer: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(limits::WRITE_BATCH)
        .max_write_buffer_size(4 * limits::WRITE_BATCH + limits::TEXT_MESSAGE)
        .max_message_size(Some(limits::TEXT_MESSAGE.max(limits::BINARY_MESSAGE)))
        .max_frame_size(Some(limits::TEXT_MESSAGE.max(limits::BINARY_MESSAGE)))
}

/// A WebSocket, either end, after its upgrade.
#[derive(Debug)]
pub struct WebSocket<S> {
    inner: WebSocketStream<S>,
    peer_close: Option<(u16, String)>,
    close: Option<(u16, String)>,
    closing: bool,
}

impl<S> WebSocket<S> {
    /// Takes over an upgraded connection.
    pub fn new(inner: WebSocketStream<S>) -> Self {
        Self {
            inner,
            peer_close: None,
            close: None,
            closing: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The server's end of an upgraded connection; `read` is what came with the upgrade.
    ///
    /// # Cancel safety
    /// Dropping it drops the connection.
    pub async fn server(io: S, read: Vec<u8>, read_buffer: usize) -> Self {
        let settings = Some(config(read_buffer));
        Self::new(WebSocketStream::from_partially_read(io, read, Role::Server, settings).await)
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Wire, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => Some(Ok(Wire::Text(text.as_str().to_owned()))),
                Some(Ok(Message::Binary(bytes))) => Some(Ok(Wire::Binary(bytes))),
                Some(Ok(Message::Close(frame))) => {
                    self.peer_close =
                        frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                    continue;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => None,
                Some(Err(error)) => Some(Err(error.into())),
            });
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Wire> for WebSocket<S> {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_ready(cx).map_err(Into::into)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Wire) -> Result<(), Self::Error> {
        let message = match item {
            Wire::Text(text) => Message::Text(Utf8Bytes::from(text)),
            Wire::Binary(bytes) => Message::Binary(Bytes::clone(&bytes)),
        };
        Pin::new(&mut self.inner)
            .start_send(message)
            .map_err(Into::into)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_flush(cx).map_err(Into::into)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !self.closing {
            ready!(Pin::new(&mut self.inner).poll_ready(cx))?;
            let frame = self.close.take().map(|(code, reason)| CloseFrame {
                code: CloseCode::from(code),
                reason: Utf8Bytes::from(reason),
            });
            Pin::new(&mut self.inner).start_send(Message::Close(frame))?;
            self.closing = true;
        }
        Pin::new(&mut self.inner).poll_flush(cx).map_err(Into::into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Link for WebSocket<S> {
    fn peer_close(&self) -> Option<(u16, String)> {
        self.peer_close.clone()
    }

    fn set_close(&mut self, code: u16, reason: &str) {
        // A close frame carries at most 123 bytes of reason.
        let reason = reason
            .char_indices()
            .take_while(|(at, c)| at + c.len_utf8() <= 123);
        self.close = Some((code, reason.map(|(_, c)| c).collect()));
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 * 1024];
        loop {
            let mut bytes = ReadBuf::new(&mut scratch);
            // Below the WebSocket, which stops at the message that it refused.
            let read = Pin::new(self.inner.get_mut()).poll_read(cx, &mut bytes);
            if ready!(read).is_err() || bytes.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLarge,
            Error::Io(error) => Self::Io(error),
            // To write after the peer's close is to find it gone, not to break the protocol.
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::SendAfterClosing) => {
                Self::Io(io::ErrorKind::NotConnected.into())
            }
            other => Self::Protocol(Box::new(other)),
        }
    }
}
