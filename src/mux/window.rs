//! Credit of one stream in one direction, both views of it.
//!
//! Owns the arithmetic (checked: CVE-2026-31814 was an overflow here) and the rule when to return
//! credit and when to widen a window. Owns not: the pool behind all windows (`Mux`).

use std::time::{Duration, Instant};

use crate::limits;
use crate::protocol::error::ErrorCode;

/// What this side may still send.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow {
    available: i64,
    first: u32,
    returned: u64,
}

impl SendWindow {
    pub(super) fn new(first: u32) -> Self {
        Self {
            available: i64::from(first),
            first,
            returned: 0,
        }
    }

    /// Bytes that may be sent; nothing while an event has overdrawn.
    pub(super) fn available(&self) -> usize {
        usize::try_from(self.available).unwrap_or(0)
    }

    /// Takes credit for something that was checked against `available`, or for an event.
    pub(super) fn take(&mut self, bytes: usize) {
        self.available -= i64::try_from(bytes).unwrap_or(i64::MAX / 2);
    }

    /// Adds credit. An increment of nothing is an error; says whether it was a small one.
    pub(super) fn add(&mut self, bytes: u32) -> Result<bool, ErrorCode> {
        if bytes == 0 {
            return Err(ErrorCode::ProtocolError);
        }
        let grown = self.available + i64::from(bytes);
        if grown > i64::from(limits::CREDIT_MOST) {
            return Err(ErrorCode::CreditOverflow);
        }
        self.available = grown;
        self.returned += u64::from(bytes);
        Ok(bytes < self.first / 4)
    }

    /// All that was added to the first window.
    pub(super) fn returned(&self) -> u64 {
        self.returned
    }

    /// Whether all that was sent has been returned.
    pub(super) fn is_whole(&self) -> bool {
        self.available >= i64::from(self.first)
    }
}

/// What the peer may still send, and when it is told that it may send more.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecvWindow {
    size: u32,
    credit: i64,
    unreturned: u32,
    epoch: Instant,
    epoch_bytes: u64,
}

impl RecvWindow {
    pub(super) fn new(first: u32, now: Instant) -> Self {
        Self {
            size: first,
            credit: i64::from(first),
            unreturned: 0,
            epoch: now,
            epoch_bytes: 0,
        }
    }

    /// Credit that the peer holds.
    pub(super) fn outstanding(&self) -> usize {
        usize::try_from(self.credit).unwrap_or(0)
    }

    /// Bytes arrived; they must fit.
    pub(super) fn received(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        if bytes > self.outstanding() {
            return Err(ErrorCode::CreditExceeded);
        }
        self.credit -= i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        Ok(())
    }

    /// An event arrived; some credit must have been left, and it may overdraw.
    pub(super) fn received_event(&mut self, bytes: usize) -> Result<(), ErrorCode> {
        if self.credit <= 0 {
            return Err(ErrorCode::CreditExceeded);
        }
        self.credit -= i64::try_from(bytes).unwrap_or(i64::MAX / 2);
        Ok(())
    }

    /// The reader took bytes. Returns the credit to give back now, if any: a quarter of the window
    /// at least, and more when half a window went in about a round trip and there is room.
    pub(super) fn consumed(
        &mut self,
        bytes: usize,
        now: Instant,
        rtt: Option<Duration>,
        may_widen: bool,
    ) -> Option<u32> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.unreturned = self.unreturned.saturating_add(bytes);
        self.epoch_bytes += u64::from(bytes);
        let mut widened = 0;
        if self.epoch_bytes >= u64::from(self.size / 2) {
            let quick = rtt.is_some_and(|rtt| now.duration_since(self.epoch) < rtt + rtt / 10);
            if quick && may_widen && self.size < limits::WINDOW_MOST {
                let size = self.size.saturating_mul(2).min(limits::WINDOW_MOST);
                widened = size - self.size;
                self.size = size;
            }
            self.epoch = now;
            self.epoch_bytes = 0;
        }
        if widened == 0 && self.unreturned < self.size / 4 {
            return None;
        }
        let grant = self.unreturned + widened;
        self.unreturned = 0;
        self.credit += i64::from(grant);
        Some(grant)
    }

    /// What was taken and not yet returned, if anything, to be returned now.
    pub(super) fn rest(&mut self) -> Option<u32> {
        let rest = std::mem::take(&mut self.unreturned);
        self.credit += i64::from(rest);
        (rest > 0).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_would_overflow_is_refused() {
        let mut window = SendWindow::new(limits::WINDOW_FIRST);
        assert_eq!(window.add(0), Err(ErrorCode::ProtocolError));
        assert_eq!(window.add(u32::MAX), Err(ErrorCode::CreditOverflow));
        assert_eq!(
            window.add(limits::CREDIT_MOST - limits::WINDOW_FIRST),
            Ok(false)
        );
        assert_eq!(window.add(1), Err(ErrorCode::CreditOverflow));
    }

    #[test]
    fn an_event_overdraws_once_and_then_waits() {
        let mut window = SendWindow::new(10);
        window.take(30);
        assert_eq!(window.available(), 0);
        assert_eq!(window.add(20), Ok(false));
        assert_eq!(window.available(), 0);
        assert_eq!(window.add(1), Ok(true));
        assert_eq!(window.available(), 1);
    }

    #[test]
    fn credit_comes_back_a_quarter_window_at_a_time() {
        let now = tokio::time::Instant::now().into_std();
        let mut window = RecvWindow::new(1000, now);
        assert_eq!(window.received(1001), Err(ErrorCode::CreditExceeded));
        assert_eq!(window.received(1000), Ok(()));
        assert_eq!(window.consumed(249, now, None, true), None);
        assert_eq!(window.consumed(1, now, None, true), Some(250));
        assert_eq!(window.outstanding(), 250);
    }

    #[test]
    fn a_window_doubles_while_half_of_it_goes_within_a_round_trip() {
        let now = tokio::time::Instant::now().into_std();
        let rtt = Some(Duration::from_millis(50));
        let mut window = RecvWindow::new(1000, now);
        assert_eq!(window.received(500), Ok(()));
        assert_eq!(
            window.consumed(500, now + Duration::from_millis(40), rtt, true),
            Some(1500)
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(window.received(1000), Ok(()));
        assert_eq!(window.consumed(1000, later, rtt, true), Some(1000));
    }
}
