//! What is told of logs.
//!
//! Owns the events and the batches of lines, and how large one becomes. Pure.

use std::sync::Arc;

use super::line::Line;
use super::request::Name;
use super::stamp::Stamp;
use crate::limits;

/// Something about one container's log.
#[derive(Debug)]
pub struct Told {
    /// Which one.
    pub name: Arc<Name>,
    /// What it is called towards the requester.
    pub source: String,
    /// Where one stands behind this; absent where it moves nothing.
    pub cursor: Option<String>,
    /// What.
    pub event: Event,
}

/// What is told.
#[derive(Debug)]
pub enum Event {
    /// A run of the container begins to be read.
    Started {
        /// Its restart count.
        run: u32,
    },
    /// Lines, right behind those before.
    Lines {
        /// Which.
        batch: Batch,
        /// They may be behind others: the last lines look alike and could not be told apart.
        uncertain: bool,
    },
    /// Lines cannot be had any more.
    Gap {
        /// Why.
        reason: Lost,
        /// The last line before it.
        after: Option<Stamp>,
    },
    /// There is no log yet, or none of the next run.
    Waiting {
        /// The reason that the pod gives, `ContainerCreating`.
        reason: String,
    },
    /// The log cannot be had; it is tried again.
    Trouble {
        /// Why.
        message: String,
    },
    /// The trouble is over.
    Recovered,
    /// Nothing more comes.
    Ended {
        /// Why.
        reason: Ended,
    },
}

/// Why lines cannot be had any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The file was rotated while nobody read it.
    Rotated,
    /// The container was started again while nobody read it, more than once or with a rotation.
    Restarted,
    /// The pod is gone.
    Gone,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container will not run again, and all was read.
    Completed,
    /// All that there was has been read, and more was not asked for.
    Read,
    /// As much was read as may be.
    Limited,
    /// The container has not run yet, and waiting was not asked for.
    NotStarted,
    /// There was no run before the present one.
    NoPrevious,
    /// The pod has no container of this name.
    Unknown,
    /// The pod is gone.
    Gone,
}

/// Lines that travel together.
#[derive(Debug, Default)]
pub struct Batch {
    lines: Vec<Entry>,
    bytes: usize,
}

/// A line of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, as the kubelet wrote it.
    pub stamp: String,
    /// The text.
    pub text: String,
    /// The line goes on in the next entry.
    pub more: bool,
}

impl Batch {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &Line) {
        let entry = Entry {
            stamp: String::from_utf8_lossy(&line.written).into_owned(),
            text: line.text().into_owned(),
            more: line.more,
        };
        self.bytes += entry.stamp.len() + json_length(&entry.text) + PUNCTUATION;
        self.lines.push(entry);
    }

    /// Whether it is large enough to be sent.
    pub(super) const fn full(&self) -> bool {
        self.bytes >= limits::logs::BATCH
    }

    /// How many lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.lines
    }

    /// The lines.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        self.lines
    }
}

/// `["","",true],`
const PUNCTUATION: usize = 13;

/// How long a text is in JSON, without its quotes.
fn json_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..=31 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::logs::line::Splitter;

    #[test]
    fn the_largest_batch_fits_a_message_whatever_its_lines_hold() {
        for (fill, count) in [
            ("\u{1}", limits::logs::PIECE),
            ("", 0),
            ("\"", 300),
            ("x", 90),
        ] {
            let line = format!(
                "2026-11-24T11:41:00.123456789+02:00 {}\n",
                fill.repeat(count)
            );
            let mut splitter = Splitter::new();
            splitter.push(line.into());
            let line = splitter.next_line().unwrap();
            let mut batch = Batch::default();
            while !batch.full() {
                batch.push(&line);
            }
            let entries: Vec<_> = batch
                .entries()
                .iter()
                .map(|entry| (&entry.stamp, &entry.text, true))
                .collect();
            let json = serde_json::to_string(&entries).unwrap();
            assert!(json.len() <= batch.bytes + 2, "the estimate is no less");
            assert!(json.len() + 4096 <= limits::TEXT_MESSAGE);
        }
    }
}
