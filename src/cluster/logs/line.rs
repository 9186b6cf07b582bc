//! From the bytes of an answer to stamped lines.
//!
//! Owns where a line begins, ends and is cut, and the key that it is known by. Owns not: what has
//! been delivered (`track`). Pure. Invariants: at most [`limits::logs::PIECE`] and a stamp are held;
//! where a line is cut depends on its own bytes alone, so that reading it again cuts it alike; what
//! has no stamp is dropped up to its line's end.
//!
//! The kubelet writes a stamp at the front of each line. A line of more than 16 KiB is several
//! records of the log file, of which only the first gets it: a filter that drops that one leaves a
//! tail without a stamp. Bytes that a line has no room for go into the next piece, which has the
//! same stamp; each piece is a line of its own to everything behind this file.

use bytes::{Buf, Bytes};

use super::stamp::{self, Stamp};
use crate::limits;

/// One line, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub stamp: Stamp,
    /// The same, as it was written.
    pub written: Bytes,
    /// Its bytes, without the line end.
    pub content: Bytes,
    /// The line goes on in the next piece.
    pub more: bool,
    /// What it is known by: a digest of stamp, place in a long line, and bytes.
    pub key: u32,
}

impl Line {
    fn new(head: &Head, content: Bytes, more: bool) -> Self {
        let place = u64::from(head.piece) << 1 | u64::from(more);
        Self {
            stamp: head.stamp,
            written: head.written.clone(),
            key: key(head.stamp, place, &content),
            content,
            more,
        }
    }

    /// Its bytes as text; what is no UTF-8 becomes U+FFFD, once for each longest broken part.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.content)
    }
}

/// The stamp of a line whose content has begun.
#[derive(Debug, Clone)]
struct Head {
    stamp: Stamp,
    written: Bytes,
    piece: u32,
}

impl Head {
    const fn new(stamp: Stamp, written: Bytes) -> Self {
        Self {
            stamp,
            written,
            piece: 0,
        }
    }
}

#[derive(Debug, Default)]
enum State {
    /// At the begin of a line.
    #[default]
    Start,
    /// Behind its stamp.
    Inside(Head),
    /// In a line without a stamp.
    Drop,
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub struct Splitter {
    /// What was pushed and not yet looked at.
    chunk: Bytes,
    /// What an earlier chunk began.
    carry: Vec<u8>,
    state: State,
}

impl Splitter {
    /// A splitter at the begin of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; all lines of those before must have been taken.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "lines were left");
        self.chunk = chunk;
    }

