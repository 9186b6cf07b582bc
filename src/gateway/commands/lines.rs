//! Log events as lines of text.
//!
//! ```text
//!  [web-0/app] the line          with several containers; otherwise the line alone
//!  --- gap: [web-0/app] rotated, after 2026-11-24T11:41:00Z ---
//! ```
//!
//! Owns that form. Invariants: every line of a log is one line of text, a long one too; what is no
//! line of a log begins and ends with three dashes; a name is remembered only as long as its source.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::event::{Event, EventError};
use super::run::FORGET;
use crate::limits;
use crate::protocol::error::ErrorCode;

/// How lines are to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Each line says of which container it is.
    pub(crate) prefix: bool,
    /// Each line begins with its time.
    pub(crate) timestamps: bool,
}

/// The writer of one answer.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    style: Style,
    /// What each source is called.
    names: HashMap<String, String>,
    /// The source whose line is not at its end yet.
    unfinished: Option<String>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    pod: Cow<'a, str>,
    #[serde(borrow)]
    container: Cow<'a, str>,
    #[serde(borrow)]
    lines: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default)]
    more: Vec<u32>,
    #[serde(default)]
    uncertain: bool,
}

#[derive(Deserialize)]
struct Gap<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct LeftOut {
    count: u32,
}

fn read<'a, T: Deserialize<'a>>(event: &Event<'a>) -> Result<T, EventError> {
    serde_json::from_str(event.value.get()).map_err(|_| EventError::Shape)
}

