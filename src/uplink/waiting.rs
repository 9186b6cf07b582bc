//! What follows an ending: the wait, the other token, the last rest.
//!
//! Owns the waiting between two attempts, and what the log says of it. Owns not: what an ending asks
//! for (`ending`), nor the schedule (`backoff`). Invariant: every wait ends at once with the program.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ending::{Ending, Next};
use super::{Outcome, Uplink, liveness};
use crate::backoff::Pace;
use crate::chance;
use crate::config::secret::Secret;
use crate::limits;
use crate::status::Phase;

impl Uplink {
    /// Records an ending and waits as it asks; `Some` ends the loop.
    pub(super) async fn after(
        &mut self,
        ending: Ending,
        used: Option<Secret>,
        stop: &CancellationToken,
    ) -> Option<Outcome> {
        self.status.failed(ending.cause, ending.message.clone());
        if let Some(window) = ending.window {
            self.use_window(window);
        }
        let rotated = ending.token && self.rotated(used.as_ref());
        let (phase, wait) = match ending.next {
            Next::Retry(pace) => (Phase::Waiting, self.backoff.next(pace, &mut chance::rng())),
            Next::RetryAfter(hint) => {
                (Phase::Waiting, self.backoff.after(hint, &mut chance::rng()))
            }
            // The token was replaced while it was in use: the new one deserves a try at once.
            Next::Refused if rotated => {
                let soon = chance::rng().random_range(Duration::ZERO..=limits::RECONNECT_LEAST);
                (Phase::Waiting, soon)
            }
            Next::Refused | Next::Fatal if self.config.exit_when_refused => {
                self.status.set_phase(Phase::Stopped);
                tracing::error!(
                    cause = ending.cause,
                    error = ending.message,
                    "Refused for good"
                );
                return Some(Outcome::Refused);
            }
            Next::Refused => {
                let wait = self.backoff.next(Pace::Slow, &mut chance::rng());
                (Phase::Refused, wait)
            }
            Next::Fatal => return Some(self.rest(&ending, stop).await),
        };
        self.status.set_phase(phase);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let (cause, error) = (ending.cause, ending.message);
        if ending.planned {
            tracing::info!(cause, wait_ms, "Connects anew");
        } else {
            self.say(phase, cause, &error, wait_ms);
        }
        let watched = used.filter(|_| phase == Phase::Refused);
        let waiting = async {
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                () = self.another_token(watched) => {}
            }
        };
        let waiting = stop.run_until_cancelled(waiting);
        liveness::while_waiting(&self.status, waiting).await;
        None
    }

    /// Logs a failure, unless it was said lately.
    fn say(&mut self, phase: Phase, cause: &'static str, error: &str, wait_ms: u64) {
        let now = Instant::now().into_std();
        match self.repeats.failed(cause, error, now) {
            None => tracing::debug!(cause, error, wait_ms, "Not connected again"),
            Some(unsaid) if phase == Phase::Refused => {
                tracing::error!(cause, error, wait_ms, unsaid, "Refused");
            }
            Some(unsaid) => tracing::warn!(cause, error, wait_ms, unsaid, "Not connected"),
        }
    }

    /// Waits for the end of the program: this agent is not wanted any more.
    async fn rest(&self, ending: &Ending, stop: &CancellationToken) -> Outcome {
        self.status.set_phase(Phase::Stopped);
        loop {
            tracing::error!(
                cause = ending.cause,
                error = ending.message,
                "Stopped connecting; remove this agent, or register it anew and restart it"
            );
            let hour = tokio::time::sleep(limits::DECOMMISSIONED_EVERY);
            let hour = stop.run_until_cancelled(hour);
            if liveness::while_waiting(&self.status, hour).await.is_none() {
                return Outcome::Stopped;
            }
        }
    }

    fn rotated(&self, used: Option<&Secret>) -> bool {
        self.config.token.read().is_ok_and(|now| Some(&now) != used)
    }

    /// Resolves when the token is no longer the one that was used.
    async fn another_token(&self, used: Option<Secret>) {
        let Some(used) = used else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(limits::TOKEN_POLL).await;
            if self.rotated(Some(&used)) {
                tracing::debug!("Tries another token");
                return;
            }
        }
    }
}
