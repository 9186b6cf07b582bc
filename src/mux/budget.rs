//! Budgets on what only an attacker does (P-48).
//!
//! Owns a token bucket for each kind of useless work. Honest load never touches them: cancelling
//! an answered stream and moving real bytes are free.

use std::time::Instant;

use super::signal::Fault;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    burst: u32,
    per_second: u32,
    at: Instant,
}

impl Bucket {
    fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self {
            left: burst,
            burst,
            per_second,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        if seconds > 0 {
            let refill = u32::try_from(seconds)
                .unwrap_or(u32::MAX)
                .saturating_mul(self.per_second);
            self.left = self.left.saturating_add(refill).min(self.burst);
            self.at = now;
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

/// The budgets of one session.
#[derive(Debug)]
pub(super) struct Budgets {
    unanswered: Bucket,
    empty: Bucket,
    small: Bucket,
    pings: Bucket,
    late: Bucket,
    unknown: Bucket,
}

impl Budgets {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            // A caller's Ctrl-C before the head comes is honest, now and then a thousand at once.
            unanswered: Bucket::new(2_048, 256, now),
            // We never send an empty DATA without FIN; another implementation may, rarely.
            empty: Bucket::new(256, 8, now),
            // A quarter window is the rule; the last update of a stream may be smaller.
            small: Bucket::new(4_096, 256, now),
            // One ping in 15 s is the rule, one in 2 s a peer that learns its path.
            pings: Bucket::new(32, 1, now),
            // Frames that crossed an end on the wire are covered by the tombstone's credit.
            late: Bucket::new(4_096, 256, now),
            // A newer peer may tell us things that we do not know.
            unknown: Bucket::new(1_024, 64, now),
        }
    }

    pub(super) fn unanswered(&mut self, now: Instant) -> Result<(), Fault> {
        spend(
            &mut self.unanswered,
            now,
            "too many streams were reset before any answer",
        )
    }

    pub(super) fn empty(&mut self, now: Instant) -> Result<(), Fault> {
        spend(&mut self.empty, now, "too many empty data frames")
    }

    pub(super) fn small(&mut self, now: Instant) -> Result<(), Fault> {
        spend(
            &mut self.small,
            now,
            "too many window updates below a quarter of the window",
        )
    }

    pub(super) fn ping(&mut self, now: Instant) -> Result<(), Fault> {
        spend(&mut self.pings, now, "too many pings")
    }

    pub(super) fn late(&mut self, now: Instant) -> Result<(), Fault> {
        spend(
            &mut self.late,
            now,
            "too many frames for streams that have ended",
        )
    }

    pub(super) fn unknown(&mut self, now: Instant) -> Result<(), Fault> {
        spend(&mut self.unknown, now, "too many unknown messages")
    }
}

fn spend(bucket: &mut Bucket, now: Instant, message: &'static str) -> Result<(), Fault> {
    if bucket.take(now) {
        Ok(())
    } else {
        Err(Fault::flood(message))
    }
}
