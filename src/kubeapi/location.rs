//! Where a `Location` may lead.
//!
//! Owns the one rule: a redirect stays below the cluster's prefix. Following redirects is nobody's:
//! a proxy that does can be sent anywhere with its credentials (CVE-2020-8559, CVE-2022-3172).

use http::HeaderValue;

use super::escape::hex_pair;
use super::headers::Place;

/// The value to pass on, or nothing when it would lead out of the cluster: another host or scheme,
/// or dot segments that climb above its root. An absolute path gets the prefix, a relative one
/// passes as it is.
pub(super) fn within(value: &HeaderValue, place: Place<'_>) -> Option<HeaderValue> {
    let text = value
        .to_str()
        .ok()
        .filter(|text| !text.contains(['\\', ' ', '\t']))?;
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let path = &text[..end];
    if let Some(below) = path.strip_prefix('/') {
        let stays = !below.starts_with('/') && stays_below(0, below);
        return stays.then(|| HeaderValue::from_str(&format!("{}{text}", place.prefix)).ok())?;
    }
    // A colon in the first segment makes it a scheme (RFC 3986, section 4.2).
    let first = path.split('/').next().unwrap_or_default();
    let (directory, _) = place.path.rsplit_once('/').unwrap_or_default();
    let depth = directory
        .split('/')
        .filter(|segment| !segment.is_empty())
        .count();
    (!first.contains(':') && stays_below(depth, path)).then(|| value.clone())
}

/// Whether `path` never climbs above the root when it is resolved `depth` segments below it.
fn stays_below(depth: usize, path: &str) -> bool {
    path.split('/')
        .try_fold(depth, |depth, segment| {
            match unescape_dots(segment).as_str() {
                ".." => depth.checked_sub(1),
                "." | "" => Some(depth),
                _ => depth.checked_add(1),
            }
        })
        .is_some()
}

/// Clients take `%2e` for a dot when they resolve.
fn unescape_dots(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        text.push_str(plain);
        let dot = escape.as_bytes().get(1..3).and_then(hex_pair) == Some(b'.');
        text.push(if dot { '.' } else { '%' });
        rest = &escape[if dot { 3 } else { 1 }..];
    }
    text.push_str(rest);
    text
}
