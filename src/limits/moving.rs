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
