//! Frames as the lines write them, and what matches what.

use std::collections::HashMap;

use bytes::Bytes;
use pipeops_agent::protocol::StreamId;
use serde_json::Value;

use crate::protocol::fixture;

/// The bytes of a `data` frame.
pub(super) fn bytes_of(data: &Value) -> Bytes {
    if let Some(text) = data.get("text") {
        return fixture::pieces(text).into();
    }
    if let Some(hex) = data.get("hex") {
        return fixture::hex(hex);
    }
    let n = data["pattern"].as_u64().unwrap_or(0);
    (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// The stream of a frame, if it is one of a stream.
pub(super) fn stream_of(frame: &Value) -> Option<u64> {
    frame["stream"].as_u64().or_else(|| {
        ["data", "window", "reset"]
            .iter()
            .find_map(|kind| frame[kind]["stream"].as_u64())
    })
}

pub(super) fn id(stream: u64) -> StreamId {
    StreamId::new(u32::try_from(stream).unwrap()).unwrap()
}

/// What `$name` stands for, once it was seen.
#[derive(Debug, Default)]
pub(super) struct Captures(HashMap<String, Value>);

impl Captures {
    /// Whether `got` is what the line says.
    pub(super) fn matches(&mut self, line: &Value, got: Option<&Value>) -> bool {
        match (line, got) {
            (Value::String(name), _) if name == "$any" => true,
            (Value::String(name), Some(got)) if name.starts_with('$') => {
                self.0.entry(name.clone()).or_insert_with(|| got.clone()) == got
            }
            (Value::Object(line), Some(Value::Object(got))) => {
                let unwanted = got.contains_key("error") && !line.contains_key("error");
                !unwanted
                    && line
                        .iter()
                        .all(|(key, value)| self.matches(value, got.get(key)))
            }
            (line, Some(got)) => line == got,
            (_, None) => false,
        }
    }

    /// The line with what its names stand for; one that is new stands for a number of its own.
    pub(super) fn fill(&mut self, line: &Value) -> Value {
        match line {
            Value::String(name) if name.starts_with('$') && name != "$any" => {
                let fresh = Value::from(1_000_000 + self.0.len());
                self.0.entry(name.clone()).or_insert(fresh).clone()
            }
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.clone(), self.fill(value)))
                .collect(),
            other => other.clone(),
        }
    }
}
