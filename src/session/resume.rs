//! Commands that outlive their session (P-75 to P-79), on the agent's side.
//!
//! ```text
//!            session lost                       time is over
//!  carried ───────────────▶ parked ──────────────────────────▶ given up
//!    ▲  │ ended well           │ resumed in another session
//!    │  ▼                      │
//!    │ lingering, until the    │
//!    │ gateway surely has it   │
//!    └─────────────────────────┘
//! ```
//!
//! Owns the table of such commands, its bounds and its figures. Owns not: which commands they are
//! (`dispatch`), nor how one goes on ([`mod@line`]). Invariants: a command is found only by its key and
//! with the name, arguments and actor that it was opened with; what is kept of all of them together
//! is bounded, and one that keeps much leaves the others their share.

mod line;
mod replay;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

use super::stream::{Ender, StreamWriter};
use crate::limits;
use crate::protocol::{CommandEnvelope, Resume, ResumeKey};

pub(super) use line::Line;

/// What finds a command: a digest, so that looking it up takes no longer for a key that is nearly
/// right.
type Id = [u8; digest::SHA256_OUTPUT_LEN];

/// Every command of a program that may be resumed. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    table: Arc<Table>,
}

/// What there is of them, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Commands that could be resumed, carried ones among them.
    pub known: usize,
    /// Commands without a channel.
    pub parked: usize,
    /// Bytes kept to be sent again.
    pub kept: usize,
    /// Times that a command went on.
    pub resumed: u64,
    /// Times that none could.
    pub gaps: u64,
}

#[derive(Debug, Default)]
struct Table {
    lines: Mutex<HashMap<Id, Arc<Line>>>,
    kept: AtomicUsize,
    parked: AtomicUsize,
    lingering: AtomicUsize,
    resumed: AtomicU64,
    gaps: AtomicU64,
}

/// One of a bounded number of places, until dropped.
#[derive(Debug)]
struct Place {
    table: Arc<Table>,
    counter: fn(&Table) -> &AtomicUsize,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.counter)(&self.table).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Table {
    fn lines(&self) -> MutexGuard<'_, HashMap<Id, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, counter: fn(&Self) -> &AtomicUsize, most: usize) -> Option<Place> {
        counter(self)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < most).then_some(taken + 1)
            })
            .ok()?;
        Some(Place {
            table: Arc::clone(self),
            counter,
        })
    }

    fn park(self: &Arc<Self>) -> Option<Place> {
        self.place(|table| &table.parked, limits::RESUME_PARKED)
    }

    fn linger(self: &Arc<Self>) -> Option<Place> {
        self.place(|table| &table.lingering, limits::RESUME_LINGERING)
    }

    /// Counts `now` instead of `before`; says whether a command may keep so much.
    fn keep(&self, before: usize, now: usize) -> bool {
        let others = self.kept.load(Ordering::Relaxed).saturating_sub(before);
        let share = limits::RESUME_KEPT_ALL.saturating_sub(others) / limits::RESUME_SHARE;
        if now > before && now > share {
            return false;
        }
        if now > before {
            self.kept.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.kept.fetch_sub(before - now, Ordering::Relaxed);
        }
        true
    }
}

impl Lines {
    /// Makes a new command's handles such that they outlive its session. They are what they were
    /// where the key is taken, or the feature is not in force.
    #[must_use]
    pub fn last(
        &self,
        resume: &Resume,
        command: &CommandEnvelope,
        writer: StreamWriter,
        ender: Ender,
    ) -> (StreamWriter, Ender) {
        let id = id(&resume.key, command);
        let mut lines = self.table.lines();
        if lines.contains_key(&id) {
            return (writer, ender);
        }
        let line = match Line::new(id, &self.table, writer, ender) {
            Ok(line) => line,
            Err(handles) => return handles,
        };
        lines.insert(id, Arc::clone(&line));
        (
            StreamWriter::lasting(Arc::clone(&line)),
            Ender::lasting(line),
        )
    }

    /// Gives a command that runs its new stream.
    ///
    /// # Errors
    /// The stream's ender, where no such command is known or it cannot go on at this offset.
    pub fn resume(
        &self,
        resume: &Resume,
        command: &CommandEnvelope,
        writer: StreamWriter,
        ender: Ender,
    ) -> Result<(), Ender> {
        let line = self.table.lines().get(&id(&resume.key, command)).cloned();
        let resumed = match line {
            Some(line) => line.attach(resume, writer, ender),
            None => Err(ender),
        };
        let counter = match resumed {
            Ok(()) => &self.table.resumed,
            Err(_) => &self.table.gaps,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        resumed
    }

    /// The figures, now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let table = &self.table;
        Figures {
            known: table.lines().len(),
            parked: table.parked.load(Ordering::Relaxed),
            kept: table.kept.load(Ordering::Relaxed),
            resumed: table.resumed.load(Ordering::Relaxed),
            gaps: table.gaps.load(Ordering::Relaxed),
        }
    }
}

/// The digest of all that must be the same for a command to be found.
fn id(key: &ResumeKey, command: &CommandEnvelope) -> Id {
    let actor = serde_json::to_vec(&command.actor).unwrap_or_default();
    let parts = [
        key.bits().as_slice(),
        command.name.as_bytes(),
        command.args.get().as_bytes(),
        &actor,
    ];
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut id = Id::default();
    id.copy_from_slice(context.finish().as_ref());
    id
}

#[cfg(test)]
mod tests;
