//! The paths that are a command under a name for people: what each query means.
//!
//! | path below `/clusters/{id}` | as events | otherwise |
//! |---|---|---|
//! | `/logs` | `logs.follow` with `follow`, else `logs.get` | the same as lines of text |
//! | `/events` | `events.watch` | the same up to what is there already |
//! | `/metrics/live` | `metrics.watch` | one sample of it |
//! | `/status` | `status.watch` | `status.get` |
//! | `/services` | `services.watch` | `services.list` |
//!
//! Owns the parameters and their translation into arguments. Pure. Invariant: a parameter that is
//! not known, or comes twice where it counts once, is refused: it never reads as if it were absent.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::ask::{Form, bad};
use super::course::{self, Offered};
use super::lines::Style;
use crate::gateway::failures::Refusal;
use crate::kubeapi::query;

/// A path for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    Logs,
    Events,
    Metrics,
    Status,
    Services,
}

/// What a path and its query ask for.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) offered: Offered,
    pub(crate) args: Map<String, Value>,
    pub(crate) form: Form,
    /// In one piece, the event that ends it, where the command itself would go on.
    pub(crate) until: Option<&'static str>,
    pub(crate) deadline: Option<String>,
}

/// The values of one parameter and where they go.
enum Kind {
    Text,
    Number,
    Flag,
    /// Seconds by a duration as `10m`, or a time.
    Since,
    /// A list of texts, by commas or by several parameters.
    List,
    /// A text within an object.
    Within(&'static str),
}

/// Parameters of ours, which are no arguments.
const FOLLOW: &str = "?follow";
/// See [`FOLLOW`].
const TIMESTAMPS: &str = "?timestamps";
/// See [`FOLLOW`].
const PREFIX: &str = "?prefix";

type Parameter = (&'static str, &'static str, Kind);

impl Page {
    /// The page of a path below its cluster.
    pub(crate) fn of(below: &str) -> Option<Self> {
        Some(match below {
            "logs" => Self::Logs,
            "events" => Self::Events,
            "metrics/live" => Self::Metrics,
            "status" => Self::Status,
            "services" => Self::Services,
            _ => return None,
        })
    }

    const fn parameters(self) -> &'static [Parameter] {
        match self {
            Self::Logs => &[
                ("namespace", "namespace", Kind::Text),
                ("pod", "pod", Kind::Text),
                ("container", "container", Kind::Text),
                ("selector", "selector", Kind::Text),
                ("all_containers", "all_containers", Kind::Flag),
                ("tail", "tail", Kind::Number),
                ("since", "since", Kind::Since),
                ("previous", "previous", Kind::Flag),
                ("max_lines", "max_lines", Kind::Number),
                ("max_bytes", "max_bytes", Kind::Number),
                ("follow", FOLLOW, Kind::Flag),
                ("timestamps", TIMESTAMPS, Kind::Flag),
                ("prefix", PREFIX, Kind::Flag),
            ],
            Self::Events => &[
                ("namespace", "namespace", Kind::Text),
                ("kind", "kind", Kind::Within("object")),
                ("name", "name", Kind::Within("object")),
                ("uid", "uid", Kind::Within("object")),
                ("type", "type", Kind::Text),
                ("since", "since", Kind::Text),
            ],
            Self::Metrics => &[
                ("every", "every_s", Kind::Number),
                ("what", "what", Kind::List),
                ("namespace", "namespaces", Kind::List),
                ("selector", "selector", Kind::Text),
                ("samples", "samples", Kind::Number),
            ],
            Self::Status | Self::Services => &[("namespace", "namespace", Kind::Text)],
        }
    }

