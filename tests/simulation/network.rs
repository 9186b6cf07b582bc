//! Turmoil's network in the place of the system's, with an ear on the channel.
//!
//! Owns the adapter between the two. Invariant: bytes pass unchanged; a connection towards the
//! gateway is listened to at the agent's end (`wiretap`).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use pipeops_agent::simulation::{Accepting, Connecting, Connection, Listen, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::record::Record;
use crate::wiretap::Wiretap;

/// The gateway's port.
pub(crate) const GATEWAY: u16 = 8443;

pub(crate) struct Simulated(pub(crate) Record);

struct Listener(TcpListener);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Network for Simulated {
    fn connect(&self, address: SocketAddr) -> Connecting {
        let record = self.0.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(if address.port() == GATEWAY {
                Connection::new(Tapped {
                    stream,
                    ear: Wiretap::new(record),
                })
            } else {
                Connection::new(stream)
            })
        })
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listen>> {
        let bound = TcpListener::bind(address).now_or_never();
        let listener = bound.expect("turmoil binds without waiting")?;
        Ok(Box::new(Listener(listener)))
    }
}

impl Listen for Listener {
    fn accept(&self) -> Accepting<'_> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            Ok((Connection::new(stream), peer))
        })
    }
}

struct Tapped {
    stream: TcpStream,
    ear: Wiretap,
}

impl AsyncRead for Tapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.ear.came(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.ear.went(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
