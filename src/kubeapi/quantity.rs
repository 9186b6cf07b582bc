//! Kubernetes quantities (`250m`, `1.5Gi`, `12e6`), read exactly.
//!
//! Owns the grammar of `k8s.io/apimachinery/pkg/api/resource` and its rounding: away from zero, as
//! `kubectl top` does, so that something never reads as nothing. Invariant: the result is exact or
//! there is none; no float is involved. What the API server itself writes has at most 28 digits.

use crate::limits;

/// Billionths: the smallest part of a unit that a quantity can hold.
const NANO: u128 = 1_000_000_000;
/// The largest magnitude that the API server keeps.
const MOST: u128 = i64::MAX as u128;

/// Not a quantity, or one of more digits than anybody writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Kubernetes quantity")]
pub struct NotQuantity;

/// A quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    /// In billionths; at most 2^63-1 whole units in magnitude.
    nanos: i128,
}

impl Quantity {
    /// Reads one.
    ///
    /// # Errors
    /// When `text` is no quantity, or longer than [`limits::QUANTITY_BYTES`].
    pub fn parse(text: &str) -> Result<Self, NotQuantity> {
        if text.len() > limits::QUANTITY_BYTES {
            return Err(NotQuantity);
        }
        let (negative, text) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(NotQuantity);
        }
        let magnitude = nanos(whole, fraction, Scale::parse(suffix)?)?;
        let magnitude = i128::try_from(magnitude.min(MOST * NANO)).map_err(|_| NotQuantity)?;
        Ok(Self {
            nanos: if negative { -magnitude } else { magnitude },
        })
    }

    /// The sum of two, within what a quantity can hold.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let most = i128::from(i64::MAX) * 1_000_000_000;
        Self {
            nanos: (self.nanos + other.nanos).clamp(-most, most),
        }
    }

    /// Whole units (bytes, pods), rounded away from zero.
    #[must_use]
    pub fn units(self) -> i64 {
        self.rounded(1_000_000_000)
    }

    /// Thousandths (millicores), rounded away from zero.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.rounded(1_000_000)
    }

    fn rounded(self, part: i128) -> i64 {
        let away = if self.nanos < 0 {
            -(part - 1)
        } else {
            part - 1
        };
        let rounded = (self.nanos + away) / part;
        i64::try_from(rounded).unwrap_or(if self.nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What a suffix multiplies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Ten to the power of it.
    Decimal(i32),
    /// Two to the power of it.
    Binary(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, NotQuantity> {
        Ok(match suffix {
            "" => Self::Decimal(0),
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            other => {
                let power = other.strip_prefix(['e', 'E']).ok_or(NotQuantity)?;
                let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(NotQuantity);
                }
                Self::Decimal(power.parse().map_err(|_| NotQuantity)?)
            }
        })
    }
}

/// `whole.fraction` times its scale in billionths, rounded up, and capped somewhere above
/// [`MOST`] units.
fn nanos(whole: &str, fraction: &str, scale: Scale) -> Result<u128, NotQuantity> {
    let fraction = fraction.trim_end_matches('0');
    let mut digits: u128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        digits = digits
            .checked_mul(10)
            .and_then(|digits| digits.checked_add(u128::from(digit - b'0')))
            .ok_or(NotQuantity)?;
    }
    let places = i64::try_from(fraction.len()).map_err(|_| NotQuantity)?;
    let (digits, power) = match scale {
        Scale::Decimal(power) => (digits, i64::from(power)),
        // Beyond 128 bits there may still be places to take off again: then it is refused.
        Scale::Binary(bits) => (digits.checked_mul(1 << bits).ok_or(NotQuantity)?, 0),
    };
    let power = power - places + 9;
    if digits == 0 {
        return Ok(0);
    }
    let ten = |power: i64| {
        u32::try_from(power)
            .ok()
            .and_then(|power| 10_u128.checked_pow(power))
    };
    Ok(if power >= 0 {
        ten(power)
            .and_then(|ten| digits.checked_mul(ten))
            .unwrap_or(u128::MAX)
    } else {
        // Less than a billionth is still one.
        ten(-power).map_or(1, |ten| digits.div_ceil(ten))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos_of(text: &str) -> i128 {
        Quantity::parse(text).unwrap().nanos
    }

    #[test]
    fn every_suffix_means_what_kubernetes_says() {
        let unit = 1_000_000_000_i128;
        for (text, nanos) in [
            ("0", 0),
            ("1", unit),
            ("1n", 1),
            ("1u", 1_000),
            ("1m", 1_000_000),
            ("1k", 1_000 * unit),
            ("1M", 1_000_000 * unit),
            ("1G", unit * unit),
            ("1T", 1_000 * unit * unit),
            ("1P", 1_000_000 * unit * unit),
            ("1E", unit * unit * unit),
            ("1Ki", 1_024 * unit),
            ("1Mi", (1 << 20) * unit),
            ("1Gi", (1 << 30) * unit),
            ("1Ti", (1 << 40) * unit),
            ("1Pi", (1 << 50) * unit),
            ("1Ei", (1 << 60) * unit),
            ("12e6", 12_000_000 * unit),
            ("12E6", 12_000_000 * unit),
            ("12e+6", 12_000_000 * unit),
            ("1e-9", 1),
            ("1.5Gi", 3 * (1 << 29) * unit),
            (".5", unit / 2),
            ("5.", 5 * unit),
            ("+1.50", 3 * unit / 2),
            ("-250m", -unit / 4),
            ("0.1n", 1),
            ("-0.1n", -1),
            ("1e-40", 1),
            ("0e99", 0),
        ] {
            assert_eq!(nanos_of(text), nanos, "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_capped_as_the_api_server_does() {
        for text in ["9223372036854775808", "16Ei", "1e40", "1e2000000000", "10E"] {
            assert_eq!(Quantity::parse(text).unwrap().units(), i64::MAX, "{text}");
        }
        assert_eq!(Quantity::parse("-16Ei").unwrap().units(), -i64::MAX);
        assert_eq!(Quantity::parse("1E").unwrap().millis(), i64::MAX);
        assert_eq!(Quantity::parse("-1E").unwrap().millis(), i64::MIN);
    }

    #[test]
    fn rounding_goes_away_from_zero() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!(of("12345678n").millis(), 13);
        assert_eq!(of("1n").millis(), 1);
        assert_eq!(of("-1n").millis(), -1);
        assert_eq!(of("2").millis(), 2_000);
        assert_eq!(of("1500m").units(), 2);
        assert_eq!(of("-1500m").units(), -2);
        assert_eq!(of("128974848").units(), 128_974_848);
        assert_eq!(of("123Mi").units(), 128_974_848);
    }

    #[test]
    fn sums_stay_within_what_a_quantity_can_hold() {
        let of = |text| Quantity::parse(text).unwrap();
        assert_eq!(of("1n").plus(of("999999999n")), of("1"));
        assert_eq!(of("9E").plus(of("9E")).units(), i64::MAX);
        assert_eq!(of("-9E").plus(of("-9E")).units(), -i64::MAX);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        let long = "1".repeat(limits::QUANTITY_BYTES + 1);
        for text in [
            "",
            ".",
            "-",
            "+",
            "m",
            "1x",
            "1 ",
            " 1",
            "1ki",
            "1KI",
            "1mi",
            "1e",
            "1e+",
            "1ee1",
            "1.2.3",
            "--1",
            "1e1.5",
            "0x10",
            "١",
            "1Kii",
            "1e99999999999",
            &long,
        ] {
            assert_eq!(Quantity::parse(text), Err(NotQuantity), "{text:?}");
        }
        // At the bound it is still read: a number of so many digits is only too large for it.
        let most = format!("{}1", "0".repeat(limits::QUANTITY_BYTES - 1));
        assert_eq!(Quantity::parse(&most).unwrap().units(), 1);
    }

    /// Long multiplication and division on decimal digits, without any of the tricks above.
    fn oracle(digits: &str, places: usize, scale: Scale) -> i128 {
        let mut number: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
        let mut point = i64::try_from(number.len() - places).unwrap();
        match scale {
            Scale::Binary(bits) => {
                for _ in 0..bits {
                    let mut carry = 0;
                    for digit in number.iter_mut().rev() {
                        let doubled = *digit * 2 + carry;
                        *digit = doubled % 10;
                        carry = doubled / 10;
                    }
                    if carry > 0 {
                        number.insert(0, carry);
                        point += 1;
                    }
                }
            }
            Scale::Decimal(power) => point += i64::from(power),
        }
        let end = point + 9;
        let mut nanos: i128 = 0;
        for at in 0..end.max(0) {
            let digit = usize::try_from(at).ok().and_then(|at| number.get(at));
            nanos = nanos
                .saturating_mul(10)
                .saturating_add(i128::from(digit.copied().unwrap_or(0)));
        }
        let cut = usize::try_from(end.max(0)).unwrap().min(number.len());
        if number[cut..].iter().any(|digit| *digit > 0) {
            nanos = nanos.saturating_add(1);
        }
        nanos.min(i128::try_from(MOST * NANO).unwrap())
    }

    proptest! {
        #[test]
        fn it_is_exact_for_every_suffix(
            digits in "[0-9]{1,20}",
            places in 0_usize..20,
            suffix in "(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2})?",
        ) {
            let places = places.min(digits.len());
            let text = format!(
                "{}.{}{suffix}",
                &digits[..digits.len() - places],
                &digits[digits.len() - places..]
            );
            let wanted = oracle(&digits, places, Scale::parse(&suffix).unwrap());
            match Quantity::parse(&text) {
                Ok(read) => prop_assert_eq!(read.nanos, wanted, "{}", text),
                // Only what no API server writes may be refused.
                Err(NotQuantity) => prop_assert!(digits.len() + suffix.len() > 18, "{}", text),
            }
        }

        #[test]
        fn it_never_panics(text in "\\PC{0,40}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn what_the_api_server_writes_is_never_refused(
            value in any::<i64>(),
            suffix in "(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?",
        ) {
            let read = Quantity::parse(&format!("{value}{suffix}"));
            prop_assert!(read.is_ok());
        }
    }
}
