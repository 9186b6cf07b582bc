//! For how long nothing moves on a connection, and how long a silence it has borne.
//!
//! Owns the reckoning, of which the uplink learns what its path does to idle connections. Owns not:
//! what is learned. Invariants: pure; what was sent after a silence proves nothing of the path until
//! something has come back.

use std::time::{Duration, Instant};

/// The silences of a session, at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silence {
    /// For how long nothing had moved, either way.
    pub last: Duration,
    /// The longest before something was sent to which nothing came back.
    pub unanswered: Duration,
    /// The longest after which something still came.
    pub borne: Duration,
}

/// The silences of a session so far.
#[derive(Debug)]
pub(super) struct Listener {
    moved: Instant,
    unanswered: Duration,
    borne: Duration,
}

impl Listener {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            moved: now,
            unanswered: Duration::ZERO,
            borne: Duration::ZERO,
        }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.unanswered = self.unanswered.max(self.still(now));
        self.moved = now;
    }

    /// Something came.
    pub(super) fn received(&mut self, now: Instant) {
        self.borne = self.borne.max(self.unanswered).max(self.still(now));
        self.unanswered = Duration::ZERO;
        self.moved = now;
    }

    /// The session ends.
    pub(super) fn end(&self, now: Instant) -> Silence {
        Silence {
            last: self.still(now),
            unanswered: self.unanswered,
            borne: self.borne,
        }
    }

    fn still(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_proves_that_a_silence_was_borne() {
        let start = tokio::time::Instant::now().into_std();
        let at = |seconds| start + Duration::from_secs(seconds);
        let told = |listener: &Listener, now| {
            let Silence {
                last,
                unanswered,
                borne,
            } = listener.end(at(now));
            [last.as_secs(), unanswered.as_secs(), borne.as_secs()]
        };
        let mut listener = Listener::new(start);
        assert_eq!(told(&listener, 3), [3, 0, 0]);
        listener.sent(at(5));
        assert_eq!(told(&listener, 6), [1, 5, 0]);
        listener.received(at(7));
        assert_eq!(told(&listener, 7), [0, 0, 5]);
        // A second thing is sent right after the first, which nothing was heard of either.
        listener.sent(at(15));
        listener.sent(at(16));
        assert_eq!(told(&listener, 20), [4, 8, 5]);
        listener.received(at(27));
        assert_eq!(told(&listener, 28), [1, 0, 11]);
    }
}
