//! What is counted of requests to the API server.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_kubernetes_api_calls_total` | `method`, `code` | requests, the callers' and our own |
//!
//! Invariant: labels are bounded: `code` is the class of the status, or `error` where there was
//! none.

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Cluster;
use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    method: &'static str,
    code: &'static str,
}

/// The counters of one way to the API server.
pub(super) type Calls = Family<Call, Counter>;

/// Counts a request that has its answer, or will have none.
pub(super) fn count(calls: &Calls, method: &Method, status: Option<StatusCode>) {
    let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .into_iter()
        .find(|known| method == known)
        .unwrap_or("other");
    let code = match status.map(|status| status.as_u16()) {
        Some(100..200) => "1xx",
        Some(200..300) => "2xx",
        Some(300..400) => "3xx",
        Some(400..500) => "4xx",
        Some(_) => "5xx",
        None => "error",
    };
    calls.get_or_create(&Call { method, code }).inc();
}

impl Cluster {
    /// Shows how many requests were made.
    pub fn observe(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "pipeops_kubernetes_api_calls",
                "Requests to the API server, by method and class of status",
                self.inner.calls.clone(),
            );
        });
    }
}
