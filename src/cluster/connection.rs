//! One connection to the API server: dialled, spoken HTTP/1.1 on, driven by whoever uses it.
//!
//! Owns TCP and TLS towards the API server and the pair of sender and driver that hyper makes of
//! them. The driver is polled by the task that waits for the answer: no second task, no wake-up
//! between the two, and dropping the request closes the socket at once. Owns not: which
//! connection a request gets (`pool`, `proxy`).

mod probe;
mod records;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

use super::client::Tls;
use super::error::{ClusterError, ConnectError, Unreachable};
use super::proxy::RequestBody;
use crate::limits;
use crate::reach::{self, Socket};
use records::{Records, Secure};

pub use probe::{Probe, Shaken};

/// Where the API server is, and how to know it.
pub(super) struct Dialler {
    host: String,
    port: u16,
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialler {
    pub(super) fn new(
        url: &http::Uri,
        server_name: Option<&str>,
        mut tls: rustls::ClientConfig,
    ) -> Result<Self, ConnectError> {
        let host = url.host().ok_or(ConnectError::Url)?;
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ConnectError::Url),
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let tls = if secure {
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            let tls: Tls = Arc::new(tls);
            let name = server_name.unwrap_or(&bare).to_owned();
            let name = ServerName::try_from(name).map_err(|_| ConnectError::Url)?;
            Some((TlsConnector::from(tls), name))
        } else {
            None
        };
        Ok(Self {
            host: bare,
            port,
            authority: HeaderValue::from_str(&authority).map_err(|_| ConnectError::Url)?,
            tls,
        })
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// A new connection, ready for one request.
    pub(super) async fn dial(&self) -> Result<Live, ClusterError> {
        let dial = async {
            let socket = self.connect().await?;
            let io = match &self.tls {
                None => Io::Plain(socket),
                Some((connector, name)) => Io::Tls(Box::new(Secure::new(
                    connector
                        .connect(name.clone(), Records::new(socket))
                        .await
                        .map_err(ClusterError::tls)?,
                ))),
            };
            let (sender, driver) = http1::Builder::new()
                .max_buf_size(limits::CLUSTER_READ_BUFFER)
                .max_headers(limits::KUBE_HEADERS)
                .handshake(TokioIo::new(io))
                .await
                .map_err(ClusterError::Failed)?;
            Ok(Live {
                sender,
                driver: Box::new(driver),
                done: false,
            })
        };
        tokio::time::timeout(limits::CLUSTER_CONNECT, dial)
            .await
            .unwrap_or(Err(ClusterError::unreachable(Unreachable::Slow, None)))
    }

    async fn connect(&self) -> Result<Socket, ClusterError> {
        let addresses: Vec<SocketAddr> = match self.host.parse() {
            Ok(address) => vec![SocketAddr::new(address, self.port)],
            Err(_) => tokio::net::lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|error| ClusterError::unreachable(Unreachable::Name, Some(error)))?
                .collect(),
        };
        // Each address gets its share, so that a first one that is silent hides no second.
        let share = limits::CLUSTER_CONNECT / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut last = ClusterError::unreachable(Unreachable::Name, None);
        for address in addresses {
            match tokio::time::timeout(share, reach::open(address)).await {
                Ok(Ok(socket)) => {
                    prepare(&socket);
                    return Ok(socket);
                }
                Ok(Err(error)) => last = ClusterError::connect(error),
                Err(_) => last = ClusterError::unreachable(Unreachable::Slow, None),
            }
        }
        Err(last)
    }
}

/// Options that only make it quicker, or find a dead peer sooner: a failure is not worth more
/// than going on.
fn prepare(socket: &Socket) {
    let Some(socket) = reach::tcp(socket) else {
        return;
    };
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limits::CLUSTER_KEEPALIVE)
        .with_interval(Duration::from_secs(5));
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

type Driver = http1::Connection<TokioIo<Io>, RequestBody>;

/// A connection that is open as far as we know.
pub(super) struct Live {
    pub(super) sender: SendRequest<RequestBody>,
    driver: Box<Driver>,
    /// The driver has ended and must not be polled again.
    done: bool,
}

impl Live {
    /// Moves bytes both ways; ready when the connection is done for.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        let driven = self.driver.poll_without_shutdown(cx);
        self.done = driven.is_ready();
        driven
    }

    /// Whether the connection can take a request now.
    pub(super) fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_drive(cx).is_pending() && self.sender.is_ready()
    }

    /// The connection itself, after a 101, with what was read beyond the head.
    pub(super) fn into_raw(self) -> (Io, Bytes) {
        let parts = self.driver.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

/// TCP, with or without TLS.
pub(super) enum Io {
    Plain(Socket),
    Tls(Box<Secure>),
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(secure) => secure.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(secure) => Pin::new(&mut secure.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(secure) => Pin::new(&mut secure.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(secure) => secure.stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(secure) => Pin::new(&mut secure.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(secure) => Pin::new(&mut secure.stream).poll_shutdown(cx),
        }
    }
}
