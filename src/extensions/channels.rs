//! Channels of the operator's own: a query to the Kubernetes API or a Prometheus endpoint, polled.
//!
//! Owns the polling and what is told of an answer. Owns not: who subscribes (`local`). Invariants:
//! what is told is within its bound, and only what was picked; one poll of a channel at a time,
//! within its deadline; a channel whose source is away tells so and keeps its last values.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::RngExt;
use serde_json::{Map, Number, Value, json};
use tokio::sync::{Semaphore, watch};

use super::http::{Ask, Bearer, Client, Target};
use super::prometheus::{Reading, Selector};
use crate::cluster::Cluster;
use crate::limits;

/// Where the data of a channel tells why its values are old.
pub(super) const ERROR: &str = "error";

/// Message types of `/ws` that have a meaning already.
pub(super) const MESSAGES: &[&str] = &[
    "subscribe",
    "unsubscribe",
    "ping",
    "pong",
    "get_status",
    "get_metrics",
    "welcome",
    "update",
    "status",
    "metrics",
    "log",
    "log_gap",
    "log_note",
    "log_end",
    "error",
];

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) message_type: Option<String>,
    pub(super) source: Source,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
}

/// Where its values come from.
#[derive(Debug)]
pub(super) enum Source {
    Kubernetes {
        path: String,
        fields: Vec<(String, Field)>,
    },
    Prometheus {
        target: Target,
        bearer: Option<Bearer>,
        metrics: Vec<(String, Selector)>,
    },
}

/// What is told of an answer.
#[derive(Debug)]
pub(super) enum Field {
    One(Pointer),
    Table {
        each: Pointer,
        pick: Vec<(String, Pointer)>,
    },
}

/// A channel for whoever shows it.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// The message type of `/ws` that asks for its data.
    pub message_type: Option<String>,
    /// Its data, an object, as last told; empty before the first poll.
    pub data: watch::Receiver<Arc<Value>>,
}

/// A JSON pointer; `#` as its last part stands for the number of elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    path: String,
    counts: bool,
}

impl Pointer {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (path, counts) = match text.strip_suffix("/#") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let fits = text.len() <= limits::EXTENSION_TEXT && !text.contains(char::is_control);
        let formed = text.starts_with('/') || text.is_empty();
        (fits && formed).then(|| Self {
            path: path.to_owned(),
            counts,
        })
    }

    fn of(&self, value: &Value) -> Value {
        let Some(found) = value.pointer(&self.path) else {
            return Value::Null;
        };
        if !self.counts {
            return found.clone();
        }
        match found {
            Value::Array(all) => all.len().into(),
            Value::Object(all) => all.len().into(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
        }
    }
}

impl Field {
    fn of(&self, answer: &Value) -> Value {
        match self {
            Self::One(pointer) => pointer.of(answer),
            Self::Table { each, pick } => {
                let Some(Value::Array(all)) = answer.pointer(&each.path) else {
                    return Value::Null;
                };
                let row = |of: &Value| {
                    let cells = pick.iter().map(|(name, at)| (name.clone(), at.of(of)));
                    Value::Object(cells.collect())
                };
                all.iter().take(limits::EXTENSION_ROWS).map(row).collect()
            }
        }
    }
}

/// A channel and where its data is told.
pub(super) type Told = (Channel, watch::Sender<Arc<Value>>);

/// The channels for whoever shows them, and for whoever keeps them up.
pub(super) fn open(channels: Vec<Channel>) -> (Vec<Live>, Vec<Told>) {
    let each = channels.into_iter().map(|channel| {
        let (told, data) = watch::channel(Arc::new(json!({})));
        let live = Live {
            name: channel.name.clone(),
            message_type: channel.message_type.clone(),
            data,
        };
        (live, (channel, told))
    });
    each.unzip()
}

/// Keeps the channels up until it is dropped.
pub(super) async fn run(channels: Vec<Told>, client: Client, cluster: Cluster) {
    let turns = Semaphore::new(limits::EXTENSION_QUERIES_AT_ONCE);
    let (turns, client, cluster) = (&turns, &client, &cluster);
    let each = channels.into_iter().map(|(channel, told)| async move {
        poll(&channel, &told, client, cluster, turns).await;
    });
    join_all(each).await;
}

