//! Typed values out of text, and what is said when they are not what was expected.
//!
//! Owns parsing and its errors. Owns not: where the text comes from (`env`, `cli`). Invariant: an
//! error names the setting, says what is wrong with it, and how to mend it, and never quotes a
//! secret.

use std::fmt;
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    /// The flag or variable that it came from, or file, line and key.
    pub name: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.name, self.problem, self.remedy)
    }
}

/// The control plane's base URL: `https`, a host, perhaps a port and a path, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    host: String,
    port: u16,
    prefix: String,
}

impl ApiUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http" | "ws") => return Err("it is not encrypted"),
            _ => return Err("it does not begin with https://"),
        }
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name or password");
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("it has a query or fragment");
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err("it has no host");
        }
        let port = match authority.port() {
            None => 443,
            Some(port) => Some(port.as_u16())
                .filter(|&port| port != 0)
                .ok_or("its port is 0")?,
        };
        if authority.as_str().len() > host.len() && authority.port().is_none() {
            return Err("its port is not a number up to 65535");
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Host`.
    pub fn authority(&self) -> String {
        if self.port == 443 {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// `path` below the URL's own.
    pub fn below(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The path of a channel of P-2: an absolute path, or a `wss` URL of this very origin. `None`
    /// is another origin, which must never see the token.
    pub fn channel(&self, channel: &str) -> Option<String> {
        let target = if channel.starts_with('/') && !channel.starts_with("//") {
            channel.parse::<PathAndQuery>().ok()?
        } else {
            let uri: Uri = channel.parse().ok()?;
            let authority = uri.authority()?;
            let same = uri.scheme_str() == Some("wss")
                && !authority.as_str().contains('@')
                && uri.host()?.eq_ignore_ascii_case(&self.host)
                && authority.port_u16().unwrap_or(443) == self.port;
            same.then(|| uri.path_and_query().cloned())??
        };
        Some(target.as_str().to_owned())
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.prefix)
    }
}

/// `true` and `false`, and the other ways in which people write them.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A duration as Go writes it: `500ms`, `30s`, `5m`, `1h30m`.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let millis = match &unit[..end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(sum)
}

/// Shows a duration as [`duration`] reads it, in its largest whole unit.
#[derive(Debug, Clone, Copy)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(3600 * 1000, "h"), (60 * 1000, "m"), (1000, "s")];
        let whole = units
            .iter()
            .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or(&(1, "ms"));
        write!(f, "{}{name}", millis / unit)
    }
}

/// A URL without its user and password: nothing up to the last `@`, because a password that was not
/// escaped may hold anything.
pub fn without_userinfo(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    match url.rfind('@') {
        Some(at) if at >= start => format!("{}{}", &url[..start], &url[at + 1..]),
        Some(at) => url[at + 1..].to_owned(),
        None => url.to_owned(),
    }
}

/// Whether a text can be an agent's id or a cluster's: it appears in paths, logs and headers.
pub fn is_id(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether a text can be the name of a label: an identifier, perhaps below a domain.
pub fn is_label(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

/// Whether a text can name a namespace (RFC 1123).
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_is_https_and_nothing_else() {
        let url = ApiUrl::parse("https://API.pipeops.io").unwrap();
        assert_eq!((url.host(), url.port()), ("api.pipeops.io", 443));
        assert_eq!(url.to_string(), "https://api.pipeops.io");
        let url = ApiUrl::parse("https://[::1]:8443/agents/").unwrap();
        assert_eq!((url.host(), url.port()), ("::1", 8443));
        assert_eq!(url.authority(), "[::1]:8443");
        assert_eq!(url.below("/register"), "/agents/register");
        for (bad, problem) in [
            ("http://x", "it is not encrypted"),
            ("ftp://x", "it does not begin with https://"),
            ("api.pipeops.io", "it does not begin with https://"),
            ("https://u:p@x", "it holds a user name or password"),
            ("https://x/?a=b", "it has a query or fragment"),
            ("https://x/#a", "it has a query or fragment"),
            ("https://x:0", "its port is 0"),
            ("https://x:99999", "its port is not a number up to 65535"),
            ("https://", "it is not a URL"),
            ("", "it is not a URL"),
        ] {
            assert_eq!(ApiUrl::parse(bad).unwrap_err(), problem, "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1d", None),
            ("30 s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(millis(text), expected, "{text:?}");
        }
        let shown = |millis| Shown(Duration::from_millis(millis)).to_string();
        assert_eq!(
            [shown(1500), shown(60_000), shown(0)],
            ["1500ms", "1m", "0ms"]
        );
        assert_eq!(shown(86_400_000), "24h");
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("http://u:p@proxy:3128", "http://proxy:3128"),
            ("u:p@ss/@proxy:3128/", "proxy:3128/"),
            ("u@x://proxy", "x://proxy"),
            ("http://proxy:3128", "http://proxy:3128"),
        ] {
            assert_eq!(without_userinfo(url), shown);
        }
    }

    #[test]
    fn a_channel_never_leads_to_another_origin() {
        let url = ApiUrl::parse("https://gw.example:8443").unwrap();
        let same = Some("/channel".to_owned());
        assert_eq!(url.channel("/channel"), same);
        assert_eq!(url.channel("wss://gw.example:8443/channel"), same);
        assert_eq!(url.channel("wss://GW.example:8443/channel"), same);
        for other in [
            "wss://evil.example:8443/channel",
            "wss://gw.example/channel",
            "ws://gw.example:8443/channel",
            "https://gw.example:8443/channel",
            "wss://gw.example:8443@evil.example/channel",
            "wss://u@gw.example:8443/channel",
            "//evil.example/channel",
            "channel",
            "",
        ] {
            assert_eq!(url.channel(other), None, "{other}");
        }
    }
}
