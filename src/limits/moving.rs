//! Of replicas, leaving, and coming back.

use std::time::Duration;

/// Bytes of a gateway's warning that an agent keeps and shows: one line.
pub const WARNING_TEXT: usize = 512;
/// How often a session is told of another cluster's agent that asks for its place: a newcomer tries
/// again for as long as nobody mends it.
pub const DUPLICATE_TOLD: Duration = Duration::from_secs(60);
/// How long a refused duplicate is shown: it tries every five minutes at the latest, and twice may be
/// missed.
pub const DUPLICATE_SHOWN: Duration = Duration::from_secs(900);
/// Bytes of a duplicate's names that are kept: a Kubernetes name is at most so long.
pub const DUPLICATE_NAME: usize = 253;

/// Sessions that an agent keeps beside its own because their gateways go away and let what runs go
/// on: one for each gateway of a rolling restart, and one more.
pub const MOVED_SESSIONS: usize = 3;
/// How long such a session may last: longer than any gateway's grace that makes sense, and than what a
/// gateway lets go on beside a session that took over.
pub const MOVED_FOR: Duration = Duration::from_secs(3660);
/// Agents a second that a gateway which leaves asks to come back: a restart is no hurry, and the next
/// gateway shakes hands with each.
pub const DRAINED_A_SECOND: u64 = 200;
