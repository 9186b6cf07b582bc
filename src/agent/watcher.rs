//! Whether the API server answers, and which cluster it is.
//!
//! Owns asking again: every 30 s while it answers, sooner while it does not. Owns not: the
//! question (`cluster::identity`). Invariant: one question at a time, each with the cluster's own
//! deadline; the log has a line when the answer changes, not one for each.

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::backoff::{Backoff, Pace, Window};
use crate::chance;
use crate::cluster::Cluster;
use crate::limits;
use crate::status::Status;
use crate::tasks::Tasks;
use crate::telemetry::error_chain;

/// Asks from now on, and returns after the first answer or without one.
pub(super) async fn start(cluster: &Cluster, status: &Status, tasks: &Tasks) {
    let (first, answered) = oneshot::channel();
    let watching = watch(cluster.clone(), status.clone(), first);
    let stop = tasks.stopping();
    tasks.spawn_logged("identity", async move {
        stop.run_until_cancelled(watching).await;
    });
    // Either way the agent goes on; the status says what is known.
    let _ = timeout(limits::IDENTITY_FIRST, answered).await;
}

async fn watch(cluster: Cluster, status: Status, first: oneshot::Sender<()>) {
    let mut first = Some(first);
    let mut up = None;
    let mut backoff = Backoff::new(Window::new(limits::RECONNECT_FIRST, limits::IDENTITY_RETRY));
    loop {
        let heard = cluster.identity().await;
        let wait = match heard {
            Ok(identity) => {
                if up != Some(true) {
                    let (uid, version) = (&identity.uid, &identity.version);
                    tracing::info!(uid, version, "API server answers");
                }
                up = Some(true);
                backoff.reset();
                status.set_api_server(Ok((identity.uid, identity.version)));
                limits::IDENTITY_EVERY
            }
            Err(error) => {
                if up != Some(false) {
                    let error = error_chain(&error);
                    tracing::warn!(%error, "API server does not answer");
                }
                up = Some(false);
                status.set_api_server(Err(error.to_string()));
                backoff.next(Pace::Usual, &mut chance::rng())
            }
        };
        if let Some(first) = first.take() {
            // Whoever waited may have gone on without an answer.
            let _ = first.send(());
        }
        tokio::time::sleep(wait).await;
    }
}
