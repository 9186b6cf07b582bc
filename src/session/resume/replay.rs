//! What a command has sent and its reader has not yet acknowledged (P-76).
//!
//! Owns the bytes from the first that may be asked for again to the last that was written, and where
//! events lie among them. Pure. Invariant: from an offset that it allows, every byte and every event
//! comes once, in order, exactly as written.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

/// An event among the bytes.
#[derive(Debug, Clone, Copy)]
struct Mark {
    begin: u64,
    end: u64,
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Event(Box<RawValue>),
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        let len = match self {
            Self::Data(bytes) => bytes.len(),
            Self::Event(event) => event.get().len(),
        };
        len as u64
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The offset of the first byte that is kept.
    start: u64,
    bytes: VecDeque<u8>,
    events: VecDeque<Mark>,
}

impl Replay {
    /// The offset behind the last byte that was written.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// What it costs to keep.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.events.len() * size_of::<Mark>()
    }

    pub(super) fn data(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(super) fn event(&mut self, event: &RawValue) {
        let begin = self.end();
        self.bytes.extend(event.get().as_bytes());
        let end = self.end();
        self.events.push_back(Mark { begin, end });
    }

    /// Forgets what lies before this offset; an event only when it lies before it whole.
    pub(super) fn acknowledge(&mut self, offset: u64) {
        let mut upto = offset.min(self.end());
        while let Some(first) = self.events.front().copied() {
            if first.end > upto {
                upto = upto.min(first.begin);
                break;
            }
            self.events.pop_front();
        }
        if upto > self.start {
            let count = usize::try_from(upto - self.start).unwrap_or(usize::MAX);
            self.bytes.drain(..count.min(self.bytes.len()));
            self.start = upto;
        }
        if self.bytes.is_empty() {
            // A watch that has said something once must not keep the room for it for hours.
            self.bytes = VecDeque::new();
            self.events = VecDeque::new();
        }
    }

    /// Keeps nothing of what was written so far.
    pub(super) fn forget(&mut self) {
        let end = self.end();
        *self = Self {
            start: end,
            ..Self::default()
        };
    }

    /// Whether a reader that has taken this much can go on.
    pub(super) fn allows(&self, offset: u64) -> bool {
        let event = self.event_at(offset);
        let inside = event.is_some_and(|event| event.begin < offset);
        (self.start..=self.end()).contains(&offset) && !inside
    }

    /// What stands at an offset that it allows: an event, or at most `room` bytes.
    pub(super) fn at(&self, offset: u64, room: usize) -> Option<Piece> {
        if offset < self.start || offset >= self.end() {
            return None;
        }
        let next = self.event_at(offset);
        if let Some(event) = next.filter(|event| event.begin <= offset) {
            let text = self.range(offset, event.end);
            let text = String::from_utf8(text.into()).ok()?;
            return RawValue::from_string(text).ok().map(Piece::Event);
        }
        let end = next.map_or(self.end(), |event| event.begin);
        let end = end.min(offset.saturating_add(room as u64));
        Some(Piece::Data(self.range(offset, end)))
    }

    /// The first event that ends behind this offset.
    fn event_at(&self, offset: u64) -> Option<Mark> {
        let at = self.events.partition_point(|event| event.end <= offset);
        self.events.get(at).copied()
    }

    fn range(&self, from: u64, to: u64) -> Bytes {
        let index = |offset: u64| {
            let index = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
            index.min(self.bytes.len())
        };
        let (from, to) = (index(from), index(to));
        let (first, second) = self.bytes.as_slices();
        let mut out = BytesMut::with_capacity(to - from);
        let split = first.len();
        out.put_slice(&first[from.min(split)..to.min(split)]);
        out.put_slice(&second[from.saturating_sub(split)..to.saturating_sub(split)]);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_event_is_asked_for_whole_or_not_at_all() {
        let mut replay = Replay::default();
        replay.data(b"ab");
        replay.event(&event("{\"c\":1}"));
        replay.data(b"de");
        assert!(replay.allows(0) && replay.allows(1) && replay.allows(2));
        assert!(!replay.allows(3) && !replay.allows(8));
        assert!(replay.allows(9) && replay.allows(11) && !replay.allows(12));
        replay.acknowledge(5);
        assert!(
            replay.allows(2) && !replay.allows(1),
            "an event in the middle stays"
        );
        replay.acknowledge(9);
        assert!(!replay.allows(2) && replay.allows(9));
        assert_eq!(replay.held(), 2);
    }

    #[test]
    fn what_is_acknowledged_or_forgotten_costs_nothing() {
        let mut replay = Replay::default();
        replay.data(&[7; 100_000]);
        replay.acknowledge(100_000);
        assert_eq!((replay.bytes.capacity(), replay.end()), (0, 100_000));
        replay.data(b"x");
        replay.forget();
        assert_eq!(replay.held(), 0);
        assert!(replay.allows(100_001) && !replay.allows(100_000));
        replay.acknowledge(u64::MAX);
        assert_eq!(replay.end(), 100_001, "nobody takes what was not written");
    }

    proptest! {
        /// Whatever was acknowledged, and wherever an allowed reader goes on, it gets what the first
        /// one would have got.
        #[test]
        fn every_byte_from_an_allowed_offset_comes_once(
            writes in proptest::collection::vec((any::<bool>(), 0..200_usize), 1..30),
            acknowledged in 0..4000_u64,
            from in 0..4000_u64,
            room in 1..100_usize,
        ) {
            let mut replay = Replay::default();
            let mut all = Vec::new();
            for (is_event, len) in writes {
                if is_event {
                    let text = format!("{{\"e\":\"{}\"}}", "-".repeat(len));
                    all.extend_from_slice(text.as_bytes());
                    replay.event(&event(&text));
                } else {
                    let bytes: Vec<u8> = (0..len).map(|i| ((all.len() + i) % 251) as u8).collect();
                    all.extend_from_slice(&bytes);
                    replay.data(&bytes);
                }
            }
            replay.acknowledge(acknowledged);
            let end = replay.end();
            let from = (from % (end + 1)..=end).find(|offset| replay.allows(*offset));
            let from = from.expect("its end is always allowed");
            let mut at = from;
            let mut got = Vec::new();
            while let Some(piece) = replay.at(at, room) {
                match &piece {
                    Piece::Data(bytes) => {
                        prop_assert!(bytes.len() <= room && !bytes.is_empty());
                        got.extend_from_slice(bytes);
                    }
                    Piece::Event(event) => got.extend_from_slice(event.get().as_bytes()),
                }
                at += piece.len();
            }
            prop_assert_eq!(at, replay.end());
            prop_assert_eq!(&got[..], &all[usize::try_from(from).unwrap()..]);
        }
    }
}
