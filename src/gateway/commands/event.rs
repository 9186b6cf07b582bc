//! One event of a command, as far as a requester that only carries it must understand it.
//!
//! Owns the reading of its name, source and cursor (P-24, P-71). Pure. Invariant: whatever an agent
//! sends, the name can stand in a line of SSE and the value is one line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits;

/// Names that the gateway itself gives to what it says within a stream.
pub(crate) const RECONNECTING: &str = "reconnecting";
/// See [`RECONNECTING`].
pub(crate) const END: &str = "end";
/// See [`RECONNECTING`].
pub(crate) const ERROR: &str = "error";

/// An event that an agent must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    /// Not one object with one key.
    #[error("an event is not one object with one key")]
    Shape,
    /// A name that SSE, or we, could misread.
    #[error("the name of an event is not usable")]
    Name,
    /// A source or cursor of another kind, or too long.
    #[error("the cursor of an event is not usable")]
    Cursor,
}

/// An event's parts.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a RawValue,
    /// Empty where there is only one.
    pub(crate) source: Cow<'a, str>,
    pub(crate) cursor: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Facts<'a> {
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cursor: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// Reads an event.
    pub(crate) fn read(event: &'a RawValue) -> Result<Self, EventError> {
        let mut parts: BTreeMap<&str, &RawValue> =
            serde_json::from_str(event.get()).map_err(|_| EventError::Shape)?;
        let (Some((name, value)), true) = (parts.pop_first(), parts.is_empty()) else {
            return Err(EventError::Shape);
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let ours = [RECONNECTING, END, ERROR].contains(&name);
        if ours || name.is_empty() || name.len() > limits::EVENT_NAME || !name.bytes().all(plain) {
            return Err(EventError::Name);
        }
        let facts = if value.get().starts_with('{') {
            serde_json::from_str(value.get()).map_err(|_| EventError::Cursor)?
        } else {
            Facts::default()
        };
        let source = facts.source.unwrap_or_default();
        let long = |text: &str, most| text.len() > most;
        if long(&source, limits::SOURCE_BYTES)
            || facts
                .cursor
                .as_deref()
                .is_some_and(|cursor| long(cursor, limits::CURSOR_BYTES))
        {
            return Err(EventError::Cursor);
        }
        Ok(Self {
            name,
            value,
            source,
            cursor: facts.cursor,
        })
    }
}

/// JSON on one line. Within a string no line break can stand, so that what is left out is between.
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    if json.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn an_event_is_its_name_its_value_and_where_it_stands() {
        let text = raw(r#"{"line":{"source":"web-0/app","cursor":"c\u0031","text":"x"}}"#);
        let event = Event::read(&text).unwrap();
        assert_eq!(event.name, "line");
        assert_eq!(event.source, "web-0/app");
        assert_eq!(event.cursor.as_deref(), Some("c1"));
        assert!(event.value.get().starts_with("{\"source\""));
        let text = raw(r#"{"count":7}"#);
        let event = Event::read(&text).unwrap();
        assert_eq!((event.source.as_ref(), event.cursor), ("", None));
    }

    #[test]
    fn what_cannot_stand_in_a_stream_is_refused() {
        for (text, error) in [
            ("[]", EventError::Shape),
            ("{}", EventError::Shape),
            (r#"{"a":1,"b":2}"#, EventError::Shape),
            (r#"{"":1}"#, EventError::Name),
            (r#"{"a b":1}"#, EventError::Name),
            (r#"{"end":1}"#, EventError::Name),
            (r#"{"error":1}"#, EventError::Name),
            (r#"{"reconnecting":1}"#, EventError::Name),
            (r#"{"line":{"cursor":7}}"#, EventError::Cursor),
            (
                r#"{"line":{"cursor":"a","cursor":"b"}}"#,
                EventError::Cursor,
            ),
        ] {
            assert_eq!(Event::read(&raw(text)).unwrap_err(), error, "{text}");
        }
        let name = format!(r#"{{"{}":1}}"#, "n".repeat(limits::EVENT_NAME + 1));
        assert_eq!(Event::read(&raw(&name)).unwrap_err(), EventError::Name);
        let long = "c".repeat(limits::CURSOR_BYTES + 1);
        let cursor = format!(r#"{{"line":{{"cursor":"{long}"}}}}"#);
        assert_eq!(Event::read(&raw(&cursor)).unwrap_err(), EventError::Cursor);
        let long = "s".repeat(limits::SOURCE_BYTES + 1);
        let source = format!(r#"{{"line":{{"source":"{long}"}}}}"#);
        assert_eq!(Event::read(&raw(&source)).unwrap_err(), EventError::Cursor);
    }

    #[test]
    fn a_value_over_several_lines_becomes_one() {
        assert_eq!(one_line("{\"a\":1}"), "{\"a\":1}");
        let line = one_line("{\r\n \"a\": \"b c\"\n}").into_owned();
        assert!(!line.contains(['\n', '\r']));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["a"], "b c");
    }
}
