//! Connections of the benchmark: the sockets, TLS and WebSocket settings of both programs.
//!
//! Owns how the two ends meet: bare TLS for the baseline, a session for what is compared with it.
//! Invariant: both use one TLS configuration and the same socket options.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::limits;
use pipeops_agent::link::{WebSocket, websocket};
use pipeops_agent::session::{self, Config, Ended, Open, Role, Session};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name that the certificate is for.
const NAME: &str = "localhost";
/// The gateway's read buffer, as in `gateway/handshake.rs`.
const GATEWAY_READ_BUFFER: usize = 8 * 1024;

pub(crate) type Client = tokio_rustls::client::TlsStream<TcpStream>;
pub(crate) type Server = tokio_rustls::server::TlsStream<TcpStream>;

/// The gateway's end: a listener with a certificate of its own.
pub(crate) struct Listener {
    socket: TcpListener,
    acceptor: TlsAcceptor,
    /// What the other end must trust.
    pub(crate) ca: String,
    pub(crate) address: SocketAddr,
}

impl Listener {
    pub(crate) async fn bind() -> anyhow::Result<Self> {
        let made = DevCertificate::make(&[NAME])?;
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(made.chain_pem.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(made.key_pem.expose_secret().as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ca: made.ca_pem,
        })
    }

    pub(crate) async fn accept(&self) -> anyhow::Result<Server> {
        let (socket, _) = self.socket.accept().await?;
        prepare(&socket);
        Ok(self.acceptor.accept(socket).await?)
    }

    pub(crate) async fn session(
        &self,
        owner: Arc<dyn Open>,
    ) -> anyhow::Result<(Session, impl Future<Output = Ended> + Send + 'static)> {
        let tls = self.accept().await?;
        let settings = Some(websocket::config(GATEWAY_READ_BUFFER));
        let link = tokio_tungstenite::accept_async_with_config(tls, settings).await?;
        let config = Config::new(Role::Gateway);
        Ok(session::establish(WebSocket::new(link), config, owner))
    }
}

/// The agent's end: trusts one authority.
pub(crate) struct Dialler {
    connector: TlsConnector,
    address: SocketAddr,
}

impl Dialler {
    pub(crate) fn new(address: SocketAddr, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            address,
        })
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let socket = TcpStream::connect(self.address).await?;
        prepare(&socket);
        let name = ServerName::try_from(NAME)?;
        Ok(self.connector.connect(name, socket).await?)
    }

    pub(crate) async fn session(
        &self,
        owner: Arc<dyn Open>,
    ) -> anyhow::Result<(Session, impl Future<Output = Ended> + Send + 'static)> {
        let tls = self.connect().await?;
        let settings = Some(websocket::config(limits::UPLINK_READ_BUFFER));
        let url = format!("ws://{NAME}/");
        let (link, _) = tokio_tungstenite::client_async_with_config(url, tls, settings)
            .await
            .context("the upgrade failed")?;
        let config = Config::new(Role::Agent);
        Ok(session::establish(WebSocket::new(link), config, owner))
    }
}

fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(limits::NOTSENT_LOWAT);
}

/// What a bare TLS connection is to do; its first bytes say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// The agent sends so many bytes.
    Source(u64),
    /// The agent takes so many bytes, and answers with one.
    Sink(u64),
    /// The agent answers requests until the connection ends.
    Exchange,
}

/// A small request and its answer: a command, and an object of the Kubernetes API.
pub(crate) const REQUEST: usize = 322;
/// See [`REQUEST`].
pub(crate) const ANSWER: usize = 1138;
/// Bytes that the baseline writes and reads at once.
pub(crate) const PIECE: usize = 64 * 1024;

impl Bare {
    pub(crate) async fn ask(self, io: &mut Server) -> std::io::Result<()> {
        let (kind, count) = match self {
            Self::Source(count) => (0, count),
            Self::Sink(count) => (1, count),
            Self::Exchange => (2, 0),
        };
        io.write_u8(kind).await?;
        io.write_u64(count).await?;
        io.flush().await
    }

    pub(crate) async fn hear(io: &mut Client) -> std::io::Result<Self> {
        let kind = io.read_u8().await?;
        let count = io.read_u64().await?;
        Ok(match kind {
            0 => Self::Source(count),
            1 => Self::Sink(count),
            _ => Self::Exchange,
        })
    }
}

/// Writes so many bytes.
pub(crate) async fn pour(
    io: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut count: u64,
) -> std::io::Result<()> {
    let piece = vec![b'x'; PIECE];
    while count > 0 {
        let size = usize::try_from(count).map_or(PIECE, |count| count.min(PIECE));
        io.write_all(&piece[..size]).await?;
        count -= size as u64;
    }
    io.flush().await
}

/// Reads so many bytes and forgets them.
pub(crate) async fn drain(
    io: &mut (impl tokio::io::AsyncRead + Unpin),
    mut count: u64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    while count > 0 {
        let size = usize::try_from(count).map_or(PIECE, |count| count.min(PIECE));
        let read = io.read(&mut piece[..size]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        count -= read as u64;
    }
    Ok(())
}
