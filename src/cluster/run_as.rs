//! The identity that a request runs under: Kubernetes impersonation.
//!
//! Owns which identities may be set at all and how they are written as headers. Owns not: whether
//! impersonation is on (`commands`). Invariant: never anything of `system:`, and never a part of
//! an identity: what cannot be set whole is refused whole.

use http::{HeaderName, HeaderValue};

use crate::limits;

/// Who a request is to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The user.
    pub user: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// Further attributes, a key with its values.
    pub extra: Vec<(String, Vec<String>)>,
}

/// Why an identity cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunAsError {
    /// No user.
    #[error("the agent cannot act as a caller without a name")]
    NoUser,
    /// A user or group that Kubernetes keeps for itself.
    #[error("the agent does not act as anything of system:")]
    System,
    /// Bytes that no header may hold, or an empty key.
    #[error("the caller's identity cannot be written as headers")]
    Unwritable,
    /// Longer than a head may be.
    #[error("the caller's identity is too large")]
    TooLarge,
    /// The agent's own credential acts as somebody else already.
    #[error("the agent's own credential acts as somebody else already")]
    Taken,
}

impl RunAs {
    /// The `Impersonate-*` headers.
    ///
    /// # Errors
    /// See [`RunAsError`].
    pub fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, RunAsError> {
        if self.user.is_empty() {
            return Err(RunAsError::NoUser);
        }
        let mut headers = Headers::default();
        headers.push(
            HeaderName::from_static("impersonate-user"),
            named(&self.user)?,
        )?;
        for group in &self.groups {
            headers.push(HeaderName::from_static("impersonate-group"), named(group)?)?;
        }
        for (key, values) in &self.extra {
            let name = extra(key)?;
            for value in values {
                headers.push(name.clone(), value)?;
            }
        }
        Ok(headers.list)
    }
}

/// The headers so far, and their size.
#[derive(Default)]
struct Headers {
    list: Vec<(HeaderName, HeaderValue)>,
    bytes: usize,
}

impl Headers {
    fn push(&mut self, name: HeaderName, value: &str) -> Result<(), RunAsError> {
        self.bytes = self
            .bytes
            .saturating_add(name.as_str().len())
            .saturating_add(value.len());
        if self.bytes > limits::IDENTITY_BYTES || self.list.len() == limits::KUBE_HEADERS {
            return Err(RunAsError::TooLarge);
        }
        // Blanks at an end would be cut off on the way, and with them the name be another.
        if value.trim() != value {
            return Err(RunAsError::Unwritable);
        }
        let value = HeaderValue::from_str(value).map_err(|_| RunAsError::Unwritable)?;
        self.list.push((name, value));
        Ok(())
    }
}

fn named(name: &str) -> Result<&str, RunAsError> {
    // The API server compares as written; a blank or another case in front must not hide it.
    let begins = name.trim_start().get(..7);
    match begins {
        Some(prefix) if prefix.eq_ignore_ascii_case("system:") => Err(RunAsError::System),
        _ if name.is_empty() => Err(RunAsError::Unwritable),
        _ => Ok(name),
    }
}

/// `Impersonate-Extra-` and the key, percent-encoded where a header name cannot hold it; the API
/// server decodes, and lowers the case.
fn extra(key: &str) -> Result<HeaderName, RunAsError> {
    use std::fmt::Write;
    if key.is_empty() || key.len() > limits::IDENTITY_BYTES {
        return Err(RunAsError::Unwritable);
    }
    let mut name = String::from("impersonate-extra-");
    for byte in key.to_lowercase().bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => name.push(char::from(byte)),
            other => write!(name, "%{other:02X}").expect("writing to a string cannot fail"),
        }
    }
    HeaderName::try_from(name).map_err(|_| RunAsError::Unwritable)
}
