//! Credentials: where they come from, and the layers that put them on a request.
//!
//! Owns the order in which credentials are looked for, and the tower stack made of
//! `kube::client::ConfigExt`'s layers, which sets the server, the token (re-read from its file
//! within 60 s) and the credential's own headers. Owns not: connections (`connection`).
//! Invariant: what the stack sets, it sets last, so nothing of a caller survives beside it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::uri::PathAndQuery;
use http_body_util::Empty;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt};

use super::connection::Dialler;
use super::error::{ClusterError, ConnectError};
use crate::limits;

/// How to reach the API server.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// As whom.
    pub credentials: Credentials,
}

/// Where the credentials come from.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// The ServiceAccount's files, or else the kubeconfig that kubectl would use.
    #[default]
    Auto,
    /// The ServiceAccount's files.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// Its path; without one, `KUBECONFIG` or `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context; without one, the current one.
        context: Option<String>,
    },
    /// A server that is known already: the sample cluster, or a test's.
    Direct {
        /// `https://host:port`, or `http` on loopback.
        url: http::Uri,
        /// The authority that signed its certificate.
        ca_pem: Option<String>,
        /// The bearer token.
        token: Option<SecretString>,
    },
}

/// What [`prepare`] makes of a [`Config`].
pub(super) struct Way {
    pub(super) signer: Signer,
    pub(super) dialler: Dialler,
    pub(super) acts_as_another: bool,
}

/// Only a head passes the layers; the empty body is what their bounds ask for.
type Unsigned = Request<Empty<Bytes>>;

/// Puts server and credential on the head of a request.
#[derive(Clone)]
pub(super) struct Signer {
    stack: BoxCloneSyncService<Unsigned, http::Response<Unsigned>, BoxError>,
}

impl Signer {
    fn new(config: &kube::Config) -> Result<Self, ConnectError> {
        let end = tower::service_fn(|request: Unsigned| {
            std::future::ready(Ok::<_, BoxError>(http::Response::new(request)))
        });
        let headers = config
            .extra_headers_layer()
            .map_err(|_| ConnectError::Credential("its headers are malformed".into()))?;
        let base = config.base_uri_layer();
        let inner = headers.layer(end);
        let stack = match config
            .auth_layer()
            .map_err(|error| ConnectError::Credential(credential_error(&error)))?
        {
            Some(auth) => BoxCloneSyncService::new(base.layer(auth.layer(inner))),
            None => BoxCloneSyncService::new(base.layer(inner)),
        };
        Ok(Self { stack })
    }

    /// The signed head: path and query below the server's base path, the credential set.
    pub(super) async fn sign(
        &self,
        method: http::Method,
        target: &PathAndQuery,
        headers: http::HeaderMap,
    ) -> Result<http::request::Parts, ClusterError> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from(target.clone());
        *request.headers_mut() = headers;
        // A credential plugin may have to be run again for it.
        let signed = tokio::time::timeout(
            limits::CLUSTER_CREDENTIALS,
            self.stack.clone().oneshot(request),
        )
        .await
        .map_err(|_| ClusterError::Credential("its source does not answer".into()))?
        .map_err(|error| {
            ClusterError::Credential(match error.downcast_ref::<kube::client::AuthError>() {
                Some(error) => auth_error(error),
                None => "it cannot be read".into(),
            })
        })?;
        let mut parts = signed.into_body().into_parts().0;
        // A connection of our own takes the path alone; `Host` is set by the dialler's authority.
        parts.uri = parts
            .uri
            .path_and_query()
            .cloned()
            .map(http::Uri::from)
            .unwrap_or_default();
        Ok(parts)
    }
}

/// Finds the credentials and builds the way with them.
pub(super) async fn prepare(config: Config) -> Result<Way, ConnectError> {
    let mut kube = find(config.credentials).await?;
    if kube.accept_invalid_certs {
        return Err(ConnectError::Unverified);
    }
    // What leads out of the cluster to the control plane never stands between us and the API
    // server; and kube judges NO_PROXY by the wrong host.
    kube.proxy_url = None;
    let acts_as_another = kube.auth_info.impersonate.is_some()
        || kube.auth_info.impersonate_uid.is_some()
        || kube.auth_info.impersonate_groups.is_some()
        || kube.auth_info.impersonate_user_extra.is_some();
    let build = move || {
        let tls = kube
            .rustls_client_config()
            .map_err(|error| ConnectError::Tls(tls_error(&error)))?;
        let dialler = Dialler::new(&kube.cluster_url, kube.tls_server_name.as_deref(), tls)?;
        Ok(Way {
            signer: Signer::new(&kube)?,
            dialler,
            acts_as_another,
        })
    };
    // Another thread takes real time, which in a simulation differs from run to run.
    #[cfg(feature = "simulation")]
    if crate::simulation::is_installed() {
        return build();
    }
    // A credential plugin is run here, and blocks.
    let build = tokio::task::spawn_blocking(build);
    match tokio::time::timeout(limits::CLUSTER_CREDENTIALS, build).await {
        Ok(Ok(way)) => way,
        Ok(Err(_)) => Err(ConnectError::Credential(
            "reading it failed unexpectedly".into(),
        )),
        Err(_) => Err(ConnectError::Slow(limits::CLUSTER_CREDENTIALS)),
    }
}

