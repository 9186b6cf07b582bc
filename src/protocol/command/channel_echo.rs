//! `channel.echo`: bytes for the channel's own sake: conformance, benchmarks, diagnosis (P-67).

use serde::{Deserialize, Serialize};

/// What the agent does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Sends back what it gets, and ends after FIN.
    Echo,
    /// Takes what it gets up to FIN, and ends with the count.
    Sink,
    /// Sends `bytes` bytes of a fixed pattern, and ends.
    Source,
}

/// The arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// What to do.
    pub mode: Mode,
    /// How many bytes a source sends.
    #[serde(default)]
    pub bytes: u64,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// Bytes received from the gateway.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}
