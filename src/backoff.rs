//! How long to wait before the next attempt: a window with jitter, over `backon` without its own.
//!
//! Owns the schedule of P-14 and the reading of `Retry-After` hints. Pure: the caller brings the
//! randomness and does the waiting. Invariants: no wait is above its cap plus a quarter; nothing a
//! peer says makes a wait shorter than the floor or longer than 15 minutes and a quarter; only
//! [`Backoff::reset`], called on proof of an established session, starts the schedule anew.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::{Rng, RngExt};

use crate::limits;

/// Within which times to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    first: Duration,
    cap: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(limits::RECONNECT_FIRST, limits::RECONNECT_CAP)
    }
}

impl Window {
    /// A window, clamped to what is sane: neither a hot loop nor an agent that never comes back.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let cap = cap.clamp(limits::RETRY_AFTER_LEAST, limits::RETRY_AFTER_MOST);
        Self {
            first: first.clamp(limits::RECONNECT_FIRST_LEAST, cap),
            cap,
        }
    }

    /// As [`Window::new`], from milliseconds.
    pub fn from_millis(first: u64, cap: u64) -> Self {
        Self::new(Duration::from_millis(first), Duration::from_millis(cap))
    }

    /// Within what time the first attempt comes.
    pub const fn first(self) -> Duration {
        self.first
    }

    /// No later attempt waits longer.
    pub const fn cap(self) -> Duration {
        self.cap
    }
}

/// How hurried the next attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Up to the window's cap.
    Usual,
    /// Only an operator can mend it: the waits grow to 5 minutes.
    Slow,
}

/// The state of the schedule.
#[derive(Debug)]
pub struct Backoff {
    window: Window,
    attempts: u32,
    doubling: ExponentialBackoff,
}

impl Backoff {
    /// A schedule at its start.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            attempts: 0,
            doubling: doubling(window, 0),
        }
    }

    /// Uses another window from the next wait on; how far the schedule has come stays.
    pub fn set_window(&mut self, window: Window) {
        if self.window != window {
            self.window = window;
            self.doubling = doubling(window, self.attempts.saturating_sub(1));
        }
    }

    /// The window in use.
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Starts anew: a session lived long enough to prove that connecting works.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.doubling = doubling(self.window, 0);
    }

    /// How many waits there were since the start or the last reset.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next wait.
    pub fn next(&mut self, pace: Pace, rng: &mut impl Rng) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts == 1 {
            let least = limits::RECONNECT_LEAST.min(self.window.first);
            return rng.random_range(least..=self.window.first);
        }
        let most = match pace {
            Pace::Usual => self.window.cap,
            Pace::Slow => limits::RECONNECT_SLOW.max(self.window.cap),
        };
        let most = self.doubling.next().unwrap_or(most).min(most);
        rng.random_range(most / 3..=most)
    }

    /// The next wait when the peer said how long: never less than that, and up to a quarter more,
    /// so that those who were told the same do not come back together.
    pub fn after(&mut self, hint: Duration, rng: &mut impl Rng) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let wait = hint.clamp(limits::RETRY_AFTER_LEAST, limits::RETRY_AFTER_MOST);
        wait + rng.random_range(Duration::ZERO..=wait / 4)
    }
}

/// `2·first`, doubling for ever; the caller applies its own cap.
fn doubling(window: Window, done: u32) -> ExponentialBackoff {
    let most = limits::RECONNECT_SLOW.max(window.cap);
    let mut schedule = ExponentialBuilder::new()
        .with_min_delay((window.first * 2).min(most))
        .with_max_delay(most)
        .with_factor(2.0)
        .without_max_times()
        .build();
    // From 1 ms to 15 min are 20 doublings.
    for _ in 0..done.min(32) {
        let _ = schedule.next();
    }
    schedule
}

/// Reads a `Retry-After`: seconds, or a date of HTTP. A date is measured against the one that the same
/// answer gives as its own (`Date`), because the wall clock here may be wrong; without that it is
/// answered by `None`, and the schedule's own wait is near enough.
pub fn retry_after(value: &str, said: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long", which is clamped anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let said = httpdate::parse_http_date(said?.trim()).ok()?;
    // One that has passed asks for no wait, which is clamped too.
    Some(until.duration_since(said).unwrap_or_default())
}

