//! Where a requester stands in what it observes, and the form in which a caller can carry that.
//!
//! ```text
//!  id = base64url( 1 · stamp (8) · left out (u32) · { length (u16) source · length (u16) cursor }* )
//! ```
//!
//! A cursor that is base64url itself stands there as the bytes that it means, with the highest bit of
//! its length set: a third more of them fit.
//!
//! Owns the newest cursor of each source (P-71) and the `id:` of an event that holds all of them, so
//! that a gateway that has never seen the stream can go on with it. Pure. The id is not signed: it
//! says nothing that its caller could not ask for, the agent reads every cursor as hostile, and here
//! its form and its bounds are checked. The stamp tells only ids of another command or other
//! arguments apart.
//!
//! Invariant: what does not fit into an id, or into what is kept, is counted in it and told when the
//! stream goes on, never left out in silence. What changed last is kept.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::limits;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 4;
/// The two lengths before a source and its cursor.
const LENGTHS: usize = 4;
/// In a cursor's length: it is written as the bytes that it means.
const PACKED: u16 = 1 << 15;

/// What a stream's ids have in common: the first bytes of the digest of its command and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([u8; 8]);

impl Stamp {
    pub(crate) fn of(command: &str, args: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(command.as_bytes());
        context.update(b"\0");
        context.update(args.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&context.finish().as_ref()[..8]);
        Self(first)
    }
}

/// Why an id cannot be gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdError {
    /// It is not what this program writes.
    #[error("the Last-Event-ID is none of ours")]
    Malformed,
    /// Another command, or other arguments.
    #[error("the Last-Event-ID belongs to another command or to other arguments")]
    Foreign,
}

#[derive(Debug)]
struct Held {
    cursor: String,
    /// When it changed last, counted in changes.
    changed: u64,
}

/// The newest cursor of each source.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    held: BTreeMap<String, Held>,
    bytes: usize,
    changes: u64,
    left_out: u32,
}

fn cost(source: &str, cursor: &str) -> usize {
    LENGTHS + source.len() + cursor.len()
}

/// The bytes that a cursor means, where it is the one way to write them.
fn packed(cursor: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    (!bytes.is_empty() && URL_SAFE_NO_PAD.encode(&bytes) == cursor).then_some(bytes)
}

