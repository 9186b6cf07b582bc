//! An Event of `core/v1`, as far as it is read.
//!
//! Owns what an event says of itself, whichever of the two ways it was written in. Owns not: what
//! is told of one, and how much of each text ([`cut`]). Invariant: pure.

use serde::Deserialize;

use super::objects::Object;

/// An event; those that were written through `events.k8s.io` have a series and no counts or times
/// of the old kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Occurrence {
    pub(crate) metadata: Metadata,
    /// What it is about.
    pub(crate) involved_object: Involved,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    count: u32,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<Series>,
    source: Source,
    reporting_component: String,
}

/// Which event it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    creation_timestamp: Option<String>,
}

/// The object that it is about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Involved {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) field_path: String,
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
    /// How often it has happened, at least once.
    pub(crate) fn count(&self) -> u32 {
        let count = self.series.as_ref().map_or(self.count, |all| all.count);
        count.max(1)
    }

    /// When it happened first; when it was written, where nothing else is said.
    pub(crate) fn first(&self) -> &str {
        let said = [
            &self.first_timestamp,
            &self.event_time,
            &self.metadata.creation_timestamp,
        ];
        said.into_iter().flatten().next().map_or("", String::as_str)
    }

    /// When it happened last.
    pub(crate) fn last(&self) -> &str {
        let last = match &self.series {
            Some(series) => &series.last_observed_time,
            None => &self.last_timestamp,
        };
        last.as_deref().unwrap_or_else(|| self.first())
    }

    /// The component that saw it.
    pub(crate) fn reporter(&self) -> &str {
        if self.reporting_component.is_empty() {
            &self.source.component
        } else {
            &self.reporting_component
        }
    }
}

/// At most so many bytes of a text, whoever wrote it: a copy, which keeps no more than it holds.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn both_kinds_of_events_have_a_count_times_and_a_reporter() {
        let old: Occurrence = from_value(json!({
            "count": 4, "eventTime": null, "series": null,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:05:00Z",
            "source": {"component": "kubelet"}, "reportingComponent": ""}))
        .unwrap();
        assert_eq!((old.count(), old.reporter()), (4, "kubelet"));
        assert_eq!(old.first(), "2026-01-01T00:00:00Z");
        assert_eq!(old.last(), "2026-01-01T00:05:00Z");
        let new: Occurrence = from_value(json!({
            "firstTimestamp": null, "lastTimestamp": null,
            "eventTime": "2026-01-01T00:00:00.000001Z", "reportingComponent": "scheduler",
            "series": {"count": 7, "lastObservedTime": "2026-01-01T00:09:00.000000Z"}}))
        .unwrap();
        assert_eq!((new.count(), new.reporter()), (7, "scheduler"));
        assert_eq!(new.first(), "2026-01-01T00:00:00.000001Z");
        assert_eq!(new.last(), "2026-01-01T00:09:00.000000Z");
    }

    #[test]
    fn an_event_that_says_little_happened_once_when_it_was_written() {
        let once: Occurrence = from_value(json!({"eventTime": "2026-01-01T00:00:00.1Z"})).unwrap();
        assert_eq!((once.count(), once.last()), (1, "2026-01-01T00:00:00.1Z"));
        let created = "2026-01-01T00:00:00Z";
        let bare: Occurrence =
            from_value(json!({"metadata": {"creationTimestamp": created}})).unwrap();
        assert_eq!((bare.first(), bare.last()), (created, created));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 3), "abc");
    }
}
