//! A log line as one JSON object: `time`, `level`, `component`, `msg`, the event's fields, and under
//! `span` those of the task that it happened in, where the level lets spans through.
//!
//! Owns the keys and the escaping. Written for it, because each request writes a line: the layer that
//! stood here before made a map and a value of every field, and cost as much as parsing the request.
//! Invariant: an event is one line of JSON, whatever its fields hold, and no key comes twice.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::component;

/// The layer.
#[derive(Debug)]
pub(super) struct Json<W> {
    writer: W,
}

impl<W> Json<W> {
    pub(super) const fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// A span's fields, as they stand in a line.
struct Fields(String);

thread_local! {
    /// The last line's buffer. An event that happens while a line is written takes a new one.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

impl<S, W> Layer<S> for Json<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = String::new();
        attributes.record(&mut Visitor::new(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Fields(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = LINE.take();
        line.clear();
        line.push_str("{\"time\":\"");
        // Writing to a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        line.push_str("\",\"level\":\"");
        line.push_str(level(*event.metadata().level()));
        line.push_str("\",\"component\":\"");
        escape(&mut line, component(event.metadata().target()));
        line.push('"');
        event.record(&mut Visitor::after_another(&mut line));
        if let Some(span) = context.event_span(event)
            && let Some(Fields(fields)) = span.extensions().get()
        {
            line.push_str(",\"span\":{");
            line.push_str(fields);
            line.push('}');
        }
        line.push_str("}\n");
        let mut writer = self.writer.make_writer_for(event.metadata());
        // There is nowhere to say that saying failed.
        let _ = writer.write_all(line.as_bytes());
        drop(writer);
        LINE.set(line);
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Writes fields behind each other, with commas between.
struct Visitor<'l> {
    line: &'l mut String,
    first: bool,
}

impl<'l> Visitor<'l> {
    const fn new(line: &'l mut String) -> Self {
        Self { line, first: true }
    }

    const fn after_another(line: &'l mut String) -> Self {
        Self { line, first: false }
    }

    fn key(&mut self, field: &Field) {
        if !std::mem::replace(&mut self.first, false) {
            self.line.push(',');
        }
        self.line.push('"');
        match field.name() {
            "message" => self.line.push_str("msg"),
            // A field with a name of ours must not hide it.
            name @ ("time" | "level" | "component" | "msg" | "span") => {
                self.line.push_str(name);
                self.line.push('_');
            }
            name => escape(self.line, name),
        }
        self.line.push_str("\":");
    }

    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.key(field);
        let _ = self.line.write_fmt(value);
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        self.line.push('"');
        escape(self.line, value);
        self.line.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, format_args!("{value}"));
        } else {
            self.plain(field, format_args!("null"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.key(field);
        self.line.push('"');
        let _ = write!(Escaped(self.line), "{value:?}");
        self.line.push('"');
    }
}

/// Takes text and writes it as the inside of a JSON string.
struct Escaped<'l>(&'l mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(line: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))
    {
        let (plain, special) = rest.split_at(at);
        line.push_str(plain);
        let (special, after) = special.split_at(1);
        match special {
            "\"" => line.push_str("\\\""),
            "\\" => line.push_str("\\\\"),
            "\n" => line.push_str("\\n"),
            other => {
                for byte in other.bytes() {
                    let _ = write!(line, "\\u{byte:04x}");
                }
            }
        }
        rest = after;
    }
    line.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::super::tests::Memory;
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn lines(events: impl FnOnce()) -> Vec<serde_json::Value> {
        let memory = Memory::default();
        let subscriber = tracing_subscriber::registry().with(Json::new(memory.clone()));
        tracing::subscriber::with_default(subscriber, events);
        memory
            .text()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    #[test]
    fn a_line_has_the_keys_of_the_specification() {
        let lines = lines(|| {
            tracing::info!(session = "s-1", lines = 3, "Connected\nforged");
        });
        let [line] = &lines[..] else {
            panic!("one event, one line: {lines:?}")
        };
        assert_eq!(line["level"], "info");
        assert_eq!(line["msg"], "Connected\nforged");
        assert_eq!(line["component"], "telemetry");
        assert_eq!(line["session"], "s-1");
        assert_eq!(line["lines"], 3);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn whatever_fields_hold_the_line_is_json() {
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        let lines = lines(|| {
            tracing::warn!(all, debug = ?all, small = -1, ratio = 0.5, none = f64::NAN, yes = true);
            tracing::warn!(
                time = "t",
                level = "l",
                component = "c",
                msg = "m",
                span = "s",
                "mine"
            );
        });
        assert_eq!(lines[0]["all"], all);
        assert_eq!(lines[0]["debug"], format!("{all:?}"));
        assert_eq!(lines[0]["small"], -1);
        assert_eq!(lines[0]["ratio"], 0.5);
        assert_eq!(lines[0]["none"], serde_json::Value::Null);
        assert_eq!(lines[0]["yes"], true);
        assert_eq!(lines[1]["msg"], "mine");
        assert_eq!(lines[1]["level"], "warn");
        assert_eq!(lines[1]["time_"], "t");
    }

    #[test]
    fn an_event_names_its_task() {
        let lines = lines(|| {
            let _task = tracing::info_span!("task", name = "command").entered();
            tracing::info!("Inside");
        });
        assert_eq!(lines[0]["span"]["name"], "command");
    }
}
