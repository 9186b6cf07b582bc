//! One connection to the control plane: name, TCP, perhaps a proxy's tunnel, TLS.
//!
//! Owns the socket's options. Owns not: which of a name's addresses is used (`reach`), what is spoken
//! on the connection, nor the deadline, which is the caller's and covers the whole operation.
//! Invariants: the name of the control plane is resolved by the proxy where there is one; the
//! certificate is verified at the tunnel's far end.

pub(super) mod steps;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::{self, Leg, ProxyError};
use super::tls::{Tls, TlsError};
use crate::config::proxy::Proxy;
use crate::config::value::ApiUrl;
use crate::limits;
use crate::reach::{self, Refusal, Socket};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The name has no address, or nobody could be asked.
    #[error("the name {host} cannot be resolved")]
    Resolve {
        /// Which.
        host: String,
        /// Why.
        #[source]
        source: Option<std::io::Error>,
    },
    /// No address took the connection.
    #[error("{address} does not take connections")]
    Connect {
        /// The last that was tried.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration.
    #[error("TLS cannot be set up")]
    Setup(#[from] TlsError),
    /// The certificate is not one that we trust for this host.
    #[error("the certificate of {host} is not trusted")]
    Untrusted {
        /// Whose.
        host: String,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The other end is older than TLS 1.3.
    #[error("{host} does not speak TLS 1.3, and nothing older is spoken to a control plane")]
    OldTls {
        /// Who.
        host: String,
    },
    /// The proxy in between; what is wrong with it says the source.
    #[error("the proxy {proxy} makes no tunnel")]
    Proxy {
        /// Which, without credentials.
        proxy: String,
        /// Why not.
        #[source]
        source: Box<DialError>,
    },
    /// The proxy was reached and said no.
    #[error("the proxy {proxy} makes no tunnel")]
    NoTunnel {
        /// Which, without credentials.
        proxy: String,
        /// Why not.
        #[source]
        source: ProxyError,
    },
    /// The handshake broke.
    #[error("the TLS handshake with {host} failed")]
    Handshake {
        /// With whom.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A connection that was verified.
#[cfg(not(feature = "simulation"))]
pub(super) type Connection = TlsStream<Leg>;

/// A connection that was verified, or that a simulation has made.
#[cfg(feature = "simulation")]
pub(super) type Connection = tokio_util::either::Either<TlsStream<Leg>, Leg>;

/// The way to the control plane.
#[derive(Debug)]
pub(super) struct Dialler {
    url: ApiUrl,
    tls: Tls,
    proxy: Option<Proxy>,
}

impl Dialler {
    pub(super) fn new(url: ApiUrl, tls: Tls, proxy: Option<Proxy>) -> Self {
        Self { url, tls, proxy }
    }

    pub(super) fn url(&self) -> &ApiUrl {
        &self.url
    }

    /// A new connection.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let leg = self.leg().await?;
        self.verified(leg).await
    }

    /// TLS with the control plane at the other end.
    async fn verified(&self, leg: Leg) -> Result<Connection, DialError> {
        #[cfg(feature = "simulation")]
        if crate::simulation::is_installed() {
            return Ok(Connection::Right(leg));
        }
        let connection = secure(self.url.host(), leg, self.tls.config()?).await?;
        #[cfg(feature = "simulation")]
        let connection = Connection::Left(connection);
        Ok(connection)
    }

    /// The way up to the control plane's TLS.
    async fn leg(&self) -> Result<Leg, DialError> {
        match &self.proxy {
            None => Ok(Leg::Left(open(self.url.host(), self.url.port()).await?)),
            Some(proxy) => {
                let socket = open(proxy.host(), proxy.port())
                    .await
                    .map_err(|error| through(proxy, error))?;
                self.tunnel(proxy, socket).await
            }
        }
    }

    /// A tunnel; the connection to the proxy may be TLS itself.
    async fn tunnel(&self, proxy: &Proxy, socket: Socket) -> Result<Leg, DialError> {
        let leg = if proxy.is_tls() {
            let config = self.tls.towards_proxy()?;
            let secured = secure(proxy.host(), socket, config)
                .await
                .map_err(|error| through(proxy, error))?;
            Leg::Right(Box::new(secured))
        } else {
            Leg::Left(socket)
        };
        proxy::tunnel(leg, proxy, &self.url)
            .await
            .map_err(|source| DialError::NoTunnel {
                proxy: proxy.to_string(),
                source,
            })
    }
}

fn through(proxy: &Proxy, source: DialError) -> DialError {
    DialError::Proxy {
        proxy: proxy.to_string(),
        source: Box::new(source),
    }
}

/// A connection to the first address that takes one.
async fn open(host: &str, port: u16) -> Result<Socket, DialError> {
    let socket = connect(resolve(host, port).await?).await?;
    prepare(&socket);
    Ok(socket)
}

async fn secure<S>(
    host: &str,
    socket: S,
    config: Arc<rustls::ClientConfig>,
) -> Result<TlsStream<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Resolve {
        host: host.to_owned(),
        source: None,
    })?;
    TlsConnector::from(config)
        .connect(name, socket)
        .await
        .map_err(|error| failed(host, error))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let found = reach::resolve(host, port).await;
    found.map_err(|source| DialError::Resolve {
        host: host.to_owned(),
        source,
    })
}

async fn connect(addresses: Vec<SocketAddr>) -> Result<Socket, DialError> {
    let refused = match reach::connect(addresses).await {
        Ok(socket) => return Ok(socket),
        Err(refused) => refused,
    };
    Err(match refused {
        Some(Refusal { address, source }) => DialError::Connect { address, source },
        None => DialError::Resolve {
            host: String::new(),
            source: None,
        },
    })
}

/// The certificate of the other end.
fn certificate(connection: &Connection) -> Option<Vec<u8>> {
    #[cfg(feature = "simulation")]
    let Connection::Left(connection) = connection else {
        return None;
    };
    let all = connection.get_ref().1.peer_certificates()?;
    all.first().map(|der| der.to_vec())
}

/// Options that help and whose lack harms nothing: a kernel that does not know one is no reason
/// not to connect.
fn prepare(socket: &Socket) {
    let Some(socket) = reach::tcp(socket) else {
        return;
    };
    let _ = socket.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(socket);
        let _ = socket.set_tcp_notsent_lowat(limits::UPLINK_UNSENT);
        let _ = socket.set_tcp_user_timeout(Some(limits::UPLINK_UNACKNOWLEDGED));
    }
}

fn failed(host: &str, error: std::io::Error) -> DialError {
    let host = host.to_owned();
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(
            source
            @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented),
        ) => DialError::Untrusted {
            host,
            source: source.clone(),
        },
        Some(
            rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
            | rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ),
        ) => DialError::OldTls { host },
        _ => DialError::Handshake {
            host,
            source: error,
        },
    }
}
