//! Renewed leases and node heartbeats.
//!
//! Owns: when each lease is renewed. Owns not: the leases' shape (`objects::cluster`).
//! Invariant: a lease is renewed well within its duration.

use super::super::catalog;
use super::super::clock::{MINUTE, Millis, SECOND, rfc3339, rfc3339_micro};
use super::super::store::Store;

/// Between two renewals; a kubelet's own period.
const RENEWED_EVERY: Millis = 10 * SECOND;
/// Between two reports of a node's conditions.
const REPORTED_EVERY: Millis = MINUTE;

/// When the next renewals are due.
#[derive(Debug)]
pub(super) struct Leases {
    renewal: Millis,
    report: Millis,
}

impl Leases {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            renewal: now + RENEWED_EVERY,
            report: now + REPORTED_EVERY,
        }
    }

    pub(super) fn step(&mut self, store: &Store, now: Millis) {
        if now >= self.renewal {
            self.renewal = now + RENEWED_EVERY;
            let leases = catalog::find("coordination.k8s.io", "v1", "leases");
            let leases = leases.map(|leases| store.list(leases, None).objects);
            for (key, _) in leases.into_iter().flatten() {
                store.update(&key, |lease| {
                    lease["spec"]["renewTime"] = rfc3339_micro(now).into();
                });
            }
        }
        if now >= self.report {
            self.report = now + REPORTED_EVERY;
            let nodes = catalog::find("", "v1", "nodes");
            let nodes = nodes.map(|nodes| store.list(nodes, None).objects);
            for (key, _) in nodes.into_iter().flatten() {
                store.update(&key, |node| {
                    let conditions = node["status"]["conditions"].as_array_mut();
                    for condition in conditions.into_iter().flatten() {
                        condition["lastHeartbeatTime"] = rfc3339(now).into();
                    }
                });
            }
        }
    }
}
