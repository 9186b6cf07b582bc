//! The steps of one connection to the API server, timed one by one: for a check, not for use.
//!
//! Owns the order and the times. Owns not: what they mean to a person (`health`). Invariants: the
//! target is the one that the agent itself dials, with the same TLS settings; all steps together
//! have the dialler's own deadline; a step is tried only when the one before it was done.

use std::time::Duration;

use tokio::time::Instant;

use super::Dialler;
use crate::cluster::Cluster;
use crate::cluster::certificate::Certificate;
use crate::cluster::error::{ClusterError, Unreachable};
use crate::limits;
use crate::presented::presented;
use crate::reach::Socket;

/// How far a connection came.
#[derive(Debug, Default)]
pub struct Probe {
    /// Resolving the name; nothing where the server is given by its address.
    pub name: Option<Result<Duration, ClusterError>>,
    /// Connecting.
    pub tcp: Option<Result<Duration, ClusterError>>,
    /// The TLS handshake; nothing where the connection is without (a proxy on loopback).
    pub tls: Option<Result<Shaken, ClusterError>>,
    /// The certificate that was not trusted.
    pub stranger: Option<Certificate>,
}

/// A TLS handshake that was done.
#[derive(Debug)]
pub struct Shaken {
    /// How long it took.
    pub took: Duration,
    /// The server's certificate, as far as it can be read.
    pub certificate: Option<Certificate>,
}

impl Cluster {
    /// Connects to the API server and hangs up.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub async fn probe(&self) -> Probe {
        self.inner.dialler.probe().await
    }
}

impl Dialler {
    async fn probe(&self) -> Probe {
        let mut probe = Probe::default();
        let end = Instant::now() + limits::CLUSTER_CONNECT;
        let slow = || ClusterError::unreachable(Unreachable::Slow, None);
        if self.host.parse::<std::net::IpAddr>().is_err() {
            let began = Instant::now();
            let looked = tokio::net::lookup_host((self.host.as_str(), self.port));
            let found = match tokio::time::timeout_at(end, looked).await {
                Err(_) => Err(slow()),
                Ok(Err(error)) => Err(ClusterError::unreachable(Unreachable::Name, Some(error))),
                Ok(Ok(mut found)) => match found.next() {
                    Some(_) => Ok(since(began)),
                    None => Err(ClusterError::unreachable(Unreachable::Name, None)),
                },
            };
            let failed = found.is_err();
            probe.name = Some(found);
            if failed {
                return probe;
            }
        }
        let began = Instant::now();
        let socket = match tokio::time::timeout_at(end, self.connect()).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                probe.tcp = Some(Err(error));
                return probe;
            }
            Err(_) => {
                probe.tcp = Some(Err(slow()));
                return probe;
            }
        };
        probe.tcp = Some(Ok(since(began)));
        probe.tls = match tokio::time::timeout_at(end, self.shake(socket)).await {
            Ok(shaken) => shaken.transpose(),
            Err(_) => Some(Err(slow())),
        };
        let untrusted = matches!(
            probe.tls,
            Some(Err(ClusterError::Unreachable {
                kind: Unreachable::Certificate,
                ..
            }))
        );
        if untrusted && let Ok(stranger) = tokio::time::timeout_at(end, self.look()).await {
            probe.stranger = stranger;
        }
        probe
    }

    /// Who stands there, over a second connection.
    async fn look(&self) -> Option<Certificate> {
        let (_, name) = self.tls.as_ref()?;
        let socket = self.connect().await.ok()?;
        Certificate::read(&presented(name.clone(), socket).await?)
    }

    async fn shake(&self, socket: Socket) -> Result<Option<Shaken>, ClusterError> {
        let Some((connector, name)) = &self.tls else {
            return Ok(None);
        };
        let began = Instant::now();
        let stream = connector
            .connect(name.clone(), socket)
            .await
            .map_err(ClusterError::tls)?;
        let took = since(began);
        let certificates = stream.get_ref().1.peer_certificates();
        let first = certificates.and_then(|all| all.first());
        Ok(Some(Shaken {
            took,
            certificate: first.and_then(|der| Certificate::read(der)),
        }))
    }
}

fn since(began: Instant) -> Duration {
    Instant::now().saturating_duration_since(began)
}