async fn find(credentials: Credentials) -> Result<kube::Config, ConnectError> {
    match credentials {
        Credentials::InCluster => {
            kube::Config::incluster().map_err(|error| ConnectError::InCluster(error.to_string()))
        }
        Credentials::Kubeconfig { path, context } => kubeconfig(path, context)
            .await
            .map_err(ConnectError::Kubeconfig),
        Credentials::Auto => match kube::Config::incluster() {
            Ok(config) => Ok(config),
            Err(in_cluster) => {
                kubeconfig(None, None)
                    .await
                    .map_err(|kubeconfig| ConnectError::NoCredentials {
                        in_cluster: in_cluster.to_string(),
                        kubeconfig,
                    })
            }
        },
        Credentials::Direct { url, ca_pem, token } => {
            let mut config = kube::Config::new(url);
            if let Some(pem) = ca_pem {
                let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
                    .map(|certificate| certificate.map(|der| der.to_vec()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| ConnectError::Tls("the authority is not PEM".into()))?;
                config.root_cert = Some(certificates);
            }
            config.auth_info.token =
                token.map(|token| SecretString::from(token.expose_secret().trim().to_owned()));
            Ok(config)
        }
    }
}

/// The name of the context that a kubeconfig will be used with.
///
/// # Errors
/// When there is no kubeconfig, or it names none.
pub fn context(path: Option<PathBuf>, context: Option<String>) -> Result<String, ConnectError> {
    let file = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(|error| ConnectError::Kubeconfig(kubeconfig_error(&error)))?;
    context
        .or(file.current_context)
        .ok_or_else(|| ConnectError::Kubeconfig("it has no current context".into()))
}

async fn kubeconfig(
    path: Option<PathBuf>,
    context: Option<String>,
) -> Result<kube::Config, String> {
    let file = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }
    .map_err(|error| kubeconfig_error(&error))?;
    let chosen = context.as_ref().or(file.current_context.as_ref());
    let cluster = file
        .contexts
        .iter()
        .find(|named| Some(&named.name) == chosen)
        .and_then(|named| named.context.as_ref())
        .map(|context| context.cluster.clone());
    let has_proxy = file
        .clusters
        .iter()
        .filter(|named| Some(&named.name) == cluster.as_ref())
        .filter_map(|named| named.cluster.as_ref())
        .any(|cluster| cluster.proxy_url.is_some());
    if has_proxy {
        return Err("it sets proxy-url, and the API server is reached directly only".into());
    }
    let options = KubeConfigOptions {
        context,
        cluster: None,
        user: None,
    };
    kube::Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| kubeconfig_error(&error))
}

/// The parser's own message quotes the file, and with it tokens.
fn kubeconfig_error(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!(
                "it is not a kubeconfig, at line {}, column {}",
                at.line(),
                at.column()
            ),
            None => "it is not a kubeconfig".into(),
        },
        error => error.to_string(),
    }
}

fn credential_error(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(error) => auth_error(error),
        _ => "it is not usable".into(),
    }
}

/// Plugins' outputs and arguments may hold the credential: none of them is repeated.
fn auth_error(error: &kube::client::AuthError) -> String {
    use kube::client::AuthError;
    match error {
        AuthError::InvalidBasicAuth(_) => {
            "user name or password has a byte that no header may hold".into()
        }
        AuthError::InvalidBearerToken(_) => {
            "the token has a byte that no header may hold; a line end, perhaps".into()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("the token file {} cannot be read: {error}", path.display())
        }
        AuthError::AuthExecStart(error) => format!("the plugin cannot be run: {error}"),
        AuthError::AuthExecRun { out, .. } => format!("the plugin ended with {}", out.status),
        AuthError::AuthExecParse(_) => "the plugin's answer is not an ExecCredential".into(),
        AuthError::MissingCommand => "the plugin has no command".into(),
        AuthError::ExecPluginFailed => "the plugin's answer has no status".into(),
        AuthError::MalformedTokenExpirationDate(_) => "its expiry is malformed".into(),
        _ => "its source does not work".into(),
    }
}

fn tls_error(error: &kube::Error) -> String {
    match error {
        kube::Error::RustlsTls(error) => error.to_string(),
        kube::Error::Auth(error) => auth_error(error),
        _ => "they are not usable".into(),
    }
}

pub(super) type Tls = Arc<rustls::ClientConfig>;
