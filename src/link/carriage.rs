//! Messages as HTTP carries them: many in the body of a request up, one in each event down.
//!
//! ```text
//!  body:   first u64 │ acknowledged u64 │ message …          (big-endian)
//!  message: kind u8 │ length u32 │ payload                   1 text, 2 binary, 3 close
//!
//!  event:  id: <number>
//!          event: frame | close          (none: text)
//!          data: <JSON> | <base64> | {"code":…,"reason":…}
//! ```
//!
//! Owns both forms and their bounds (P-122, P-123). Owns not: the numbers' order (`sequence`), nor
//! what a message means. Invariants: pure; reading never panics and holds no more than its input.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::protocol::codec::Wire;
use crate::protocol::error::ErrorCode;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 3;
/// What stands before a payload.
const HEADER: usize = 5;
/// The longest reason of a close: what a WebSocket could carry.
pub(super) const REASON: usize = 123;

/// What is carried: a message, or the goodbye after the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// A message of the session.
    Message(Wire),
    /// The goodbye: code and reason as of a WebSocket (P-9).
    Close(u16, String),
}

impl Parcel {
    /// The payload's bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(Wire::Text(text)) => text.len(),
            Self::Message(Wire::Binary(bytes)) => bytes.len(),
            Self::Close(_, reason) => 2 + reason.len(),
        }
    }
}

/// The body of a request up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The number of the first message; of the next one where there is none.
    pub first: u64,
    /// The number of the last event that was taken.
    pub acknowledged: u64,
    /// The messages, whose numbers rise by one.
    pub parcels: Vec<Parcel>,
}

/// Begins a body; messages follow with [`write_parcel`].
pub fn begin_body(first: u64, acknowledged: u64, body: &mut BytesMut) {
    body.put_u64(first);
    body.put_u64(acknowledged);
}

/// Adds a message to a body.
pub fn write_parcel(parcel: &Parcel, body: &mut BytesMut) {
    let (kind, bytes) = (kind(parcel), parcel.bytes());
    body.reserve(HEADER + bytes);
    body.put_u8(kind);
    body.put_u32(u32::try_from(bytes).expect("a message is far below 4 GiB"));
    match parcel {
        Parcel::Message(Wire::Text(text)) => body.put_slice(text.as_bytes()),
        Parcel::Message(Wire::Binary(bytes)) => body.put_slice(bytes),
        Parcel::Close(code, reason) => {
            body.put_u16(*code);
            body.put_slice(reason.as_bytes());
        }
    }
}

const fn kind(parcel: &Parcel) -> u8 {
    match parcel {
        Parcel::Message(Wire::Text(_)) => TEXT,
        Parcel::Message(Wire::Binary(_)) => BINARY,
        Parcel::Close(..) => CLOSE,
    }
}

/// Reads a body.
///
/// # Errors
/// `too_large` for a message above its ceiling or too many of them, otherwise `malformed`.
pub fn read_body(mut body: Bytes) -> Result<Body, ErrorCode> {
    if body.len() < 16 {
        return Err(ErrorCode::Malformed);
    }
    let (first, acknowledged) = (body.get_u64(), body.get_u64());
    if first == 0 {
        return Err(ErrorCode::Malformed);
    }
    let mut parcels = Vec::new();
    while !body.is_empty() {
        // Nothing comes after a goodbye.
        if body.len() < HEADER || matches!(parcels.last(), Some(Parcel::Close(..))) {
            return Err(ErrorCode::Malformed);
        }
        if parcels.len() == limits::SSE_BODY_MESSAGES {
            return Err(ErrorCode::TooLarge);
        }
        let (kind, length) = (body.get_u8(), body.get_u32());
        let length = usize::try_from(length).map_err(|_| ErrorCode::TooLarge)?;
        let most = match kind {
            TEXT => limits::TEXT_MESSAGE,
            BINARY => limits::BINARY_MESSAGE,
            CLOSE => 2 + REASON,
            _ => return Err(ErrorCode::Malformed),
        };
        if length > most {
            return Err(ErrorCode::TooLarge);
        }
        if length > body.len() {
            return Err(ErrorCode::Malformed);
        }
        parcels.push(parcel(kind, body.split_to(length))?);
    }
    if first.checked_add(parcels.len() as u64).is_none() {
        return Err(ErrorCode::Malformed);
    }
    Ok(Body {
        first,
        acknowledged,
        parcels,
    })
}