async fn poll(
    channel: &Channel,
    told: &watch::Sender<Arc<Value>>,
    client: &Client,
    cluster: &Cluster,
    turns: &Semaphore,
) {
    let mut last = Map::new();
    let mut working = true;
    loop {
        let name = channel.name.as_str();
        match channel.values(client, cluster, turns).await {
            Ok(values) => {
                if !std::mem::replace(&mut working, true) {
                    tracing::info!(channel = name, "Channel has values again");
                }
                last = values;
            }
            Err(error) => {
                if std::mem::replace(&mut working, false) {
                    tracing::warn!(channel = name, error, "Channel has no values");
                }
                last.insert(ERROR.to_owned(), error.into());
            }
        }
        told.send_if_modified(|known| {
            let same = known.as_object() == Some(&last);
            if !same {
                *known = Arc::new(Value::Object(last.clone()));
            }
            !same
        });
        let wait = channel.every.mul_f64(rand::rng().random_range(0.95..1.05));
        tokio::time::sleep(wait).await;
    }
}

impl Channel {
    /// The values as they are now, or why there are none.
    async fn values(
        &self,
        client: &Client,
        cluster: &Cluster,
        turns: &Semaphore,
    ) -> Result<Map<String, Value>, String> {
        let values = match &self.source {
            Source::Kubernetes { path, fields } => {
                let turn = turns.acquire().await;
                let objects = cluster
                    .objects()
                    .within(self.timeout)
                    .at_most(limits::EXTENSION_QUERY);
                let answer: Value = objects.get(path).await.map_err(|error| error.to_string())?;
                let picked = fields
                    .iter()
                    .map(|(name, field)| (name.clone(), field.of(&answer)));
                let picked = picked.collect();
                drop((answer, turn));
                picked
            }
            Source::Prometheus {
                target,
                bearer,
                metrics,
            } => {
                let ask = Ask {
                    target,
                    bearer: bearer.as_ref(),
                    post: None,
                    accept: "text/plain;version=0.0.4",
                    timeout: self.timeout,
                };
                let mut reading = Reading::new(metrics.iter().map(|(_, selector)| selector));
                let most = limits::EXTENSION_SCRAPE;
                let reply = client
                    .exchange(&ask, most, |bytes| {
                        reading.take(bytes);
                        false
                    })
                    .await
                    .map_err(|error| error.to_string())?;
                if !(200..300).contains(&reply.status) {
                    return Err(format!("it answers {}", reply.status));
                }
                let names = metrics.iter().map(|(name, _)| name.clone());
                names
                    .zip(reading.finish().into_iter().map(number))
                    .collect()
            }
        };
        let bytes = serde_json::to_vec(&values).map_or(0, |text| text.len());
        if bytes > limits::EXTENSION_VALUES {
            let most = limits::EXTENSION_VALUES;
            return Err(format!(
                "its values have {bytes} bytes, and {most} at most are told"
            ));
        }
        Ok(values)
    }
}

/// Whole numbers are told as such.
fn number(value: Option<f64>) -> Value {
    /// Beyond it not every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(value) = value else {
        return Value::Null;
    };
    if value.fract() == 0.0 && value.abs() < EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and below 2^53"
        )]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_a_value_a_count_or_a_table() {
        let answer = json!({"items": [
            {"metadata": {"name": "a"}, "status": {"phase": "Running"}},
            {"metadata": {"name": "b"}, "spec": {"secret": "no"}},
        ]});
        let pointer = |text| Pointer::parse(text).unwrap();
        let one = |text| Field::One(pointer(text)).of(&answer);
        assert_eq!(one("/items/#"), json!(2));
        assert_eq!(one("/items/0/metadata/name"), json!("a"));
        assert_eq!(one("/items/0/metadata/name/#"), Value::Null);
        assert_eq!(one("/nothing"), Value::Null);
        let pick = vec![
            ("name".to_owned(), pointer("/metadata/name")),
            ("phase".to_owned(), pointer("/status/phase")),
        ];
        let each = pointer("/items");
        let table = Field::Table { each, pick }.of(&answer);
        let expected = json!([{"name": "a", "phase": "Running"}, {"name": "b", "phase": null}]);
        assert_eq!(table, expected);
    }

    #[test]
    fn a_table_ends_at_its_bound() {
        let answer = json!({ "items": vec![json!({}); limits::EXTENSION_ROWS + 1] });
        let table = Field::Table {
            each: Pointer::parse("/items").unwrap(),
            pick: Vec::new(),
        };
        let rows = table.of(&answer);
        assert_eq!(rows.as_array().unwrap().len(), limits::EXTENSION_ROWS);
    }

    #[test]
    fn numbers_are_whole_where_they_are() {
        assert_eq!(number(Some(3.0)), json!(3));
        assert_eq!(number(Some(-0.5)), json!(-0.5));
        assert_eq!(number(Some(f64::INFINITY)), Value::Null);
        assert_eq!(number(Some(1e300)), json!(1e300));
        assert_eq!(number(None), Value::Null);
    }
}