    /// The next line, if it is there whole or is long enough to be cut.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            if self.chunk.is_empty() {
                return None;
            }
            match &self.state {
                State::Drop => match end_of_line(&self.chunk) {
                    Some(end) => {
                        self.chunk.advance(end + 1);
                        self.state = State::Start;
                    }
                    None => self.chunk.clear(),
                },
                State::Start => self.head(),
                State::Inside(head) => {
                    let head = head.clone();
                    if let Some(line) = self.content(head) {
                        return Some(line);
                    }
                }
            }
        }
    }

    /// What stands behind the last line end, by a key; nothing where the answer ended with one.
    #[must_use]
    pub fn unended(&self) -> Option<u32> {
        let (stamp, piece) = match &self.state {
            State::Start if self.carry.is_empty() => return None,
            // Half a stamp, or the tail of a line that had none.
            State::Start | State::Drop => (Stamp(0), u32::MAX),
            State::Inside(head) => (head.stamp, head.piece),
        };
        Some(key(stamp, u64::from(piece) << 1, &self.carry))
    }

    /// What the answer's last bytes leave: a line without an end. Only of use where nothing can
    /// follow, because the container has ended.
    #[must_use]
    pub fn rest(mut self) -> Option<Line> {
        if matches!(self.state, State::Start) {
            self.begin();
        }
        match self.state {
            State::Inside(head) => Some(Line::new(&head, self.carry.into(), false)),
            State::Start | State::Drop => None,
        }
    }

    /// Reads a stamp, once enough bytes are there.
    fn head(&mut self) {
        let end = end_of_line(&self.chunk);
        let there = end.unwrap_or(self.chunk.len());
        if self.carry.is_empty() && (end.is_some() || there >= HEAD) {
            // What most lines are: whole in one chunk.
            self.state = match stamp_of(&self.chunk[..there]) {
                None => State::Drop,
                Some((stamp, length)) => {
                    let written = self.chunk.split_to(length);
                    self.chunk.advance(1);
                    State::Inside(Head::new(stamp, written))
                }
            };
            return;
        }
        let length = there.min(HEAD - self.carry.len());
        self.hold(length);
        if self.carry.len() == HEAD || end == Some(length) {
            self.begin();
        }
    }

    /// Decides what a line is whose first bytes were held.
    fn begin(&mut self) {
        let held = std::mem::take(&mut self.carry);
        self.state = match stamp_of(&held) {
            None => State::Drop,
            Some((stamp, length)) => {
                self.carry.extend_from_slice(&held[length + 1..]);
                State::Inside(Head::new(stamp, Bytes::copy_from_slice(&held[..length])))
            }
        };
    }

    /// Takes a line's content, as far as it is there.
    fn content(&mut self, head: Head) -> Option<Line> {
        let end = end_of_line(&self.chunk);
        let length = end.unwrap_or(self.chunk.len());
        let held = self.carry.len() + length;
        if held > limits::logs::PIECE {
            return Some(self.cut(head));
        }
        if end.is_none() {
            self.hold(length);
            return None;
        }
        let content = if self.carry.is_empty() {
            self.chunk.split_to(length)
        } else {
            self.hold(length);
            std::mem::take(&mut self.carry).into()
        };
        self.chunk.advance(1);
        self.state = State::Start;
        Some(Line::new(&head, content, false))
    }

    /// Takes a piece of a long line; more than a piece is there.
    fn cut(&mut self, mut head: Head) -> Line {
        let content = if self.carry.is_empty() {
            let length = boundary(&self.chunk[..limits::logs::PIECE]);
            self.chunk.split_to(length)
        } else {
            self.hold(limits::logs::PIECE - self.carry.len());
            let rest = self.carry.split_off(boundary(&self.carry));
            std::mem::replace(&mut self.carry, rest).into()
        };
        let line = Line::new(&head, content, true);
        head.piece = head.piece.saturating_add(1);
        self.state = State::Inside(head);
        line
    }

    fn hold(&mut self, length: usize) {
        self.carry.extend_from_slice(&self.chunk[..length]);
        self.chunk.advance(length);
    }
}

/// A stamp and the blank behind it.
const HEAD: usize = stamp::LONGEST + 1;

/// The stamp at the front of a line, and its length; a blank follows it.
fn stamp_of(line: &[u8]) -> Option<(Stamp, usize)> {
    Stamp::front(line).filter(|(_, length)| line.get(*length) == Some(&b' '))
}

fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// Where to cut `bytes` so that no character is broken: at their end, or before a character that
/// they hold only the begin of.
fn boundary(bytes: &[u8]) -> usize {
    let length = bytes.len();
    for back in 1..=3.min(length) {
        let byte = bytes[length - back];
        // A continuation byte: what it belongs to begins further in front.
        if byte & 0xC0 == 0x80 {
            continue;
        }
        let whole = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if whole > back { length - back } else { length };
    }
    length
}

/// A digest of 32 bits, the same in every version of the agent: cursors hold it.
fn key(stamp: Stamp, place: u64, content: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = MULTIPLIER ^ content.len() as u64;
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    };
    mix(u64::from_le_bytes(stamp.0.to_le_bytes()));
    mix(place);
    let mut words = content.chunks_exact(8);
    for word in &mut words {
        mix(u64::from_le_bytes(
            word.try_into().expect("chunks of eight"),
        ));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    mix(u64::from_le_bytes(last));
    mix(0);
    let [.., a, b, c, d] = state.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
