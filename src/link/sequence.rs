//! Messages in order and exactly once, over a way that loses and repeats them.
//!
//! ```text
//!  push ─▶ kept ─▶ sent ─▶ (lost, again) ─▶ sent ─▶ taken once ─▶ acknowledged ─▶ forgotten
//!          └───────── Outgoing ─────────┘          └──── Incoming ────┘
//! ```
//!
//! Owns the numbers of both directions: what was sent is kept until the other side has it
//! ([`Outgoing`]), what arrives is taken in its order and once ([`Incoming`]). Owns not: when
//! something is sent, nor what a message is. Invariants: pure; the sender keeps no more than its
//! limit and one message; what is taken is a prefix of what was pushed, each once.

use std::collections::VecDeque;

use crate::limits;

/// What a message counts.
fn cost(bytes: usize) -> usize {
    bytes.saturating_add(limits::SSE_MESSAGE)
}

/// The other side names a message that it cannot know, or has given back before (P-124).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number out of order")]
pub struct OutOfOrder;

/// The sender's end: the messages that the other side may not have.
#[derive(Debug)]
pub struct Outgoing<T> {
    kept: VecDeque<(usize, T)>,
    /// The number of the first that is kept, or will be.
    first: u64,
    held: usize,
    limit: usize,
}

impl<T> Outgoing<T> {
    /// Keeps messages of about so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            first: 1,
            held: 0,
            limit,
        }
    }

    /// Whether another message may be pushed.
    pub fn has_room(&self) -> bool {
        self.held < self.limit
    }

    /// Bytes that are kept.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether the other side has everything.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The number of the first message that is kept; of the next one where none is.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of the last message that was pushed; 0 before the first.
    pub fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    /// Takes a message of so many bytes. The caller has asked for room.
    pub fn push(&mut self, message: T, bytes: usize) -> u64 {
        let cost = cost(bytes);
        self.held = self.held.saturating_add(cost);
        self.kept.push_back((cost, message));
        self.last()
    }

    /// The other side has everything up to this number. One that was said before says nothing.
    ///
    /// # Errors
    /// A number that was never sent.
    pub fn acknowledged(&mut self, number: u64) -> Result<(), OutOfOrder> {
        if number > self.last() {
            return Err(OutOfOrder);
        }
        while self.first <= number {
            let Some((cost, _)) = self.kept.pop_front() else {
                break;
            };
            self.first += 1;
            self.held = self.held.saturating_sub(cost);
        }
        Ok(())
    }

    /// The messages after this number, with their own.
    ///
    /// # Errors
    /// A number that was never sent, or one before what the other side has acknowledged.
    pub fn after(&self, number: u64) -> Result<impl Iterator<Item = (u64, &T)>, OutOfOrder> {
        if number > self.last() || number.saturating_add(1) < self.first {
            return Err(OutOfOrder);
        }
        let skipped = usize::try_from(number + 1 - self.first).unwrap_or(usize::MAX);
        let from = self.first;
        let kept = self.kept.iter().enumerate().skip(skipped);
        Ok(kept.map(move |(at, (_, message))| (from + at as u64, message)))
    }
}

/// What becomes of a message that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// It is the next one: take it.
    New,
    /// It was taken before.
    Repeated,
}

/// The receiver's end: what was taken, and what of it the other side has been told.
#[derive(Debug, Default)]
pub struct Incoming {
    last: u64,
    /// What was taken since the last acknowledgement.
    owed: usize,
}

impl Incoming {
    /// The number of the last message that was taken; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// A message of so many bytes arrives; a new one counts as taken.
    ///
    /// # Errors
    /// One before it is missing.
    pub fn arrived(&mut self, number: u64, bytes: usize) -> Result<Arrived, OutOfOrder> {
        if number <= self.last {
            return if number == 0 {
                Err(OutOfOrder)
            } else {
                Ok(Arrived::Repeated)
            };
        }
        if number != self.last + 1 {
            return Err(OutOfOrder);
        }
        self.last = number;
        self.owed = self.owed.saturating_add(cost(bytes));
        Ok(Arrived::New)
    }

    /// Whether so much was taken that the other side must be told even if there is nothing else to
    /// say.
    pub fn is_owed(&self) -> bool {
        self.owed >= limits::SSE_ACKNOWLEDGED
    }

    /// The other side must be told, whatever was taken.
    pub fn owe(&mut self) {
        self.owed = self.owed.max(limits::SSE_ACKNOWLEDGED);
    }

    /// The other side is told now; the number that it is told.
    pub fn tell(&mut self) -> u64 {
        self.owed = 0;
        self.last
    }
}

#[cfg(test)]
mod tests;
