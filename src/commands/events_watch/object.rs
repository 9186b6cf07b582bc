//! Events, as far as they are read.
//!
//! Invariant: what is told of one fits a message, whoever wrote it.

use serde::Deserialize;

use crate::cluster::objects::Object;
use crate::limits;
use crate::protocol::command::events_watch::{self as wire, Happening};

/// An Event of `core/v1`; those that were written through `events.k8s.io` have a series and no
/// counts or times of the old kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::commands) struct Occurrence {
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
    source: Source,
    reporting_component: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Involved {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    count: u32,
    last_observed_time: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    component: String,
}

impl Object for Occurrence {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Occurrence {
    /// What is told of it; without a cursor.
    pub(in crate::commands) fn told(self) -> Happening {
        let created = self.metadata.creation_timestamp;
        let first = self.first_timestamp.or(self.event_time).or(created);
        let first = first.unwrap_or_default();
        let (count, last) = match self.series {
            Some(series) => (series.count, series.last_observed_time),
            None => (self.count, self.last_timestamp),
        };
        let reporter = if self.reporting_component.is_empty() {
            self.source.component
        } else {
            self.reporting_component
        };
        Happening {
            cursor: None,
            uid: cut(self.metadata.uid),
            namespace: cut(self.metadata.namespace),
            name: cut(self.metadata.name),
            kind: cut(self.kind),
            reason: cut(self.reason),
            message: cut(self.message),
            count: count.max(1),
            last: cut(last.unwrap_or_else(|| first.clone())),
            first: cut(first),
            reporter: cut(reporter),
            object: wire::Object {
                kind: cut(self.involved_object.kind),
                namespace: cut(self.involved_object.namespace),
                name: cut(self.involved_object.name),
                uid: cut(self.involved_object.uid),
                part: cut(self.involved_object.field_path),
            },
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::OBJECT_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(event: serde_json::Value) -> Happening {
        serde_json::from_value::<Occurrence>(event).unwrap().told()
    }

    #[test]
    fn both_kinds_of_events_have_a_count_and_times() {
        let old = told(json!({
            "metadata": {"uid": "u"}, "count": 4, "eventTime": null, "series": null,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:05:00Z",
            "source": {"component": "kubelet"}, "reportingComponent": ""}));
        assert_eq!((old.count, old.reporter.as_str()), (4, "kubelet"));
        assert_eq!(old.first, "2026-01-01T00:00:00Z");
        assert_eq!(old.last, "2026-01-01T00:05:00Z");
        let new = told(json!({
            "metadata": {"uid": "u"}, "firstTimestamp": null, "lastTimestamp": null,
            "eventTime": "2026-01-01T00:00:00.000001Z", "reportingComponent": "scheduler",
            "series": {"count": 7, "lastObservedTime": "2026-01-01T00:09:00.000000Z"}}));
        assert_eq!((new.count, new.reporter.as_str()), (7, "scheduler"));
        assert_eq!(new.first, "2026-01-01T00:00:00.000001Z");
        assert_eq!(new.last, "2026-01-01T00:09:00.000000Z");
        let once = told(json!({"metadata": {"uid": "u"}, "eventTime": "2026-01-01T00:00:00.1Z"}));
        assert_eq!(
            (once.count, once.last.as_str()),
            (1, "2026-01-01T00:00:00.1Z")
        );
    }

    #[test]
    fn an_event_fits_a_message_whoever_wrote_it() {
        let long = "\u{1}".repeat(100_000);
        let event = told(json!({
            "metadata": {"uid": long, "name": long, "namespace": long}, "type": long,
            "reason": long, "message": long, "firstTimestamp": long, "lastTimestamp": long,
            "reportingComponent": long,
            "involvedObject": {"kind": long, "name": long, "namespace": long, "uid": long,
                               "fieldPath": long}}));
        let text = serde_json::to_string(&event).unwrap();
        assert!(text.len() < limits::TEXT_MESSAGE * 3 / 4, "{}", text.len());
    }
}
