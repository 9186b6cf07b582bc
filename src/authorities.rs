//! Which authorities servers are trusted by: the public ones, and those of a file.
//!
//! Owns the reading of the file and what is made of the roots, again when the file changes. Owns
//! not: towards whom. Invariants: nothing here or anywhere else switches verification off; a file
//! that cannot be used fails the attempt and never falls back to less than was asked for.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::limits;

/// Why a file of authorities is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthoritiesError {
    /// It cannot be read.
    #[error("the CA file {path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not PEM, or not one certificate that can sign.
    #[error("the CA file {0} holds no usable certificate")]
    Unusable(PathBuf),
}

/// The authorities, and what was made of them.
#[derive(Debug)]
pub(crate) struct Authorities<T> {
    file: Option<PathBuf>,
    made: Mutex<Option<Made<T>>>,
}

#[derive(Debug)]
struct Made<T> {
    pem: Option<Vec<u8>>,
    of_it: T,
}

impl<T: Clone> Authorities<T> {
    /// The public ones, and those of a file.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            made: Mutex::new(None),
        }
    }

    /// What is made of them; the file is read each time, so that a new bundle is taken up by the
    /// next connection.
    pub(crate) fn made<E: From<AuthoritiesError>>(
        &self,
        make: impl FnOnce(RootCertStore) -> Result<T, E>,
    ) -> Result<T, E> {
        let pem = match &self.file {
            None => None,
            Some(path) => Some(read(path).map_err(|source| AuthoritiesError::Read {
                path: path.clone(),
                source,
            })?),
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.pem == pem) {
            return Ok(made.of_it.clone());
        }
        let of_it = make(self.roots(pem.as_deref())?)?;
        *made = Some(Made {
            pem,
            of_it: of_it.clone(),
        });
        Ok(of_it)
    }

    fn roots(&self, pem: Option<&[u8]>) -> Result<RootCertStore, AuthoritiesError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let (Some(pem), Some(path)) = (pem, &self.file) {
            let unusable = || AuthoritiesError::Unusable(path.clone());
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
                .collect::<Result<_, _>>()
                .map_err(|_| unusable())?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            if added == 0 {
                return Err(unusable());
            }
        }
        Ok(roots)
    }
}

/// A client that trusts these roots, and speaks HTTP/1.1 on these versions of TLS.
pub(crate) fn client(
    roots: RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // WebSocket over HTTP/2 would need RFC 8441, which no proxy on the way is sure to know.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A file of authorities, as far as its bound.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    std::fs::File::open(path)?
        .take(limits::CA_BYTES)
        .read_to_end(&mut pem)?;
    Ok(pem)
}
