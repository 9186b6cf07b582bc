//! Where a requester stands in one container's log, as a string that any agent can go on from.
//!
//! Owns the cursor's content and form. Owns not: how it comes about (`track`). Pure. Invariants: at
//! most [`limits::CURSOR_BYTES`]; it holds no text of the log; what is not written by
//! [`Cursor::encode`] for the same source is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::stamp::{self, Stamp};
use crate::limits;

/// A place in the lines of one container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// Nothing was decided yet: it begins as the request says.
    Start,
    /// Behind the last line that was delivered.
    At(Mark),
    /// Behind the last line of a container that will not run again.
    Done(Mark),
}

/// What an answer is aligned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The run of the container: its restart count.
    pub restart: u32,
    /// The second to ask from; the whole file without one.
    pub since: Option<i64>,
    /// How many lines of such an answer were delivered, unless the file was rotated; where known.
    pub count: Option<u64>,
    /// The first of those.
    pub first: Option<u32>,
    /// The keys of the last lines delivered, the oldest first.
    pub keys: Vec<u32>,
    /// The last line's stamp.
    pub stamp: Option<Stamp>,
}

/// A string that is no cursor of this source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of this agent's, for this source")]
pub struct BadCursor;

const VERSION: u8 = 1;
/// Flags, in the second byte.
const SINCE: u8 = 1;
const COUNT: u8 = 2;
const FIRST: u8 = 4;
const STAMP: u8 = 8;
const DONE: u8 = 16;
const START: u8 = 32;

