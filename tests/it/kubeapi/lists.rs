//! The header lists as the documentation states them, apart from the code, and what holds for
//! whatever a filter let through. The fuzz target `headers` includes this file.

use http::{HeaderName, HeaderValue};
use pipeops_agent::kubeapi::Upgrade;
use pipeops_agent::kubeapi::headers::{self, Headers, Impersonation, Place};

fn may_go_up(name: &str) -> bool {
    name.starts_with("kubectl-")
        || matches!(
            name,
            "accept"
                | "accept-encoding"
                | "content-type"
                | "content-encoding"
                | "content-length"
                | "if-match"
                | "if-none-match"
                | "if-modified-since"
                | "if-unmodified-since"
                | "if-range"
                | "user-agent"
                | "range"
                | "x-stream-protocol-version"
                | "traceparent"
                | "upgrade"
                | "connection"
                | "sec-websocket-key"
                | "sec-websocket-version"
                | "sec-websocket-protocol"
        )
}

fn may_come_down(name: &str) -> bool {
    name.starts_with("content-")
        || name.starts_with("x-kubernetes-pf-")
        || matches!(
            name,
            "accept-ranges"
                | "allow"
                | "audit-id"
                | "cache-control"
                | "date"
                | "etag"
                | "expires"
                | "last-modified"
                | "location"
                | "retry-after"
                | "vary"
                | "warning"
                | "x-stream-protocol-version"
                | "x-accepted-stream-protocol-versions"
                | "upgrade"
                | "connection"
                | "sec-websocket-accept"
                | "sec-websocket-protocol"
        )
}

fn well_formed(passed: &[(HeaderName, HeaderValue)], upgrade: Option<Upgrade>) -> bool {
    let count = |name: &str| {
        passed
            .iter()
            .filter(|(passed, _)| passed.as_str() == name)
            .count()
    };
    count("connection") == usize::from(upgrade.is_some())
        && count("upgrade") == usize::from(upgrade.is_some())
        && count("content-length") <= 1
        && count("location") <= 1
}

/// What holds for every request's headers that pass up.
pub(crate) fn check_up(passed: Headers, upgrade: Option<Upgrade>) {
    assert!(
        passed.iter().all(|(name, _)| may_go_up(name.as_str())),
        "{passed:?}"
    );
    assert!(well_formed(&passed, upgrade), "{passed:?}");
    let leaks = passed.iter().any(|(name, value)| {
        name == http::header::SEC_WEBSOCKET_PROTOCOL
            && value.as_bytes().split(|&byte| byte == b',').any(|member| {
                let member = member.trim_ascii().to_ascii_lowercase();
                member.starts_with(b"base64url.bearer.authorization.k8s.io.")
            })
    });
    assert!(!leaks, "{passed:?}");
    let second = headers::upward(headers::pairs_of(&passed), upgrade, Impersonation::Refuse);
    assert_eq!(
        second,
        Ok(passed),
        "the second filter has nothing left to do"
    );
}

/// What holds for every answer's headers that pass down.
pub(crate) fn check_down(
    passed: &[(HeaderName, HeaderValue)],
    switched: Option<Upgrade>,
    place: Place<'_>,
) {
    assert!(
        passed.iter().all(|(name, _)| may_come_down(name.as_str())),
        "{passed:?}"
    );
    assert!(well_formed(passed, switched), "{passed:?}");
    for (_, value) in passed
        .iter()
        .filter(|(name, _)| name == http::header::LOCATION)
    {
        let text = value.to_str().expect("a location is ASCII");
        assert!(!text.contains('\\') && !text.starts_with("//"), "{text}");
        if text.starts_with('/') {
            let below = text
                .strip_prefix(place.prefix)
                .expect("the prefix stands before it");
            assert!(below.starts_with('/') && !below.starts_with("//"), "{text}");
        } else {
            let end = text.find(['/', '?', '#']).unwrap_or(text.len());
            assert!(!text[..end].contains(':'), "{text}");
        }
    }
}