    /// What this query asks for, in the form that the header Accept names.
    pub(crate) fn ask(self, query: &str, accepted: Option<Form>) -> Result<Query, Refusal> {
        let (mut args, deadline) = self.arguments(query)?;
        let mut flag = |name: &str| args.remove(name).map(|value| value == Value::Bool(true));
        let (follow, timestamps, prefix) = (flag(FOLLOW), flag(TIMESTAMPS), flag(PREFIX));
        let form = match (accepted, self) {
            (Some(form), _) => form,
            (None, Self::Logs) => Form::Lines(Style {
                // One container alone needs no name on its lines.
                prefix: prefix
                    .unwrap_or(!args.contains_key("container") || !args.contains_key("pod")),
                timestamps: timestamps.unwrap_or_default(),
            }),
            (None, _) => Form::Whole,
        };
        let whole = form == Form::Whole;
        let (name, until) = match self {
            Self::Logs if follow.unwrap_or_default() => ("logs.follow", None),
            Self::Logs => ("logs.get", None),
            Self::Events => ("events.watch", whole.then_some("synced")),
            Self::Metrics => ("metrics.watch", None),
            Self::Status if whole => ("status.get", None),
            Self::Status => ("status.watch", None),
            Self::Services if whole => ("services.list", None),
            Self::Services => ("services.watch", None),
        };
        if whole && self == Self::Metrics {
            args.insert("samples".to_owned(), 1.into());
        }
        let offered = course::offered(name).map_err(bad)?;
        if whole && until.is_none() && !offered.ends(&args) {
            return Err(unending(name));
        }
        Ok(Query {
            offered,
            args,
            form,
            until,
            deadline,
        })
    }

    fn arguments(self, text: &str) -> Result<(Map<String, Value>, Option<String>), Refusal> {
        let mut args = Map::new();
        let mut deadline = None;
        for (name, value) in pairs(text)? {
            if name == "deadline_ms" {
                if deadline.replace(value.into_owned()).is_some() {
                    return Err(twice(&name));
                }
                continue;
            }
            let known = self.parameters().iter().find(|(known, ..)| *known == name);
            let Some((_, argument, kind)) = known else {
                let names: Vec<_> = self.parameters().iter().map(|(name, ..)| *name).collect();
                return Err(bad(format!(
                    "no parameter {name:?} here; there are {}, deadline_ms",
                    names.join(", ")
                )));
            };
            put(&mut args, &name, argument, kind, &value)?;
        }
        Ok((args, deadline))
    }
}

fn put(
    args: &mut Map<String, Value>,
    name: &str,
    argument: &str,
    kind: &Kind,
    value: &str,
) -> Result<(), Refusal> {
    let (args, value) = match kind {
        Kind::Text => (args, Value::from(value)),
        Kind::Number => {
            let number: u64 = value
                .parse()
                .map_err(|_| bad(format!("{name} is a whole number")))?;
            (args, Value::from(number))
        }
        Kind::Flag => match value {
            "" | "true" | "1" => (args, Value::Bool(true)),
            "false" | "0" => (args, Value::Bool(false)),
            _ => return Err(bad(format!("{name} is true or false"))),
        },
        Kind::Since => match seconds(value) {
            Some(seconds) => {
                let before = args.insert("since_seconds".to_owned(), seconds.into());
                return if before.is_some() {
                    Err(twice(name))
                } else {
                    Ok(())
                };
            }
            None => (args, Value::from(value)),
        },
        Kind::List => {
            let list = args
                .entry(argument)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.extend(value.split(',').map(Value::from));
            }
            return Ok(());
        }
        Kind::Within(object) => {
            let object = args
                .entry(*object)
                .or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(object) = object else {
                return Err(twice(name));
            };
            (object, Value::from(value))
        }
    };
    if args.insert(argument.to_owned(), value).is_some() {
        return Err(twice(name));
    }
    Ok(())
}

/// What does not end cannot be had in one piece.
pub(crate) fn unending(name: &str) -> Refusal {
    bad(format!(
        "{name} does not end by itself: ask for it with Accept: text/event-stream"
    ))
}

fn twice(name: &str) -> Refusal {
    bad(format!("{name} comes more than once"))
}

