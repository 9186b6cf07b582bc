//! What can go wrong on the way to the API server, and what may be told about it.
//!
//! Invariant: `Display` of these errors holds no credential and no address of the cluster, so it
//! may be shown to the caller; the sources may name addresses and are for the agent's own log.

use std::time::Duration;

use crate::kubeapi::HeaderError;

/// Why the way to the API server cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither a ServiceAccount's files nor a kubeconfig.
    #[error("no credentials: not in a cluster ({in_cluster}), and no kubeconfig ({kubeconfig})")]
    NoCredentials {
        /// Why the ServiceAccount's files cannot be used.
        in_cluster: String,
        /// Why the kubeconfig cannot be used.
        kubeconfig: String,
    },
    /// The ServiceAccount's files cannot be used.
    #[error(
        "the service account's credentials cannot be used: {0}; a pod alone has them, elsewhere name a file with --kubeconfig"
    )]
    InCluster(String),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// The kubeconfig asks not to verify the server; there is no way to do so here.
    #[error("the kubeconfig sets insecure-skip-tls-verify; give certificate-authority instead")]
    Unverified,
    /// The API server's URL has no host, or is neither http nor https.
    #[error("the API server's URL is not usable")]
    Url,
    /// Certificates or keys cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
    /// A token or its source cannot be used.
    #[error("the credential cannot be used: {0}")]
    Credential(String),
    /// A credential plugin took too long.
    #[error("the credential plugin did not answer within {0:?}")]
    Slow(Duration),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No connection; nothing was sent.
    #[error("no connection: {kind}")]
    Unreachable {
        /// What it failed at, in words without an address.
        kind: Unreachable,
        /// The details, for our own log.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The agent's credential cannot be had; nothing was sent.
    #[error("the agent's credential cannot be had: {0}")]
    Credential(String),
    /// The API server answered 401 to the agent's credential.
    #[error("the API server refused the agent's credential")]
    CredentialRefused,
    /// The identity that the request is to run under cannot be set; nothing was sent.
    #[error(transparent)]
    RunAs(#[from] super::run_as::RunAsError),
    /// The request's headers are refused; nothing was sent.
    #[error("the request's headers are refused: {0}")]
    RequestHeaders(HeaderError),
    /// The answer's headers cannot be passed on.
    #[error("the answer's headers cannot be passed on: {0}")]
    AnswerHeaders(HeaderError),
    /// The caller's body ended early or was longer than announced.
    #[error("the request's body is not what its length announced")]
    Upload(#[source] hyper::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the answer broke off")]
    Failed(#[source] hyper::Error),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// One of our own calls got an answer that it cannot use.
    #[error("the answer is not usable: {0}")]
    Unusable(&'static str),
}

/// What a connection failed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// Its name does not resolve.
    #[error("the API server's name does not resolve")]
    Name,
    /// Nobody listens.
    #[error("the connection was refused")]
    Refused,
    /// Nobody answered.
    #[error("the connection was not made in time")]
    Slow,
    /// No route, no descriptor, and the like.
    #[error("the connection failed")]
    Network,
    /// Not the certificate that the credentials' authority vouches for.
    #[error("the API server's certificate is not trusted")]
    Certificate,
    /// TLS failed in another way.
    #[error("the TLS handshake failed")]
    Tls,
}

impl ClusterError {
    pub(super) const fn unreachable(kind: Unreachable, source: Option<std::io::Error>) -> Self {
        Self::Unreachable { kind, source }
    }

    pub(super) fn connect(source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::ConnectionRefused => Unreachable::Refused,
            std::io::ErrorKind::TimedOut => Unreachable::Slow,
            _ => Unreachable::Network,
        };
        Self::unreachable(kind, Some(source))
    }

    pub(super) fn tls(source: std::io::Error) -> Self {
        let kind = match source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::InvalidCertificate(_)) => Unreachable::Certificate,
            Some(_) => Unreachable::Tls,
            None => Unreachable::Network,
        };
        Self::unreachable(kind, Some(source))
    }

    pub(super) fn http(error: hyper::Error) -> Self {
        if error.is_user() {
            Self::Upload(error)
        } else {
            Self::Failed(error)
        }
    }

    /// Whether the API server surely never saw the request.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Credential(_)
                | Self::RunAs(_)
                | Self::RequestHeaders(_)
        )
    }
}
