//! Which certificate a server presents, where it is not to be trusted: for naming who stands there.
//!
//! Owns a verifier that looks and refuses. Owns not: what is trusted, nor what the certificate
//! says. Invariant: no handshake with it ever succeeds, so that nothing can be sent or read over
//! what was only looked at.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// The first certificate that the server at the other end of `socket` presents for this name; the
/// connection is of no use afterwards. The caller brings the deadline.
pub(crate) async fn presented<S>(name: ServerName<'static>, socket: S) -> Option<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seen = Arc::new(Looking::default());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, socket);
    if shaken.await.is_ok() {
        return None;
    }
    seen.first
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

#[derive(Debug, Default)]
struct Looking {
    first: Mutex<Option<Vec<u8>>>,
}

fn only_looked() -> Error {
    Error::General("only looked at".into())
}

impl ServerCertVerifier for Looking {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first.to_vec());
        Err(only_looked())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_looked())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_looked())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
