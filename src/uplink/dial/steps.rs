//! The steps of one connection to the control plane, timed one by one: for a check, not for use.
//!
//! Owns their order and the times. Owns not: what they mean to a person (`health`), nor the
//! deadline, which is the caller's. Invariant: the way is the one that the agent itself takes, with
//! the same proxy and the same TLS settings; a step is tried only when the one before it was done.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::{Connection, DialError, Dialler, Leg, certificate, connect, prepare, resolve};
use crate::presented::presented;

/// How far a connection came.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Steps {
    /// Resolving the name, the proxy's where there is one; nothing for an address.
    pub(in crate::uplink) name: Option<Result<Duration, DialError>>,
    /// Connecting, to the proxy where there is one.
    pub(in crate::uplink) tcp: Option<Result<Duration, DialError>>,
    /// The proxy's tunnel, where there is a proxy.
    pub(in crate::uplink) tunnel: Option<Result<Duration, DialError>>,
    /// The TLS handshake.
    pub(in crate::uplink) tls: Option<Result<Duration, DialError>>,
    /// The certificate: of the connection, or of the one that was not trusted.
    pub(in crate::uplink) certificate: Option<Vec<u8>>,
    /// What came of it.
    pub(in crate::uplink) connection: Option<Connection>,
}

impl Dialler {
    /// The proxy on the way, without credentials.
    pub(in crate::uplink) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(ToString::to_string)
    }

    /// Connects, step by step.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub(in crate::uplink) async fn steps(&self) -> Steps {
        let mut steps = Steps::default();
        let (host, port) = match &self.proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (self.url.host(), self.url.port()),
        };
        let began = Instant::now();
        let found = match resolve(host, port).await {
            Ok(found) => found,
            Err(error) => {
                steps.name = Some(Err(error));
                return steps;
            }
        };
        if host.parse::<std::net::IpAddr>().is_err() {
            steps.name = Some(Ok(began.elapsed()));
        }
        let began = Instant::now();
        let socket = match connect(found).await {
            Ok(socket) => socket,
            Err(error) => {
                steps.tcp = Some(Err(error));
                return steps;
            }
        };
        prepare(&socket);
        steps.tcp = Some(Ok(began.elapsed()));
        let leg = match &self.proxy {
            None => Leg::Left(socket),
            Some(proxy) => {
                let began = Instant::now();
                match self.tunnel(proxy, socket).await {
                    Ok(leg) => {
                        steps.tunnel = Some(Ok(began.elapsed()));
                        leg
                    }
                    Err(error) => {
                        steps.tunnel = Some(Err(error));
                        return steps;
                    }
                }
            }
        };
        let began = Instant::now();
        match self.verified(leg).await {
            Ok(connection) => {
                steps.tls = Some(Ok(began.elapsed()));
                steps.certificate = certificate(&connection);
                steps.connection = Some(connection);
            }
            Err(error) => {
                let looks = matches!(
                    error,
                    DialError::Untrusted { .. }
                        | DialError::OldTls { .. }
                        | DialError::Handshake { .. }
                );
                if looks {
                    steps.certificate = self.look().await;
                }
                steps.tls = Some(Err(error));
            }
        }
        steps
    }

    /// Who stands there, over a second connection.
    async fn look(&self) -> Option<Vec<u8>> {
        let leg = self.leg().await.ok()?;
        let name = ServerName::try_from(self.url.host().to_owned()).ok()?;
        presented(name, leg).await
    }
}
