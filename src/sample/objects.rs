//! What the sample cluster is made of when it starts.
//!
//! Owns: the order in which the first objects are made, and the pieces that all of them share.
//! Owns not: what happens to them afterwards (`life`).
//! Invariant: every node, workload and namespace of ours says `sample` in its name, and no value
//! in a Secret is one that anybody could use.

mod cluster;
mod configuration;
mod network;
pub(super) mod pods;
pub(super) mod templates;
pub(super) mod workloads;

use serde_json::{Value, json};

use super::clock::{DAY, MINUTE, Millis, rfc3339};
use super::seed;
use super::store::Store;

/// The version that the sample cluster says it is.
pub(super) const SERVER_VERSION: &str = "v1.36.0-sample";
/// Its nodes. The first is the control plane.
pub(super) const NODES: [&str; 3] = ["sample-node-1", "sample-node-2", "sample-node-3"];
/// How long the cluster pretends to have existed.
pub(super) const AGE: Millis = 12 * DAY;

/// Fills an empty store.
pub(super) fn fill(store: &Store, now: Millis) {
    let born = now - AGE;
    cluster::fill(store, born, now);
    configuration::fill(store, born);
    network::fill(store, born);
    workloads::fill(store, now);
    let quota_age = born + 20 * MINUTE;
    configuration::fill_quotas(store, quota_age);
}

/// The metadata of a new object. `namespace` is empty for kinds without one.
pub(super) fn metadata(
    kind: &str,
    namespace: &str,
    name: &str,
    created: Millis,
    labels: &[(&str, &str)],
) -> Value {
    let mut metadata = json!({
        "name": name,
        "uid": seed::uid(&[kind, namespace, name], created.unsigned_abs()),
        "creationTimestamp": rfc3339(created),
        "resourceVersion": "",
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    if !labels.is_empty() {
        metadata["labels"] = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
    }
    metadata
}

/// An owner reference to `owner`, as its controller.
pub(super) fn owned_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

/// The uid of an object's controller, or nothing.
pub(super) fn controller_uid(object: &Value) -> Option<&str> {
    object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)?["uid"]
        .as_str()
}
