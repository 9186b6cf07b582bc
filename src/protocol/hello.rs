//! The handshake: registration over HTTPS, then `hello`, answered by `welcome` or `refused`.
//!
//! Owns the bodies of these messages (P-1 to P-15). Owns not: how they are carried (`uplink`,
//! `gateway`) nor what a side does with them.

use std::collections::BTreeMap;

use serde::de::IntoDeserializer;
use serde::de::value::StringDeserializer;
use serde::{Deserialize, Serialize};

use super::error::ErrorCode;
use super::version::Version;

/// What both sides must have named for it to be used (P-12). Names outside the list are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Stream bytes, credit and resets travel as binary frames.
    Binary,
    /// A stream's bytes towards the gateway may be compressed with zstd.
    Zstd,
    /// Commands that may be resumed outlive their session.
    Resume,
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentFacts {
    /// The agent's id: the same for all replicas, derived from the cluster's UID unless given.
    pub id: String,
    /// This process, unique among replicas.
    pub instance: String,
    /// Milliseconds of wall clock at the process's start: the higher of two equal instances is the
    /// newer.
    pub epoch: u64,
    /// The program's version.
    pub version: String,
}

/// What the agent knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClusterFacts {
    /// The name that the operator gave it.
    pub name: String,
    /// The UID of the namespace kube-system; absent while the API server cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The API server's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Labels that the operator gave it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `POST /register`, the agent's request (P-1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Register {
    /// The versions that the agent speaks, newest first; unknown ones are ignored.
    #[serde(deserialize_with = "known")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub protocols: Vec<Version>,
    /// Who it is.
    pub agent: AgentFacts,
    /// What it serves.
    pub cluster: ClusterFacts,
}

/// A list of names, of which unknown ones are left out.
fn known<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    let names = Vec::<String>::deserialize(deserializer)?;
    let known = |name: String| {
        let name: StringDeserializer<serde::de::value::Error> = name.into_deserializer();
        T::deserialize(name).ok()
    };
    Ok(names.into_iter().filter_map(known).collect())
}

/// `POST /register`, the answer 200 (P-2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Registered {
    /// The cluster that the token belongs to.
    pub cluster_id: String,
    /// Where the channel is, in order of preference; `wss` URLs of the same origin, or paths.
    pub channels: Vec<String>,
    /// Where the channel is for an agent that no WebSocket reaches: a path of the same origin (P-120).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse: Option<String>,
    /// How to come back if the channel cannot be had.
    pub reconnect: ReconnectWindow,
}

/// Within which times to try again (P-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReconnectWindow {
    /// The first attempt comes at a random time within this many milliseconds.
    pub first_ms: u64,
    /// No later attempt waits longer than this many milliseconds.
    pub cap_ms: u64,
}

/// The agent's first message (P-10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hello {
    /// Who it is.
    pub agent: AgentFacts,
    /// What it serves.
    pub cluster: ClusterFacts,
    /// What it can do beyond the base; unknown names are ignored.
    #[serde(deserialize_with = "known")]
    pub features: Vec<Feature>,
    /// Credit in bytes that the gateway has for each stream's upload at its opening.
    pub window: u32,
    /// How many streams the agent carries at once.
    pub max_streams: u32,
    /// The session of the same process beside which this one comes: it drains (P-127).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// Whether this session carries the cluster's telemetry (P-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionRole {
    /// The one session that does.
    Primary,
    /// Another replica.
    Replica,
}

/// The gateway's consent (P-11). Its values override what registration hinted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Welcome {
    /// The session's id, for logs on both sides.
    pub session: String,
    /// The features in force: the common ones that the gateway wants; unknown names are ignored.
    #[serde(deserialize_with = "known")]
    pub features: Vec<Feature>,
    /// How often the agent sends a `heartbeat`.
    pub heartbeat_ms: u64,
    /// How often each side pings, and within what time the echo is due.
    pub ping: PingTimes,
    /// How to come back when the channel is lost.
    pub reconnect: ReconnectWindow,
    /// Whether this session carries telemetry.
    pub role: SessionRole,
    /// How long the agent keeps a command that may be resumed after the channel was lost; absent
    /// for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_ms: Option<u64>,
}

/// The times of the liveness check (P-40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PingTimes {
    /// Milliseconds between pings.
    pub every_ms: u64,
    /// Milliseconds within which the echo is due.
    pub within_ms: u64,
}

/// The gateway's refusal (P-13); the connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Refused {
    /// Why.
    pub code: ErrorCode,
    /// One sentence for a person.
    pub message: String,
    /// Trying again is of no use until an operator acts.
    pub permanent: bool,
    /// Otherwise, how long to wait at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
