//! The one place that spawns tasks.
//!
//! Owns: the tracker of every task of a program or of a connection, the token that stops them,
//! and the log line of a panic. Owns not: what a task does, nor signals (`shutdown`).
//! Invariant: a task started here ends before [`Tasks::wait`] returns, or is aborted by its owner.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A group of tasks with one owner. Cloning shares the group.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A group that nothing stops but [`Tasks::stop`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A group that stops when this one does, and can be stopped and awaited by itself.
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: self.stop.child_token(),
        }
    }

    /// Starts a task under the caller's span. `name` is a noun of a bounded set.
    ///
    /// The handle may be dropped: the group still waits for the task. A panic inside the task is
    /// caught by the runtime and reported by the handle; a task whose handle is dropped should be
    /// started with [`Tasks::spawn_logged`] instead.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that may spawn"
    )]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let span = tracing::debug_span!("task", name);
        tokio::spawn(self.tracker.track_future(future.instrument(span)))
    }

    /// Starts a task that nobody joins; a panic in it becomes one error line.
    pub fn spawn_logged<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.spawn(name, future);
        self.spawn("supervisor", async move {
            if let Err(error) = handle.await
                && error.is_panic()
            {
                tracing::error!(task = name, "Task panicked");
            }
        });
    }

    /// Fires when the group is to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells every task of the group, and of its children, to stop. Returns at once.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How many tasks are alive.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task is alive.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until every task has ended. The caller brings the deadline.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
