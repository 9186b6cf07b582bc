//! Lines out of bytes that come in pieces.
//!
//! Pure. Invariant: it holds one line that is not whole yet, within its bound, and what came with
//! its end.

use bytes::{Bytes, BytesMut};

/// A line above its bound of so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong(pub(super) usize);

/// The cutter.
#[derive(Debug)]
pub(super) struct Lines {
    most: usize,
    buffer: BytesMut,
    /// So many bytes of the buffer were looked at and are no line feed.
    seen: usize,
}

impl Lines {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            buffer: BytesMut::new(),
            seen: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the end of their line, after [`Lines::next`] found none.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next line, without its end and never blank.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        loop {
            let found = self.buffer[self.seen..]
                .iter()
                .position(|byte| *byte == b'\n');
            let length = found.map_or(self.buffer.len(), |at| self.seen + at);
            if length > self.most {
                return Err(TooLong(self.most));
            }
            if found.is_none() {
                self.seen = length;
                if length == 0 {
                    // Room that a large line needed is not kept for small ones.
                    self.buffer = BytesMut::new();
                }
                return Ok(None);
            }
            let line = self.buffer.split_to(length + 1).freeze();
            self.seen = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.slice(..length)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_has_its_bound_whether_it_ends_or_not() {
        for (text, piece) in [("12345678\n", 9), ("12345678\n", 1), ("123456789", 3)] {
            let mut lines = Lines::new(7);
            let failed = text.as_bytes().chunks(piece).any(|piece| {
                lines.push(piece);
                lines.next() == Err(TooLong(7))
            });
            assert!(failed, "{text:?} in pieces of {piece}");
        }
        let mut lines = Lines::new(7);
        lines.push(b"1234567\n");
        assert_eq!(lines.next(), Ok(Some(Bytes::from_static(b"1234567"))));
    }

    proptest! {
        #[test]
        fn lines_come_whole_however_they_are_cut(
            text in "[ab\n]{0,80}", piece in 1usize..20,
        ) {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(piece) {
                lines.push(piece);
                while let Some(line) = lines.next().unwrap() {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let wanted: Vec<&str> = whole.split('\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
