//! The two header allow-lists: what passes up to the API server, and what comes back down.
//!
//! Owns which headers survive, in what order, and which make the whole message refused. Who the
//! request runs as is set afterwards by `cluster`; framing is the HTTP library's.
//!
//! Invariants: a name that is not on the list never passes; what `Connection` names is removed
//! before anything is added, so a caller cannot remove what we add (Rancher's
//! GHSA-pvxj-25m6-7vqr); gateway and agent filter with the same functions, and the agent's pass is
//! safe alone.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::location;
use super::upgrade::{self, Upgrade};
use crate::limits;

/// Headers in their order; several values of one name are several entries.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Why a message's headers are refused as a whole. Nothing of a value is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// An `Impersonate-*` header: dropping it would run the command as somebody else.
    #[error("impersonation headers are not accepted")]
    Impersonation,
    /// A name that is no token, or spells a name that matters with underscores.
    #[error("a header name is malformed")]
    Name,
    /// CR, LF, NUL or another control in a value, so a folded line too.
    #[error("a header value has a control character")]
    Value,
    /// `Connection` holds something that is no header name.
    #[error("the connection header is malformed")]
    Connection,
    /// Not a number, or several that differ.
    #[error("the content length is malformed")]
    ContentLength,
    /// An upgrade to anything but `websocket` or `SPDY/3.1`.
    #[error("the upgrade is not one of websocket and SPDY/3.1")]
    Upgrade,
    /// `101` where no upgrade was asked for, or to another protocol.
    #[error("the server switched to a protocol that was not asked for")]
    UnexpectedSwitch,
    /// A redirect to another host or out of the cluster's paths.
    #[error("the redirect leaves the cluster")]
    Redirect,
    /// More headers, or more bytes of them, than are accepted.
    #[error("the headers are too large")]
    TooLarge,
}

/// What to do with `Impersonate-*` headers; they never pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impersonation {
    /// The gateway tells the caller.
    Refuse,
    /// The agent does not trust the gateway to have refused it.
    Drop,
}

/// Where a redirect may lead: seen from the caller, everything of the cluster is below `prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// `/clusters/{id}/k8s` in the gateway, empty in the agent.
    pub prefix: &'a str,
    /// The canonical path of the request, which a relative `Location` is relative to.
    pub path: &'a str,
}

