//! How much one user may have in flight, so that nobody starves the others.
//!
//! Owns the two counts of a user, of all their tokens together: requests that have a deadline, and
//! long-running ones. Owns not who the user is ([`super::tokens`]). Invariant: what a [`Slot`]
//! took, its drop gives back; beyond a limit a request is refused, never queued.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One user's requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    short: AtomicUsize,
    long: AtomicUsize,
}

/// The most that one user may have in flight.
#[derive(Debug, Clone, Copy)]
pub struct UserLimits {
    /// Requests that have a deadline.
    pub requests: usize,
    /// Watches, log followers, exec, attach and port-forward.
    pub long_running: usize,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self {
            requests: crate::limits::USER_REQUESTS,
            long_running: crate::limits::USER_LONG_RUNNING,
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Slot {
    usage: Arc<Usage>,
    long_running: bool,
}

impl Usage {
    fn count(&self, long_running: bool) -> &AtomicUsize {
        if long_running {
            &self.long
        } else {
            &self.short
        }
    }

    /// Takes a slot, if there is one.
    pub(crate) fn take(self: &Arc<Self>, long_running: bool, limits: UserLimits) -> Option<Slot> {
        let most = if long_running {
            limits.long_running
        } else {
            limits.requests
        };
        self.count(long_running)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < most).then_some(now + 1)
            })
            .ok()?;
        Some(Slot {
            usage: Arc::clone(self),
            long_running,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.usage
            .count(self.long_running)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: UserLimits = UserLimits {
        requests: 2,
        long_running: 1,
    };

    #[test]
    fn a_user_at_the_limit_is_refused_until_something_ends() {
        let usage = Arc::new(Usage::default());
        let first = usage.take(false, LIMITS).unwrap();
        let _second = usage.take(false, LIMITS).unwrap();
        assert!(usage.take(false, LIMITS).is_none());
        drop(first);
        assert!(usage.take(false, LIMITS).is_some());
    }

    #[test]
    fn watches_do_not_take_the_place_of_requests() {
        let usage = Arc::new(Usage::default());
        let _watch = usage.take(true, LIMITS).unwrap();
        assert!(usage.take(true, LIMITS).is_none());
        assert!(usage.take(false, LIMITS).is_some());
    }
}
