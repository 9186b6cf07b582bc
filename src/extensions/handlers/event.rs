//! An event of the cluster, as handlers are told it.
//!
//! Owns what is told. Owns not: the reading (`cluster::occurrence`). Invariant: what is told of one
//! is bounded, whoever wrote it.

use serde::Serialize;

use crate::cluster::occurrence::{self, Occurrence};
use crate::limits;

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
    pub(super) fn of(event: &Occurrence) -> Self {
        let (metadata, about) = (&event.metadata, &event.involved_object);
        Self {
            id: cut(&format!("{}-{}", metadata.uid, metadata.resource_version)),
            kind: cut(&event.kind),
            reason: cut(&event.reason),
            message: cut(&event.message),
            count: event.count(),
            first: cut(event.first()),
            last: cut(event.last()),
            object: About {
                kind: cut(&about.kind),
                namespace: cut(&about.namespace),
                name: cut(&about.name),
            },
            written_in: cut(&metadata.namespace),
        }
    }

    /// The object's namespace; that of the event where the object has none.
    pub(super) fn namespace(&self) -> &str {
        if self.object.namespace.is_empty() {
            &self.written_in
        } else {
            &self.object.namespace
        }
    }
}

fn cut(text: &str) -> String {
    occurrence::cut(text, limits::HANDLER_TEXT)
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
        let text = serde_json::to_string(&Event::of(&event)).unwrap();
        assert!(text.len() < 10 * limits::HANDLER_TEXT, "{}", text.len());
    }

    #[test]
    fn an_event_has_an_id_for_each_time_and_a_namespace() {
        let event: Occurrence = serde_json::from_value(json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "namespace": "default"},
            "series": {"count": 4, "lastObservedTime": "2026-01-01T00:09:00.000000Z"}}))
        .unwrap();
        let event = Event::of(&event);
        assert_eq!((event.id.as_str(), event.count), ("u-7", 4));
        assert_eq!(event.last, "2026-01-01T00:09:00.000000Z");
        assert_eq!(event.namespace(), "default");
    }
}