/// The same, from the headers of an answer.
pub fn retry_after_of(headers: &http::HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    retry_after(text(http::header::RETRY_AFTER)?, text(http::header::DATE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    #[test]
    fn a_lone_agent_comes_back_within_its_first_window_and_not_at_once() {
        for seed in 0..1000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let wait = Backoff::new(Window::default()).next(Pace::Usual, &mut rng);
            assert!((Duration::from_millis(250)..=Duration::from_secs(1)).contains(&wait));
        }
    }

    #[test]
    fn later_waits_double_and_stay_between_a_third_and_the_whole() {
        let mut rng = rng();
        let mut backoff = Backoff::new(Window::default());
        let _ = backoff.next(Pace::Usual, &mut rng);
        for most in [2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.next(Pace::Usual, &mut rng);
            let most = Duration::from_secs(most);
            assert!(wait >= most / 3 && wait <= most, "{wait:?} of {most:?}");
        }
    }

    #[test]
    fn ten_thousand_agents_do_not_come_in_one_second() {
        let mut per_second = [0u32; 11];
        for seed in 0..10_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let window = Window::from_millis(10_000, 60_000);
            let wait = Backoff::new(window).next(Pace::Usual, &mut rng);
            per_second[usize::try_from(wait.as_secs()).unwrap()] += 1;
        }
        assert!(per_second.iter().all(|&n| n <= 1_250), "{per_second:?}");
    }

    #[test]
    fn a_slow_pace_grows_to_five_minutes_only() {
        let mut rng = rng();
        let mut backoff = Backoff::new(Window::default());
        let longest = (0..64).map(|_| backoff.next(Pace::Slow, &mut rng)).max();
        let longest = longest.unwrap();
        assert!(longest > Duration::from_secs(200) && longest <= Duration::from_secs(300));
    }

    #[test]
    fn a_new_window_keeps_how_far_the_schedule_has_come() {
        let mut rng = rng();
        let mut backoff = Backoff::new(Window::from_millis(1_000, 60_000));
        for _ in 0..4 {
            let _ = backoff.next(Pace::Usual, &mut rng);
        }
        backoff.set_window(Window::from_millis(2_000, 60_000));
        // The fifth wait: m = min(60, 2^4 · 2) s.
        let wait = backoff.next(Pace::Usual, &mut rng);
        assert!(wait >= Duration::from_secs(32) / 3 && wait <= Duration::from_secs(32));
        backoff.reset();
        assert!(backoff.next(Pace::Usual, &mut rng) <= Duration::from_secs(2));
    }

    #[test]
    fn hints_in_seconds_are_read_and_anything_else_is_not() {
        let retry_after = |value: &str| retry_after(value, Some("Wed, 21 Oct 2026 07:28:00 GMT"));
        assert_eq!(retry_after(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("0"), Some(Duration::ZERO));
        let huge = "9".repeat(99);
        assert_eq!(retry_after(&huge), Some(Duration::from_secs(u64::MAX)));
        for other in ["", "-1", "1.5", "soon", "Wed, 21 Oct", "+3"] {
            assert_eq!(retry_after(other), None, "{other}");
        }
    }

    #[test]
    fn a_date_is_measured_by_the_clock_of_the_answer() {
        let said = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        let minute = retry_after("Wed, 21 Oct 2026 07:29:00 GMT", said);
        assert_eq!(minute, Some(Duration::from_secs(60)));
        let passed = retry_after("Wed, 21 Oct 2026 07:27:00 GMT", said);
        assert_eq!(passed, Some(Duration::ZERO));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:29:00 GMT", None), None);
        let broken = retry_after("Wed, 21 Oct 2026 07:29:00 GMT", Some("today"));
        assert_eq!(broken, None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading_of_hints(value in ".{0,64}", said in ".{0,64}") {
            let _ = retry_after(&value, Some(&said));
        }

        #[test]
        fn whatever_a_peer_says_no_wait_is_a_hot_loop_or_for_ever(
            first in any::<u64>(), cap in any::<u64>(), hint in any::<u64>(), seed in any::<u64>(),
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(Window::from_millis(first, cap));
            let mut total = Duration::ZERO;
            for _ in 0..20 {
                let wait = backoff.next(Pace::Usual, &mut rng);
                prop_assert!(wait <= limits::RETRY_AFTER_MOST);
                total += wait;
            }
            prop_assert!(total >= Duration::from_secs(3), "20 attempts in {:?}", total);
            let wait = backoff.after(Duration::from_millis(hint), &mut rng);
            prop_assert!(wait >= limits::RETRY_AFTER_LEAST);
            prop_assert!(wait <= limits::RETRY_AFTER_MOST * 5 / 4);
        }
    }
}
