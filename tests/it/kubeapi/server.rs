//! The API server's reading of a request, stated a second time and on its own.
//!
//! The fuzz target `path` includes this file. It works as the server does and not as the library: the whole path is decoded to bytes first,
//! then trimmed, then split, and parts are dropped from the front. It is total, so that it can be
//! asked about every path that Go's parser takes. Selectors are left out.

use pipeops_agent::kubeapi::{Attributes, RequestPath};
use serde::Deserialize;

/// Texts that are empty and flags that are false are left out of the fixture.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expected {
    pub(crate) resource_request: bool,
    pub(crate) verb: String,
    pub(crate) api_prefix: String,
    pub(crate) api_group: String,
    pub(crate) api_version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) name: String,
    pub(crate) parts: Vec<String>,
    pub(crate) long_running: bool,
}

impl From<&Attributes> for Expected {
    fn from(attributes: &Attributes) -> Self {
        Self {
            resource_request: attributes.resource_request,
            verb: attributes.verb.to_string(),
            api_prefix: attributes.api_prefix.clone(),
            api_group: attributes.api_group.clone(),
            api_version: attributes.api_version.clone(),
            namespace: attributes.namespace.clone(),
            resource: attributes.resource.clone(),
            subresource: attributes.subresource.clone(),
            name: attributes.name.clone(),
            parts: attributes.parts.clone(),
            long_running: attributes.long_running,
        }
    }
}

/// Go's `url.ParseRequestURI` refused the path, or RequestInfo gave an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServerError;

fn unescape(raw: &[u8], plus_is_space: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'%' => {
                let digits = raw.get(at + 1..at + 3)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                let digits = std::str::from_utf8(digits).unwrap();
                decoded.push(u8::from_str_radix(digits, 16).unwrap());
                at += 3;
                continue;
            }
            b'+' if plus_is_space => decoded.push(b' '),
            byte => decoded.push(byte),
        }
        at += 1;
    }
    Some(decoded)
}

fn first_value(query: &str, wanted: &str) -> Option<Vec<u8>> {
    query
        .split('&')
        .filter(|pair| !pair.contains(';') && !pair.is_empty())
        .find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = unescape(key.as_bytes(), true)?;
            let value = unescape(value.as_bytes(), true)?;
            (key == wanted.as_bytes()).then_some(value)
        })
}

fn watches(query: &str) -> bool {
    let number = |key| {
        first_value(query, key).is_none_or(|value| {
            String::from_utf8(value).is_ok_and(|text| text.parse::<i64>().is_ok())
        })
    };
    let Some(value) = first_value(query, "watch") else {
        return false;
    };
    let text = String::from_utf8_lossy(&value).into_owned();
    if text == "0" {
        return false;
    }
    // `EqualFold` where all options parse, `ToLower` where one does not.
    if number("limit") && number("timeoutSeconds") {
        !(text.chars().count() == 5
            && text
                .chars()
                .zip("false".chars())
                .all(|(c, f)| c == f || c == f.to_ascii_uppercase() || (f == 's' && c == 'ſ')))
    } else {
        text.to_lowercase() != "false"
    }
}

pub(crate) fn request_info(
    method: &str,
    path: &str,
    query: Option<&str>,
) -> Result<Expected, ServerError> {
    let decoded = unescape(path.as_bytes(), false).ok_or(ServerError)?;
    let decoded = String::from_utf8(decoded).map_err(|_| ServerError)?;
    let mut info = Expected {
        verb: method.to_lowercase(),
        ..Expected::default()
    };
    info.long_running = decoded.starts_with("/debug/pprof/");
    let trimmed = decoded.trim_matches('/');
    let mut parts: Vec<&str> = if trimmed.is_empty() {
        vec![]
    } else {
        trimmed.split('/').collect()
    };
    if parts.len() < 3 || !["api", "apis"].contains(&parts[0]) {
        return Ok(info);
    }
    info.api_prefix = parts.remove(0).to_owned();
    if info.api_prefix == "apis" {
        if parts.len() < 3 {
            return Ok(info);
        }
        info.api_group = parts.remove(0).to_owned();
    }
    info.resource_request = true;
    info.long_running = false;
    info.api_version = parts.remove(0).to_owned();
    info.verb = match (parts[0], method) {
        ("watch" | "proxy", _) if parts.len() < 2 => return Err(ServerError),
        ("watch" | "proxy", _) => parts.remove(0),
        (_, "POST") => "create",
        (_, "GET" | "HEAD") => "get",
        (_, "PUT") => "update",
        (_, "PATCH") => "patch",
        (_, "DELETE") => "delete",
        _ => "",
    }
    .to_owned();
    if parts[0] == "namespaces" && parts.len() > 1 {
        info.namespace = parts[1].to_owned();
        if parts.len() > 2 && parts[2] != "status" && parts[2] != "finalize" {
            parts.drain(..2);
        }
    }
    info.resource = parts[0].to_owned();
    info.name = parts.get(1).copied().unwrap_or_default().to_owned();
    if info.verb != "proxy" {
        info.subresource = parts.get(2).copied().unwrap_or_default().to_owned();
    }
    info.parts = parts.into_iter().map(str::to_owned).collect();
    if info.name.is_empty() && info.verb == "get" {
        info.verb = if watches(query.unwrap_or_default()) {
            "watch"
        } else {
            "list"
        }
        .to_owned();
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
    info.long_running = ["watch", "proxy"].contains(&info.verb.as_str())
        || ["attach", "exec", "proxy", "log", "portforward"].contains(&info.subresource.as_str());
    Ok(info)
}

/// Whether a selector may say more than is restated here.
pub(crate) fn selects(query: Option<&str>) -> bool {
    let has = |key| query.is_some_and(|query| first_value(query, key).is_some());
    has("labelSelector") || has("fieldSelector")
}

/// What holds for every accepted request, received as `raw`.
pub(crate) fn check(parsed: &RequestPath, raw: &str) {
    let upgrade = parsed.attributes().upgrade;
    let again = RequestPath::parse(parsed.method(), parsed.canonical(), parsed.query(), upgrade);
    assert_eq!(
        again.as_ref(),
        Ok(parsed),
        "the canonical form is its own canonical form"
    );
    let target = parsed.path_and_query().as_str();
    assert!(
        target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
    );
    assert!(!parsed.canonical().contains(['\\', '?']));
    // Nothing moved when the path was rebuilt, and the decision is the server's.
    for path in [raw, parsed.canonical()] {
        let mut seen = request_info(parsed.method().as_str(), path, parsed.query())
            .expect("the server takes what we accept");
        let decided = Expected::from(parsed.attributes());
        if selects(parsed.query()) && ["list", "watch"].contains(&decided.verb.as_str()) {
            assert!(["list", "watch"].contains(&seen.verb.as_str()));
            seen = Expected {
                name: decided.name.clone(),
                verb: decided.verb.clone(),
                long_running: decided.long_running,
                ..seen
            };
        }
        assert_eq!(seen, decided, "{path}");
    }
}
