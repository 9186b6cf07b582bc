//! `status.get`: how the cluster is, at one moment (P-94).

use serde::{Deserialize, Serialize};

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Only what is in this namespace; no nodes then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The versions.
    Cluster(Cluster),
    /// Some of the nodes.
    Nodes(Nodes),
    /// Some of the workloads.
    Workloads(Workloads),
    /// Some of the pods that are not well, at most 1,000 in all.
    Unhealthy(Unhealthy),
    /// Some of the namespaces.
    Namespaces(Namespaces),
    /// The counts.
    Summary(Summary),
}

/// The versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cluster {
    /// The API server's.
    pub kubernetes: String,
    /// The agent's.
    pub agent: String,
}

/// Some nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nodes {
    /// Each stands for itself whole.
    pub items: Vec<Node>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it takes no new pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Its roles, `control-plane`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Its kubelet's version.
    pub version: String,
    /// What it has.
    pub capacity: Room,
    /// What of it pods may use.
    pub allocatable: Room,
    /// What is not as it should be: not ready, under pressure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Condition>,
}

/// Amounts, as Kubernetes writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Room {
    /// `4`, `3920m`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// `16374484Ki`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub memory: String,
    /// `110`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pods: String,
}

/// A condition that is not as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Condition {
    /// `Ready`, `DiskPressure`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in a word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub since: String,
}

/// What pods are run by.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Kind {
    /// Of `apps`.
    #[default]
    Deployment,
    /// Of `apps`.
    StatefulSet,
    /// Of `apps`.
    DaemonSet,
    /// Of `batch`.
    Job,
    /// Of `batch`.
    CronJob,
}

/// Some workloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Workloads {
    /// Each stands for itself whole.
    pub items: Vec<Workload>,
}

/// A workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Workload {
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Pods that it should have; of a Job, completions.
    pub desired: u32,
    /// Pods that are ready; of a Job, those that succeeded.
    pub ready: u32,
    /// Pods of its newest form.
    pub updated: u32,
    /// It is not as it should be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unhealthy: bool,
    /// Why, in a word; or what else is particular, `Suspended`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub since: String,
}

/// Some pods that are not well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unhealthy {
    /// Each stands for itself whole.
    pub items: Vec<Pod>,
}

/// A pod that is not well: not ready, not done and not going away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Pending`, `Running`, `Failed` or `Unknown`.
    pub phase: String,
    /// Why, in a word: `CrashLoopBackOff`, `Unschedulable`, `NotReady`.
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The container at fault.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// How often that container was started again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// How that container ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Termination>,
    /// Since when it is not ready, or exists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub since: String,
    /// The node that it is on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Termination {
    /// `Error`, `OOMKilled`.
    pub reason: String,
    /// What it exited with.
    pub exit_code: i32,
    /// When.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finished: String,
}

/// Some namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespaces {
    /// Each stands for itself whole.
    pub items: Vec<Namespace>,
}

/// What a namespace has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its pods.
    pub pods: Pods,
    /// Its services.
    pub services: u32,
}

/// Pods by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pods {
    /// Not all of its containers have run yet.
    pub pending: u32,
    /// At least one container runs.
    pub running: u32,
    /// All ended well.
    pub succeeded: u32,
    /// All ended, one of them badly.
    pub failed: u32,
    /// Its node does not say.
    pub unknown: u32,
    /// Of all of them, those that are not well.
    pub unhealthy: u32,
}

/// The counts; also the result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Nodes.
    pub nodes: u32,
    /// Of those, ready ones.
    pub nodes_ready: u32,
    /// Pods by phase.
    pub pods: Pods,
    /// Pods that are not well and are not among those that were told of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_unhealthy: u32,
    /// Workloads.
    pub workloads: u32,
    /// Of those, unhealthy ones.
    pub workloads_unhealthy: u32,
    /// Services.
    pub services: u32,
}
