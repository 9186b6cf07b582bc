//! What stands beside the channel: questions on loopback, the termination message, events about the
//! agent itself.

use std::time::Duration;

/// One question of `healthcheck` or `status` to the local server: below the 5 s that manifests and
/// container engines give a probe.
pub const INQUIRY: Duration = Duration::from_secs(4);
/// The answer to it: a status of many unready nodes and unhealthy pods.
pub const INQUIRY_ANSWER: usize = 4 * 1024 * 1024;
/// What the kubelet reads of a termination message.
pub const TERMINATION_MESSAGE: usize = 4096;