/// A length that both have: their ceilings are far below.
fn length(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

impl Cursors {
    /// How many sources there was no room for.
    pub(crate) const fn left_out(&self) -> u32 {
        self.left_out
    }

    /// Takes what was left out as told.
    pub(crate) const fn told(&mut self) {
        self.left_out = 0;
    }

    /// A source has come so far. Beyond the bounds, what changed least lately makes room.
    pub(crate) fn set(&mut self, source: &str, cursor: &str) {
        self.changes += 1;
        if let Some(held) = self.held.get_mut(source) {
            self.bytes = self.bytes + cursor.len() - held.cursor.len();
            cursor.clone_into(&mut held.cursor);
            held.changed = self.changes;
        } else {
            self.bytes += cost(source, cursor);
            let held = Held {
                cursor: cursor.to_owned(),
                changed: self.changes,
            };
            self.held.insert(source.to_owned(), held);
        }
        while self.held.len() > limits::SOURCES || self.bytes > limits::CURSORS_BYTES {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.changed);
            let Some(oldest) = oldest.map(|(source, _)| source.clone()) else {
                break;
            };
            self.forget(&oldest);
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// A source has ended.
    pub(crate) fn forget(&mut self, source: &str) {
        if let Some((source, held)) = self.held.remove_entry(source) {
            self.bytes -= cost(&source, &held.cursor);
        }
    }

    /// The `resume` of a command.
    pub(crate) fn resume(&self) -> Map<String, Value> {
        self.held
            .iter()
            .map(|(source, held)| (source.clone(), Value::from(held.cursor.as_str())))
            .collect()
    }

    /// Reads a `resume` that a caller wrote.
    pub(crate) fn read_resume(resume: &Value) -> Option<Self> {
        let mut cursors = Self::default();
        for (source, cursor) in resume.as_object()? {
            let cursor = cursor.as_str()?;
            if source.len() > limits::SOURCE_BYTES || cursor.len() > limits::CURSOR_BYTES {
                return None;
            }
            cursors.set(source, cursor);
        }
        (cursors.left_out == 0).then_some(cursors)
    }

    /// The id of what has been sent so far.
    pub(crate) fn id(&self, stamp: Stamp) -> String {
        let most = limits::EVENT_ID / 4 * 3 - HEAD;
        let mut bytes = Vec::with_capacity(HEAD + self.bytes.min(most));
        bytes.push(VERSION);
        bytes.extend(stamp.0);
        bytes.extend([0; 4]);
        let mut left_out = self.left_out;
        let mut room = most;
        let mut write = |source: &str, cursor: &str| {
            let packed = packed(cursor);
            let (flag, cursor) = match &packed {
                Some(bytes) => (PACKED, bytes.as_slice()),
                None => (0, cursor.as_bytes()),
            };
            let cost = LENGTHS + source.len() + cursor.len();
            if cost > room {
                // The first that does not fit is the last that is tried.
                room = 0;
                left_out = left_out.saturating_add(1);
                return;
            }
            room -= cost;
            bytes.extend(length(source.as_bytes()).to_be_bytes());
            bytes.extend(source.as_bytes());
            bytes.extend((length(cursor) | flag).to_be_bytes());
            bytes.extend(cursor);
        };
        if self.bytes <= most {
            for (source, held) in &self.held {
                write(source, &held.cursor);
            }
        } else {
            let mut lately: Vec<_> = self.held.iter().collect();
            lately.sort_unstable_by_key(|(_, held)| std::cmp::Reverse(held.changed));
            for (source, held) in lately {
                write(source, &held.cursor);
            }
        }
        bytes[HEAD - 4..HEAD].copy_from_slice(&left_out.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads an id that a caller carried.
    pub(crate) fn from_id(id: &str, stamp: Stamp) -> Result<Self, IdError> {
        if id.len() > limits::EVENT_ID {
            return Err(IdError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(id).map_err(|_| IdError::Malformed)?;
        let (head, mut rest) = bytes.split_at_checked(HEAD).ok_or(IdError::Malformed)?;
        let [VERSION, theirs @ .., a, b, c, d] = head else {
            return Err(IdError::Malformed);
        };
        if theirs != stamp.0 {
            return Err(IdError::Foreign);
        }
        let mut cursors = Self::default();
        while !rest.is_empty() {
            let (source, false, after) = text(rest, limits::SOURCE_BYTES)? else {
                return Err(IdError::Malformed);
            };
            let source = std::str::from_utf8(source).map_err(|_| IdError::Malformed)?;
            let (cursor, packed, after) = text(after, limits::CURSOR_BYTES)?;
            let cursor = if packed {
                URL_SAFE_NO_PAD.encode(cursor)
            } else {
                let cursor = std::str::from_utf8(cursor).map_err(|_| IdError::Malformed)?;
                cursor.to_owned()
            };
            if cursor.len() > limits::CURSOR_BYTES {
                return Err(IdError::Malformed);
            }
            if cursors.held.contains_key(source) {
                return Err(IdError::Malformed);
            }
            cursors.set(source, &cursor);
            rest = after;
        }
        if cursors.left_out > 0 {
            return Err(IdError::Malformed);
        }
        cursors.left_out = u32::from_be_bytes([*a, *b, *c, *d]);
        Ok(cursors)
    }
}

/// A length and so many bytes, whether they are packed, and what follows.
fn text(bytes: &[u8], most: usize) -> Result<(&[u8], bool, &[u8]), IdError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(IdError::Malformed)?;
    let length = u16::from_be_bytes(*length);
    let packed = length & PACKED != 0;
    let length = usize::from(length & !PACKED);
    if length > most {
        return Err(IdError::Malformed);
    }
    let (text, rest) = rest.split_at_checked(length).ok_or(IdError::Malformed)?;
    Ok((text, packed, rest))
}

#[cfg(test)]
mod tests;
