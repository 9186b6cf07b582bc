//! The word that the channel's task gives of itself, for the watchdog behind `/health`.
//!
//! Owns when it is given. Owns not: what follows when it stays away (`status`, `local`). Invariants:
//! a control plane that is away, or refuses, is progress; a session whose task stands still is none,
//! and neither is a loop that does not come round.

use std::future::Future;
use std::pin::pin;

use tokio::time::Instant;

use crate::limits;
use crate::session::Session;
use crate::status::Status;

/// The loop connects, which ends by itself.
pub(super) fn connecting(status: &Status) {
    status.progress_within(limits::PROGRESS_CONNECTING);
}

/// Waits for `wait`, and says meanwhile that this is as it should be.
pub(super) async fn while_waiting<F: Future>(status: &Status, wait: F) -> F::Output {
    let mut wait = pin!(wait);
    loop {
        status.progress_within(limits::PROGRESS_WITHIN);
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = tokio::time::sleep(limits::PROGRESS_EVERY) => {}
        }
    }
}

/// The word of a session.
pub(super) struct Pulse {
    session: Session,
    beats: u64,
    next: Instant,
}

impl Pulse {
    pub(super) fn new(session: Session, status: &Status) -> Self {
        status.progress_within(limits::PROGRESS_WITHIN);
        Self {
            beats: session.beats(),
            session,
            next: Instant::now() + limits::PROGRESS_EVERY,
        }
    }

    /// Looks at the session once in a while.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub(super) async fn look(&mut self, status: &Status) {
        tokio::time::sleep_until(self.next).await;
        self.next = Instant::now() + limits::PROGRESS_EVERY;
        let beats = self.session.beats();
        if std::mem::replace(&mut self.beats, beats) != beats {
            status.progress_within(limits::PROGRESS_WITHIN);
        }
    }
}

/// The session's task as it is.
#[cfg(not(feature = "cluster-tests"))]
pub(super) const fn faulty<F>(driver: F) -> F {
    driver
}

/// A session's task that stands still from SIGUSR2 on, for the test that the watchdog sees it. It is
/// in no build that is not made for tests.
#[cfg(feature = "cluster-tests")]
pub(super) fn faulty<F: Future>(driver: F) -> impl Future<Output = F::Output> {
    use tokio::signal::unix::{SignalKind, signal};
    async move {
        let mut driver = pin!(driver);
        let mut asked = signal(SignalKind::user_defined2()).expect("signals can be listened to");
        let mut stuck = false;
        std::future::poll_fn(move |cx| {
            if !stuck && asked.poll_recv(cx).is_ready() {
                tracing::warn!("Stuck, as the test asked");
                stuck = true;
            }
            if stuck {
                std::task::Poll::Pending
            } else {
                driver.as_mut().poll(cx)
            }
        })
        .await
    }
}