/// A header map as pairs, in its order.
pub fn pairs(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Filtered headers as pairs, for the next filter.
pub fn pairs_of(headers: &[(HeaderName, HeaderValue)]) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Pairs of text, as a command carries them, as pairs that the two lists take.
pub fn text_pairs(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Filtered headers as pairs of text, for a command. A value that is not UTF-8 (which HTTP allows
/// and Kubernetes never sends) has U+FFFD in place of what is not.
#[must_use]
pub fn texts(headers: &[(HeaderName, HeaderValue)]) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

/// Which of the two allowed upgrades a request asks for, if any.
///
/// # Errors
/// [`HeaderError::Upgrade`] when it asks for another, or for several.
pub fn upgrade<'a, I>(headers: I) -> Result<Option<Upgrade>, HeaderError>
where
    I: IntoIterator<Item = (&'a str, &'a [u8])>,
{
    upgrade::requested(headers)
}

/// The headers of a request that go up to the API server.
///
/// # Errors
/// When a header could be read in two ways, tries to impersonate (with
/// [`Impersonation::Refuse`]), or there are too many.
pub fn upward<'a, I>(
    headers: I,
    upgrade: Option<Upgrade>,
    impersonation: Impersonation,
) -> Result<Headers, HeaderError>
where
    I: IntoIterator<Item = (&'a str, &'a [u8])>,
{
    let received = Received::read(headers)?;
    if received.impersonates && impersonation == Impersonation::Refuse {
        return Err(HeaderError::Impersonation);
    }
    let websocket = upgrade == Some(Upgrade::WebSocket);
    let mut passed = Vec::new();
    for (name, value) in received.end_to_end() {
        let text = name.as_str();
        if websocket && name == http::header::SEC_WEBSOCKET_PROTOCOL {
            passed.extend(without_token(&value).map(|value| (name, value)));
        } else if UP.contains(&text)
            || text.starts_with("kubectl-")
            || (websocket && UP_WEBSOCKET.contains(&text))
        {
            passed.push((name, value));
        }
    }
    switch(upgrade, &mut passed);
    Ok(passed)
}

/// The headers of an answer that go down to the caller, who asked for `upgrade`.
///
/// # Errors
/// When the answer cannot be passed on: a redirect that leaves the cluster, an upgrade that was
/// not asked for, or a header that could be read in two ways. All of these are a 502.
pub fn downward<'a, I>(
    status: StatusCode,
    headers: I,
    upgrade: Option<Upgrade>,
    place: Place<'_>,
) -> Result<Headers, HeaderError>
where
    I: IntoIterator<Item = (&'a str, &'a [u8])>,
{
    let received = Received::read(headers)?;
    let switched = status == StatusCode::SWITCHING_PROTOCOLS;
    if switched && (upgrade.is_none() || received.upgrade != upgrade) {
        return Err(HeaderError::UnexpectedSwitch);
    }
    let mut passed = Vec::new();
    let mut locations = 0;
    for (name, value) in received.end_to_end() {
        let text = name.as_str();
        if name == http::header::LOCATION {
            locations += 1;
            match location::within(&value, place) {
                Some(value) if locations == 1 => passed.push((name, value)),
                _ if redirects(status) => return Err(HeaderError::Redirect),
                _ => passed.retain(|(name, _)| name != http::header::LOCATION),
            }
        } else if DOWN.contains(&text)
            || text.starts_with("content-")
            || text.starts_with("x-kubernetes-pf-")
            || (switched && upgrade == Some(Upgrade::WebSocket) && DOWN_WEBSOCKET.contains(&text))
        {
            passed.push((name, value));
        }
    }
    switch(upgrade.filter(|_| switched), &mut passed);
    Ok(passed)
}

// The lists hold lower-case names, as `HeaderName` gives them.

const UP: [&str; 14] = [
    "accept",
    "accept-encoding",
    "content-type",
    "content-encoding",
    "content-length",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "user-agent",
    "range",
    "x-stream-protocol-version",
    "traceparent",
];

/// Never `sec-websocket-extensions`: a compressed stream would be opaque and unbounded.
const UP_WEBSOCKET: [&str; 2] = ["sec-websocket-key", "sec-websocket-version"];

const DOWN: [&str; 13] = [
    "accept-ranges",
    "allow",
    "audit-id",
    "cache-control",
    "date",
    "etag",
    "expires",
    "last-modified",
    "retry-after",
    "vary",
    "warning",
    "x-stream-protocol-version",
    "x-accepted-stream-protocol-versions",
];

const DOWN_WEBSOCKET: [&str; 2] = ["sec-websocket-accept", "sec-websocket-protocol"];

/// Names that some server between us and the API server could read out of a spelling with
/// underscores (`X_Remote_User`), as CGI does.
const SPELT_WITH_HYPHENS: [&str; 5] = [
    "x-remote-",
    "x-forwarded-",
    "proxy-",
    "sec-websocket-",
    "kubectl-",
];

/// The comma-separated members of a value, without the blanks around them.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Headers that are well formed, and what must be known of all before one is let through.
#[derive(Debug)]
struct Received {
    headers: Headers,
    /// What `Connection` names.
    hop_by_hop: HashSet<HeaderName>,
    impersonates: bool,
    /// The upgrade that `Connection` and `Upgrade` agree on.
    upgrade: Option<Upgrade>,
}

impl Received {
    fn read<'a, I>(headers: I) -> Result<Self, HeaderError>
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        let mut received = Self {
            headers: Vec::new(),
            hop_by_hop: HashSet::new(),
            impersonates: false,
            upgrade: None,
        };
        let mut bytes: usize = 0;
        for (name, value) in headers {
            bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
            if received.headers.len() == limits::KUBE_HEADERS || bytes > limits::KUBE_HEADER_BYTES {
                return Err(HeaderError::TooLarge);
            }
            let (name, value) = well_formed(name, value)?;
            received.impersonates |= impersonates(name.as_str());
            received.headers.push((name, value));
        }
        for (name, value) in &received.headers {
            if name == http::header::CONNECTION {
                for token in tokens(value.as_bytes()) {
                    let token =
                        HeaderName::from_bytes(token).map_err(|_| HeaderError::Connection)?;
                    received.hop_by_hop.insert(token);
                }
            }
        }
        received.check_length()?;
        received.upgrade = upgrade::requested(
            received
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        )
        .unwrap_or(None);
        Ok(received)
    }

    /// One length, in digits; and none beside a transfer encoding, which overrules it (RFC 9112,
    /// section 6.3).
    fn check_length(&mut self) -> Result<(), HeaderError> {
        let mut first: Option<HeaderValue> = None;
        let mut wrong = false;
        self.headers.retain(|(name, value)| {
            if name != http::header::CONTENT_LENGTH {
                return true;
            }
            let digits = value.as_bytes();
            wrong |= digits.is_empty()
                || digits.len() > 19
                || !digits.iter().all(u8::is_ascii_digit)
                || first.as_ref().is_some_and(|first| first != value);
            first.replace(value.clone()).is_none()
        });
        if wrong {
            return Err(HeaderError::ContentLength);
        }
        if self
            .headers
            .iter()
            .any(|(name, _)| name == http::header::TRANSFER_ENCODING)
        {
            self.headers
                .retain(|(name, _)| name != http::header::CONTENT_LENGTH);
        }
        Ok(())
    }

    /// The headers that are not for this hop only.
    fn end_to_end(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let Self {
            headers,
            hop_by_hop,
            ..
        } = self;
        headers
            .into_iter()
            .filter(move |(name, _)| !hop_by_hop.contains(name))
    }
}

