//! The query as the API server reads it.
//!
//! Owns the splitting and unescaping of a query by the rules of Go's `net/url` and the few list
//! options that change what a request is (`watch`, `fieldSelector`). The query itself is passed
//! on as received; this module only reads it. Invariant: it reads what the server reads, so that
//! a list is not taken for a watch nor one object for another.

use std::borrow::Cow;

use super::escape::hex_pair;
use super::selector;

/// What a query makes of a GET without a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ListOptions {
    /// The request is a watch.
    pub(super) watch: bool,
    /// The one object that the field selector asks for.
    pub(super) name: Option<String>,
}

/// Reads the list options as Kubernetes' RequestInfo does: when any option does not parse, only
/// `watch` still counts and the field selector is not looked at.
pub(super) fn list_options(query: &str) -> ListOptions {
    let mut watch: Option<Vec<u8>> = None;
    let mut fields: Option<Vec<u8>> = None;
    let mut labels: Option<Vec<u8>> = None;
    let mut numbers: [Option<Vec<u8>>; 2] = [None, None];
    for (key, value) in pairs(query) {
        let slot = match key.as_ref() {
            b"watch" => &mut watch,
            b"fieldSelector" => &mut fields,
            b"labelSelector" => &mut labels,
            b"limit" => &mut numbers[0],
            b"timeoutSeconds" => &mut numbers[1],
            _ => continue,
        };
        // Of several values the first counts.
        slot.get_or_insert_with(|| value.into_owned());
    }
    let decoded = numbers
        .iter()
        .flatten()
        .all(|number| selector::is_int64(number))
        && labels.as_deref().is_none_or(selector::is_label_selector);
    let fields = if decoded {
        selector::exact_name(fields.as_deref().unwrap_or_default())
    } else {
        Err(selector::Malformed)
    };
    match fields {
        Ok(name) => ListOptions {
            watch: watch.is_some_and(|value| is_true(&value)),
            name,
        },
        Err(selector::Malformed) => ListOptions {
            watch: watch.is_some_and(|value| is_true_after_error(&value)),
            name: None,
        },
    }
}

/// Whether a log is to be followed.
pub(super) fn follows(query: &str) -> bool {
    pairs(query)
        .find(|(key, _)| key.as_ref() == b"follow")
        .is_some_and(|(_, value)| is_true(&value))
}

/// Kubernetes' conversion to bool: all but `0` and `false` is true, the empty string too. Go's
/// `EqualFold` also folds the long s (U+017F) to `s`.
fn is_true(value: &[u8]) -> bool {
    let folded = String::from_utf8_lossy(value).replace('\u{17F}', "s");
    value != b"0" && !folded.eq_ignore_ascii_case("false")
}

/// The rule that RequestInfo falls back on, which lower-cases instead of folding.
fn is_true_after_error(value: &[u8]) -> bool {
    value != b"0" && !value.eq_ignore_ascii_case(b"false")
}

/// How many parameters Go counts in a query, before it looks at any.
pub(crate) fn parameters(query: &str) -> usize {
    query.split('&').count()
}

/// The pairs that Go's `URL.Query()` keeps: one with a semicolon or a malformed escape is
/// dropped without an error.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter_map(|pair| {
        if pair.is_empty() || pair.contains(';') {
            return None;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((unescape(key)?, unescape(value)?))
    })
}

fn unescape(raw: &str) -> Option<Cow<'_, [u8]>> {
    if !raw.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                bytes.push(hex_pair(digits)?);
                rest = after;
            }
            b'+' => bytes.push(b' '),
            plain => bytes.push(plain),
        }
    }
    Some(Cow::Owned(bytes))
}
