//! From a stream that was opened to exactly one end.
//!
//! Owns the way of a command: parsed, decided on (`policy`), counted (`slots`), run as one task
//! with its deadline, ended. Owns not: what it does (`commands`).
//! Invariants: [`Open::open`] never waits; over a limit a command is refused and not queued; a
//! handler that panics ends its own stream with `internal` and nothing else; a stream that nobody
//! wants any more takes its handler, and with it the handler's connection, along at once.

pub mod metrics;

mod resuming;
mod slots;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::commands::{self, CommandError, Context, Done, Handler, Shared};
use crate::policy::{Caller, Policy, Subject};
use crate::protocol::{Command, CommandEnvelope, ErrorBody, ErrorCode};
use crate::session::{Ender, Incoming, Lines, Notice, Open};
use crate::tasks::Tasks;
use metrics::Metrics;
use slots::{Slot, Slots};

/// Who hears what the peer says about the session. Must not wait.
pub type Listener = Box<dyn Fn(Notice) + Send + Sync>;

/// Takes commands, of one session or of several in turn.
pub struct Dispatch {
    shared: Arc<Shared>,
    policy: Policy,
    slots: Slots,
    metrics: Metrics,
    tasks: Tasks,
    listener: Listener,
    closed: AtomicBool,
    /// Commands that outlive their session.
    lines: Lines,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

impl Dispatch {
    /// A dispatcher whose commands run as tasks of `tasks`; when that group stops, they end with
    /// `shutting_down`.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        policy: Policy,
        metrics: Metrics,
        tasks: Tasks,
        listener: Listener,
    ) -> Self {
        Self {
            shared,
            policy,
            slots: Slots::new(),
            metrics,
            tasks,
            listener,
            closed: AtomicBool::new(false),
            lines: Lines::default(),
        }
    }

    /// Shows the figures of the commands that outlive their session.
    pub fn observe(&self, metrics: &crate::metrics::Metrics) {
        resuming::observe(metrics, self.lines.clone());
    }

    /// The commands that outlive their session.
    #[must_use]
    pub const fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Refuses new commands from now on; running ones go on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Everything that can be decided at once; what is left is a task.
    fn admit(&self, incoming: &CommandEnvelope) -> Result<(Command, Subject), ErrorBody> {
        if self.closed.load(Ordering::Relaxed) || self.tasks.stopping().is_cancelled() {
            return Err(shutting_down());
        }
        let command = Command::parse(&incoming.name, &incoming.args)?;
        let subject = Subject::of(&command)
            .map_err(|error| ErrorBody::new(ErrorCode::BadRequest, error.to_string()))?;
        // No record of keys is kept yet: none is ever known.
        if incoming.attempt > 1 && subject.mutates() {
            return Err(ErrorBody::new(
                ErrorCode::Indeterminate,
                "an earlier attempt may have been carried out",
            ));
        }
        Ok((command, subject))
    }
}

impl Open for Dispatch {
    fn open(&self, incoming: Incoming) {
        let Incoming {
            id: _,
            command: envelope,
            class,
            compression,
            resume,
            reader,
            writer,
            ender,
        } = incoming;
        let (command, subject) = match self.admit(&envelope) {
            Ok(admitted) => admitted,
            Err(body) => {
                self.metrics.refused(&envelope.name, body.code);
                ender.end(Err(body));
                return;
            }
        };
        let name = command.name();
        let caller = Caller {
            id: &envelope.id,
            command: name,
            actor: envelope.actor.as_ref(),
        };
        let kind = slots::Kind::of(&subject, class);
        let mutates = subject.mutates();
        let lasting = resume.filter(|_| resuming::may_last(&command, &subject));
        let permit = match self.policy.authorize(subject, caller) {
            Ok(permit) => permit,
            Err(denied) => {
                self.metrics.denied();
                self.metrics.refused(name, ErrorCode::Forbidden);
                ender.end(Err(ErrorBody::new(ErrorCode::Forbidden, denied.message)));
                return;
            }
        };
        // One that runs already has its slot and its task; what it may do was decided again.
        if let Some(resume) = resume.filter(|resume| resume.count > 0) {
            tracing::debug!(id = envelope.id, command = name, "Command to be resumed");
            if let Err(ender) = self.lines.resume(&resume, &envelope, writer, ender) {
                self.metrics.refused(name, ErrorCode::ResumeGap);
                ender.end(Err(ErrorBody::new(
                    ErrorCode::ResumeGap,
                    "this agent cannot go on with the command where its reader is",
                )));
            }
            return;
        }
        let Some(slot) = self.slots.take(kind) else {
            self.metrics.refused(name, ErrorCode::Busy);
            ender.end(Err(ErrorBody::new(
                ErrorCode::Busy,
                "the agent runs as many commands of this class as it may",
            )));
            return;
        };
        let (writer, ender) = match &lasting {
            Some(resume) => self.lines.last(resume, &envelope, writer, ender),
            None => (writer, ender),
        };
        let id = envelope.id.clone();
        let context = Context {
            shared: self.shared.clone(),
            permit,
            id: envelope.id,
            actor: envelope.actor,
            deadline: envelope
                .deadline_ms
                .and_then(|limit| Instant::now().checked_add(Duration::from_millis(limit))),
            compression: compression.is_some() && lasting.is_none(),
            reader,
            writer,
        };
        let run = Run {
            name,
            id,
            mutates,
            stop: self.tasks.stopping(),
            metrics: self.metrics.clone(),
            slot,
        };
        // The task ends the stream itself, panics included: its handle is not needed.
        drop(self.tasks.spawn(
            "command",
            run.drive(ender, commands::handler(command, context)),
        ));
    }

    fn notice(&self, notice: Notice) {
        (self.listener)(notice);
    }
}

/// One command that runs.
struct Run {
    name: &'static str,
    id: String,
    mutates: bool,
    stop: CancellationToken,
    metrics: Metrics,
    slot: Slot,
}

impl Run {
    async fn drive(self, ender: Ender, handler: Handler) {
        let running = self.metrics.running(self.name);
        let outcome = self.outcome(&ender, handler).await;
        let stop = self.stop.clone();
        drop(running);
        drop(self.slot);
        let code = outcome.as_ref().err().map(|body| body.code);
        self.metrics.ended(self.name, code);
        tracing::debug!(
            command = self.name,
            code = code.map(ErrorCode::as_str),
            "Command ended"
        );
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
            cancelled = ender.cancelled() => Err(CommandError::Stream(cancelled).body()),
            () = self.stop.cancelled() => Err(self.stopped()),
            ended = handler => match ended {
                Ok(ended) => ended.map_err(|error| self.failed(&error)),
                Err(_) => {
                    self.metrics.panicked();
                    tracing::error!(command = self.name, id = self.id, "Command panicked");
                    Err(ErrorBody::new(ErrorCode::Internal, "the command failed by a defect"))
                }
            },
        }
    }

    /// `shutting_down` invites to send the command again (P-53), which is not for one that may
    /// have changed something.
    fn stopped(&self) -> ErrorBody {
        if self.mutates {
            ErrorBody::new(
                ErrorCode::Indeterminate,
                "the agent went away while the command ran",
            )
        } else {
            shutting_down()
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

fn shutting_down() -> ErrorBody {
    ErrorBody::new(ErrorCode::ShuttingDown, "the agent is going away")
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
