//! The liveness check: a ping that must be echoed (P-40, P-41).
//!
//! Owns when to ping, when the peer is dead, and the round trip. One ping is under way at a time.

use std::time::{Duration, Instant};

use super::signal::Fault;
use crate::protocol::error::ErrorCode;

#[derive(Debug)]
pub(super) struct Heartbeat {
    every: Duration,
    within: Duration,
    next: Instant,
    waiting: Option<(u32, Instant)>,
    nonce: u32,
    rtt: Option<Duration>,
}

impl Heartbeat {
    /// The first ping goes at once: it measures the round trip that window growth needs.
    pub(super) fn new(every: Duration, within: Duration, now: Instant) -> Self {
        Self {
            every,
            within,
            next: now,
            waiting: None,
            nonce: 0,
            rtt: None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.waiting
            .map_or(self.next, |(_, sent)| sent + self.within)
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The nonce of a ping to send now, if one is due.
    pub(super) fn tick(&mut self, now: Instant) -> Result<Option<u32>, Fault> {
        if let Some((_, sent)) = self.waiting {
            if now >= sent + self.within {
                return Err(Fault {
                    code: ErrorCode::PingTimeout,
                    message: "a ping was not echoed in time",
                });
            }
            return Ok(None);
        }
        if now < self.next {
            return Ok(None);
        }
        self.nonce = self.nonce.wrapping_add(1);
        self.waiting = Some((self.nonce, now));
        self.next = now + self.every;
        Ok(Some(self.nonce))
    }

    /// An echo came. Anything but the one awaited proves nothing and is left to the budget.
    pub(super) fn pong(&mut self, nonce: u32, now: Instant) -> bool {
        match self.waiting {
            Some((awaited, sent)) if awaited == nonce => {
                self.waiting = None;
                self.rtt = Some(now.saturating_duration_since(sent));
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_is_found_within_the_interval_and_the_echo_time() {
        let start = tokio::time::Instant::now().into_std();
        let at = |s| start + Duration::from_secs(s);
        let mut beat = Heartbeat::new(Duration::from_secs(15), Duration::from_secs(10), start);
        assert_eq!(beat.tick(start), Ok(Some(1)));
        assert!(beat.pong(1, at(1)));
        assert_eq!(beat.rtt(), Some(Duration::from_secs(1)));
        assert_eq!(beat.tick(at(14)), Ok(None));
        assert_eq!(beat.tick(at(15)), Ok(Some(2)));
        assert!(!beat.pong(1, at(16)), "an old echo proves nothing");
        assert_eq!(beat.tick(at(24)), Ok(None));
        assert_eq!(beat.tick(at(25)).unwrap_err().code, ErrorCode::PingTimeout);
    }
}
