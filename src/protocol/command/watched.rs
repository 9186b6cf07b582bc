//! What every command that watches the cluster's state says of the watching itself (P-87 to P-89).

use serde::{Deserialize, Serialize};

use super::super::error::ErrorCode;

/// All that was sent up to here is the state of one moment, or all that has happened up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Synced {
    /// Resumes from here (P-71).
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub cursor: String,
}

/// What was sent before counts for nothing: the whole state follows, up to the next `synced`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reset {}

/// The API server does not answer as it should; the agent keeps trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interrupted {
    /// The code that the failure would end a command with.
    pub code: ErrorCode,
    /// One sentence for a person.
    pub message: String,
}

/// The API server answers again; what changed meanwhile follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Restored {}