impl Cursor {
    /// The string, for the source named so.
    #[must_use]
    pub fn encode(&self, source: &str) -> String {
        let mut body = Vec::with_capacity(32 + 4 * limits::logs::KEYS);
        let mut flags = 0;
        let mark = match self {
            Self::Start => {
                flags |= START;
                None
            }
            Self::At(mark) => Some(mark),
            Self::Done(mark) => {
                flags |= DONE;
                Some(mark)
            }
        };
        if let Some(mark) = mark {
            body.extend_from_slice(&mark.restart.to_le_bytes());
            if let Some(since) = mark.since {
                flags |= SINCE;
                body.extend_from_slice(&since.to_le_bytes());
            }
            if let Some(count) = mark.count {
                flags |= COUNT;
                body.extend_from_slice(&count.to_le_bytes());
            }
            if let Some(first) = mark.first {
                flags |= FIRST;
                body.extend_from_slice(&first.to_le_bytes());
            }
            if let Some(stamp) = mark.stamp {
                flags |= STAMP;
                body.extend_from_slice(&stamp.0.to_le_bytes());
            }
            let from = mark.keys.len().saturating_sub(limits::logs::KEYS);
            for key in &mark.keys[from..] {
                body.extend_from_slice(&key.to_le_bytes());
            }
        }
        let mut bytes = vec![VERSION, flags];
        bytes.extend_from_slice(&digest(source, flags, &body).to_le_bytes());
        bytes.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the string of the source named so.
    ///
    /// # Errors
    /// When it is no cursor, is damaged, or is another source's.
    pub fn decode(text: &str, source: &str) -> Result<Self, BadCursor> {
        if text.len() > limits::CURSOR_BYTES {
            return Err(BadCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let (head, body) = bytes.split_at_checked(6).ok_or(BadCursor)?;
        let [version, flags, check @ ..] = head else {
            return Err(BadCursor);
        };
        let check = u32::from_le_bytes(check.try_into().map_err(|_| BadCursor)?);
        if *version != VERSION || check != digest(source, *flags, body) {
            return Err(BadCursor);
        }
        match flags & (START | DONE) {
            START if *flags == START && body.is_empty() => Ok(Self::Start),
            0 => Mark::read(*flags, body).map(Self::At),
            DONE => Mark::read(*flags & !DONE, body).map(Self::Done),
            _ => Err(BadCursor),
        }
    }

    /// The mark, if something was decided.
    #[must_use]
    pub const fn mark(&self) -> Option<&Mark> {
        match self {
            Self::Start => None,
            Self::At(mark) | Self::Done(mark) => Some(mark),
        }
    }
}

impl Mark {
    fn read(flags: u8, mut body: &[u8]) -> Result<Self, BadCursor> {
        if flags & !(SINCE | COUNT | FIRST | STAMP) != 0 {
            return Err(BadCursor);
        }
        let has = |flag: u8| flags & flag != 0;
        let restart = u32::from_le_bytes(take(&mut body)?);
        let mut long = |flag| {
            has(flag)
                .then(|| take(&mut body).map(i64::from_le_bytes))
                .transpose()
        };
        let since = long(SINCE)?;
        let count = long(COUNT)?.map(i64::cast_unsigned);
        let first = has(FIRST)
            .then(|| take(&mut body).map(u32::from_le_bytes))
            .transpose()?;
        let stamp = has(STAMP)
            .then(|| take(&mut body).map(i64::from_le_bytes))
            .transpose()?
            .map(Stamp);
        let (keys, rest) = body.as_chunks::<4>();
        let known = since.is_none_or(|since| stamp::SECONDS.contains(&since));
        // A file read from its begin has no line before, and a known line has a second.
        let fits = keys.is_empty() || since.is_some();
        if !rest.is_empty() || keys.len() > limits::logs::KEYS || !known || !fits {
            return Err(BadCursor);
        }
        Ok(Self {
            restart,
            since,
            count,
            first,
            keys: keys.iter().map(|key| u32::from_le_bytes(*key)).collect(),
            stamp,
        })
    }
}

fn take<const N: usize>(body: &mut &[u8]) -> Result<[u8; N], BadCursor> {
    let (taken, rest) = body.split_first_chunk().ok_or(BadCursor)?;
    *body = rest;
    Ok(*taken)
}

/// Of a cursor and the source that it belongs to: tells damage and mistakes, not malice, which
/// could only spoil its own requester's view.
fn digest(source: &str, flags: u8, body: &[u8]) -> u32 {
    let bytes = source.bytes().chain([0, flags]).chain(body.iter().copied());
    // FNV-1a.
    bytes.fold(0x811c_9dc5, |state: u32, byte| {
        (state ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "6f1c3a52-0b7e-4a58-9a30-000000000001/web";

    fn marks() -> impl Strategy<Value = Mark> {
        let keys = proptest::collection::vec(any::<u32>(), 0..=limits::logs::KEYS);
        let stamps = proptest::option::of(any::<i64>().prop_map(Stamp));
        let since = proptest::option::of(stamp::SECONDS);
        let rest = (any::<Option<u64>>(), any::<Option<u32>>());
        (any::<u32>(), since, rest, keys, stamps).prop_map(
            |(restart, since, (count, first), keys, stamp)| Mark {
                restart,
                since,
                count,
                first,
                keys: if since.is_some() { keys } else { Vec::new() },
                stamp,
            },
        )
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        prop_oneof![
            Just(Cursor::Start),
            marks().prop_map(Cursor::At),
            marks().prop_map(Cursor::Done),
        ]
    }

    #[test]
    fn the_largest_cursor_fits_the_limit() {
        let mark = Mark {
            restart: u32::MAX,
            since: Some(0),
            count: Some(u64::MAX),
            first: Some(1),
            keys: vec![u32::MAX; limits::logs::KEYS],
            stamp: Some(Stamp(i64::MAX)),
        };
        let text = Cursor::Done(mark).encode(SOURCE);
        assert!(text.len() <= 400, "{}", text.len());
        assert!(text.len() <= limits::CURSOR_BYTES);
    }

    #[test]
    fn a_cursor_of_another_source_is_refused() {
        let text = Cursor::Start.encode(SOURCE);
        assert_eq!(Cursor::decode(&text, SOURCE), Ok(Cursor::Start));
        assert_eq!(Cursor::decode(&text, "other/web"), Err(BadCursor));
        let long = "A".repeat(limits::CURSOR_BYTES + 1);
        for other in ["", "AQ", "not base64!", &long, &format!("{text}=")] {
            assert_eq!(Cursor::decode(other, SOURCE), Err(BadCursor));
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(cursor in cursors()) {
            prop_assert_eq!(Cursor::decode(&cursor.encode(SOURCE), SOURCE), Ok(cursor));
        }

        #[test]
        fn damage_is_found(cursor in cursors(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor.encode(SOURCE)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(Cursor::decode(&text, SOURCE), Err(BadCursor));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            // With the right digest, so that what lies behind it is reached.
            if bytes.len() >= 6 {
                let check = digest(SOURCE, bytes[1], &bytes[6..]).to_le_bytes();
                bytes[0] = VERSION;
                bytes[2..6].copy_from_slice(&check);
            }
            if let Ok(cursor) = Cursor::decode(&URL_SAFE_NO_PAD.encode(&bytes), SOURCE) {
                prop_assert_eq!(cursor.encode(SOURCE), URL_SAFE_NO_PAD.encode(&bytes));
            }
        }
    }
}
