//! The sample cluster's wall clock, and how Kubernetes writes times.
//!
//! Owns: milliseconds since the epoch as the one unit of time, their three textual forms, and the
//! short ages of a `kubectl get`. Owns not: what happens when (`life`).
//! Invariant: only [`now`] reads a clock; everything else is a function of its arguments.

use k8s_openapi::jiff::Timestamp;

/// Milliseconds since the Unix epoch.
pub(super) type Millis = i64;

/// One second, in the unit of this module.
pub(super) const SECOND: Millis = 1_000;
/// One minute, in the unit of this module.
pub(super) const MINUTE: Millis = 60 * SECOND;
/// One hour, in the unit of this module.
pub(super) const HOUR: Millis = 60 * MINUTE;
/// One day, in the unit of this module.
pub(super) const DAY: Millis = 24 * HOUR;

/// The wall clock. Objects carry wall-clock times, so a monotonic clock would not do.
pub(super) fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// `metav1.Time`: whole seconds, in UTC.
pub(super) fn rfc3339(at: Millis) -> String {
    stamp(at.div_euclid(SECOND), "")
}

/// `metav1.MicroTime`: always six digits of fraction.
pub(super) fn rfc3339_micro(at: Millis) -> String {
    stamp(
        at.div_euclid(SECOND),
        &format!(".{:03}000", at.rem_euclid(SECOND)),
    )
}

/// The stamp of a log line: always nine digits of fraction, as containerd writes them.
pub(super) fn rfc3339_nano(at: Millis) -> String {
    stamp(
        at.div_euclid(SECOND),
        &format!(".{:03}000000", at.rem_euclid(SECOND)),
    )
}

fn stamp(seconds: i64, fraction: &str) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut text = at.to_string();
    text.pop();
    text.push_str(fraction);
    text.push('Z');
    text
}

/// Reads an RFC 3339 time.
pub(super) fn parse(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(|at| at.as_millisecond())
}

/// The short form of a duration that the API server prints in tables (`3m10s`, `5d`).
pub(super) fn human(duration: Millis) -> String {
    let seconds = duration.div_euclid(SECOND);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..=-2 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(hours / 24, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        _ => pair(hours / 24 / 365, "y", hours / 24 % 365, "d"),
    }
}

fn pair(major: i64, major_unit: &str, minor: i64, minor_unit: &str) -> String {
    if minor == 0 {
        format!("{major}{major_unit}")
    } else {
        format!("{major}{major_unit}{minor}{minor_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_kubernetes_writes() {
        let at = 1_700_000_000_007;
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339_micro(at), "2023-11-14T22:13:20.007000Z");
        assert_eq!(rfc3339_nano(at), "2023-11-14T22:13:20.007000000Z");
        assert_eq!(parse(&rfc3339_nano(at)), Some(at));
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn ages_shorten_as_they_grow() {
        let ages = [
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (120, "2m"),
            (700, "11m"),
        ];
        for (seconds, text) in ages {
            assert_eq!(human(seconds * SECOND), text);
        }
        assert_eq!(human(3 * HOUR + 4 * MINUTE), "3h4m");
        assert_eq!(human(47 * HOUR), "47h");
        assert_eq!(human(2 * DAY + HOUR), "2d1h");
        assert_eq!(human(12 * DAY), "12d");
        assert_eq!(human(800 * DAY), "2y70d");
        assert_eq!(human(-5 * SECOND), "<invalid>");
    }
}
