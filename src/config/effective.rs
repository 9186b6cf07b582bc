//! What is in force, and where each value comes from.
//!
//! Owns the list that `pipeops-agent config` prints and the local server serves. Invariant: a secret
//! is never in it.

use std::fmt;

use serde::Serialize;

/// What a value is shown as instead of a secret.
pub const REDACTED: &str = "[redacted]";

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its key in the file.
    pub key: &'static str,
    /// The value as text, without secrets; empty when there is none.
    pub value: String,
    /// What gave it.
    pub source: Source,
    /// The flag, the variable, or the file with its line; absent for a default.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What gives values, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable.
    Environment,
    /// The file.
    File,
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}
