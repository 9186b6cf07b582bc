//! What every request on a cluster's path passes before anything is dispatched.
//!
//! Owns the order of the checks that do not depend on what is asked: access to the cluster, the
//! user's cap, the gateway's leaving. Owns not the token's check (`routes`). Invariant: an unknown
//! cluster and a forbidden one are the same answer.

use std::sync::Arc;

use super::Shared;
use super::answers::RETRY;
use super::failures::Refusal;
use super::tokens::Entry;
use super::users::Slot;
use crate::kubeapi::status::{Failure, Hop};

/// Whether this user may use this cluster.
pub(crate) fn access(shared: &Shared, entry: &Entry, cluster: &str) -> Result<(), Refusal> {
    if entry.may_use(cluster) && shared.tokens.knows_cluster(cluster) {
        return Ok(());
    }
    let cluster = cluster.to_owned();
    Err(refuse(Failure::NoAccess { cluster }, "no_access"))
}

/// A place among the user's requests in flight.
pub(crate) fn slot(
    shared: &Shared,
    entry: &Arc<Entry>,
    long_running: bool,
) -> Result<Slot, Refusal> {
    let Some(slot) = entry.usage.take(long_running, shared.config.user_limits) else {
        let message = format!(
            "user \"{}\" has as many requests in flight as one user may",
            entry.actor.user
        );
        let retry_after = RETRY;
        return Err(refuse(
            Failure::Busy {
                message,
                retry_after,
            },
            "user_cap",
        ));
    };
    if shared.stop.is_cancelled() {
        let retry_after = RETRY;
        return Err(refuse(
            Failure::ShuttingDown { retry_after },
            "shutting_down",
        ));
    }
    Ok(slot)
}

const fn refuse(failure: Failure, reason: &'static str) -> Refusal {
    Refusal::new(failure, Hop::Gateway, reason)
}
