//! One command that runs, from its first poll to its end.
//!
//! Owns the race between the handler and all that may end it, and what an end means for a command
//! that changes something. Owns not: whether it runs (`dispatch`, `once`).
//! Invariants: a handler that panics ends its own stream with `internal` and nothing else; a stream
//! that nobody wants any more takes its handler, and with it the handler's connection, along at
//! once, unless the command has a key: then its outcome is worth more than its stream; an end says
//! that nothing was changed only where nothing was sent.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::once::{Claim, Wait};
use super::shutting_down;
use super::slots::Slot;
use crate::commands::{CommandError, Done, Handler, Sent};
use crate::limits;
use crate::policy::Subject;
use crate::protocol::{ErrorBody, ErrorCode};
use crate::session::{Ender, StreamError};

/// What a command may leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// A change, by a request that only passes through: how far it came nobody here knows.
    Passing,
    /// A change; the handler tells when it is sent ([`Sent`]), and the result is the whole answer.
    Told,
}

impl Effect {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            subject if !subject.mutates() => Self::None,
            Subject::Operation(_) => Self::Told,
            Subject::Kubernetes(_) | Subject::Channel => Self::Passing,
        }
    }
}

/// By when a command must have come as far as its deadline asks. One of ours that changes something
/// always has a deadline: its channel does not end it.
pub(super) fn deadline(now: Instant, limit: Option<u64>, effect: Effect) -> Option<Instant> {
    let limit = limit.map(Duration::from_millis);
    let limit = match effect {
        Effect::None | Effect::Passing => limit?,
        Effect::Told => limit
            .unwrap_or(limits::OPERATE_DEADLINE)
            .min(limits::OPERATE_MOST),
    };
    now.checked_add(limit)
}

/// One command that runs.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) id: String,
    pub(super) actor: Option<String>,
    pub(super) effect: Effect,
    /// Of those whose deadline covers them whole and is kept here.
    pub(super) deadline: Option<Instant>,
    pub(super) claim: Option<Claim>,
    pub(super) sent: Sent,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
    pub(super) slot: Slot,
}

impl Run {
    pub(super) async fn drive(mut self, ender: Ender, handler: Handler) {
        let actor = self.actor.as_deref();
        let running = self.metrics.running(self.name, &self.id, actor);
        let outcome = self.outcome(&ender, handler).await;
        let stop = self.stop.clone();
        let code = outcome.as_ref().err().map(|body| body.code);
        running.ended(code);
        drop(self.slot);
        self.metrics.ended(self.name, code);
        tracing::debug!(
            command = self.name,
            code = code.map(ErrorCode::as_str),
            "Command ended"
        );
        // Kept before it is told: who hears it may ask again at once.
        if let Some(claim) = self.claim.take() {
            let sent = match self.effect {
                Effect::Told => self.sent.get(),
                Effect::Passing => code != Some(ErrorCode::UpstreamUnreachable),
                Effect::None => false,
            };
            claim.settle(&outcome, sent);
        }
        // What may be resumed keeps its end for a while; a process that goes keeps nothing.
        tokio::select! {
            biased;
            () = ender.finish(outcome) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Races the handler with all that may end it. The handler is dropped on return.
    async fn outcome(&self, ender: &Ender, handler: Handler) -> Result<Done, ErrorBody> {
        #[cfg(feature = "cluster-tests")]
        let handler = faults::replace(handler, &self.id);
        // A handler shares nothing that a panic could leave half changed but the stream, which
        // ends here, and the pool, which keeps whole connections only.
        let handler = AssertUnwindSafe(handler).catch_unwind();
        tokio::select! {
            biased;
            unwanted = self.unwanted(ender) => Err(CommandError::Stream(unwanted).body()),
            () = self.stop.cancelled() => Err(self.stopped()),
            ended = handler => match ended {
                Ok(ended) => ended.map_err(|error| self.failed(&error)),
                Err(_) => {
                    self.metrics.panicked();
                    tracing::error!(command = self.name, id = self.id, "Command panicked");
                    Err(self.broken(ErrorCode::Internal, "the command failed by a defect"))
                }
            },
            () = self.late() => Err(self.broken(
                ErrorCode::DeadlineExceeded,
                "the command's deadline passed",
            )),
        }
    }

    /// Resolves when the stream's end is to be the command's end.
    async fn unwanted(&self, ender: &Ender) -> StreamError {
        let ended = ender.cancelled().await;
        if self.effect == Effect::Told && self.claim.is_some() {
            let given_up = matches!(ended, StreamError::Reset(_));
            if self.sent.get() || !given_up {
                return std::future::pending().await;
            }
        }
        ended
    }

    async fn late(&self) {
        match self.deadline {
            None => std::future::pending().await,
            Some(deadline) => tokio::time::sleep_until(deadline).await,
        }
    }

    /// An end from outside of the handler.
    fn broken(&self, code: ErrorCode, message: &str) -> ErrorBody {
        if self.sent.get() {
            ErrorBody::new(
                ErrorCode::Indeterminate,
                format!("{message} after a change had been sent to the API server"),
            )
        } else {
            ErrorBody::new(code, message)
        }
    }

    /// `shutting_down` invites to send the command again (P-53), which is not for one that may
    /// have changed something.
    fn stopped(&self) -> ErrorBody {
        let unsent = match self.effect {
            Effect::None => true,
            Effect::Told => !self.sent.get(),
            Effect::Passing => false,
        };
        if unsent {
            shutting_down()
        } else {
            ErrorBody::new(
                ErrorCode::Indeterminate,
                "the agent went away while the command ran",
            )
        }
    }

    fn failed(&self, error: &CommandError) -> ErrorBody {
        let body = error.body();
        if body.code == ErrorCode::Internal {
            tracing::error!(command = self.name, id = self.id, %error, "Command failed by a defect");
        }
        body
    }
}

/// Ends a stream with the outcome of the command that another attempt runs.
pub(super) async fn wait(
    name: &'static str,
    wait: Wait,
    deadline: Option<Instant>,
    stop: CancellationToken,
    metrics: Metrics,
    ender: Ender,
) {
    let deadline = deadline.unwrap_or_else(|| Instant::now() + limits::OPERATE_DEADLINE);
    let outcome = tokio::select! {
        biased;
        cancelled = ender.cancelled() => Err(CommandError::Stream(cancelled).body()),
        outcome = wait.outcome(deadline) => outcome,
        () = stop.cancelled() => Err(ErrorBody::new(
            ErrorCode::Indeterminate,
            "the agent went away while the command ran",
        )),
    };
    metrics.ended(name, outcome.as_ref().err().map(|body| body.code));
    ender.end(outcome);
}

/// A handler with a defect, for the test that a panic harms no other stream. It is in no build
/// that is not made for tests.
#[cfg(feature = "cluster-tests")]
mod faults {
    use super::Handler;

    /// Panics in the place of a command whose id asks for it.
    pub(super) fn replace(handler: Handler, id: &str) -> Handler {
        if id.starts_with("test-panic") {
            Box::pin(async { panic!("the test asked for it") })
        } else {
            handler
        }
    }
}
