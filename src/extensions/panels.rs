//! Panels of the dashboard, as the page asks for them.
//!
//! Owns their shape (`docs/extensions.md`). Owns not: how they look. Invariant: everything here is
//! the operator's own text; what it points to is text or a number to the page, never markup.

use serde_json::{Value, json};

use super::config::PanelKind;

/// The channels that the agent has by itself.
pub(super) const BUILT_IN: &[&str] = &["health", "metrics", "events", "status", "commands"];

/// One panel.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) source: String,
    pub(super) field: String,
    pub(super) kind: PanelKind,
    pub(super) unit: Option<String>,
}

/// The answer to `GET /api/panels`.
pub(super) fn listed(panels: &[Panel]) -> Value {
    let panels = panels.iter().map(|panel| {
        json!({
            "title": panel.title,
            "source": panel.source,
            "field": panel.field,
            "kind": panel.kind.as_str(),
            "unit": panel.unit,
        })
    });
    json!({ "panels": panels.collect::<Vec<_>>() })
}
