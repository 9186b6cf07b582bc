//! What the path to the control plane does to a connection on which nothing moves.
//!
//! Proxies and NATs cut such connections, some within ten seconds, by a reset or by silence. Two
//! sessions in a row that end after the same quiet time show it, and from then on the agent pings
//! at half of that (P-40 leaves it to each side to ping more often than it was told).
//!
//! Owns what was learned. Owns not: the pings (`session`). Invariants: pure; one broken session
//! teaches nothing; the pace never falls below the floor that a gateway's budget allows.

use std::time::Duration;

use crate::limits;
use crate::session::Ended;

/// What is known of the path, for as long as the program runs.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// The quiet time before the last end, if it may have been the reason.
    suspect: Option<Duration>,
    /// The quiet time that the path does not bear.
    limit: Option<Duration>,
}

impl Path {
    /// How often to ping, when the gateway says every `told`.
    pub(super) fn pace(&self, told: Duration) -> Duration {
        match self.limit {
            Some(limit) => told.min((limit / 2).max(limits::PATH_PING_LEAST)),
            None => told,
        }
    }

    /// A session ended, after nothing had moved for `quiet`; it pinged every `pace`. `Some` is a
    /// limit that was just learned.
    pub(super) fn ended(
        &mut self,
        ended: &Ended,
        quiet: Duration,
        pace: Duration,
    ) -> Option<Duration> {
        let suspect = match ended {
            Ended::Link(_) | Ended::PeerClosed(None) => Some(quiet),
            // The ping that was not echoed came after that long a silence.
            Ended::Failed(crate::protocol::error::ErrorCode::PingTimeout, _) => Some(pace),
            _ => None,
        };
        let suspect = suspect.filter(|quiet| *quiet >= limits::PATH_PING_LEAST);
        let before = std::mem::replace(&mut self.suspect, suspect);
        let (before, now) = (before?, suspect?);
        // The same timer fires at the same time, but for the turns of our own loops.
        if before.abs_diff(now) > before.max(now) / 5 {
            return None;
        }
        let limit = before.min(now);
        if self.limit.is_some_and(|known| known <= limit) {
            return None;
        }
        self.limit = Some(limit);
        self.suspect = None;
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkError;
    use crate::protocol::error::ErrorCode;

    const TOLD: Duration = Duration::from_secs(15);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn reset() -> Ended {
        Ended::Link(LinkError::Io(std::io::ErrorKind::ConnectionReset.into()))
    }

    #[test]
    fn two_ends_after_the_same_quiet_time_set_the_pace() {
        let mut path = Path::default();
        assert_eq!(path.ended(&reset(), ms(10_020), TOLD), None);
        assert_eq!(path.pace(TOLD), TOLD, "one teaches nothing");
        let closed = Ended::PeerClosed(None);
        assert_eq!(path.ended(&closed, ms(10_400), TOLD), Some(ms(10_020)));
        assert_eq!(path.pace(TOLD), ms(5_010));
        assert_eq!(path.pace(ms(1_000)), ms(1_000), "never slower than told");
    }

    #[test]
    fn what_is_no_timer_of_the_path_teaches_nothing() {
        for (first, second) in [(10_000, 14_000), (300, 310), (1_900, 1_950)] {
            let mut path = Path::default();
            path.ended(&reset(), ms(first), TOLD);
            assert_eq!(
                path.ended(&reset(), ms(second), TOLD),
                None,
                "{first} {second}"
            );
        }
        let mut path = Path::default();
        path.ended(&reset(), ms(10_000), TOLD);
        path.ended(&Ended::Drained, ms(10_000), TOLD);
        assert_eq!(path.ended(&reset(), ms(10_000), TOLD), None);
        let said = Ended::PeerClosed(Some((1001, "shutting_down".into())));
        path.ended(&said, ms(10_000), TOLD);
        assert_eq!(path.ended(&said, ms(10_000), TOLD), None);
        assert_eq!(path.pace(TOLD), TOLD);
    }

    #[test]
    fn a_path_that_forgets_in_silence_is_pinged_ever_faster_down_to_a_floor() {
        let mut path = Path::default();
        let silent = || Ended::Failed(ErrorCode::PingTimeout, String::new());
        let mut paces = Vec::new();
        for _ in 0..12 {
            let pace = path.pace(TOLD);
            path.ended(&silent(), pace + ms(10_000), pace);
            paces.push(path.pace(TOLD));
        }
        assert_eq!(paces[..4], [ms(15_000), ms(7_500), ms(7_500), ms(3_750)]);
        assert_eq!(paces.last(), Some(&limits::PATH_PING_LEAST));
    }
}
