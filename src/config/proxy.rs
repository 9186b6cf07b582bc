//! The proxy towards the control plane: which one, for which hosts, and with what credentials.
//!
//! Owns the reading of a proxy's URL, of its credentials and of a `NO_PROXY` list. Owns not:
//! talking to it (`uplink`). Invariants: only the way to the control plane ever asks here; what
//! stands before the `@` of a URL is kept as a header's value that shows nothing of itself, and no
//! error quotes the URL.

use std::fmt;
use std::path::PathBuf;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use secrecy::ExposeSecret;

use super::secret::{SecretError, read_credentials};
use super::value::ApiUrl;

/// A proxy that understands `CONNECT`.
#[derive(Debug, Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    tls: bool,
    /// What the URL brought along; sensitive, so that `Debug` does not show it.
    given: Option<HeaderValue>,
    /// Wins over what the URL brought along; `user:password`, read again for each connection.
    file: Option<PathBuf>,
}

impl Proxy {
    /// Reads a proxy's URL; without a scheme it is `http`.
    ///
    /// # Errors
    /// With what is wrong; the URL is not quoted, because it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        match uri.scheme_str() {
            None | Some("http" | "https") => {}
            Some("socks4" | "socks4a" | "socks5" | "socks5h") => {
                return Err("it is a SOCKS proxy, and only HTTP proxies are spoken to");
            }
            Some(_) => return Err("it begins with neither http:// nor https://"),
        }
        let tls = uri.scheme_str() == Some("https");
        // The library reads the user and password, escapes included.
        let route = Matcher::builder()
            .https(text)
            .build()
            .intercept(&Uri::from_static("https://any"))
            .ok_or("it has no host")?;
        let to = route.uri();
        let host = to.host().filter(|host| !host.is_empty());
        let host = host.ok_or("it has no host")?.to_owned();
        let port = match to.port_u16() {
            Some(0) => return Err("its port is 0"),
            Some(port) => port,
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            host,
            port,
            tls,
            given: route.basic_auth().cloned(),
            file: None,
        })
    }

    /// The same with its credentials in a file.
    #[must_use]
    pub fn with_credentials_file(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    /// Its host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is itself reached by TLS.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The value of `Proxy-Authorization` as of now.
    ///
    /// # Errors
    /// When there is a file of credentials and it cannot be used.
    pub fn authorization(&self) -> Result<Option<HeaderValue>, SecretError> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;

        let Some(file) = &self.file else {
            return Ok(self.given.clone());
        };
        let credentials = read_credentials(file)?;
        let value = format!("Basic {}", STANDARD.encode(credentials.expose_secret()));
        let mut value = HeaderValue::from_str(&value).expect("base64 fits into a header");
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Display for Proxy {
    /// Without its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Whether a `NO_PROXY` list names the control plane: hosts with all below them (a leading `.` or
/// `*.` changes nothing), addresses, networks, `*`, and each of these with a port.
pub fn is_excepted(list: &str, url: &ApiUrl) -> bool {
    let entries: Vec<_> = list
        .split(',')
        .filter_map(|entry| of_port(entry.trim(), url.port()))
        .collect();
    let target = format!("https://{}", url.authority());
    let target: Uri = target.parse().expect("a parsed URL");
    let nowhere = "http://proxy.invalid";
    let matcher = Matcher::builder().https(nowhere).no(entries.join(","));
    matcher.build().intercept(&target).is_none()
}

/// The entry without its port; `None` when that is another port than ours.
fn of_port(entry: &str, port: u16) -> Option<&str> {
    let bare = |host: &'_ str| host.trim_start_matches('[').trim_end_matches(']').len();
    let (host, named) = match entry.rsplit_once(':') {
        // More colons without brackets are an IPv6 address, whose end is no port.
        Some((host, named)) if !host.contains(':') || host.ends_with(']') => (host, Some(named)),
        _ => (entry, None),
    };
    if let Some(named) = named {
        let named: u16 = named.parse().ok()?;
        if named != port {
            return None;
        }
    }
    let host = host
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(host);
    let start = host.len() - host.trim_start_matches('[').len();
    Some(&host[start..start + bare(host)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_credentials_and_shows_none_of_them() {
        let proxy = Proxy::parse("http://user:p%40ss@proxy.corp:3128").unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.corp", 3128));
        assert_eq!(proxy.to_string(), "http://proxy.corp:3128");
        let value = proxy.authorization().unwrap().unwrap();
        assert_eq!(value, "Basic dXNlcjpwQHNz");
        assert!(!format!("{proxy:?}").contains("dXNlcjpwQHNz"));
        let proxy = Proxy::parse("https://[::1]").unwrap();
        assert_eq!(
            (proxy.host(), proxy.port(), proxy.is_tls()),
            ("::1", 443, true)
        );
        assert_eq!(
            Proxy::parse("proxy:3128").unwrap().to_string(),
            "http://proxy:3128"
        );
        for (bad, problem) in [
            (
                "socks5://p:1",
                "it is a SOCKS proxy, and only HTTP proxies are spoken to",
            ),
            ("ftp://p:1", "it begins with neither http:// nor https://"),
            ("http://", "it is not a URL"),
            ("http://p:0", "its port is 0"),
            ("/proxy", "it has no host"),
        ] {
            assert_eq!(Proxy::parse(bad).unwrap_err(), problem, "{bad}");
        }
    }

    #[test]
    fn a_file_of_credentials_is_read_for_each_connection_and_wins() {
        let file = std::env::temp_dir().join(format!("pipeops-proxy-{}", std::process::id()));
        std::fs::write(&file, "user:a b\n").unwrap();
        let proxy = Proxy::parse("http://other:word@p:1").unwrap();
        let proxy = proxy.with_credentials_file(file.clone());
        let value = |proxy: &Proxy| proxy.authorization().unwrap().unwrap();
        assert_eq!(value(&proxy), "Basic dXNlcjphIGI=");
        std::fs::write(&file, "user:c").unwrap();
        assert_eq!(value(&proxy), "Basic dXNlcjpj");
        for bad in ["", "no colon", "user:two\nlines"] {
            std::fs::write(&file, bad).unwrap();
            assert!(proxy.authorization().is_err(), "{bad}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(proxy.authorization().is_err());
    }

    #[test]
    fn a_list_of_exceptions_knows_hosts_suffixes_networks_and_ports() {
        let excepted = |list: &str, url: &str| is_excepted(list, &ApiUrl::parse(url).unwrap());
        for (list, url, expected) in [
            ("", "https://gw.corp", false),
            ("*", "https://gw.corp", true),
            ("gw.corp", "https://gw.corp", true),
            ("GW.corp", "https://gw.Corp:8443", true),
            ("corp", "https://gw.corp", true),
            (".corp", "https://gw.corp", true),
            ("*.corp", "https://gw.corp", true),
            (".corp", "https://gwcorp", false),
            ("corp", "https://gwcorp", false),
            ("gw.corp:8443", "https://gw.corp:8443", true),
            ("gw.corp:443", "https://gw.corp", true),
            ("gw.corp:8443", "https://gw.corp", false),
            (".corp:8443", "https://gw.corp:8443", true),
            ("gw.corp:port", "https://gw.corp", false),
            ("10.0.0.0/8", "https://10.1.2.3:8443", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.1.2.3:8443", "https://10.1.2.3:8443", true),
            ("fd00::/8", "https://[fd00::1]", true),
            ("fd00::1", "https://[fd00::1]:8443", true),
            ("[fd00::1]:8443", "https://[fd00::1]:8443", true),
            ("[fd00::1]:8443", "https://[fd00::1]", false),
            (" a , ,gw.corp ,b", "https://gw.corp", true),
        ] {
            assert_eq!(excepted(list, url), expected, "{list:?} {url}");
        }
    }
}
