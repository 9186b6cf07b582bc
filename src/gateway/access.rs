//! The access log and the figures of each request: one line when its last byte has gone.
//!
//! Owns what is said of a request: who, what, on which cluster, how it ended, bytes, time. Owns not
//! the figures' names ([`super::metrics`]). Invariant: exactly one line a request, and nothing in it
//! is a credential, a body or a query.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::Shared;
use super::metrics::Metrics;
use super::tokens::Entry;
use crate::kubeapi::Attributes;
use crate::protocol::error::ErrorCode;

/// The log target: a module of its own, so that a level can be set for it alone.
const ACCESS: &str = "pipeops_agent::access";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// To the last byte.
    Complete,
    /// The caller went away first.
    CallerGone,
    /// The stream broke off after the head.
    Broken(ErrorCode),
}

/// A request on a cluster's path without a valid token: nobody's, and worth its line all the same.
pub(crate) fn unauthorized(id: &str, cluster: &str, method: &http::Method, peer: SocketAddr) {
    tracing::info!(
        target: ACCESS,
        request = id,
        cluster,
        method = method.as_str(),
        status = 401,
        %peer,
        "Request"
    );
}

/// A request in the making of its line, which is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) id: String,
    pub(crate) cluster: Arc<str>,
    pub(crate) user: Arc<Entry>,
    pub(crate) request: Option<Attributes>,
    /// The command, where it is not a request to the API, and whether it runs until it is ended.
    pub(crate) command: Option<(&'static str, bool)>,
    pub(crate) method: http::Method,
    pub(crate) status: u16,
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// The announced length of the answer.
    pub(crate) expected: Option<u64>,
    pub(crate) outcome: Outcome,
    pub(crate) began: Instant,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes that went up, where another task counts them.
    pub(crate) uploaded: Option<Arc<std::sync::atomic::AtomicU64>>,
}

impl Access {
    /// A request that has just come, of this user, for this cluster.
    pub(crate) fn begin(
        shared: &Shared,
        user: &Arc<Entry>,
        cluster: &str,
        method: &http::Method,
    ) -> Self {
        Self {
            id: shared.next_id("r"),
            cluster: cluster.into(),
            user: Arc::clone(user),
            request: None,
            command: None,
            method: method.clone(),
            status: 0,
            up: 0,
            down: 0,
            expected: None,
            outcome: Outcome::CallerGone,
            began: Instant::now(),
            metrics: Arc::clone(&shared.metrics),
            uploaded: None,
        }
    }

    fn write(&self) {
        let up = self.uploaded.as_ref().map_or(self.up, |uploaded| {
            self.up + uploaded.load(std::sync::atomic::Ordering::Relaxed)
        });
        let seconds = Instant::now().saturating_duration_since(self.began);
        let (verb, long_running) = match (&self.request, self.command) {
            (Some(request), _) => (request.verb.as_str(), request.long_running),
            (None, command) => command.unwrap_or_default(),
        };
        self.metrics
            .request(verb, self.status, seconds, long_running, up, self.down);
        let text = |pick: fn(&Attributes) -> &str| self.request.as_ref().map_or("", pick);
        let (outcome, code) = match self.outcome {
            Outcome::Complete => ("complete", ""),
            Outcome::CallerGone => ("caller_gone", ""),
            Outcome::Broken(code) => ("broken", code.as_str()),
        };
        tracing::info!(
            target: ACCESS,
            request = self.id,
            cluster = &*self.cluster,
            user = self.user.actor.user,
            method = self.method.as_str(),
            verb,
            command = self.command.map_or("", |(name, _)| name),
            group = text(|request| &request.api_group),
            resource = text(|request| &request.resource),
            subresource = text(|request| &request.subresource),
            namespace = text(|request| &request.namespace),
            name = text(|request| &request.name),
            status = self.status,
            bytes_up = up,
            bytes_down = self.down,
            duration_ms = u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX),
            outcome,
            code,
            "Request"
        );
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.write();
    }
}
