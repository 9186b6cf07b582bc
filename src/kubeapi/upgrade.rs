//! Which protocol a request wants to switch to.
//!
//! Owns the closed list of upgrades and how a request asks for one. Whether this caller may have
//! it is decided by `policy`; which headers then pass, by [`super::headers`].

use std::fmt;

use super::headers::{self, HeaderError};

/// The two protocols that the API server speaks after a `101 Switching Protocols`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// RFC 6455; kubectl's default for exec, attach and port-forward since 1.31.
    WebSocket,
    /// `SPDY/3.1`, what kubectl falls back to.
    Spdy,
}

impl Upgrade {
    /// The token as it stands in the `Upgrade` header.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Spdy => "SPDY/3.1",
        }
    }

    /// The protocol named by the value of an `Upgrade` header: one token, in any case.
    #[must_use]
    pub fn from_token(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        [Self::WebSocket, Self::Spdy]
            .into_iter()
            .find(|known| value.eq_ignore_ascii_case(known.token().as_bytes()))
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.token())
    }
}

/// What the request's `Connection` and `Upgrade` headers ask for.
///
/// An `Upgrade` header that `Connection` does not name is no request to upgrade (RFC 9110,
/// section 7.8) and is dropped later with the other hop-by-hop headers.
///
/// # Errors
/// When `Connection` asks for an upgrade and `Upgrade` is missing, repeated, or names anything but
/// one of the two allowed protocols.
pub(super) fn requested<'a, I>(headers: I) -> Result<Option<Upgrade>, HeaderError>
where
    I: IntoIterator<Item = (&'a str, &'a [u8])>,
{
    let mut wanted = false;
    let mut named: Option<&[u8]> = None;
    let mut repeated = false;
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("connection") {
            wanted |= headers::tokens(value).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
        } else if name.eq_ignore_ascii_case("upgrade") {
            repeated |= named.replace(value).is_some();
        }
    }
    if !wanted {
        return Ok(None);
    }
    match named.and_then(Upgrade::from_token) {
        Some(upgrade) if !repeated => Ok(Some(upgrade)),
        _ => Err(HeaderError::Upgrade),
    }
}
