//! What of the cluster's objects goes into one event.
//!
//! Invariant: an event fits a message, whoever wrote the objects.

use serde::Serialize;

use crate::limits;

/// At most so much of a text that a full event fits a message.
pub(in crate::commands) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(limits::STATUS_TEXT)].to_owned()
}

/// Items for one event; none when there are no more.
pub(in crate::commands) fn fill<T: Serialize>(items: &mut impl Iterator<Item = T>) -> Vec<T> {
    let mut filled = Vec::new();
    let mut bytes = 0;
    while bytes < limits::EVENT_FILL
        && let Some(item) = items.next()
    {
        bytes += serde_json::to_string(&item).map_or(0, |text| text.len());
        filled.push(item);
    }
    filled
}
