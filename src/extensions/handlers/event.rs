//! An event of the cluster, as far as handlers read and tell it.
//!
//! Owns both shapes. Invariant: what is told of one is bounded, whoever wrote it.

use serde::{Deserialize, Serialize};

use crate::cluster::objects::Object;
use crate::limits;

/// An Event of `core/v1`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Occurrence {
    metadata: Metadata,
    involved_object: Involved,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
    count: u32,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    namespace: String,
    uid: String,
    resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Involved {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    count: u32,
    last_observed_time: Option<String>,
}

impl Object for Occurrence {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// What a handler is told, and a webhook's body but for whose it is.
#[derive(Debug, Default, Serialize)]
pub(super) struct Event {
    /// The same each time that this is told.
    pub(super) id: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) count: u32,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) object: About,
    #[serde(skip)]
    pub(super) written_in: String,
}

/// The object that it is about.
#[derive(Debug, Default, Serialize)]
pub(super) struct About {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Event {
    /// The object's namespace; that of the event where the object has none.
    pub(super) fn namespace(&self) -> &str {
        if self.object.namespace.is_empty() {
            &self.written_in
        } else {
            &self.object.namespace
        }
    }
}

impl Occurrence {
    pub(super) fn told(self) -> Event {
        let first = self.first_timestamp.or(self.event_time).unwrap_or_default();
        let (count, last) = match self.series {
            Some(series) => (series.count, series.last_observed_time),
            None => (self.count, self.last_timestamp),
        };
        let (uid, version) = (self.metadata.uid, self.metadata.resource_version);
        Event {
            id: cut(format!("{uid}-{version}")),
            kind: cut(self.kind),
            reason: cut(self.reason),
            message: cut(self.message),
            count: count.max(1),
            last: cut(last.unwrap_or_else(|| first.clone())),
            first: cut(first),
            object: About {
                kind: cut(self.involved_object.kind),
                namespace: cut(self.involved_object.namespace),
                name: cut(self.involved_object.name),
            },
            written_in: cut(self.metadata.namespace),
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::HANDLER_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_cut_whoever_wrote_it() {
        let long = "ä".repeat(100_000);
        let event: Occurrence = serde_json::from_value(json!({
            "metadata": {"uid": long, "resourceVersion": "7", "namespace": long},
            "type": long, "reason": long, "message": long, "firstTimestamp": long,
            "involvedObject": {"kind": long, "name": long, "namespace": long}}))
        .unwrap();
        let text = serde_json::to_string(&event.told()).unwrap();
        assert!(text.len() < 10 * limits::HANDLER_TEXT, "{}", text.len());
    }

    #[test]
    fn an_event_of_the_new_kind_has_a_count_and_a_time() {
        let event: Occurrence = serde_json::from_value(json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "namespace": "default"},
            "firstTimestamp": null, "eventTime": "2026-01-01T00:00:00.000001Z",
            "series": {"count": 4, "lastObservedTime": "2026-01-01T00:09:00.000000Z"}}))
        .unwrap();
        let event = event.told();
        assert_eq!((event.id.as_str(), event.count), ("u-7", 4));
        assert_eq!(event.last, "2026-01-01T00:09:00.000000Z");
        assert_eq!(event.namespace(), "default");
    }
}
