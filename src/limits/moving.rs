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

/// Agents that a gateway lets in a second, unless configured: half of what one core shakes hands with,
/// so that those that are in get the other half.
pub const ADMISSION_RATE: u32 = 500;
/// How long one waits for its turn before it is asked to come back: well within the handshake's own
/// deadline, and a queue of two seconds is soon worked off.
pub const ADMISSION_WAIT: Duration = Duration::from_secs(2);
/// How long the channel of an agent that was let in is expected: its own handshake takes ten seconds
/// at most, and registration as long again.
pub const ADMITTED_FOR: Duration = Duration::from_secs(30);
/// Agents of one cluster that are let in and have no channel yet: replicas of a large agent that begin
/// together.
pub const ADMITTED_OF_ONE: usize = 16;
/// How long a gateway expects every agent that has a token: the return of a whole fleet takes about a
/// minute.
pub const GATEWAY_YOUNG: Duration = Duration::from_secs(120);
