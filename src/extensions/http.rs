//! One HTTP exchange with a target that the operator named.
//!
//! Owns URLs, the exchange and the bounds of an answer. Owns not: what is trusted (`authorities`),
//! which address answers (`reach`), what an answer means. Invariants: verification is never switched off; a redirect is never followed;
//! the secret goes to the target that it was configured with and nowhere else; everything ends
//! within the deadline; no error names a host, an address or a secret.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, DEFAULT_VERSIONS};
use tokio_rustls::TlsConnector;

use crate::authorities::{self, Authorities, AuthoritiesError};
use crate::backoff;
use crate::config::secret::{SecretError, SecretSource};
use crate::limits;
use crate::reach::{self, Socket};

/// Who we are.
const AGENT: &str = concat!("pipeops-agent/", env!("CARGO_PKG_VERSION"));

/// Where to, read from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    path: String,
}

impl Target {
    /// Reads a URL: a scheme of HTTP, a host, perhaps a port, a path and a query.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it begins with neither http:// nor https://"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name or password");
        }
        if text.contains('#') {
            return Err("it has a fragment");
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err("it has no host");
        }
        let port = match authority.port() {
            None if authority.as_str().len() > authority.host().len() => {
                return Err("its port is not a number up to 65535");
            }
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => Some(port.as_u16())
                .filter(|&port| port != 0)
                .ok_or("its port is 0")?,
        };
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| "its host is no name")?,
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

/// A secret, and the header that carries it; `Authorization: Bearer` without one.
#[derive(Debug, Clone)]
pub(super) struct Bearer {
    pub(super) source: SecretSource,
    pub(super) header: Option<HeaderName>,
}

impl Bearer {
    /// From this file, as a bearer token.
    pub(super) fn file(path: &Path) -> Self {
        Self {
            source: SecretSource::File(path.to_owned()),
            header: None,
        }
    }

    /// Read anew each time.
    fn header(&self) -> Result<(HeaderName, HeaderValue), HttpError> {
        let secret = self.source.read().map_err(HttpError::Secret)?;
        let (name, text) = match &self.header {
            None => (AUTHORIZATION, format!("Bearer {}", secret.expose())),
            Some(name) => (name.clone(), secret.expose().to_owned()),
        };
        let mut value =
            HeaderValue::try_from(text).map_err(|_| HttpError::Secret(SecretError::Unprintable))?;
        value.set_sensitive(true);
        Ok((name, value))
    }
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) target: &'a Target,
    pub(super) bearer: Option<&'a Bearer>,
    /// JSON to be posted, and a key by which the receiver knows it again; a GET otherwise.
    pub(super) post: Option<(Bytes, &'a str)>,
    pub(super) accept: &'static str,
    pub(super) timeout: Duration,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the secret file cannot be used: {0}")]
    Secret(SecretError),
    #[error("the CA file cannot be used")]
    Authorities,
    #[error("its name is not found")]
    Resolve,
    #[error("no connection: {0}")]
    Connect(&'static str),
    #[error("its certificate is not trusted")]
    Untrusted,
    #[error("TLS is not agreed on")]
    Tls,
    #[error("it breaks off, or does not speak HTTP")]
    Broken,
    #[error("its answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl From<AuthoritiesError> for HttpError {
    /// What is wrong with the file is told where it is read first, at the start.
    fn from(_: AuthoritiesError) -> Self {
        Self::Authorities
    }
}

/// The authorities, and all that exchanges share. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    authorities: Arc<Authorities<Arc<ClientConfig>>>,
}

