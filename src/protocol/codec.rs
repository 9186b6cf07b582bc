//! From whole WebSocket messages to typed ones, and back.
//!
//! Owns the size and nesting ceilings (P-7, P-8), the rule for unknown types and fields (P-16,
//! P-34) and which form, binary or JSON, a session uses (P-35). Owns not: what may come when.
//! Invariant: decoding never panics and never allocates more than the input's size.

use bytes::Bytes;
use serde::Deserialize;

use super::error::ErrorCode;
use super::frame::Frame;
use super::message::{ToAgent, ToGateway};
use crate::limits;

/// A whole message as a link carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// JSON.
    Text(String),
    /// A frame.
    Binary(Bytes),
}

/// A message of one direction.
pub trait Direction: Sized {
    /// Reads a body; `None` is an unknown type.
    fn parse(kind: &str, json: &str) -> Option<Result<Self, serde_json::Error>>;
}

impl Direction for ToAgent {
    fn parse(kind: &str, json: &str) -> Option<Result<Self, serde_json::Error>> {
        Self::parse(kind, json)
    }
}

impl Direction for ToGateway {
    fn parse(kind: &str, json: &str) -> Option<Result<Self, serde_json::Error>> {
        Self::parse(kind, json)
    }
}

/// What arrived.
#[derive(Debug, Clone)]
pub enum Decoded<M> {
    /// A JSON message.
    Message(M),
    /// A binary frame.
    Frame(Frame),
    /// Something unknown that asks for nothing; counted, then forgotten.
    Ignored,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    critical: bool,
}

/// Reads one text message of the direction `M`.
///
/// # Errors
/// `too_large`, `too_deep`, `malformed`, or `unsupported` for an unknown critical type. A type of
/// the other direction is as unknown as any (P-16).
pub fn decode_text<M: Direction>(text: &str) -> Result<Decoded<M>, ErrorCode> {
    if text.len() > limits::TEXT_MESSAGE {
        return Err(ErrorCode::TooLarge);
    }
    if openings(text) > limits::JSON_DEPTH && depth(text) > limits::JSON_DEPTH {
        return Err(ErrorCode::TooDeep);
    }
    // serde would also read a struct out of an array of its fields.
    if !text.trim_start().starts_with('{') {
        return Err(ErrorCode::Malformed);
    }
    let peek: Peek<'_> = serde_json::from_str(text).map_err(|_| ErrorCode::Malformed)?;
    match M::parse(&peek.kind, text) {
        Some(Ok(message)) => Ok(Decoded::Message(message)),
        Some(Err(_)) => Err(ErrorCode::Malformed),
        None if peek.critical => Err(ErrorCode::Unsupported),
        None => Ok(Decoded::Ignored),
    }
}

/// Reads one binary message.
///
/// # Errors
/// `too_large`, or what [`Frame::decode`] says.
pub fn decode_binary<M>(bytes: &Bytes) -> Result<Decoded<M>, ErrorCode> {
    if bytes.len() > limits::BINARY_MESSAGE {
        return Err(ErrorCode::TooLarge);
    }
    Ok(Frame::decode(bytes)?.map_or(Decoded::Ignored, Decoded::Frame))
}

/// Reads one message as a link delivers it.
///
/// # Errors
/// As [`decode_text`] and [`decode_binary`].
pub fn decode<M: Direction>(wire: &Wire) -> Result<Decoded<M>, ErrorCode> {
    match wire {
        Wire::Text(text) => decode_text(text),
        Wire::Binary(bytes) => decode_binary(bytes),
    }
}

/// The JSON text of a message.
pub fn encode<M: serde::Serialize>(message: &M) -> String {
    // Every message type serialises: maps have string keys and no value fails.
    serde_json::to_string(message).expect("a message of ours serialises")
}

/// How many characters could open an object or array: never fewer than the nesting is deep, and
/// quicker to count.
fn openings(text: &str) -> usize {
    let opens = |byte: &&u8| matches!(byte, b'{' | b'[');
    text.as_bytes().iter().filter(opens).count()
}

/// The deepest nesting of objects and arrays, found without recursion.
pub(crate) fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let mut in_string = false;
    let mut escaped = false;
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests;
