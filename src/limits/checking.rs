//! The ceilings of checks of the agent's own connections.
//!
//! Owns numbers only; see [`super`].

use std::time::Duration;

/// Name, TCP, proxy and TLS of a check: half of what the agent itself waits is long enough to tell
/// a person, and a check has several such steps.
pub const CHECK_CONNECT: Duration = Duration::from_secs(8);
/// The answer to a check's request.
pub const CHECK_ANSWER: Duration = Duration::from_secs(5);
/// The goodbye of a check's channel.
pub const CHECK_GOODBYE: Duration = Duration::from_millis(500);
/// Characters of a header that is shown to a person.
pub const CHECK_WORDS: usize = 80;
/// How long an outcome is told again instead of testing anew: whoever asks in a loop costs the
/// control plane no more than twelve handshakes a minute.
pub const CHECK_LASTS: Duration = Duration::from_secs(5);
/// How long a channel is held without a byte, unless told otherwise: what is cut sooner would not
/// live from one ping to the next either, and a person waits for it.
pub const CHECK_IDLE: Duration = Duration::from_secs(5);
/// How much longer a gateway waits for `hello` at most, where it is asked to: what a balancer cuts
/// is mostly a minute old.
pub const CHECK_IDLE_MOST: Duration = Duration::from_secs(120);
/// Between two tries of a check that waits.
pub const CHECK_AGAIN: Duration = Duration::from_secs(2);
/// Certificates of a CA file that are named to a person.
pub const CHECK_AUTHORITIES: usize = 4;
