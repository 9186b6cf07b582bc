//! The API server's clock, as its answers tell it.
//!
//! Owns one timed call and the reading of `Date`. Invariant: pure but for the call; what is no date
//! reads as nothing.

use std::time::Duration;

use http::Method;
use http::header::DATE;
use tokio::time::Instant;

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

/// Seconds since 1970 of a date of HTTP (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`, or
/// one of the two forms before it.
#[must_use]
pub fn date(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read_and_nothing_else() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
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
