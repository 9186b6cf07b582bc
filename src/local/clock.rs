//! The wall clock, as answers show it: RFC 3339 in UTC, to the millisecond.
//!
//! Owns the reading of it, once. Invariant: times of one process are in the order of their moments,
//! however the wall clock is set meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::logs::stamp::Stamp;

/// The moment that all others are reckoned from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall: Duration,
    at: Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "people read these times, and compare them with those of logs"
    )]
    pub(super) fn new() -> Self {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            wall: wall.unwrap_or_default(),
            at: Instant::now(),
        }
    }

    /// Milliseconds since 1970 at the start.
    pub(super) fn epoch(&self) -> u64 {
        u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn now(&self) -> String {
        self.text(Instant::now())
    }

    pub(super) fn text(&self, moment: Instant) -> String {
        let wall = match moment.checked_duration_since(self.at) {
            Some(after) => self.wall + after,
            None => self.wall.saturating_sub(self.at - moment),
        };
        let nanos = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX);
        let mut text = Stamp(nanos).text();
        text.truncate("2026-11-24T11:41:00.123".len());
        text.push('Z');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_wall_and_in_order() {
        let clock = Clock {
            wall: Duration::from_millis(1_764_000_000_250),
            at: Instant::now(),
        };
        assert_eq!(clock.text(clock.at), "2025-11-24T16:00:00.250Z");
        let later = clock.at + Duration::from_secs(60);
        assert_eq!(clock.text(later), "2025-11-24T16:01:00.250Z");
        if let Some(before) = clock.at.checked_sub(Duration::from_millis(251)) {
            assert_eq!(clock.text(before), "2025-11-24T15:59:59.999Z");
        }
    }
}
