//! The wall clock as Kubernetes writes it: `2026-11-24T12:00:00Z`.
//!
//! Owns the look at the wall clock for what is written into objects. Invariant: years have four
//! digits.

use super::logs::stamp::seconds_text;

/// Now, in whole seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "objects hold the wall clock, as those do that kubectl writes"
)]
pub(crate) fn now() -> String {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    rfc3339(since.map_or(0, |since| since.as_secs()))
}

/// Seconds since 1970; the calendar is the one that logs are read with.
fn rfc3339(seconds: u64) -> String {
    seconds_text(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn seconds_are_written_as_kubernetes_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_795_521_600, "2026-11-24T12:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