impl Client {
    /// With the public authorities, and those of a file.
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            authorities: Arc::new(Authorities::new(ca_file)),
        }
    }

    /// The TLS configuration, made again when the file changes.
    pub(super) fn tls(&self) -> Result<Arc<ClientConfig>, HttpError> {
        self.authorities.made(|roots| {
            let config = authorities::client(roots, DEFAULT_VERSIONS);
            config.map(Arc::new).map_err(|_| HttpError::Tls)
        })
    }

    /// One exchange. `take` gets the body piece by piece, and says when it has enough.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub(super) async fn exchange(
        &self,
        ask: &Ask<'_>,
        most: usize,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<Reply, HttpError> {
        let exchange = async {
            let request = request(ask)?;
            let (host, port) = (ask.target.host.as_str(), ask.target.port);
            let socket = connect(host, port).await?;
            if ask.target.tls {
                let socket = self.secure(host, socket).await?;
                converse(socket, request, most, &mut take).await
            } else {
                converse(socket, request, most, &mut take).await
            }
        };
        tokio::time::timeout(ask.timeout, exchange)
            .await
            .unwrap_or(Err(HttpError::Late(ask.timeout)))
    }

    async fn secure(
        &self,
        host: &str,
        socket: Socket,
    ) -> Result<tokio_rustls::client::TlsStream<Socket>, HttpError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Resolve)?;
        let connecting = TlsConnector::from(self.tls()?).connect(name, socket);
        connecting.await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            match cause {
                Some(rustls::Error::InvalidCertificate(_)) => HttpError::Untrusted,
                _ => HttpError::Tls,
            }
        })
    }
}

fn request(ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, HttpError> {
    let (method, body) = match &ask.post {
        Some((body, _)) => (Method::POST, body.clone()),
        None => (Method::GET, Bytes::new()),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = ask.target.path.parse().map_err(|_| HttpError::Broken)?;
    let headers = request.headers_mut();
    headers.insert(HOST, ask.target.authority.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static(ask.accept));
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    if let Some((_, key)) = ask.post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert("idempotency-key", key);
        }
    }
    if let Some(bearer) = ask.bearer {
        let (name, value) = bearer.header()?;
        headers.insert(name, value);
    }
    Ok(request)
}

/// A connection to the first address that takes one. The caller brings the deadline.
pub(super) async fn connect(host: &str, port: u16) -> Result<Socket, HttpError> {
    let addresses = reach::resolve(host, port).await;
    let connected = reach::connect(addresses.map_err(|_| HttpError::Resolve)?).await;
    connected.map_err(
        |refused| match refused.map(|refused| refused.source.kind()) {
            None => HttpError::Resolve,
            Some(io::ErrorKind::ConnectionRefused) => HttpError::Connect("refused"),
            Some(io::ErrorKind::TimedOut) => HttpError::Connect("timed out"),
            Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                HttpError::Connect("no route")
            }
            Some(_) => HttpError::Connect("it fails"),
        },
    )
}

async fn converse<S>(
    socket: S,
    request: Request<Full<Bytes>>,
    most: usize,
    take: &mut impl FnMut(&[u8]) -> bool,
) -> Result<Reply, HttpError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits::EXTENSION_HEAD)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|_| HttpError::Broken)?;
    let exchange = pin!(async move {
        let answer = sender.send_request(request).await;
        let (head, mut body) = answer.map_err(|_| HttpError::Broken)?.into_parts();
        let reply = Reply {
            status: head.status.as_u16(),
            retry_after: backoff::retry_after_of(&head.headers),
        };
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.map_err(|_| HttpError::Broken)?.into_data() else {
                continue;
            };
            read += bytes.len();
            if read > most {
                return Err(HttpError::TooLarge(most));
            }
            if take(&bytes) {
                break;
            }
        }
        Ok(reply)
    });
    // The driver is polled beside what it drives: no task, and dropping either closes the socket.
    match futures_util::future::select(exchange, pin!(connection)).await {
        Either::Left((done, _)) => done,
        Either::Right((_, exchange)) => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_http_with_a_host_and_nothing_hidden() {
        let target = Target::parse("http://Web.shop.svc:8080/healthz?full=1").unwrap();
        assert_eq!((target.tls, target.port), (false, 8080));
        assert_eq!(
            (&*target.host, &*target.path),
            ("web.shop.svc", "/healthz?full=1")
        );
        let target = Target::parse("https://[::1]").unwrap();
        assert_eq!((target.tls, target.port), (true, 443));
        assert_eq!((&*target.host, &*target.path), ("::1", "/"));
        for bad in [
            "",
            "web",
            "/healthz",
            "ftp://web",
            "file:///etc/passwd",
            "http://u:p@web",
            "http://web:0",
            "http://web:99999",
            "http://web/#x",
            "http://",
            "unix:///run/x.sock",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }
}
