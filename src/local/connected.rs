//! One live connection: counted, and told in the log, as long as it stands.
//!
//! Owns its id, its place in a gauge and its two lines. Invariant: each that was told as established
//! is told as closed, however it ends.

use std::net::IpAddr;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::accept::Peer;

/// What is spoken on it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    WebSocket,
    EventStream,
    Logs,
}

impl Protocol {
    const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "sse",
            Self::Logs => "logs",
        }
    }
}

#[derive(Debug)]
pub(super) struct Connected {
    gauge: Gauge,
    id: String,
    client: IpAddr,
    protocol: &'static str,
    since: Instant,
}

impl Connected {
    pub(super) fn new(gauge: &Gauge, protocol: Protocol, peer: &Peer) -> Self {
        gauge.inc();
        let it = Self {
            gauge: gauge.clone(),
            id: format!("{:016x}", rand::random::<u64>()),
            client: peer.address.ip().to_canonical(),
            protocol: protocol.as_str(),
            since: Instant::now(),
        };
        tracing::info!(
            connection_id = it.id,
            client_ip = %it.client,
            protocol = it.protocol,
            "Live connection established"
        );
        it
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gauge.dec();
        tracing::info!(
            connection_id = self.id,
            client_ip = %self.client,
            protocol = self.protocol,
            seconds = self.since.elapsed().as_secs(),
            "Live connection closed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_connection_counts_as_long_as_it_stands() {
        let gauge = Gauge::default();
        let peer = Peer {
            address: "[::ffff:10.0.0.7]:4711".parse().unwrap(),
            local: "[::1]:8080".parse().unwrap(),
            reserved: false,
            hold: Arc::default(),
        };
        let first = Connected::new(&gauge, Protocol::WebSocket, &peer);
        let second = Connected::new(&gauge, Protocol::Logs, &peer);
        assert_eq!(gauge.get(), 2);
        assert_ne!(first.id(), second.id());
        assert_eq!(first.client.to_string(), "10.0.0.7");
        drop(first);
        assert_eq!(gauge.get(), 1);
    }
}
