//! What the path to the control plane does to a connection on which nothing moves.
//!
//! Proxies and NATs cut such connections, some within ten seconds, by a reset or by silence. Two
//! sessions in a row that end after the same silence show it, if it was longer than any that they
//! had borne, and from then on the agent pings at half of that (P-40 leaves it to each side to ping
//! more often than it was told).
//!
//! Owns what was learned. Owns not: the pings and the silences (`session`). Invariants: pure; one
//! broken session teaches nothing, nor does a peer that no longer answers where it answered before;
//! the pace never falls below the floor that a gateway's budget allows, and what was learned is put
//! to the test again.

use std::time::Duration;

use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::session::{Ended, Silence};

/// What is known of the path.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// The silence before the last end, if it may have been the reason.
    suspect: Option<Duration>,
    /// The silence that the path does not bear.
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

    /// A session ended that lived for so long, with these silences. `Some` is a limit that was just
    /// learned.
    pub(super) fn ended(
        &mut self,
        ended: &Ended,
        silence: Silence,
        lived: Duration,
    ) -> Option<Duration> {
        let Silence {
            last,
            unanswered,
            borne,
        } = silence;
        let suspect = match ended {
            // Some answer with a reset only when they are sent to again.
            Ended::Link(_) | Ended::PeerClosed(None) => Some(last.max(unanswered)),
            Ended::Failed(ErrorCode::PingTimeout, _) => Some(unanswered),
            _ => None,
        };
        let suspect = suspect.filter(|&quiet| {
            quiet >= limits::PATH_PING_LEAST && quiet > borne && !alike(quiet, borne)
        });
        let before = std::mem::replace(&mut self.suspect, suspect);
        if lived >= limits::PATH_KEPT {
            self.doubt();
            return None;
        }
        let (before, now) = (before?, suspect?);
        if !alike(before, now) {
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

    /// The path may be another by now, or the peer was only overloaded: the next session pings half
    /// as often, and if it is cut after the known silence, that one end is enough.
    fn doubt(&mut self) {
        if let Some(limit) = self.limit {
            self.suspect = Some(limit);
            self.limit = Some(limit.saturating_mul(2));
        }
    }
}

/// The same timer fires at the same time, but for the turns of our own loops.
fn alike(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= one.max(other) / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkError;

    const TOLD: Duration = Duration::from_secs(15);
    const SHORT: Duration = Duration::from_secs(40);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn reset() -> Ended {
        Ended::Link(LinkError::Io(std::io::ErrorKind::ConnectionReset.into()))
    }

    fn silent() -> Ended {
        Ended::Failed(ErrorCode::PingTimeout, String::new())
    }

    fn quiet(last: u64, unanswered: u64, borne: u64) -> Silence {
        Silence {
            last: ms(last),
            unanswered: ms(unanswered),
            borne: ms(borne),
        }
    }

    fn cut(path: &mut Path, last: u64) -> Option<Duration> {
        path.ended(&reset(), quiet(last, 0, 0), SHORT)
    }

    #[test]
    fn two_ends_after_the_same_silence_set_the_pace() {
        let mut path = Path::default();
        assert_eq!(cut(&mut path, 10_020), None);
        assert_eq!(path.pace(TOLD), TOLD, "one teaches nothing");
        let closed = Ended::PeerClosed(None);
        let learned = path.ended(&closed, quiet(10_400, 0, 0), SHORT);
        assert_eq!(learned, Some(ms(10_020)));
        assert_eq!(path.pace(TOLD), ms(5_010));
        assert_eq!(path.pace(ms(1_000)), ms(1_000), "never slower than told");
    }

    #[test]
    fn what_is_no_timer_of_the_path_teaches_nothing() {
        for (first, second) in [(10_000, 14_000), (300, 310), (1_900, 1_950)] {
            let mut path = Path::default();
            cut(&mut path, first);
            assert_eq!(cut(&mut path, second), None, "{first} {second}");
        }
        let mut path = Path::default();
        cut(&mut path, 10_000);
        path.ended(&Ended::Drained, quiet(10_000, 0, 0), SHORT);
        assert_eq!(cut(&mut path, 10_000), None);
        let said = Ended::PeerClosed(Some((1001, "shutting_down".into())));
        path.ended(&said, quiet(10_000, 0, 0), SHORT);
        assert_eq!(path.ended(&said, quiet(10_000, 0, 0), SHORT), None);
        assert_eq!(path.pace(TOLD), TOLD);
    }

    #[test]
    fn a_peer_that_answered_after_such_a_silence_is_to_blame_and_not_the_path() {
        let mut path = Path::default();
        for _ in 0..9 {
            // Overloaded: two pings were echoed, and the third was not.
            path.ended(&silent(), quiet(10_000, 15_020, 15_000), SHORT);
            // Overloaded while much moved.
            path.ended(&silent(), quiet(10_000, 20, 0), SHORT);
            path.ended(&reset(), quiet(8_000, 0, 15_000), SHORT);
        }
        assert_eq!(path.pace(TOLD), TOLD);
    }

    #[test]
    fn a_path_that_forgets_is_pinged_ever_faster_down_to_a_floor() {
        for ended in [silent(), reset()] {
            let mut path = Path::default();
            let mut paces = Vec::new();
            for _ in 0..12 {
                let pace = u64::try_from(path.pace(TOLD).as_millis()).unwrap();
                path.ended(&ended, quiet(20, pace, 10), SHORT);
                paces.push(path.pace(TOLD));
            }
            assert_eq!(paces[..4], [ms(15_000), ms(7_500), ms(7_500), ms(3_750)]);
            assert_eq!(paces.last(), Some(&limits::PATH_PING_LEAST));
        }
    }

    #[test]
    fn what_was_learned_is_doubted_after_a_long_session_and_one_cut_restores_it() {
        let mut path = Path::default();
        cut(&mut path, 10_000);
        cut(&mut path, 10_000);
        assert_eq!(path.pace(TOLD), ms(5_000));
        let long = |path: &mut Path, lived| {
            assert_eq!(path.ended(&Ended::Drained, quiet(1, 0, 5_000), lived), None);
        };
        long(&mut path, limits::PATH_KEPT - ms(1));
        assert_eq!(path.pace(TOLD), ms(5_000));
        long(&mut path, limits::PATH_KEPT);
        assert_eq!(path.pace(TOLD), ms(10_000));
        assert_eq!(cut(&mut path, 10_100), Some(ms(10_000)));
        assert_eq!(path.pace(TOLD), ms(5_000));
        for _ in 0..99 {
            long(&mut path, limits::PATH_KEPT);
        }
        assert_eq!(path.pace(TOLD), TOLD, "nothing is cut any more");
    }
}
