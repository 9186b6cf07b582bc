//! The stamps of log lines: RFC 3339 with up to nine digits, in any offset.
//!
//! Owns reading one from the front of a line and writing whole seconds for `sinceTime`. Owns not:
//! any clock. Pure. Invariant: what is read is within the years 1 to 9999 and fits 64 bits of
//! nanoseconds, so that no later arithmetic on seconds can overflow.

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub i64);

/// The longest form that is read: `2026-11-24T11:41:00.123456789+02:00`.
pub const LONGEST: usize = 35;

const SECOND: i64 = 1_000_000_000;

impl Stamp {
    /// The whole second that it lies in.
    #[must_use]
    pub const fn second(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// As RFC 3339 in UTC, with nine digits.
    #[must_use]
    pub fn text(self) -> String {
        let mut text = seconds_text(self.second());
        text.truncate(19);
        let nanos = self.0.rem_euclid(SECOND);
        format!("{text}.{nanos:09}Z")
    }

    /// Reads a stamp that is all of `text`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (stamp, length) = Self::front(text)?;
        (length == text.len()).then_some(stamp)
    }

    /// Reads a stamp from the front of `text`, and says how long it is.
    #[must_use]
    pub fn front(text: &[u8]) -> Option<(Self, usize)> {
        let date = text.get(..19)?;
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if marks.iter().any(|(at, mark)| date[*at] != *mark) {
            return None;
        }
        let year = number(&date[..4], 1, 9999)?;
        let month = number(&date[5..7], 1, 12)?;
        let day = number(&date[8..10], 1, 31)?;
        let hour = number(&date[11..13], 0, 23)?;
        let minute = number(&date[14..16], 0, 59)?;
        let second = number(&date[17..19], 0, 60)?;
        let mut at = 19;
        let mut nanos = 0;
        if text.get(at) == Some(&b'.') {
            let digits = text[at + 1..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            nanos = number(&text[at + 1..at + 1 + digits], 0, SECOND - 1)?;
            for _ in digits..9 {
                nanos *= 10;
            }
            at += 1 + digits;
        }
        let offset = match text.get(at)? {
            b'Z' => {
                at += 1;
                0
            }
            sign @ (b'+' | b'-') => {
                let zone = text.get(at + 1..at + 6)?;
                if zone[2] != b':' {
                    return None;
                }
                let seconds = number(&zone[..2], 0, 23)? * 3600 + number(&zone[3..], 0, 59)? * 60;
                at += 6;
                if *sign == b'-' { -seconds } else { seconds }
            }
            _ => return None,
        };
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        let nanos = seconds.checked_mul(SECOND)?.checked_add(nanos)?;
        Some((Self(nanos), at))
    }
}

fn number(digits: &[u8], least: i64, most: i64) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    (least..=most).contains(&value).then_some(value)
}

/// Days from the epoch to a date of the proleptic Gregorian calendar: years begin in March, so that
/// a leap day is a year's last.
pub(in crate::cluster) const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The first and last second that [`seconds_text`] can write.
pub const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Whole seconds as RFC 3339 in UTC; clamped to [`SECONDS`].
#[must_use]
pub fn seconds_text(seconds: i64) -> String {
    let seconds = seconds.clamp(*SECONDS.start(), *SECONDS.end());
    let (date, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = date + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn stamps_of_every_form_are_read() {
        let at = |text: &str| Stamp::parse(text.as_bytes()).map(|stamp| stamp.0);
        let base = 1_764_000_000 * SECOND;
        assert_eq!(at("2025-11-24T16:00:00Z"), Some(base));
        assert_eq!(at("2025-11-24T16:00:00.5Z"), Some(base + SECOND / 2));
        assert_eq!(at("2025-11-24T18:00:00.000000001+02:00"), Some(base + 1));
        assert_eq!(at("2025-11-24T11:30:00-04:30"), Some(base));
        for other in [
            "",
            "2025-11-24",
            "2025-11-24 16:00:00Z",
            "2025-13-24T16:00:00Z",
            "2025-11-24T16:00:00",
            "2025-11-24T16:00:00.Z",
            "2025-11-24T16:00:00.1234567890Z",
            "2025-11-24T16:00:00Z ",
            "2025-11-24T16:00:00+0200",
            "0000-11-24T16:00:00Z",
            "9999-11-24T16:00:00Z",
            "2025-11-2\u{b2}T16:00:00Z",
        ] {
            assert_eq!(at(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_and_writing_agree_with_a_calendar_of_others(
            seconds in -9_000_000_000i64..9_000_000_000, nanos in 0i64..SECOND,
        ) {
            let calendar = Timestamp::from_second(seconds).unwrap();
            let text = seconds_text(seconds);
            prop_assert_eq!(&text, &calendar.to_string());
            let text = format!("{}.{nanos:09}Z", &text[..19]);
            let stamp = Stamp(seconds * SECOND + nanos);
            prop_assert_eq!(Stamp::parse(text.as_bytes()), Some(stamp));
            prop_assert_eq!(stamp.text(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..48)) {
            let _ = Stamp::front(&text);
        }

        #[test]
        fn no_second_makes_it_panic(seconds in any::<i64>()) {
            prop_assert_eq!(seconds_text(seconds).len(), 20);
        }
    }
}
