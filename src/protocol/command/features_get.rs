//! `features.get`: what this cluster and this agent can do, found by asking (P-106).

use serde::{Deserialize, Deserializer, Serialize};

use super::metrics_watch::is_namespace;

/// How many namespaces may be named.
const NAMESPACES: usize = 16;

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Namespaces whose permissions are listed as events, at most 16.
    #[serde(
        default,
        deserialize_with = "namespaces",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub namespaces: Vec<String>,
}

fn namespaces<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    if names.len() > NAMESPACES {
        return Err(serde::de::Error::custom("more than 16 namespaces"));
    }
    match names.iter().all(|name| is_namespace(name)) {
        true => Ok(names),
        false => Err(serde::de::Error::custom("not the name of a namespace")),
    }
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Some of what may be done in a namespace.
    Permissions(Permissions),
}

/// Some of what may be done in a namespace, as a SelfSubjectRulesReview says: by the actor where
/// the agent impersonates, by the agent otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Permissions {
    /// Where.
    pub namespace: String,
    /// At most 100.
    pub rules: Vec<Rule>,
    /// There may be more: an authoriser does not list its rules, or there are too many of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A rule: every verb on every resource of every group, or on every path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rule {
    /// `get`, `list`; `*` for all.
    pub verbs: Vec<String>,
    /// API groups; empty text is the core's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// `pods`, `pods/log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Only objects of these names; any without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Paths outside resources, instead of the three above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// What the agent can do.
    pub agent: Agent,
    /// What the cluster is.
    pub kubernetes: Kubernetes,
    /// Whether usage can be had.
    pub metrics: Metrics,
    /// How a connection may be upgraded.
    pub upgrades: Upgrades,
    /// Whether the agent may act as somebody else.
    pub impersonation: Impersonation,
    /// Whether the agent has what its access preset needs.
    pub preset: Preset,
}

/// What the agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Agent {
    /// Its version.
    pub version: String,
    /// Protocol versions.
    pub protocols: Vec<String>,
    /// Features that it offers (P-12).
    pub features: Vec<String>,
    /// The commands that it knows.
    pub commands: Vec<String>,
}

/// What the cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Kubernetes {
    /// `v1.36.3`.
    pub version: String,
    /// `linux/amd64`.
    pub platform: String,
    /// API groups with their preferred version, `apps/v1`; at most 500.
    pub groups: Vec<String>,
    /// Discovery comes in one document.
    pub aggregated_discovery: bool,
    /// Watches send bookmarks.
    pub watch_bookmarks: bool,
    /// Objects may be applied by the server.
    pub server_side_apply: bool,
}

/// Whether usage can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metrics {
    /// It can.
    pub available: bool,
    /// Why not (P-105).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<super::metrics_watch::Reason>,
}

/// How a connection may be upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Upgrades {
    /// exec and attach, the best first: `v5.channel.k8s.io`, `v4.channel.k8s.io`, `SPDY/3.1`.
    pub exec: Vec<String>,
    /// port-forward, the best first: `SPDY/3.1+portforward.k8s.io` over WebSocket, `SPDY/3.1`.
    pub port_forward: Vec<String>,
    /// A WebSocket was opened to the API server and worked; absent where it may not be tried. The
    /// lists above follow from the server's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket_proven: Option<bool>,
}

/// Whether the agent may act as somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Impersonation {
    /// The agent is configured to run requests as their actor.
    pub on: bool,
    /// It may impersonate any user.
    pub users: bool,
    /// And any group.
    pub groups: bool,
}

/// Whether the agent has what its access preset needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Preset {
    /// Its name.
    pub access: String,
    /// How many accesses were checked.
    pub checked: u32,
    /// Those that it has not, `list nodes.metrics.k8s.io`.
    pub missing: Vec<String>,
    /// Those about which the API server did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}
