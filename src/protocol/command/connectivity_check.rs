//! `connectivity.check`: real tests of the connections that the agent itself needs (P-107).

use serde::{Deserialize, Serialize};

/// What to test. There is no way to name a host: only the agent's own targets are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Name, TCP, TLS, credentials and readiness of the API server.
    ApiServer,
    /// Name of the control plane, and how the channel does.
    ControlPlane,
    /// The agent's clock against the API server's.
    Clock,
}

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// What to test.
    #[serde(default = "everything")]
    pub targets: Vec<Target>,
}

fn everything() -> Vec<Target> {
    vec![Target::ApiServer, Target::ControlPlane, Target::Clock]
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// One test is done.
    Check(Check),
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Ok,
    /// Well enough, for now.
    Warn,
    /// Badly.
    Fail,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// Which: `api_server.dns`, `.tcp`, `.tls`, `.auth`, `.ready`; `control_plane.dns`,
    /// `.channel`, `.reconnects`; `clock.skew`. More may be added.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// Microseconds that it took, where it takes time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it, in one line; absent when all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// The worst.
    pub outcome: Outcome,
    /// How many tests there were.
    pub checks: u32,
}
