//! `logs.get`: what there is of containers' logs, within bounds (P-86). Its events are those of
//! `logs.follow`.

use serde::{Deserialize, Serialize};

use super::logs_follow;

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Which logs, from where.
    #[serde(flatten)]
    pub logs: logs_follow::Request,
    /// At most so many lines, of all containers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lines: Option<u64>,
    /// At most so many bytes of text; the last line may go beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// Lines that were sent.
    pub lines: u64,
    /// A bound was reached: there may be more, to be had with the cursors.
    pub limited: bool,
}