/// A duration of one unit: `90s`, `10m`, `2h`, `1d`.
fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// The pairs of a query as text; what cannot be read is refused.
fn pairs(text: &str) -> Result<Vec<(String, Cow<'_, str>)>, Refusal> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let text_of = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).ok();
    let pairs: Option<Vec<_>> = query::pairs(text)
        .map(|(name, value)| Some((text_of(name)?, Cow::Owned(text_of(value)?))))
        .collect();
    pairs
        .filter(|pairs| pairs.len() == query::parameters(text))
        .ok_or_else(|| bad("the query cannot be read"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(page: Page, query: &str, form: Option<Form>) -> (&'static str, Value) {
        let query = page.ask(query, form).unwrap();
        (query.offered.name, Value::Object(query.args))
    }

    #[test]
    fn each_page_is_a_command_for_who_watches_and_one_for_who_looks() {
        let events = Some(Form::Events);
        assert_eq!(asked(Page::Status, "", None), ("status.get", json!({})));
        assert_eq!(asked(Page::Status, "", events), ("status.watch", json!({})));
        assert_eq!(
            asked(Page::Services, "namespace=a", None),
            ("services.list", json!({"namespace": "a"}))
        );
        assert_eq!(asked(Page::Services, "", events).0, "services.watch");
        assert_eq!(
            asked(
                Page::Metrics,
                "what=nodes,pods&what=cluster&every=15",
                events
            ),
            (
                "metrics.watch",
                json!({"what": ["nodes", "pods", "cluster"], "every_s": 15})
            )
        );
        assert_eq!(asked(Page::Metrics, "", None).1, json!({"samples": 1}));
        assert_eq!(
            asked(Page::Events, "kind=Pod&name=web%2D0&type=Warning", events),
            (
                "events.watch",
                json!({"object": {"kind": "Pod", "name": "web-0"}, "type": "Warning"})
            )
        );
        assert_eq!(Page::Events.ask("", None).unwrap().until, Some("synced"));
        let query = Page::Status.ask("deadline_ms=7", None).unwrap();
        assert_eq!(query.deadline.as_deref(), Some("7"));
    }

    #[test]
    fn logs_are_lines_unless_events_are_asked_for() {
        let query = Page::Logs
            .ask("namespace=n&pod=p&container=c", None)
            .unwrap();
        assert_eq!(query.offered.name, "logs.get");
        assert_eq!(query.form, Form::Lines(Style::default()));
        let text = "selector=a%3Db&follow&tail=5&since=10m&timestamps=1";
        let query = Page::Logs.ask(text, None).unwrap();
        assert_eq!(query.offered.name, "logs.follow");
        let style = Style {
            prefix: true,
            timestamps: true,
        };
        assert_eq!(query.form, Form::Lines(style));
        let args = json!({"selector": "a=b", "tail": 5, "since_seconds": 600});
        assert_eq!(Value::Object(query.args), args);
        let query = Page::Logs.ask("selector=&since=2026-11-24T11:41:00Z", Some(Form::Whole));
        assert_eq!(query.unwrap().args["since"], "2026-11-24T11:41:00Z");
        let query = Page::Logs.ask("pod=p&container=c&prefix=true&previous=0", None);
        let query = query.unwrap();
        assert_eq!(
            query.form,
            Form::Lines(Style {
                prefix: true,
                timestamps: false
            })
        );
        assert_eq!(query.args["previous"], false);
        assert!(Page::Logs.ask("follow=1", Some(Form::Whole)).is_err());
        assert!(Page::Logs.ask("follow=yes", None).is_err());
        assert!(Page::Logs.ask("since=1m&since=2m", None).is_err());
    }

    #[test]
    fn a_parameter_that_is_not_understood_is_refused() {
        for (page, query) in [
            (Page::Status, "namespaces=a"),
            (Page::Status, "namespace=a&namespace=b"),
            (Page::Status, "namespace=%zz"),
            (Page::Status, "namespace=a&&"),
            (Page::Status, "namespace=%ff"),
            (Page::Status, "deadline_ms=1&deadline_ms=2"),
            (Page::Metrics, "every=soon"),
            (Page::Metrics, "every=-1"),
            (Page::Events, "kind=a&kind=b"),
        ] {
            assert!(page.ask(query, None).is_err(), "{query}");
        }
    }
}
