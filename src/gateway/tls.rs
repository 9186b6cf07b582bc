//! The listener's certificate: read, checked, taken up again when its files change.
//!
//! Owns the server's rustls configuration. HTTP/1.1 is all that is offered, because exec and
//! port-forward need its upgrades; TLS 1.2 is left for callers, agents insist on 1.3 themselves.
//! Invariant: a pair that does not parse or does not match changes nothing.

#[cfg(feature = "demo")]
pub mod dev;

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};

use super::tokens::file::Stamp;
use crate::limits;

/// Where the certificate and its key come from.
#[derive(Clone)]
pub enum Certificate {
    /// Files in PEM form, looked at every second.
    Files {
        /// The chain, the server's own certificate first.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// PEM texts.
    Pem {
        /// The chain, the server's own certificate first.
        chain: String,
        /// Its key.
        key: secrecy::SecretString,
    },
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files { chain, key } => f
                .debug_struct("Files")
                .field("chain", chain)
                .field("key", key)
                .finish(),
            Self::Pem { .. } => f.debug_struct("Pem").finish_non_exhaustive(),
        }
    }
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("the file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No certificate or no key in the text.
    #[error("the {what} is not PEM")]
    Pem {
        /// Certificate or key.
        what: &'static str,
    },
    /// A pair that cannot serve.
    #[error("the certificate and its key cannot be used")]
    Pair(#[source] rustls::Error),
    /// The key is for another certificate.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(String),
    /// A file that cannot be written.
    #[error("the file {path} cannot be written")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().expect("no holder of this lock panics");
        Some(Arc::clone(&current))
    }
}

/// The listener's configuration, and the handle that changes its certificate.
pub(crate) fn server(
    certificate: &Certificate,
) -> Result<(Arc<ServerConfig>, Arc<Current>), TlsError> {
    let current = Arc::new(Current(RwLock::new(Arc::new(load(certificate)?))));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), current))
}

fn load(certificate: &Certificate) -> Result<CertifiedKey, TlsError> {
    match certificate {
        Certificate::Files { chain, key } => pair(&read(chain)?, &read(key)?),
        Certificate::Pem { chain, key } => {
            use secrecy::ExposeSecret;
            pair(chain.as_bytes(), key.expose_secret().as_bytes())
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn pair(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem {
            what: "certificate",
        })?;
    if chain.is_empty() {
        return Err(TlsError::Pem {
            what: "certificate",
        });
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem { what: "key" })?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(TlsError::Pair)?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
        Err(error) => Err(TlsError::Pair(error)),
    }
}

/// Takes up what the files hold whenever they change, until dropped. Does nothing for PEM texts.
///
/// # Cancel safety
/// Safe: a pair is taken over whole.
pub(crate) async fn follow(certificate: Certificate, current: Arc<Current>) {
    let Certificate::Files { chain, key } = &certificate else {
        return std::future::pending().await;
    };
    // What could not be read is looked at again each time.
    let stamps = || {
        (
            Stamp::of(chain).ok().flatten(),
            Stamp::of(key).ok().flatten(),
        )
    };
    let mut seen = stamps();
    loop {
        tokio::time::sleep(limits::FILE_POLL).await;
        let now = stamps();
        if now == seen {
            continue;
        }
        match load(&certificate) {
            Ok(pair) => {
                *current.0.write().expect("no holder of this lock panics") = Arc::new(pair);
                seen = now;
                tracing::info!("Certificate taken up");
            }
            // The two files change one after the other: only what stays wrong is worth a line.
            Err(TlsError::Mismatch) if now != stamps() => {}
            Err(error) => {
                seen = now;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "Certificate kept as before"
                );
            }
        }
    }
}
