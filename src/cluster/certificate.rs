//! What a person wants to know of a server's certificate: who issued it, and until when it holds.
//!
//! Owns the reading of just these fields out of DER (RFC 5280, section 4.1), by hand: x509-parser
//! would bring asn1-rs, der-parser, nom, time and more for the three of them. Owns not: whether a
//! certificate is to be trusted, which rustls decides. Invariant: pure; anything that is not of the
//! form reads as nothing, and nothing here panics or loops on it.

pub(super) use super::logs::stamp::days;
use super::logs::stamp::seconds_text;

/// A certificate's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The issuer's common name, or its organisation.
    pub issuer: String,
    /// From when it holds, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

/// A moment in seconds since 1970, as `2026-11-24 15:04 UTC`.
#[must_use]
pub fn date(seconds: i64) -> String {
    let text = seconds_text(seconds);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, explicitly tagged.
const VERSION: u8 = 0xa0;
/// id-at-commonName, id-at-organizationName.
const NAMES: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];
/// Longest name that is shown.
const NAME_CHARS: usize = 128;

impl Certificate {
    /// Reads one.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(der).expect(SEQUENCE)?);
        let mut body = Der(outer.expect(SEQUENCE)?);
        let mut next = body.take()?;
        if next.0 == VERSION {
            next = body.take()?;
        }
        if next.0 != INTEGER {
            return None;
        }
        let _signature = body.expect(SEQUENCE)?;
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        Some(Self {
            issuer: name(issuer).unwrap_or_default(),
            not_before,
            not_after,
        })
    }
}

/// The first of [`NAMES`] that the distinguished name has.
fn name(distinguished: &[u8]) -> Option<String> {
    NAMES.iter().find_map(|wanted| {
        let mut sets = Der(distinguished);
        while let Some((SET, set)) = sets.take() {
            let mut pair = Der(Der(set).expect(SEQUENCE)?);
            let (kind, (_, text)) = (pair.expect(OBJECT_ID)?, pair.take()?);
            if kind == *wanted {
                let text = String::from_utf8_lossy(text);
                let shown = text.chars().filter(|c| !c.is_control());
                return Some(shown.take(NAME_CHARS).collect());
            }
        }
        None
    })
}

/// Tag, length, value; and so on.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn take(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first & 0x7f);
        if first & 0x80 != 0 {
            // A certificate is under 64 KiB.
            let bytes = rest.get(..length).filter(|bytes| bytes.len() <= 3)?;
            rest = &rest[length..];
            length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
        }
        let value = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.take()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, value)| value)
    }

    fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.take()?;
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match tag {
            UTC_TIME if text.len() == 12 => {
                let short: i64 = text[..2].parse().ok()?;
                // RFC 5280: 50 to 99 are of the last century.
                (if short < 50 { 2000 } else { 1900 } + short, &text[2..])
            }
            GENERALIZED_TIME if text.len() == 14 => (text[..4].parse().ok()?, &text[4..]),
            _ => return None,
        };
        let mut parts = [0_i64; 5];
        for (part, at) in parts.iter_mut().zip((0..10).step_by(2)) {
            *part = rest.get(at..at + 2)?.parse().ok()?;
        }
        let [month, day, hour, minute, second] = parts;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (date, wanted) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 24), 20_781),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days(date.0, date.1, date.2), wanted, "{date:?}");
            let shown = super::date(wanted * 86_400 + 3_660);
            let (year, month, day) = date;
            assert_eq!(shown, format!("{year}-{month:02}-{day:02} 01:01 UTC"));
        }
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_real_certificate_is_read_and_a_damaged_one_is_not() {
        use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority.distinguished_name = rcgen::DistinguishedName::new();
        authority
            .distinguished_name
            .push(DnType::OrganizationName, "Middlebox Ltd");
        authority
            .distinguished_name
            .push(DnType::CommonName, "intercepting proxy");
        let issuer = Issuer::new(authority, key);
        let mut leaf = CertificateParams::new(vec!["kubernetes".into()]).unwrap();
        leaf.not_before = date_time_ymd(2026, 1, 2);
        // After 2049 the other form of time is used.
        leaf.not_after = date_time_ymd(2051, 3, 1);
        let leaf_key = KeyPair::generate().unwrap();
        let der = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let wanted = Certificate {
            issuer: "intercepting proxy".into(),
            not_before: days(2026, 1, 2) * 86_400,
            not_after: days(2051, 3, 1) * 86_400,
        };
        assert_eq!(Certificate::read(der.der()), Some(wanted));
        for cut in 0..200 {
            assert_eq!(Certificate::read(&der.der()[..cut]), None);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&bytes);
        }
    }
}
