//! `status.watch`: how the cluster is, and what changes of it (P-95, P-96).

use serde::{Deserialize, Serialize};

use super::Cursors;
use super::status_get::{Cluster, Kind, Namespaces, Nodes, Summary, Unhealthy, Workloads};
use super::watched::{Interrupted, Reset, Restored, Synced};

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Only what is in this namespace; no nodes then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Where to go on (P-71): the cursor of the last `synced`, under the empty string.
    #[serde(default, skip_serializing_if = "Cursors::is_empty")]
    pub resume: Cursors,
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The versions.
    Cluster(Cluster),
    /// Nodes that are new or have changed.
    Nodes(Nodes),
    /// Workloads that are new or have changed.
    Workloads(Workloads),
    /// Pods that have become unwell, or otherwise so.
    Unhealthy(Unhealthy),
    /// Namespaces whose counts have changed; one without anything is all zero.
    Namespaces(Namespaces),
    /// The counts.
    Summary(Summary),
    /// What is gone; of pods, also what is well again.
    Removed(Removed),
    /// See there.
    Synced(Synced),
    /// See there.
    Reset(Reset),
    /// See there.
    Interrupted(Interrupted),
    /// See there.
    Restored(Restored),
}

/// What is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Names of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadName>,
    /// Pods that are not among the unhealthy ones any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodName>,
}

/// Which workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkloadName {
    /// What it was.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}
