//! What carries an accepted connection's bytes: TCP with TLS ended here.
//!
//! Owns the listener, the sockets' options and the TLS handshake. Owns not the accept loop nor any
//! deadline. Under the feature `simulation`, and there alone, a simulated network may take the place
//! of both layers (`simulation`). Invariant: otherwise every byte of a connection has passed TLS.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits;
use crate::reach::{self, Socket};

/// A connection whose TLS has been shaken.
#[cfg(not(feature = "simulation"))]
pub(crate) type Wire = TlsStream<Socket>;

/// A connection whose TLS has been shaken, or that a simulation has made.
#[cfg(feature = "simulation")]
pub(crate) type Wire = tokio_util::either::Either<TlsStream<Socket>, Socket>;

/// Where connections arrive.
#[derive(Debug)]
pub(crate) enum Listener {
    /// The system's.
    Tcp(TcpListener),
    /// A simulation's, and its address.
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn crate::simulation::Listen>, SocketAddr),
}

impl Listener {
    /// Listens.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if let Some(listener) = crate::simulation::listen(address) {
            return Ok(Self::Simulated(listener?, address));
        }
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A gateway that is started again finds its port though old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(limits::GATEWAY_BACKLOG).map(Self::Tcp)
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_, address) => Ok(*address),
        }
    }

    /// The next connection.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                #[cfg(feature = "simulation")]
                let socket = Socket::Left(socket);
                Ok((socket, peer))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(listener, _) => {
                let (connection, peer) = listener.accept().await?;
                Ok((Socket::Right(connection), peer))
            }
        }
    }
}

/// Ends TLS.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(crate) async fn secure(acceptor: &TlsAcceptor, socket: Socket) -> io::Result<Wire> {
    #[cfg(feature = "simulation")]
    if matches!(socket, Socket::Right(_)) {
        return Ok(Wire::Right(socket));
    }
    let accept = acceptor.accept_with(socket, |tls| {
        tls.set_buffer_limit(Some(limits::TLS_HELD));
    });
    let wire = accept.await?;
    #[cfg(feature = "simulation")]
    let wire = Wire::Left(wire);
    Ok(wire)
}

/// Sets how many bytes TLS holds for the peer.
pub(crate) fn hold(wire: &mut Wire, bytes: usize) {
    #[cfg(feature = "simulation")]
    let Wire::Left(wire) = wire else {
        return;
    };
    wire.get_mut().1.set_buffer_limit(Some(bytes));
}

/// Small writes go at once; a connection without traffic shows life to what stands between.
pub(crate) fn tune(socket: &Socket) {
    let Some(socket) = reach::tcp(socket) else {
        return;
    };
    let keepalive = TcpKeepalive::new()
        .with_time(limits::CALLER_KEEPALIVE)
        .with_interval(limits::CALLER_KEEPALIVE);
    // A socket that refuses an option serves all the same.
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(&socket.as_fd()).set_tcp_keepalive(&keepalive);
}

/// What a channel's socket needs beyond that: what the kernel holds delays control messages.
pub(crate) fn tune_channel(wire: &Wire) {
    #[cfg(feature = "simulation")]
    let Wire::Left(wire) = wire else {
        return;
    };
    let Some(socket) = reach::tcp(wire.get_ref().0) else {
        return;
    };
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&socket.as_fd()).set_tcp_notsent_lowat(limits::NOTSENT_LOWAT);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}
