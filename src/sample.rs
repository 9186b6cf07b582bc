//! The demo's built-in sample cluster: a small Kubernetes API server of our own, on loopback.
//!
//! Owns: its certificate and token, its start, and its two tasks (`server`, `life`). Owns not: any
//! part of the agent; the agent reaches it as it reaches every API server, by URL, CA and token.
//! Invariant: it is read-only, it says `sample` wherever a cluster says its name, and everything it
//! keeps is bounded.
//!
//! ```text
//! server ─▶ api ─▶ discovery | openapi | collection | watch | logs | metrics | review
//!                                          │            │
//!            life (each second) ─────▶   store (objects, last changes)
//! ```

mod answer;
mod api;
mod catalog;
mod clock;
mod collection;
mod discovery;
mod life;
mod logs;
mod metrics;
mod objects;
mod openapi;
mod protobuf;
mod request;
mod review;
mod seed;
mod selector;
mod server;
mod store;
mod table;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

use crate::tasks::Tasks;
use api::Api;
use life::Life;
use store::Store;

/// How often something may happen in the cluster.
const BEAT: Duration = Duration::from_secs(1);

/// The running sample cluster. It runs until the tasks that it was started with are stopped.
#[derive(Debug)]
pub struct Sample {
    address: SocketAddr,
    ca_pem: String,
    token: SecretString,
}

/// Why the sample cluster did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// No port on loopback could be had.
    #[error("cannot listen on loopback for the sample cluster")]
    Listen(#[source] std::io::Error),
    /// The certificate could not be made.
    #[error("cannot make the sample cluster's certificate")]
    Certificate(#[source] rcgen::Error),
    /// TLS would not take the certificate.
    #[error("cannot set up the sample cluster's TLS")]
    Tls(#[source] rustls::Error),
}

impl Sample {
    /// Starts the sample cluster on a free port of 127.0.0.1, with a certificate and a token made
    /// on the spot.
    ///
    /// # Errors
    /// When there is no port, or no certificate can be made.
    ///
    /// # Cancel safety
    /// Nothing runs before the last step, so that dropping the future leaves nothing behind.
    pub async fn start(tasks: &Tasks) -> Result<Self, SampleError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(SampleError::Listen)?;
        let address = listener.local_addr().map_err(SampleError::Listen)?;
        let (ca_pem, tls) = tls()?;
        let token = SecretString::from(format!("sample-{:032x}", rand::random::<u128>()));

        let now = clock::now();
        // Versions begin where no earlier run can have come, so that a client that kept one from
        // then is told that it is too old instead of missing changes.
        let store = Arc::new(Store::new(now.unsigned_abs() / 100));
        objects::fill(&store, now);
        let life = Life::begin(Arc::clone(&store), now);
        let api = Api {
            store,
            token: token.clone(),
            address: address.to_string(),
            stop: tasks.stopping(),
        };
        tasks.spawn_logged("sample life", live(life, tasks.clone()));
        let server = server::run(listener, tls, Arc::new(api), tasks.clone());
        tasks.spawn_logged("sample server", server);
        Ok(Self {
            address,
            ca_pem,
            token,
        })
    }

    /// Where the API server is: `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate authority that signed its certificate, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The bearer token that it knows.
    pub fn token(&self) -> &SecretString {
        &self.token
    }
}

async fn live(mut life: Life, tasks: Tasks) {
    let stop = tasks.stopping();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = beat.tick() => life.step(clock::now()),
        }
    }
}

/// A certificate authority for this run, and a server that it vouches for. The authority's key is
/// dropped here.
fn tls() -> Result<(String, TlsAcceptor), SampleError> {
    let authority_key = KeyPair::generate().map_err(SampleError::Certificate)?;
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "PipeOps sample cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let authority_certificate = authority
        .self_signed(&authority_key)
        .map_err(SampleError::Certificate)?;
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate().map_err(SampleError::Certificate)?;
    let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"]
        .map(str::to_owned)
        .to_vec();
    let mut server = CertificateParams::new(names).map_err(SampleError::Certificate)?;
    server
        .distinguished_name
        .push(DnType::CommonName, "sample-apiserver");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server
        .signed_by(&key, &issuer)
        .map_err(SampleError::Certificate)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SampleError::Tls)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .map_err(SampleError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((
        authority_certificate.pem(),
        TlsAcceptor::from(Arc::new(config)),
    ))
}