fn parcel(kind: u8, mut payload: Bytes) -> Result<Parcel, ErrorCode> {
    let text = |bytes: Bytes| String::from_utf8(bytes.into()).map_err(|_| ErrorCode::Malformed);
    Ok(match kind {
        TEXT => Parcel::Message(Wire::Text(text(payload)?)),
        BINARY => Parcel::Message(Wire::Binary(payload)),
        _ => {
            if payload.len() < 2 {
                return Err(ErrorCode::Malformed);
            }
            let code = payload.get_u16();
            Parcel::Close(code, text(payload)?)
        }
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Goodbye {
    code: u16,
    #[serde(default)]
    reason: String,
}

/// Writes an event.
pub fn write_event(number: u64, parcel: &Parcel, event: &mut BytesMut) {
    let mut put = |text: &str| event.put_slice(text.as_bytes());
    put("id: ");
    put(&number.to_string());
    match parcel {
        // The line ends that JSON may have between its values are those of an event as well.
        Parcel::Message(Wire::Text(text)) => {
            for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
                put("\ndata: ");
                put(line);
            }
        }
        Parcel::Message(Wire::Binary(bytes)) => {
            put("\nevent: frame\ndata: ");
            put(&STANDARD.encode(bytes));
        }
        Parcel::Close(code, reason) => {
            let goodbye = Goodbye {
                code: *code,
                reason: reason.clone(),
            };
            put("\nevent: close\ndata: ");
            put(&serde_json::to_string(&goodbye).expect("a number and a text serialise"));
        }
    }
    put("\n\n");
}

/// Reads an event of which a parser has made its three parts; nothing where it is of a kind that is
/// unknown, which counts as taken (P-123).
///
/// # Errors
/// `too_large` for a message above its ceiling, otherwise `malformed`.
pub fn read_event(id: &str, kind: &str, data: String) -> Result<(u64, Option<Parcel>), ErrorCode> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = id
        .parse()
        .ok()
        .filter(|number| digits && *number > 0)
        .ok_or(ErrorCode::Malformed)?;
    let parcel = match kind {
        "" | "message" if data.len() > limits::TEXT_MESSAGE => return Err(ErrorCode::TooLarge),
        "" | "message" => Parcel::Message(Wire::Text(data)),
        "frame" => {
            let bytes = STANDARD.decode(data).map_err(|_| ErrorCode::Malformed)?;
            if bytes.len() > limits::BINARY_MESSAGE {
                return Err(ErrorCode::TooLarge);
            }
            Parcel::Message(Wire::Binary(bytes.into()))
        }
        "close" => {
            let goodbye: Goodbye = serde_json::from_str(&data).map_err(|_| ErrorCode::Malformed)?;
            let reason = goodbye.reason.chars().take(REASON).collect();
            Parcel::Close(goodbye.code, reason)
        }
        _ => return Ok((number, None)),
    };
    Ok((number, Some(parcel)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(first: u64, parcels: &[Parcel]) -> Bytes {
        let mut body = BytesMut::new();
        begin_body(first, 3, &mut body);
        for parcel in parcels {
            write_parcel(parcel, &mut body);
        }
        body.freeze()
    }

    fn text(bytes: usize) -> Parcel {
        Parcel::Message(Wire::Text("x".repeat(bytes)))
    }

    #[test]
    fn what_an_agent_may_keep_at_most_fits_into_one_body() {
        let least = limits::SSE_WAITING / (limits::SSE_MESSAGE + 2);
        let mut many = vec![text(2); least];
        many.push(text(limits::TEXT_MESSAGE));
        assert!(written(1, &many).len() <= limits::SSE_BODY);
        assert_eq!(
            read_body(written(1, &many)).unwrap().parcels.len(),
            many.len()
        );
        let whole = [text(limits::SSE_WAITING - 1), text(limits::TEXT_MESSAGE)];
        assert!(written(1, &whole).len() <= limits::SSE_BODY);
    }

    #[test]
    fn messages_above_their_ceilings_are_refused() {
        let large = written(1, &[text(limits::TEXT_MESSAGE + 1)]);
        assert_eq!(read_body(large), Err(ErrorCode::TooLarge));
        let frame = Parcel::Message(Wire::Binary(vec![0; limits::BINARY_MESSAGE + 1].into()));
        let large = written(1, std::slice::from_ref(&frame));
        assert_eq!(read_body(large), Err(ErrorCode::TooLarge));
        let reason = written(1, &[Parcel::Close(1000, "x".repeat(REASON + 1))]);
        assert_eq!(read_body(reason), Err(ErrorCode::TooLarge));
        let many = written(1, &vec![text(0); limits::SSE_BODY_MESSAGES + 1]);
        assert_eq!(read_body(many), Err(ErrorCode::TooLarge));
        let data = "x".repeat(limits::TEXT_MESSAGE + 1);
        assert_eq!(read_event("1", "", data), Err(ErrorCode::TooLarge));
        let data = STANDARD.encode(vec![0; limits::BINARY_MESSAGE + 1]);
        assert_eq!(read_event("1", "frame", data), Err(ErrorCode::TooLarge));
    }

    #[test]
    fn an_event_has_a_number_and_no_other_text_in_its_place() {
        for id in ["", "0", "-1", "+1", " 1", "1 ", "x", "18446744073709551616"] {
            let read = read_event(id, "", "{}".to_owned());
            assert_eq!(read, Err(ErrorCode::Malformed), "{id:?}");
        }
        let last = read_event("18446744073709551615", "later", String::new());
        assert_eq!(last, Ok((u64::MAX, None)));
    }

    fn parcels() -> impl Strategy<Value = Parcel> {
        prop_oneof![
            "\\PC{0,40}".prop_map(|text| Parcel::Message(Wire::Text(text))),
            proptest::collection::vec(any::<u8>(), 0..60)
                .prop_map(|bytes| Parcel::Message(Wire::Binary(bytes.into()))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            first in 1..u64::MAX / 2,
            parcels in proptest::collection::vec(parcels(), 0..20),
            close in proptest::option::of((any::<u16>(), "[a-z_]{0,20}")),
        ) {
            let mut all = parcels;
            all.extend(close.map(|(code, reason)| Parcel::Close(code, reason)));
            let body = read_body(written(first, &all)).unwrap();
            prop_assert_eq!(body, Body { first, acknowledged: 3, parcels: all });
        }

        #[test]
        fn damaged_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_body(bytes.into());
        }

        #[test]
        fn damaged_events_never_panic(id in "\\PC{0,22}", kind in "frame|close||x", data in "\\PC{0,80}") {
            let _ = read_event(&id, &kind, data);
        }
    }
}
