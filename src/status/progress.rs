//! Whether the channel's task makes progress: a dead man's switch.
//!
//! Owns the moment by which that task must be heard of again. Owns not: what it does, nor whether
//! anybody answers it: a control plane that is away keeps it busy, and busy is progress. Invariant:
//! nothing is due before the task has begun or after it has ended.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    due: Mutex<Option<Instant>>,
}

impl Progress {
    /// The task is alive, and will be heard of again within this time.
    pub(super) fn within(&self, time: Duration) {
        self.set(Instant::now().checked_add(time));
    }

    /// The task is over: nothing is due.
    pub(super) fn over(&self) {
        self.set(None);
    }

    fn set(&self, due: Option<Instant>) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    /// How long the task is overdue.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let due = (*self.due.lock().unwrap_or_else(PoisonError::into_inner))?;
        let late = Instant::now().checked_duration_since(due)?;
        (!late.is_zero()).then_some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_is_stuck_when_it_is_overdue_and_only_then() {
        let progress = Progress::default();
        let second = Duration::from_secs(1);
        assert_eq!(progress.overdue(), None);
        progress.within(3 * second);
        tokio::time::advance(3 * second).await;
        assert_eq!(progress.overdue(), None);
        tokio::time::advance(second).await;
        assert_eq!(progress.overdue(), Some(second));
        progress.within(3 * second);
        assert_eq!(progress.overdue(), None);
        tokio::time::advance(9 * second).await;
        progress.over();
        assert_eq!(progress.overdue(), None);
    }
}
