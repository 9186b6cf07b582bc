//! Sessions whose gateway goes away (P-43), or that a better one takes over from, beside the next.
//!
//! Owns their last time: what runs in them goes on while the loop has the next session. Owns not:
//! the loop's own session (`uplink`), nor when a gateway closes. Invariants: at most
//! [`limits::MOVED_SESSIONS`] are kept, none longer than [`limits::MOVED_FOR`]; all of them end
//! before the loop does.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::meter::{Meter, Reading};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::session::{Ended, Session};
use crate::tasks::Tasks;

/// Drives a session; dropped with it.
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) driver: JoinHandle<Ended>,
    /// The session's id, for logs on both sides.
    pub(super) id: String,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// See the module.
pub(super) struct Moved {
    tasks: Tasks,
    meter: Arc<Meter>,
    cuts: VecDeque<CancellationToken>,
}

impl Moved {
    pub(super) fn new(tasks: &Tasks, meter: Arc<Meter>) -> Self {
        Self {
            tasks: tasks.child(),
            meter,
            cuts: VecDeque::new(),
        }
    }

    /// Lets what runs in a session go on to its end, or until `stop`'s grace.
    pub(super) fn see_off(&mut self, live: Live, reading: Reading, stop: CancellationToken) {
        // A gateway that sends its agents round in circles does not gather sessions here.
        while self.cuts.len() >= limits::MOVED_SESSIONS {
            if let Some(oldest) = self.cuts.pop_front() {
                oldest.cancel();
            }
        }
        let cut = CancellationToken::new();
        self.cuts.push_back(cut.clone());
        let meter = Arc::clone(&self.meter);
        self.tasks.spawn_logged("moved", async move {
            let session = live.id.clone();
            let ended = see_off(live, stop, cut).await;
            meter.end(reading);
            let ended = ended.map_or_else(|| "cut".to_owned(), |ended| ended.to_string());
            tracing::info!(session, ended, "Moved session ended");
        });
    }

    /// Ends them at once.
    pub(super) fn cut(&mut self) {
        for cut in self.cuts.drain(..) {
            cut.cancel();
        }
    }

    /// Waits until none is left; after the stop that each was given, this takes a grace at most.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn wait(&self) {
        self.tasks.wait().await;
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Drives a session to its end; `None` where it was cut, or panicked.
async fn see_off(mut live: Live, stop: CancellationToken, cut: CancellationToken) -> Option<Ended> {
    tokio::select! {
        biased;
        () = cut.cancelled() => return None,
        ended = &mut live.driver => return ended.ok(),
        () = stop.cancelled() => {}
        () = tokio::time::sleep(limits::MOVED_FOR) => {}
    }
    live.session
        .leave(ErrorCode::ShuttingDown, "the agent has moved", None);
    tokio::select! {
        biased;
        () = cut.cancelled() => None,
        ended = &mut live.driver => ended.ok(),
    }
}
