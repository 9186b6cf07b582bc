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
/// One call for an event about the agent itself: nothing waits for it, so it need not hurry.
pub const ANNOUNCE_CALL: Duration = Duration::from_secs(10);
/// Between two events about the channel: one that flaps is told six times a minute, at its last.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(10);
/// After an event that could not be written: the API server is away, or the role lacks it.
pub const ANNOUNCE_RETRY: Duration = Duration::from_secs(60);
/// How long repetitions count on the first event of their reason: below the hour after which API
/// servers forget one.
pub const ANNOUNCE_COUNTED: Duration = Duration::from_secs(30 * 60);
/// An event's message: what the API server takes of a `note`.
pub const ANNOUNCE_MESSAGE: usize = 1024;
/// The configuration file: every key with a sentence of comment is 10 KiB.
pub const CONFIG_FILE: usize = 256 * 1024;
/// Labels of the agent: at their longest, all of them fit a registration's body (P-1).
pub const LABELS: usize = 64;
/// How often the configuration file and what it names are looked at: a ConfigMap takes the kubelet a
/// minute to bring, and five seconds more are not noticed.
pub const CONFIG_POLL: Duration = Duration::from_secs(5);
/// A name or a label's text: what Kubernetes itself takes of a name.
pub const NAME_BYTES: usize = 253;