impl Lines {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style,
            ..Self::default()
        }
    }

    /// Writes what an event says in lines. What it says besides is for who reads events.
    pub(crate) fn write(&mut self, event: &Event<'_>, out: &mut String) -> Result<(), EventError> {
        match event.name {
            "lines" => self.batch(&event.source, &read(event)?, out),
            "gap" => {
                let Gap { reason, after } = read(event)?;
                let after = after.map(|after| format!(", after {after}"));
                let what = format!("{reason}{}", after.unwrap_or_default());
                self.note("gap", &event.source, &what, out);
            }
            "left_out" => {
                let LeftOut { count } = read(event)?;
                if count > 0 {
                    self.say(
                        &format!("gap: {count} more logs match, and are not followed"),
                        out,
                    );
                }
            }
            FORGET => {
                self.finish(out);
                self.names.remove(event.source.as_ref());
            }
            _ => {}
        }
        Ok(())
    }

    fn batch(&mut self, source: &str, batch: &Batch<'_>, out: &mut String) {
        let name = format!("{}/{}", batch.pod, batch.container);
        if self.names.get(source) != Some(&name) && self.names.len() < limits::SOURCES {
            self.names.insert(source.to_owned(), name.clone());
        }
        if batch.uncertain {
            let what = "lines that look all alike: some may be missing or come again";
            self.note("gap", source, what, out);
        }
        let mut more = batch.more.iter().copied().peekable();
        for (at, (stamp, text)) in (0_u32..).zip(&batch.lines) {
            if self.unfinished.as_deref() != Some(source) {
                self.finish(out);
                if self.style.prefix {
                    let _ = write!(out, "[{name}] ");
                }
                if self.style.timestamps {
                    let _ = write!(out, "{stamp} ");
                }
            }
            out.push_str(text);
            if more.next_if_eq(&at).is_some() {
                if self.unfinished.is_none() {
                    self.unfinished = Some(source.to_owned());
                }
            } else {
                self.unfinished = None;
                out.push('\n');
            }
        }
    }

    /// A line that is none of a log.
    fn note(&mut self, what: &str, source: &str, text: &str, out: &mut String) {
        let name = self.names.get(source).map_or(source, String::as_str);
        let text = format!("{what}: [{name}] {text}");
        self.say(&text, out);
    }

    fn say(&mut self, text: &str, out: &mut String) {
        self.finish(out);
        // Nothing that an agent says makes two lines of it.
        let text = text.replace(|c: char| c.is_control(), " ");
        let _ = writeln!(out, "--- {text} ---");
    }

    fn finish(&mut self, out: &mut String) {
        if self.unfinished.take().is_some() {
            out.push('\n');
        }
    }

    /// Sources cannot be gone on with.
    pub(crate) fn left_out(&mut self, sources: u32, out: &mut String) {
        let text = format!("gap: the places in {sources} logs were not kept");
        self.say(&text, out);
    }

    /// The end of what cannot go on.
    pub(crate) fn failed(&mut self, code: ErrorCode, message: &str, out: &mut String) {
        self.say(&format!("error: {code}: {message}"), out);
    }

    /// The good end.
    pub(crate) fn end(&mut self, out: &mut String) {
        self.finish(out);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    fn written(style: Style, events: &[Value]) -> String {
        let mut lines = Lines::new(style);
        let mut out = String::new();
        for event in events {
            let raw = RawValue::from_string(event.to_string()).unwrap();
            lines.write(&Event::read(&raw).unwrap(), &mut out).unwrap();
        }
        lines.end(&mut out);
        out
    }

    fn batch(pod: &str, lines: &Value, more: &[u32]) -> Value {
        json!({"lines": {"source": format!("uid-{pod}/app"), "cursor": "c", "namespace": "n",
            "pod": pod, "container": "app", "lines": lines, "more": more}})
    }

    #[test]
    fn a_line_is_a_line_with_its_name_and_time_where_they_are_asked_for() {
        let events = [batch("web-0", &json!([["t1", "one"], ["t2", ""]]), &[])];
        assert_eq!(written(Style::default(), &events), "one\n\n");
        let style = Style {
            prefix: true,
            timestamps: true,
        };
        let text = "[web-0/app] t1 one\n[web-0/app] t2 \n";
        assert_eq!(written(style, &events), text);
    }

    #[test]
    fn a_long_line_is_put_together_and_never_mixed_with_another() {
        let style = Style {
            prefix: true,
            timestamps: false,
        };
        let events = [
            batch("a", &json!([["t", "one "], ["t", "two "]]), &[0, 1]),
            batch("a", &json!([["t", "three"], ["t", "half"]]), &[1]),
            batch("b", &json!([["t", "other"]]), &[]),
            batch("a", &json!([["t", "rest"]]), &[]),
        ];
        let text = "[a/app] one two three\n[a/app] half\n[b/app] other\n[a/app] rest\n";
        assert_eq!(written(style, &events), text);
    }

    #[test]
    fn what_is_no_line_of_a_log_stands_between_dashes_on_its_own() {
        let source = "uid-a/app";
        let mut uncertain = batch("a", &json!([["t", "x"]]), &[]);
        uncertain["lines"]["uncertain"] = json!(true);
        let events = [
            json!({"started": {"source": source, "cursor": "c"}}),
            batch("a", &json!([["t", "cut"]]), &[0]),
            json!({"gap": {"source": source, "cursor": "c", "reason": "rotated", "after": "T"}}),
            uncertain,
            json!({"left_out": {"count": 2}}),
            json!({"left_out": {"count": 0}}),
            json!({"forget": {"source": source}}),
            json!({"gap": {"source": source, "reason": "gone\nby"}}),
        ];
        assert_eq!(
            written(Style::default(), &events),
            "cut\n\
             --- gap: [a/app] rotated, after T ---\n\
             --- gap: [a/app] lines that look all alike: some may be missing or come again ---\n\
             x\n\
             --- gap: 2 more logs match, and are not followed ---\n\
             --- gap: [uid-a/app] gone by ---\n"
        );
        let raw = RawValue::from_string(r#"{"lines":{"lines":7}}"#.to_owned()).unwrap();
        let event = Event::read(&raw).unwrap();
        let error = Lines::default().write(&event, &mut String::new());
        assert_eq!(error, Err(EventError::Shape));
    }
}
