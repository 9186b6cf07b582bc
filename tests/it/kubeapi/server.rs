//! The API server's reading of a request, stated a second time and on its own.
//!
//! It works as the server does and not as the library: the whole path is decoded to bytes first,
//! then trimmed, then split, and parts are dropped from the front. It is total, so that it can be
//! asked about every path that Go's parser takes. Selectors are left out.

use super::paths::Expected;

/// Go's `url.ParseRequestURI` refused the path, or RequestInfo gave an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerError;

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

pub(super) fn request_info(
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
