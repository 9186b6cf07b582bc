//! From a stream that was opened to exactly one end.
//!
//! Owns the way of a command: parsed, decided on (`policy`), run only once (`once`, `keys`),
//! counted (`slots`), run as one task (`run`), ended. Owns not: what it does (`commands`).
//! Invariants: [`Open::open`] never waits; over a limit a command is refused and not queued; every
//! stream ends exactly once.

pub mod metrics;

mod keys;
mod once;
mod resuming;
mod run;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::commands::{self, Context, Sent, Shared};
use crate::policy::{Caller, Policy, Subject};
use crate::protocol::{Command, CommandEnvelope, ErrorBody, ErrorCode};
use crate::session::{Ender, Incoming, Lines, Notice, Open};
use crate::tasks::Tasks;
use metrics::Metrics;
use once::{Once, Turn};
use run::{Effect, Run};
use slots::Slots;

/// Who hears what the peer says about the session. Must not wait.
pub type Listener = Box<dyn Fn(Notice) + Send + Sync>;

/// Takes commands, of one session or of several in turn.
pub struct Dispatch {
    shared: Arc<Shared>,
    policy: Policy,
    slots: Slots,
    once: Once,
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
            once: Once::new(),
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
        if let Some(key) = &incoming.idempotency_key
            && !once::valid(key)
        {
            return Err(ErrorBody::new(
                ErrorCode::BadRequest,
                "an idempotency key is 1 to 128 visible characters",
            ));
        }
        Ok((command, subject))
    }

    /// What an attempt of a command that changes something is to do, where that is not simply to
    /// run.
    fn turn(&self, envelope: &CommandEnvelope, effect: Effect) -> Option<Turn> {
        match (effect, &envelope.idempotency_key) {
            (Effect::None, _) => None,
            (Effect::Passing | Effect::Told, Some(key)) => {
                Some(self.once.turn(envelope, key, effect == Effect::Told))
            }
            (Effect::Passing | Effect::Told, None) => {
                (envelope.attempt > 1).then(|| Turn::Answer(Err(once::may_have_been_carried_out())))
            }
        }
    }

    /// Ends a command that was not begun.
    fn refuse(&self, name: &str, ender: Ender, body: ErrorBody) {
        self.metrics.refused(name, body.code);
        ender.end(Err(body));
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
            Err(body) => return self.refuse(&envelope.name, ender, body),
        };
        let name = command.name();
        let caller = Caller {
            id: &envelope.id,
            command: name,
            actor: envelope.actor.as_ref(),
        };
        let kind = slots::Kind::of(&subject, class);
        let effect = Effect::of(&subject);
        let lasting = resume.filter(|_| resuming::may_last(&command, &subject));
        let permit = match self.policy.authorize(subject, caller) {
            Ok(permit) => permit,
            Err(denied) => {
                self.metrics.denied();
                let body = ErrorBody::new(ErrorCode::Forbidden, denied.message);
                return self.refuse(name, ender, body);
            }
        };
        // One that runs already has its slot and its task; what it may do was decided again.
        if let Some(resume) = resume.filter(|resume| resume.count > 0) {
            tracing::debug!(id = envelope.id, command = name, "Command to be resumed");
            if let Err(ender) = self.lines.resume(&resume, &envelope, writer, ender) {
                let body = ErrorBody::new(
                    ErrorCode::ResumeGap,
                    "this agent cannot go on with the command where its reader is",
                );
                self.refuse(name, ender, body);
            }
            return;
        }
        let deadline = run::deadline(Instant::now(), envelope.deadline_ms, effect);
        let claim = match self.turn(&envelope, effect) {
            None => None,
            Some(Turn::Run(claim)) => Some(claim),
            Some(Turn::Answer(outcome)) => {
                let code = outcome.as_ref().err().map(|body| body.code);
                self.metrics.ended(name, code);
                return ender.end(outcome);
            }
            Some(Turn::Wait(wait)) => {
                let stop = self.tasks.stopping();
                let metrics = self.metrics.clone();
                let waiting = run::wait(name, wait, deadline, stop, metrics, ender);
                drop(self.tasks.spawn("attempt", waiting));
                return;
            }
        };
        let Some(slot) = self.slots.take(kind) else {
            let body = ErrorBody::new(
                ErrorCode::Busy,
                "the agent runs as many commands of this class as it may",
            );
            if let Some(claim) = claim {
                claim.put_off(body.clone());
            }
            return self.refuse(name, ender, body);
        };
        let (writer, ender) = match &lasting {
            Some(resume) => self.lines.last(resume, &envelope, writer, ender),
            None => (writer, ender),
        };
        let id = envelope.id.clone();
        let actor = envelope.actor.as_ref().map(|actor| actor.user.clone());
        let sent = Sent::default();
        let context = Context {
            shared: self.shared.clone(),
            permit,
            id: envelope.id,
            actor: envelope.actor,
            deadline,
            sent: sent.clone(),
            compression: compression.is_some() && lasting.is_none(),
            reader,
            writer,
        };
        let run = Run {
            name,
            id,
            actor,
            effect,
            deadline: deadline.filter(|_| effect == Effect::Told),
            claim,
            sent,
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

fn shutting_down() -> ErrorBody {
    ErrorBody::new(ErrorCode::ShuttingDown, "the agent is going away")
}
