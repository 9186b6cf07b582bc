//! TLS towards the control plane: version 1.3 only, public authorities and those of a file.
//!
//! Owns which versions are spoken to whom. Owns not: what is trusted (`authorities`), dialling.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, DEFAULT_VERSIONS, version};

use crate::authorities::{self, Authorities, AuthoritiesError};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The file of authorities.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// rustls does not take our versions and provider: a defect.
    #[error("the TLS configuration cannot be made")]
    Config(#[from] rustls::Error),
}

/// The configuration, made again when the file changes.
#[derive(Debug)]
pub(super) struct Tls {
    authorities: Authorities<Made>,
}

#[derive(Debug, Clone)]
struct Made {
    config: Arc<ClientConfig>,
    towards_proxy: Arc<ClientConfig>,
}

impl Tls {
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            authorities: Authorities::new(ca_file),
        }
    }

    /// The configuration for the next dial.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        Ok(self.made()?.config)
    }

    /// The same authorities towards a proxy that is itself reached by TLS. It may be of version
    /// 1.2: what passes is a tunnel, whose own TLS is 1.3.
    pub(super) fn towards_proxy(&self) -> Result<Arc<ClientConfig>, TlsError> {
        Ok(self.made()?.towards_proxy)
    }

    fn made(&self) -> Result<Made, TlsError> {
        self.authorities.made(|roots| {
            Ok(Made {
                config: Arc::new(authorities::client(roots.clone(), &[&version::TLS13])?),
                towards_proxy: Arc::new(authorities::client(roots, DEFAULT_VERSIONS)?),
            })
        })
    }
}
