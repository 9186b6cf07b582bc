//! The API server's clock, as its answers tell it.
//!
//! Owns one timed call and the reading of `Date`. Invariant: pure but for the call; what is no date
//! reads as nothing.

use std::time::Duration;

use http::Method;
use http::header::DATE;
use tokio::time::Instant;

use super::certificate::days;
use super::objects::{ObjectError, Objects};
use crate::kubeapi::RequestPath;

/// An answer to `GET /version`, timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// From the request to the head of the answer.
    pub took: Duration,
    /// The server's time in whole seconds since 1970, if it said so.
    pub date: Option<i64>,
    /// The status.
    pub status: u16,
}

impl Objects {
    /// Asks for `path` with the credentials and looks at the head of the answer alone.
    ///
    /// # Errors
    /// See [`ObjectError`]; an answer of any status is none, but 401.
    pub async fn head_of(&self, path: &str) -> Result<Told, ObjectError> {
        let path = RequestPath::parse(&Method::GET, path, None, None)?;
        let headers = [(
            "user-agent".to_owned(),
            super::objects::USER_AGENT.to_owned(),
        )];
        let began = Instant::now();
        let answer = self.request(&path, &headers).await?;
        let took = Instant::now().saturating_duration_since(began);
        let date = answer
            .headers
            .iter()
            .find(|(name, _)| name == DATE)
            .and_then(|(_, value)| value.to_str().ok())
            .and_then(date);
        Ok(Told {
            took,
            date,
            status: answer.status.as_u16(),
        })
    }
}

/// Seconds since 1970 of an IMF-fixdate (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn date(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = text.strip_suffix(" GMT")?;
    let mut parts = text.get(5..)?.split(' ');
    let number = |text: &str| -> Option<i64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let day = number(parts.next()?)?;
    let month = parts.next().filter(|month| month.len() == 3)?;
    let month = MONTHS.find(month).filter(|at| at % 3 == 0)? / 3 + 1;
    let year = parts.next().filter(|year| year.len() == 4)?;
    let year = number(year)?;
    let mut time = parts.next()?.split(':');
    let mut part = || number(time.next()?).filter(|part| *part <= 60);
    let (hour, minute, second) = (part()?, part()?, part()?);
    let days = days(year, i64::try_from(month).ok()?, day);
    (1..=31)
        .contains(&day)
        .then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read_and_nothing_else() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, xx Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 99:49:37 GMT",
            "Sün, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(date(text), None, "{text:?}");
        }
    }
}
