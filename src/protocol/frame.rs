//! Binary frames: stream bytes, credit and resets behind an eight-byte header.
//!
//! ```text
//!  0        1        2                 4                                 8
//! ┌────────┬────────┬─────────────────┬─────────────────────────────────┬─────────
//! │ type   │ flags  │ code (u16)      │ stream id (u32)                 │ payload
//! └────────┴────────┴─────────────────┴─────────────────────────────────┴─────────
//!  DATA=1   FIN=1,ZSTD=2   0                                              the bytes
//!  WINDOW=2    0           0                                              u32 bytes of credit
//!  RESET=3     0         error code                                       nothing
//! ```
//!
//! Owns the header and its checks (P-30 to P-34); all numbers are big-endian. There is no length
//! field: one frame is one WebSocket message. A type with the high bit set is critical.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::error::ErrorCode;

/// Length of the header in bytes.
pub const HEADER: usize = 8;

const DATA: u8 = 1;
const WINDOW: u8 = 2;
const RESET: u8 = 3;
const CRITICAL: u8 = 0x80;

const FLAG_FIN: u8 = 1;
const FLAG_ZSTD: u8 = 2;

/// A stream's number: 1 to 2^31-1, strictly rising by one within a session (P-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(extend("minimum" = 1, "maximum" = 2_147_483_647))
)]
#[serde(try_from = "u32", into = "u32")]
pub struct StreamId(u32);

impl StreamId {
    /// The first stream of a session.
    pub const FIRST: Self = Self(1);
    /// The last id that a session may use.
    pub const LAST: Self = Self(0x7fff_ffff);

    /// An id, if the number is one.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= 1 && number <= Self::LAST.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The id after this one, unless this is the last.
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl From<StreamId> for u32 {
    fn from(id: StreamId) -> Self {
        id.0
    }
}

impl TryFrom<u32> for StreamId {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("a stream id is 1 to 2147483647")
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One binary frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a stream.
    Data {
        /// Whose bytes.
        stream: StreamId,
        /// No more bytes follow in this direction.
        fin: bool,
        /// The payload continues the stream's zstd stream.
        zstd: bool,
        /// The bytes.
        payload: Bytes,
    },
    /// More credit for the receiver of this frame.
    Window {
        /// Which stream.
        stream: StreamId,
        /// How many bytes more may be sent.
        bytes: u32,
    },
    /// The opener gives the stream up.
    Reset {
        /// Which stream.
        stream: StreamId,
        /// Why.
        code: ErrorCode,
    },
}

impl Frame {
    /// The bytes of the frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Data {
                stream,
                fin,
                zstd,
                payload,
            } => {
                let flags = if *fin { FLAG_FIN } else { 0 } | if *zstd { FLAG_ZSTD } else { 0 };
                let mut out = header(DATA, flags, 0, *stream, payload.len());
                out.put_slice(payload);
                out.freeze()
            }
            Self::Window { stream, bytes } => {
                let mut out = header(WINDOW, 0, 0, *stream, 4);
                out.put_u32(*bytes);
                out.freeze()
            }
            Self::Reset { stream, code } => header(RESET, 0, code.number(), *stream, 0).freeze(),
        }
    }

    /// Reads a frame; `None` is an unknown type that is not critical, to be ignored (P-34).
    ///
    /// # Errors
    /// `malformed` for a short header, reserved bits or a wrong payload length, `unsupported` for
    /// an unknown critical type.
    pub fn decode(bytes: &Bytes) -> Result<Option<Self>, ErrorCode> {
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Err(ErrorCode::Malformed);
        };
        let [kind, flags, code_high, code_low, id @ ..] = *head;
        let code = u16::from_be_bytes([code_high, code_low]);
        if !matches!(kind, DATA | WINDOW | RESET) {
            let critical = kind & CRITICAL != 0;
            return if critical {
                Err(ErrorCode::Unsupported)
            } else {
                Ok(None)
            };
        }
        let stream = StreamId::new(u32::from_be_bytes(id)).ok_or(ErrorCode::Malformed)?;
        let payload = bytes.slice(HEADER..);
        match kind {
            DATA if flags & !(FLAG_FIN | FLAG_ZSTD) == 0 && code == 0 => Ok(Some(Self::Data {
                stream,
                fin: flags & FLAG_FIN != 0,
                zstd: flags & FLAG_ZSTD != 0,
                payload,
            })),
            WINDOW if flags == 0 && code == 0 => {
                let increment = payload
                    .as_ref()
                    .try_into()
                    .map_err(|_| ErrorCode::Malformed)?;
                Ok(Some(Self::Window {
                    stream,
                    bytes: u32::from_be_bytes(increment),
                }))
            }
            RESET if flags == 0 && payload.is_empty() => Ok(Some(Self::Reset {
                stream,
                code: ErrorCode::from_number(code),
            })),
            _ => Err(ErrorCode::Malformed),
        }
    }
}

fn header(kind: u8, flags: u8, code: u16, stream: StreamId, payload: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER + payload);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u16(code);
    out.put_u32(stream.get());
    out
}
