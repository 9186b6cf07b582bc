//! Connections to the API server that wait for their next request.
//!
//! Owns how many and how long. Invariant: only a connection whose last answer was read to its end
//! comes here; one that was upgraded, or was to be, never does.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Live;
use crate::limits;

/// The idle connections, the longest idle first.
pub(super) struct Pool {
    idle: Mutex<Vec<(Instant, Live)>>,
}

impl Pool {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The connection used last that still stands, if there is one.
    pub(super) async fn take(&self) -> Option<Live> {
        loop {
            let (since, mut live) = self.lock().pop()?;
            // What lies below is older still, and the sweep's.
            if since.checked_add(limits::CLUSTER_IDLE_FOR) <= Some(Instant::now()) {
                return None;
            }
            // Nobody polled it while it lay here: this notices a close meanwhile.
            let usable = std::future::poll_fn(|cx| std::task::Poll::Ready(live.poll_usable(cx)));
            if usable.await {
                return Some(live);
            }
        }
    }

    /// Keeps a connection; when there are enough, it is closed.
    pub(super) fn put(&self, live: Live) {
        let mut idle = self.lock();
        if idle.len() < limits::CLUSTER_IDLE {
            idle.push((Instant::now(), live));
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        let kept =
            |(since, _): &(Instant, Live)| since.checked_add(limits::CLUSTER_IDLE_FOR) > Some(now);
        let mut idle = self.lock();
        let expired = idle.iter().position(kept).unwrap_or(idle.len());
        let closed: Vec<_> = idle.drain(..expired).collect();
        drop(idle);
        drop(closed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Live)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody needed for too long, until the pool is gone.
pub(super) async fn expire(pool: Weak<Pool>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(limits::CLUSTER_IDLE_FOR / 4) => {}
        }
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep();
    }
}
