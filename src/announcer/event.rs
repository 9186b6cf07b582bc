//! The announcer's Kubernetes objects: what is read of an owner, and what is written of an event.
//!
//! Owns the shapes. Invariant: an event is of the core group,
//! whose `count` and `lastTimestamp` every version of kubectl shows.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Reason;
use crate::chance;
use crate::limits;

/// An object's metadata, as far as its owner is looked for.
#[derive(Debug, Deserialize)]
pub(super) struct Owned {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    #[serde(default)]
    controller: bool,
}

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Owned {
    /// The object itself, of this kind.
    pub(super) fn reference(self, api_version: &str, kind: &str, namespace: &str) -> Reference {
        Reference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: self.metadata.name,
            uid: self.metadata.uid,
        }
    }

    /// What controls the object.
    pub(super) fn controller(&self, namespace: &str) -> Option<Reference> {
        let mut owners = self.metadata.owner_references.iter();
        owners
            .find(|owner| owner.controller)
            .map(|owner| Reference {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                namespace: namespace.to_owned(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            })
    }
}

/// An event that was written.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) count: u64,
    since: Instant,
}

impl Told {
    pub(super) fn new(regarding: &str, now: Instant) -> Self {
        Self {
            name: format!("{regarding}.{:016x}", chance::run_id()),
            count: 1,
            since: now,
        }
    }

    /// Whether a repetition still belongs to it.
    pub(super) fn still_counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < limits::ANNOUNCE_COUNTED
    }
}

/// A new event.
pub(super) fn first(
    name: &str,
    regarding: &Reference,
    reason: Reason,
    message: &str,
    at: &str,
    pod: &str,
) -> Value {
    let kind = match reason {
        Reason::Connected => "Normal",
        Reason::Disconnected | Reason::AuthFailed => "Warning",
    };
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": regarding.namespace},
        "involvedObject": {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "namespace": regarding.namespace,
            "name": regarding.name,
            "uid": regarding.uid,
        },
        "type": kind,
        "reason": reason.as_str(),
        "message": message,
        "source": {"component": "pipeops-agent"},
        "reportingComponent": "pipeops-agent",
        "reportingInstance": pod,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    })
}

/// What a repetition changes of it.
pub(super) fn repeated(count: u64, message: &str, at: &str) -> String {
    json!({"count": count, "message": message, "lastTimestamp": at}).to_string()
}
