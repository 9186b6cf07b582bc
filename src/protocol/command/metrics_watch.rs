//! `metrics.watch`: what nodes, pods and containers use, again and again (P-104, P-105).
//!
//! CPU is in millicores and memory in bytes, both rounded up, as `kubectl top` shows them.

use serde::{Deserialize, Deserializer, Serialize};

/// The shortest and the longest time between two samples, in seconds: metrics-server itself looks
/// every 15 s, and a graph of less than one point an hour is none.
const EVERY: std::ops::RangeInclusive<u32> = 5..=3600;
/// How many namespaces may be named.
const NAMESPACES: usize = 64;

/// What to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// One sum of all nodes.
    Cluster,
    /// Sums of pods by namespace.
    Namespaces,
    /// Each node.
    Nodes,
    /// Each pod.
    Pods,
    /// Each pod with its containers.
    Containers,
    /// What there is and what is asked for: capacity, allocatable, requests, limits, counts.
    Capacity,
}

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Seconds from one sample to the next, 5 to 3600.
    #[serde(default = "every", deserialize_with = "interval")]
    #[cfg_attr(feature = "schema", schemars(range(min = 5, max = 3600)))]
    pub every_s: u32,
    /// What to sample.
    #[serde(default = "what")]
    pub what: Vec<What>,
    /// The namespaces of the pods, at most 64; all without any.
    #[serde(
        default,
        deserialize_with = "namespaces",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub namespaces: Vec<String>,
    /// A label selector for the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// End well after so many samples; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
}

const fn every() -> u32 {
    30
}

fn what() -> Vec<What> {
    vec![What::Cluster, What::Nodes]
}

fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let seconds = u32::deserialize(from)?;
    if EVERY.contains(&seconds) {
        Ok(seconds)
    } else {
        Err(serde::de::Error::custom("every_s is 5 to 3600"))
    }
}

fn namespaces<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.len() > NAMESPACES {
        return Err(serde::de::Error::custom("more than 64 namespaces"));
    }
    match names.iter().all(|name| is_namespace(name)) {
        true => Ok(names),
        false => Err(serde::de::Error::custom("not the name of a namespace")),
    }
}

/// Whether this is the name of a namespace (an RFC 1123 label).
pub(super) fn is_namespace(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let within = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(within)
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// There is no usage to be had, from now on.
    Unavailable(Unavailable),
    /// There is usage again.
    Available(Available),
    /// What there is and what is asked for.
    Capacity(Capacity),
    /// The same, node by node.
    NodeCapacity(NodeCapacities),
    /// The sum of all nodes; the first of a sample.
    Cluster(Cluster),
    /// Some of the namespaces.
    Namespaces(Namespaces),
    /// Some of the nodes.
    Nodes(Nodes),
    /// Some of the pods.
    Pods(Pods),
    /// The end of a sample.
    Sampled(Sampled),
}

/// Why there is no usage (P-105).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The API `metrics.k8s.io` is not there: no metrics-server is installed.
    NotInstalled,
    /// It is there, and nobody answers for it.
    NotReady,
    /// It answers, and has measured nothing yet.
    NoData,
    /// The agent, or the actor, may not read it.
    Forbidden,
    /// The API server cannot be reached.
    Unreachable,
    /// Another answer that is no success.
    Failed,
}

/// There is no usage to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unavailable {
    /// Why.
    pub reason: Reason,
    /// One sentence for a person.
    pub message: String,
}

/// There is usage again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Available {}

/// CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Amount {
    /// Millicores.
    pub cpu_m: i64,
    /// Bytes.
    pub memory: i64,
}

/// CPU, memory and pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Room {
    /// Millicores.
    pub cpu_m: i64,
    /// Bytes.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

/// What there is and what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Capacity {
    /// The nodes; absent where they may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeTotals>,
    /// The pods; absent where they may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodTotals>,
}

/// All nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeTotals {
    /// How many there are.
    pub total: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many of them take no new pods.
    pub unschedulable: u32,
    /// What they have.
    pub capacity: Room,
    /// What of it pods may use.
    pub allocatable: Room,
}

/// All pods together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodTotals {
    /// By phase.
    pub pending: u32,
    /// See `pending`.
    pub running: u32,
    /// See `pending`.
    pub succeeded: u32,
    /// See `pending`.
    pub failed: u32,
    /// See `pending`.
    pub unknown: u32,
    /// What the pods that have not ended ask for.
    pub requests: Amount,
    /// What they may use at most, as far as they say.
    pub limits: Amount,
}

/// Some nodes and what they have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeCapacities {
    /// At most 250.
    pub items: Vec<NodeCapacity>,
}

/// A node and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeCapacity {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it takes no new pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// What it has.
    pub capacity: Room,
    /// What of it pods may use.
    pub allocatable: Room,
    /// How many pods it runs; absent where pods may not be read, as are the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// What they ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amount>,
    /// What they may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amount>,
}

/// The sum of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cluster {
    /// The sample's number, from 1.
    pub sample: u64,
    /// When the newest of it was measured (RFC 3339), as metrics-server says.
    pub measured: String,
    /// Nodes that were measured.
    pub nodes: u32,
    /// What they use.
    pub usage: Amount,
}

/// Some of a sample's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespaces {
    /// The sample's number.
    pub sample: u64,
    /// At most 250.
    pub items: Vec<Namespace>,
}

/// What a namespace's pods use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespace {
    /// Its name; empty for all that are one too many to be told apart.
    pub name: String,
    /// Pods that were measured.
    pub pods: u32,
    /// What they use.
    pub usage: Amount,
}

/// Some of a sample's nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Nodes {
    /// The sample's number.
    pub sample: u64,
    /// At most 250.
    pub items: Vec<Usage>,
}

/// Some of a sample's pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pods {
    /// The sample's number.
    pub sample: u64,
    /// At most 250.
    pub items: Vec<PodUsage>,
}

/// What a node or container uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Its name.
    pub name: String,
    /// Millicores.
    pub cpu_m: i64,
    /// Bytes.
    pub memory: i64,
}

/// What a pod uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Millicores, all containers together.
    pub cpu_m: i64,
    /// Bytes, all containers together.
    pub memory: i64,
    /// Its containers, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Usage>,
}

/// The end of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sampled {
    /// Its number.
    pub sample: u64,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Not all of it could be read or sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}
