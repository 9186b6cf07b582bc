//! Which failed attempts are worth a line of the log.
//!
//! Owns what was said last. Invariants: pure; a failure that differs from the last one is always
//! said, one that repeats at most once in [`limits::FAILURE_SAID`], with how many were not; what is
//! counted and shown as the status is every attempt.

use std::time::Instant;

use crate::limits;

/// The failures since something else happened.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    cause: &'static str,
    message: String,
    at: Instant,
    unsaid: u32,
}

impl Repeats {
    /// An attempt failed; `Some` is to be said, with how often it was not since the last time.
    pub(super) fn failed(
        &mut self,
        cause: &'static str,
        message: &str,
        now: Instant,
    ) -> Option<u32> {
        let mut unsaid = 0;
        if let Some(said) = &mut self.said
            && said.cause == cause
            && said.message == message
        {
            if now.saturating_duration_since(said.at) < limits::FAILURE_SAID {
                said.unsaid = said.unsaid.saturating_add(1);
                return None;
            }
            unsaid = said.unsaid;
        }
        self.said = Some(Said {
            cause,
            message: message.to_owned(),
            at: now,
            unsaid: 0,
        });
        Some(unsaid)
    }

    /// A session stood: the next failure is news.
    pub(super) fn over(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_repeats_is_said_once_a_minute_and_counted_what_is_new_at_once() {
        let start = tokio::time::Instant::now().into_std();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut repeats = Repeats::default();
        assert_eq!(repeats.failed("connect", "a", at(0)), Some(0));
        assert_eq!(repeats.failed("connect", "a", at(1)), None);
        assert_eq!(repeats.failed("connect", "a", at(59)), None);
        assert_eq!(repeats.failed("connect", "b", at(59)), Some(0));
        assert_eq!(repeats.failed("dns", "b", at(59)), Some(0));
        assert_eq!(repeats.failed("dns", "b", at(100)), None);
        assert_eq!(repeats.failed("dns", "b", at(119)), Some(1));
        assert_eq!(repeats.failed("dns", "b", at(120)), None);
        repeats.over();
        assert_eq!(repeats.failed("dns", "b", at(121)), Some(0));
    }
}
