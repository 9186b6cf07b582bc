//! Something between agent and gateway that opens the connection, and meddles.
//!
//! Owns its own certificate and what it changes. It really relays: an untouched request works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeops_agent::tasks::Tasks;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::gateway::rig::tls;

/// What it does to what passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meddles {
    /// Nothing.
    Not,
    /// Speaks plain HTTP to the other side.
    StripsUpgrade,
    /// Answers each request by itself, with this.
    Answers(&'static str),
    /// Takes the request, and says nothing.
    NeverAnswers,
    /// Closes what was silent for so long.
    CutsIdle(Duration),
    /// Stops to carry what was silent for so long, without a word.
    ForgetsIdle(Duration),
    /// Sets the `Date` of answers.
    Dates(&'static str),
}

/// A relay that listens until its tasks stop.
pub(crate) struct Middle {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
}

impl Middle {
    /// Between here and the gateway at `to`, with a certificate of the authority `issuer`.
    pub(crate) async fn start(
        issuer: &str,
        meddles: Meddles,
        to: SocketAddr,
        to_ca: &str,
        tasks: &Tasks,
    ) -> Self {
        let (ca_pem, config) = certificate(issuer);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_ca, spawner) = (to_ca.to_owned(), tasks.clone());
        tasks.spawn("middle", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, to_ca) = (acceptor.clone(), to_ca.clone());
                spawner.spawn("carried", async move {
                    let Ok(mut near) = acceptor.accept(socket).await else {
                        return;
                    };
                    let Some(asked) = head(&mut near).await else {
                        return;
                    };
                    if matches!(meddles, Meddles::NeverAnswers) {
                        std::future::pending::<()>().await;
                    }
                    if let Meddles::Answers(text) = meddles {
                        let _ = near.write_all(text.as_bytes()).await;
                        let _ = near.shutdown().await;
                        return;
                    }
                    let Ok(mut far) = tls(to, &to_ca).await else {
                        return;
                    };
                    let asked = match meddles {
                        Meddles::StripsUpgrade => without(&asked, &["upgrade", "connection"]),
                        _ => asked,
                    };
                    let _ = far.write_all(asked.as_bytes()).await;
                    let Some(mut answered) = head(&mut far).await else {
                        return;
                    };
                    if let Meddles::Dates(date) = meddles {
                        answered = without(&answered, &["date"]);
                        answered.insert_str(answered.len() - 2, &format!("date: {date}\r\n"));
                    }
                    let _ = near.write_all(answered.as_bytes()).await;
                    let carried = tokio::io::copy_bidirectional(&mut near, &mut far);
                    match meddles {
                        // Nothing but silence is ever carried in these tests.
                        Meddles::CutsIdle(after) => {
                            let _ = tokio::time::timeout(after, carried).await;
                        }
                        Meddles::ForgetsIdle(after) => {
                            if tokio::time::timeout(after, carried).await.is_err() {
                                std::future::pending::<()>().await;
                            }
                        }
                        _ => {
                            let _ = carried.await;
                        }
                    }
                });
            }
        });
        Self { address, ca_pem }
    }
}

async fn head(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(io.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn without(head: &str, names: &[&str]) -> String {
    let kept = head.split_inclusive("\r\n").filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !names
            .iter()
            .any(|dropped| name.eq_ignore_ascii_case(dropped))
    });
    kept.collect()
}

pub(super) fn certificate(issuer: &str) -> (String, ServerConfig) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name.push(DnType::CommonName, issuer);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (ca_pem, config)
}
