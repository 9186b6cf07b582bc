//! A request's path and query: parsed once, decided on, rebuilt from the parsed parts.
//!
//! Owns what a path may look like at all and its one canonical spelling. What the segments mean is
//! [`super::attributes`]'s; who may ask for it is `policy`'s.
//!
//! Invariant: parsing the canonical path gives the same canonical path and the same attributes, so
//! gateway, agent and API server all decide on the same request.

use http::Method;
use http::uri::PathAndQuery;

use super::attributes::{self, Attributes, Verb};
use super::upgrade::Upgrade;
use super::{escape, query};
use crate::limits;

/// Why a path or query is refused. Nothing of the received text is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// CONNECT, TRACE, an extension, or a known method in lower case.
    #[error("the method is not one of the Kubernetes API")]
    Method,
    /// A WebSocket is opened by GET, SPDY by GET or POST.
    #[error("the method does not allow the upgrade")]
    UpgradeMethod,
    /// Absolute form, authority form, `*` or empty.
    #[error("the path does not begin with a slash")]
    Form,
    /// Longer than the path may be.
    #[error("the path is too long")]
    TooLong,
    /// Two slashes in a row, outside the tail after `/proxy/`.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, escaped or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// Control, non-ASCII, backslash, `?` or `#`, or an escaped control or backslash.
    #[error("the path has a byte that is not allowed")]
    Byte,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a malformed escape")]
    Escape,
    /// `%2F` or `%25` outside the tail after `/proxy/`.
    #[error("the path has an escaped slash or percent sign")]
    EscapedSeparator,
    /// Escapes that are not UTF-8.
    #[error("the path is not UTF-8 once decoded")]
    Encoding,
    /// `/api/v1/watch` or `/api/v1/proxy` with nothing behind it.
    #[error("the path names a verb but no resource")]
    Incomplete,
    /// The query, or path and query together, or the number of parameters, is beyond the limit.
    #[error("the query is too long")]
    QueryTooLong,
    /// A byte that may not stand in a query without an escape.
    #[error("the query has a byte that is not allowed")]
    QueryByte,
}

/// A parsed request target below the cluster's prefix. [`RequestPath::parse`] is the only way to
/// get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath {
    method: Method,
    target: PathAndQuery,
    attributes: Attributes,
}

impl RequestPath {
    /// Parses an origin-form path that begins with `/` (the gateway has cut `/clusters/{id}/k8s`
    /// off) and the query as received, without its `?`.
    ///
    /// # Errors
    /// A [`PathError`] for all that the API server might read in another way than we do.
    pub fn parse(
        method: &Method,
        raw_path: &str,
        query: Option<&str>,
        upgrade: Option<Upgrade>,
    ) -> Result<Self, PathError> {
        check_upgrade(method, upgrade)?;
        let canonical = Canonical::parse(raw_path)?;
        if let Some(query) = query {
            check_query(query)?;
        }
        let Canonical { path, segments } = canonical;
        let attributes = Attributes::derive(method, segments, &path, query, upgrade)?;
        let target = join(path, query)?;
        Ok(Self {
            method: method.clone(),
            target,
            attributes,
        })
    }

    /// The HTTP method, one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it is sent upstream: rebuilt from the parsed parts, escapes normalised.
    #[must_use]
    pub fn canonical(&self) -> &str {
        self.target.path()
    }

    /// The query as received.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Canonical path and query, to be sent upstream.
    #[must_use]
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.target
    }

    /// Whether it only reads, for as long as somebody listens: a watch, or a pod's log that is
    /// followed.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        let of = &self.attributes;
        let log = of.resource_request
            && of.api_group.is_empty()
            && of.resource == "pods"
            && of.subresource == "log"
            && self.query().is_some_and(query::follows);
        self.method == Method::GET && of.upgrade.is_none() && (of.verb == Verb::Watch || log)
    }

    /// What the API server will see.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

/// The decoded segments, and the path written back from them.
struct Canonical {
    path: String,
    segments: Vec<String>,
}

impl Canonical {
    fn parse(raw: &str) -> Result<Self, PathError> {
        let mut rest = raw.strip_prefix('/').ok_or(PathError::Form)?;
        if raw.len() > limits::KUBE_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if raw
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'?' | b'#'))
        {
            return Err(PathError::Byte);
        }
        let mut segments = Vec::new();
        let mut path = String::with_capacity(raw.len());
        loop {
            path.push('/');
            let (segment, after) = match rest.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (rest, None),
            };
            if segment.is_empty() {
                // Only a trailing slash may leave an empty segment, and only one.
                if after.is_some() {
                    return Err(PathError::EmptySegment);
                }
                break;
            }
            let decoded = escape::decode(segment, false)?;
            escape::encode(&decoded, &mut path);
            segments.push(decoded);
            if attributes::begins_tail(&segments) {
                let tail = &rest[segment.len()..];
                push_tail(&escape::decode(tail, true)?, &mut segments);
                escape::normalise_tail(tail, &mut path);
                break;
            }
            match after {
                Some(after) => rest = after,
                None => break,
            }
        }
        // The other end parses what we send, and holds it to the same limit.
        if path.len() > limits::KUBE_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        Ok(Self { path, segments })
    }
}

/// Splits a decoded tail as the server does: trailing slashes fall off, empty segments stay.
fn push_tail(tail: &str, segments: &mut Vec<String>) {
    if let Some(tail) = tail.trim_end_matches('/').strip_prefix('/') {
        segments.extend(tail.split('/').map(str::to_owned));
    }
}

fn check_upgrade(method: &Method, upgrade: Option<Upgrade>) -> Result<(), PathError> {
    match upgrade {
        Some(Upgrade::WebSocket) if *method != Method::GET => Err(PathError::UpgradeMethod),
        Some(Upgrade::Spdy) if !matches!(*method, Method::GET | Method::POST) => {
            Err(PathError::UpgradeMethod)
        }
        _ => Ok(()),
    }
}

fn check_query(query: &str) -> Result<(), PathError> {
    if query.len() > limits::KUBE_QUERY_BYTES
        || query::parameters(query) > limits::KUBE_QUERY_PARAMETERS
    {
        return Err(PathError::QueryTooLong);
    }
    // `#` would end the query in one parser and not in another.
    if query
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || byte == b'#')
    {
        return Err(PathError::QueryByte);
    }
    Ok(())
}

fn join(path: String, query: Option<&str>) -> Result<PathAndQuery, PathError> {
    let mut target = path;
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    if target.len() > limits::KUBE_TARGET_BYTES {
        return Err(PathError::QueryTooLong);
    }
    // The path holds only bytes that a URI allows; what is left to refuse is the query's.
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).map_err(|_| PathError::QueryByte)
}
