//! One connection to the control plane: name, TCP, perhaps a proxy's tunnel, TLS.
//!
//! Owns the socket's options and which of a name's addresses is used. Owns not: what is spoken on
//! the connection, nor the deadline, which is the caller's and covers the whole operation.
//! Invariants: names are resolved on every attempt, that of the control plane by the proxy where there
//! is one; a silent address hides no other; the certificate is verified at the tunnel's far end.

pub(super) mod steps;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::{self, Leg, ProxyError};
use super::tls::{Tls, TlsError};
use crate::config::proxy::Proxy;
use crate::config::value::ApiUrl;
use crate::limits;

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
pub(super) type Connection = TlsStream<Leg>;

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
        let host = self.url.host();
        let config = self.tls.config()?;
        secure(host, self.leg().await?, config).await
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
    async fn tunnel(&self, proxy: &Proxy, socket: TcpStream) -> Result<Leg, DialError> {
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
async fn open(host: &str, port: u16) -> Result<TcpStream, DialError> {
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
    let unresolved = |source| DialError::Resolve {
        host: host.to_owned(),
        source,
    };
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| unresolved(Some(error)))?;
    let addresses = alternate(found.collect());
    if addresses.is_empty() {
        return Err(unresolved(None));
    }
    Ok(addresses)
}

/// IPv6 and IPv4 in turn, beginning with the kind that the resolver put first.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut out = Vec::new();
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    while out.len() < limits::ADDRESSES {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        out.extend(pair.into_iter().flatten());
    }
    out
}

/// The first address that answers; each gets a head start of a quarter of a second.
async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, DialError> {
    let mut left = addresses.into_iter();
    let mut racing = FuturesUnordered::new();
    let mut last = None;
    loop {
        if let Some(address) = left.next() {
            racing.push(async move {
                TcpStream::connect(address)
                    .await
                    .map_err(|source| DialError::Connect { address, source })
            });
        }
        let start = tokio::time::sleep(limits::NEXT_ADDRESS);
        tokio::select! {
            biased;
            done = racing.next() => match done {
                Some(Ok(socket)) => return Ok(socket),
                Some(Err(error)) => last = Some(error),
                None => break,
            },
            () = start, if left.len() > 0 => {}
        }
    }
    Err(last.unwrap_or(DialError::Resolve {
        host: String::new(),
        source: None,
    }))
}

/// Options that help and whose lack harms nothing: a kernel that does not know one is no reason
/// not to connect.
fn prepare(socket: &TcpStream) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn kinds_of_addresses_take_turns_and_are_bounded() {
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert_eq!(alternate(vec![v6, v6, v4]), [v6, v4, v6]);
        assert_eq!(alternate(vec![v4, v4, v6]), [v4, v6, v4]);
        assert_eq!(alternate(vec![v4; 99]).len(), limits::ADDRESSES);
        assert!(alternate(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_hides_no_other() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = closed.local_addr().unwrap();
        drop(closed);
        let address = open.local_addr().unwrap();
        let socket = connect(vec![refuses, address]).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address);
        let error = connect(vec![refuses]).await.unwrap_err();
        assert!(matches!(error, DialError::Connect { address, .. } if address == refuses));
    }
}
