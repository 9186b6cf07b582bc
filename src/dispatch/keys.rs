//! The idempotency keys of commands that change something: which one ran, or runs (P-73).
//!
//! Owns the table and what the same key means when it comes again. Owns not: running, waiting, and
//! the clock (`once` drives it and passes `now`). Pure.
//! Invariants: at most [`limits::KEYS`] keys and [`limits::KEY_OUTCOMES`] bytes of outcomes; a key
//! whose command runs is never forgotten; a key that is known never runs again, unless its command
//! ended without anything having been sent.
//!
//! ```text
//!            begin                end: sent, or refused for good
//!  unknown ────────▶ running ────────────────────────────────────▶ ended ──(ten minutes)──▶ unknown
//!                     ▲   │ end: nothing was sent, and may be another time
//!               begin │   ▼
//!                     idle ────────────────────────────────────────────────(ten minutes)──▶ unknown
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value;
use tokio::time::Instant;

use crate::commands::Done;
use crate::limits;
use crate::protocol::ErrorBody;
use crate::protocol::command::Actor;

/// How a command ended, as its requester was told.
pub(super) type Outcome = Arc<Result<Done, ErrorBody>>;

/// What two commands of one key must have in common: name, arguments, actor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// What the same key means.
pub(super) enum Verdict<W> {
    /// It is this command's now, which is to run; it has to be ended.
    Run,
    /// Its command runs; this is what stands for it.
    Runs(W),
    /// Its command has ended so.
    Ended(Outcome),
    /// Its command has ended, and how is not kept.
    Forgotten,
    /// It belongs to another command.
    Other,
    /// It is not known here, and an earlier attempt may have run elsewhere.
    Unknown,
    /// Every key of a full table belongs to a command that runs.
    Full,
}

/// What is kept of a command that has ended.
pub(super) enum Kept {
    /// Its outcome.
    Outcome(Outcome),
    /// That it ended, and not how.
    Nothing,
    /// Nothing was sent; it may run when it comes again.
    Idle,
}

enum State<W> {
    Running(W),
    Ended { turn: u64, kept: Kept },
}

struct Entry<W> {
    digest: Digest,
    state: State<W>,
}

/// The table. `W` stands for a command that runs.
pub(super) struct Keys<W> {
    entries: HashMap<Arc<str>, Entry<W>>,
    /// Those that have ended, in the order of their ends.
    ended: BTreeMap<u64, (Instant, Arc<str>)>,
    turn: u64,
    /// What ended before this turn has no outcome any more.
    bare: u64,
    bytes: usize,
}

impl<W: Clone> Keys<W> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            ended: BTreeMap::new(),
            turn: 0,
            bare: 0,
            bytes: 0,
        }
    }

    /// What a command with this key is to do. `running` stands for it from now on, if it is to run.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        key: &str,
        digest: Digest,
        attempt: u32,
        running: W,
    ) -> Verdict<W> {
        self.expire(now);
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.digest != digest {
                return Verdict::Other;
            }
            let turn = match &entry.state {
                State::Running(running) => return Verdict::Runs(running.clone()),
                State::Ended { kept, turn } => match kept {
                    Kept::Outcome(outcome) => return Verdict::Ended(outcome.clone()),
                    Kept::Nothing => return Verdict::Forgotten,
                    Kept::Idle => *turn,
                },
            };
            self.ended.remove(&turn);
            entry.state = State::Running(running);
            return Verdict::Run;
        }
        if attempt > 1 {
            return Verdict::Unknown;
        }
        if self.entries.len() >= limits::KEYS && !self.evict() {
            return Verdict::Full;
        }
        let state = State::Running(running);
        self.entries.insert(key.into(), Entry { digest, state });
        Verdict::Run
    }

    /// The command of this key, which runs, has ended.
    pub(super) fn end(&mut self, now: Instant, key: &str, kept: Kept) {
        let Some((key, entry)) = self.entries.get_key_value(key) else {
            return;
        };
        if !matches!(entry.state, State::Running(_)) {
            return;
        }
        let key = key.clone();
        self.turn += 1;
        let turn = self.turn;
        self.bytes += size(&kept);
        self.ended.insert(turn, (now, key.clone()));
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Ended { turn, kept };
        }
        self.shed();
        self.expire(now);
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, (ended, _))) = self.ended.first_key_value() {
            if now.saturating_duration_since(*ended) < limits::KEYS_KEPT {
                return;
            }
            self.evict();
        }
    }

    /// Forgets the one that ended first; says whether there was one.
    fn evict(&mut self) -> bool {
        let Some((_, (_, key))) = self.ended.pop_first() else {
            return false;
        };
        if let Some(Entry {
            state: State::Ended { kept, .. },
            ..
        }) = self.entries.remove(&key)
        {
            self.bytes -= size(&kept);
        }
        true
    }

    /// Drops the oldest outcomes, but not their keys, until the rest fits.
    fn shed(&mut self) {
        while self.bytes > limits::KEY_OUTCOMES {
            let Some((turn, (_, key))) = self.ended.range(self.bare..).next() else {
                return;
            };
            self.bare = turn + 1;
            if let Some(Entry {
                state: State::Ended { kept, .. },
                ..
            }) = self.entries.get_mut(key)
                && matches!(kept, Kept::Outcome(_))
            {
                self.bytes -= size(kept);
                *kept = Kept::Nothing;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn size(kept: &Kept) -> usize {
    match kept {
        Kept::Outcome(outcome) => match outcome.as_ref() {
            Ok(done) => done.as_ref().map_or(0, |raw| raw.get().len()),
            Err(body) => body.message.len(),
        },
        Kept::Nothing | Kept::Idle => 0,
    }
}

impl Digest {
    /// Of a command, whatever the order and spacing of its arguments: a requester may have written
    /// them anew.
    pub(super) fn of(name: &str, args: &Value, actor: Option<&Actor>) -> Self {
        let mut context = Context::new(&SHA256);
        text(&mut context, name);
        value(&mut context, args);
        if let Some(actor) = actor {
            text(&mut context, &actor.user);
            count(&mut context, b'g', actor.groups.len());
            for group in &actor.groups {
                text(&mut context, group);
            }
            count(&mut context, b'e', actor.extra.len());
            for (key, values) in &actor.extra {
                text(&mut context, key);
                count(&mut context, b'v', values.len());
                for value in values {
                    text(&mut context, value);
                }
            }
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

/// Each part is preceded by its kind and length, so that no two values read alike.
fn count(context: &mut Context, kind: u8, count: usize) {
    context.update(&[kind]);
    context.update(&(count as u64).to_be_bytes());
}

fn text(context: &mut Context, text: &str) {
    count(context, b't', text.len());
    context.update(text.as_bytes());
}

fn value(context: &mut Context, of: &Value) {
    match of {
        Value::Null => context.update(b"0"),
        Value::Bool(is) => context.update(if *is { b"+" } else { b"-" }),
        Value::Number(number) => {
            let digits = number.to_string();
            count(context, b'n', digits.len());
            context.update(digits.as_bytes());
        }
        Value::String(string) => text(context, string),
        Value::Array(values) => {
            count(context, b'a', values.len());
            values.iter().for_each(|of| value(context, of));
        }
        Value::Object(fields) => {
            count(context, b'o', fields.len());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, of) in sorted {
                text(context, name);
                value(context, of);
            }
        }
    }
}

#[cfg(test)]
mod tests;
