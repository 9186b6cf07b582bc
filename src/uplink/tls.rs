//! TLS towards the control plane: version 1.3 only, public authorities and those of a file.
//!
//! Owns the client's configuration and when it is made anew. Owns not: dialling. Invariants:
//! nothing here or anywhere else switches verification off; a file that cannot be used fails the
//! attempt and never falls back to less than was asked for.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::limits;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The file of authorities.
    #[error("the CA file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not PEM, or not one certificate that can sign.
    #[error("the CA file {0} holds no usable certificate")]
    Unusable(PathBuf),
    /// rustls does not take our versions and provider: a defect.
    #[error("the TLS configuration cannot be made")]
    Config(#[source] rustls::Error),
}

/// The configuration, made again when the file changes.
#[derive(Debug)]
pub(super) struct Tls {
    ca_file: Option<PathBuf>,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    pem: Option<Vec<u8>>,
    config: Arc<ClientConfig>,
    towards_proxy: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            ca_file,
            made: Mutex::new(None),
        }
    }

    /// The configuration for the next dial; the file is read each time, so that a new bundle is
    /// taken up by the next connection.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.made(|made| Arc::clone(&made.config))
    }

    /// The same authorities towards a proxy that is itself reached by TLS. It may be of version
    /// 1.2: what passes is a tunnel, whose own TLS is 1.3.
    pub(super) fn towards_proxy(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.made(|made| Arc::clone(&made.towards_proxy))
    }

    fn made<T>(&self, of: impl FnOnce(&Made) -> T) -> Result<T, TlsError> {
        let pem = self.ca_file.as_ref().map(read).transpose()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.pem == pem) {
            return Ok(of(made));
        }
        let roots = self.roots(pem.as_deref())?;
        let next = Made {
            config: Arc::new(client(roots.clone(), &[&version::TLS13])?),
            towards_proxy: Arc::new(client(roots, &[&version::TLS13, &version::TLS12])?),
            pem,
        };
        Ok(of(made.insert(next)))
    }

    fn roots(&self, pem: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let (Some(pem), Some(path)) = (pem, &self.ca_file) {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
                .collect::<Result<_, _>>()
                .map_err(|_| TlsError::Unusable(path.clone()))?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(TlsError::Unusable(path.clone()));
            }
        }
        Ok(roots)
    }
}

fn client(
    roots: RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Config)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // WebSocket over HTTP/2 would need RFC 8441, which no proxy on the way is sure to know.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limits::CA_BYTES).read_to_end(&mut pem))
        .map_err(|source| TlsError::Read {
            path: path.clone(),
            source,
        })?;
    Ok(pem)
}
