//! A call that changes something, and what the API server warns of.
//!
//! Owns the reading of `Warning` headers. Invariant: what is kept of them is bounded in number and
//! length.

use bytes::Bytes;
use http::Method;
use http::header::WARNING;
use serde::de::DeserializeOwned;

use super::{JSON, ObjectError, Objects, collect, parse};
use crate::kubeapi::headers::Headers;
use crate::limits;

/// What came of a change.
#[derive(Debug)]
pub struct Changed<T> {
    /// The answer.
    pub object: T,
    /// The API server's warnings, at most [`limits::OPERATE_TOLD`].
    pub warnings: Vec<String>,
}

impl Objects {
    /// As [`Objects::send`], with the API server's warnings.
    ///
    /// # Errors
    /// As [`Objects::send`].
    ///
    /// # Cancel safety
    /// Not safe: it may have been carried out.
    pub async fn change<T: DeserializeOwned>(
        &self,
        method: &Method,
        target: &str,
        content_type: &str,
        body: impl Into<Bytes> + Send,
    ) -> Result<Changed<T>, ObjectError> {
        let content = Some((content_type, body.into()));
        self.timed(async {
            let (headers, body) = self.exchanged(method, target, JSON, content).await?;
            let object = parse(&collect(body, self.most).await?)?;
            let warnings = warnings(&headers);
            Ok(Changed { object, warnings })
        })
        .await
    }
}

fn warnings(headers: &Headers) -> Vec<String> {
    headers
        .iter()
        .filter(|(name, _)| name == WARNING)
        .filter_map(|(_, value)| text(value.to_str().ok()?))
        .take(limits::OPERATE_TOLD)
        .collect()
}

/// The text of `299 - "text"`, unquoted.
fn text(value: &str) -> Option<String> {
    let quoted = value.splitn(3, ' ').nth(2)?.strip_prefix('"')?;
    let mut text = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            '"' => return Some(text),
            '\\' => characters.next()?,
            plain => plain,
        };
        if text.len() + character.len_utf8() <= limits::OBJECT_MESSAGE {
            text.push(character);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_read_without_its_quotes_and_within_its_bound() {
        for (value, expected) in [
            (r#"299 - "is deprecated""#, Some("is deprecated")),
            (r#"299 - "a \"b\" \\ c""#, Some(r#"a "b" \ c"#)),
            (r#"299 - "cut off"#, None),
            ("299 -", None),
            ("299 - plain", None),
        ] {
            assert_eq!(text(value).as_deref(), expected, "{value}");
        }
        let long = format!("299 - \"{}\"", "x".repeat(2 * limits::OBJECT_MESSAGE));
        assert_eq!(text(&long).unwrap().len(), limits::OBJECT_MESSAGE);
    }
}
