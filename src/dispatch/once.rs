//! A command that changes something runs once, however often it is sent (P-73).
//!
//! Owns what becomes of each attempt: it runs, it waits for the one that does, or it is answered at
//! once. Owns not: what a key means ([`super::keys`]) nor how a command is run. Invariant: a
//! [`Claim`] ends its key exactly once, however its command ends; until then everybody who asks
//! for the key waits.

use std::sync::{Arc, Mutex};

use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::Instant;

use super::keys::{Digest, Kept, Keys, Outcome, Verdict};
use crate::commands::Done;
use crate::limits;
use crate::protocol::{CommandEnvelope, ErrorBody, ErrorCode};

type Table = Mutex<Keys<watch::Receiver<Option<Outcome>>>>;

/// The keys of one agent.
pub(super) struct Once {
    keys: Arc<Table>,
}

/// What one attempt is to do.
pub(super) enum Turn {
    /// Run.
    Run(Claim),
    /// Wait for the one that runs.
    Wait(Wait),
    /// Nothing: this is the answer.
    Answer(Result<Done, ErrorBody>),
}

impl Once {
    pub(super) fn new() -> Self {
        Self {
            keys: Arc::new(Mutex::new(Keys::new())),
        }
    }

    /// What the attempt is to do that came with `key`. `whole` says that its outcome will be the
    /// whole answer; bytes and events before it are not kept.
    pub(super) fn turn(&self, envelope: &CommandEnvelope, key: &str, whole: bool) -> Turn {
        let digest = match digest(envelope) {
            Ok(digest) => digest,
            Err(body) => return Turn::Answer(Err(body)),
        };
        let (sender, receiver) = watch::channel(None);
        let verdict = self
            .lock()
            .begin(Instant::now(), key, digest, envelope.attempt, receiver);
        match verdict {
            Verdict::Run => Turn::Run(Claim {
                keys: Arc::clone(&self.keys),
                key: key.to_owned(),
                whole,
                sender,
                open: true,
            }),
            Verdict::Runs(receiver) if whole => Turn::Wait(Wait { receiver }),
            Verdict::Runs(_) => Turn::Answer(Err(in_progress())),
            Verdict::Ended(outcome) => Turn::Answer(Result::clone(&outcome)),
            Verdict::Forgotten => refuse(
                ErrorCode::Indeterminate,
                "the command of this key has ended; how is not known any more",
            ),
            Verdict::Other => refuse(
                ErrorCode::BadRequest,
                "the idempotency key belongs to another command",
            ),
            Verdict::Unknown => Turn::Answer(Err(may_have_been_carried_out())),
            Verdict::Full => refuse(
                ErrorCode::Busy,
                "the agent runs as many commands with keys as it may",
            ),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys<watch::Receiver<Option<Outcome>>>> {
        self.keys.lock().expect("no holder of this lock panics")
    }
}

fn refuse(code: ErrorCode, message: &str) -> Turn {
    Turn::Answer(Err(ErrorBody::new(code, message)))
}

fn digest(envelope: &CommandEnvelope) -> Result<Digest, ErrorBody> {
    let raw: &RawValue = &envelope.args;
    let args = serde_json::from_str(raw.get())
        .map_err(|error| ErrorBody::new(ErrorCode::BadRequest, format!("arguments: {error}")))?;
    Ok(Digest::of(&envelope.name, &args, envelope.actor.as_ref()))
}

/// Whether this may be a key (P-73).
pub(super) fn valid(key: &str) -> bool {
    (1..=limits::KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A command's hold on its key.
pub(super) struct Claim {
    keys: Arc<Table>,
    key: String,
    whole: bool,
    sender: watch::Sender<Option<Outcome>>,
    open: bool,
}

impl Claim {
    /// The command has ended so. `sent` says whether anything may have reached the API server that
    /// changes something.
    pub(super) fn settle(mut self, outcome: &Result<Done, ErrorBody>, sent: bool) {
        let outcome = Arc::new(outcome.clone());
        let another_time = !sent
            && outcome
                .as_ref()
                .as_ref()
                .is_err_and(|body| may_do_better(body.code));
        let kept = if another_time {
            Kept::Idle
        } else if self.whole {
            Kept::Outcome(Arc::clone(&outcome))
        } else {
            Kept::Nothing
        };
        self.end(kept, outcome);
    }

    /// The command is not begun for now.
    pub(super) fn put_off(mut self, body: ErrorBody) {
        self.end(Kept::Idle, Arc::new(Err(body)));
    }

    fn end(&mut self, kept: Kept, outcome: Outcome) {
        self.open = false;
        self.keys
            .lock()
            .expect("no holder of this lock panics")
            .end(Instant::now(), &self.key, kept);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            let body = ErrorBody::new(ErrorCode::Indeterminate, "the command was broken off");
            self.end(Kept::Nothing, Arc::new(Err(body)));
        }
    }
}

/// Whether a command that has sent nothing may end otherwise the next time, without anybody having
/// changed what it is about.
const fn may_do_better(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::Cancelled
            | ErrorCode::ChannelLost
            | ErrorCode::CredentialRefused
            | ErrorCode::DeadlineExceeded
            | ErrorCode::ShuttingDown
            | ErrorCode::SlowReader
            | ErrorCode::UpstreamFailed
            | ErrorCode::UpstreamUnreachable
    )
}

/// The outcome of a command that another attempt runs.
pub(super) struct Wait {
    receiver: watch::Receiver<Option<Outcome>>,
}

impl Wait {
    /// The outcome, or `in_progress` when it has not come by `deadline`.
    pub(super) async fn outcome(mut self, deadline: Instant) -> Result<Done, ErrorBody> {
        let ended = self.receiver.wait_for(Option::is_some);
        match tokio::time::timeout_at(deadline, ended).await {
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(outcome) => Result::clone(outcome),
                None => Err(in_progress()),
            },
            // Its claim is gone without a word: it ends its key before that.
            Ok(Err(_)) => Err(ErrorBody::new(
                ErrorCode::Indeterminate,
                "the command was broken off",
            )),
            Err(_) => Err(in_progress()),
        }
    }
}

fn in_progress() -> ErrorBody {
    ErrorBody::new(ErrorCode::InProgress, "the command of this key still runs")
}

/// The answer to an attempt of which nothing is known here.
pub(super) fn may_have_been_carried_out() -> ErrorBody {
    ErrorBody::new(
        ErrorCode::Indeterminate,
        "an earlier attempt may have been carried out",
    )
}
