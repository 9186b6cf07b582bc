//! What is told of an event.
//!
//! Owns the answer's shape. Owns not: the reading (`cluster::occurrence`). Invariant: what is told of
//! one fits a message, whoever wrote it.

use crate::cluster::occurrence::{self, Occurrence};
use crate::limits;
use crate::protocol::command::events_watch::{self as wire, Happening};

/// Without a cursor.
pub(in crate::commands) fn told(event: &Occurrence) -> Happening {
    let (metadata, about) = (&event.metadata, &event.involved_object);
    Happening {
        cursor: None,
        uid: cut(&metadata.uid),
        namespace: cut(&metadata.namespace),
        name: cut(&metadata.name),
        kind: cut(&event.kind),
        reason: cut(&event.reason),
        message: cut(&event.message),
        count: event.count(),
        first: cut(event.first()),
        last: cut(event.last()),
        reporter: cut(event.reporter()),
        object: wire::Object {
            kind: cut(&about.kind),
            namespace: cut(&about.namespace),
            name: cut(&about.name),
            uid: cut(&about.uid),
            part: cut(&about.field_path),
        },
    }
}

fn cut(text: &str) -> String {
    occurrence::cut(text, limits::OBJECT_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_fits_a_message_whoever_wrote_it() {
        let long = "\u{1}".repeat(100_000);
        let event: Occurrence = serde_json::from_value(json!({
            "metadata": {"uid": long, "name": long, "namespace": long}, "type": long,
            "reason": long, "message": long, "firstTimestamp": long, "lastTimestamp": long,
            "reportingComponent": long,
            "involvedObject": {"kind": long, "name": long, "namespace": long, "uid": long,
                               "fieldPath": long}}))
        .unwrap();
        let text = serde_json::to_string(&told(&event)).unwrap();
        assert!(text.len() < limits::TEXT_MESSAGE * 3 / 4, "{}", text.len());
    }
}
