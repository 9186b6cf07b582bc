//! Fakes at the real borders: an HTTP API server, a link without a network.

pub(crate) mod apiserver;
pub(crate) mod cut;
pub(crate) mod kubelet;
#[cfg(feature = "demo")]
pub(crate) mod middle;
pub(crate) mod objects;
pub(crate) mod oracle;
pub(crate) mod pair;
pub(crate) mod trace;

use std::time::Duration;

use pipeops_agent::tasks::Tasks;

/// How long anything in a test may take. A hang is a failure, not a pause.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `work`, and fails when it hangs.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it ends within the test's patience")
}

/// Keeps a paused clock from jumping far: it goes to the next timer whenever nothing is ready, and
/// bytes that are on their way to another socket are not ready yet.
pub(crate) fn step_by_step(tasks: &Tasks) {
    let stop = tasks.stopping();
    tasks.spawn(
        "ticks",
        stop.run_until_cancelled_owned(async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }),
    );
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, holds).await.is_ok(),
        "it never came to: {what}"
    );
}