fn well_formed(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name)?;
    if name.as_str().contains('_') && matters(&name.as_str().replace('_', "-")) {
        return Err(HeaderError::Name);
    }
    let mut text = HeaderValue::from_bytes(value).map_err(|_| HeaderError::Value)?;
    let trimmed = value.trim_ascii();
    if trimmed.len() != value.len() {
        text = HeaderValue::from_bytes(trimmed).map_err(|_| HeaderError::Value)?;
    }
    Ok((name, text))
}

fn impersonates(name: &str) -> bool {
    name.starts_with("impersonate-")
}

/// Whether a name means something to a server: on a list, identity, or framing.
fn matters(name: &str) -> bool {
    UP.contains(&name)
        || DOWN.contains(&name)
        || impersonates(name)
        || SPELT_WITH_HYPHENS
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "transfer-encoding" | "www-authenticate" | "set-cookie" | "x-real-ip" | "keep-alive"
        )
}

/// A `304` is no redirect: a `Location` in it is followed by nobody.
fn redirects(status: StatusCode) -> bool {
    status.is_redirection() && status != StatusCode::NOT_MODIFIED
}

/// Adds the two headers of a switch of protocols, in our spelling.
fn switch(upgrade: Option<Upgrade>, headers: &mut Headers) {
    if let Some(upgrade) = upgrade {
        headers.push((
            http::header::CONNECTION,
            HeaderValue::from_static("Upgrade"),
        ));
        headers.push((
            http::header::UPGRADE,
            HeaderValue::from_static(upgrade.token()),
        ));
    }
}

/// A browser's WebSocket carries its bearer token as a subprotocol, which the API server would take
/// for the credential. The rest of the list passes; nothing, when nothing is left.
fn without_token(value: &HeaderValue) -> Option<HeaderValue> {
    const BEARER: &[u8] = b"base64url.bearer.authorization.k8s.io.";
    let is_token = |token: &&[u8]| {
        token
            .get(..BEARER.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(BEARER))
    };
    if !tokens(value.as_bytes()).any(|token| is_token(&token)) {
        return Some(value.clone());
    }
    let kept: Vec<&[u8]> = tokens(value.as_bytes())
        .filter(|token| !is_token(token))
        .collect();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&kept.join(&b", "[..])).ok()
}
