//! The section `pipeops`: the way to the control plane.
//!
//! Owns what its values have to look like. Invariant: an error quotes no secret.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::effective::Source;
use crate::config::env::{self, Env};
use crate::config::proxy::{self, Proxy};
use crate::config::reader::Reader;
use crate::config::secret::{Secret, SecretSource};
use crate::config::settings as keys;
use crate::config::value::ApiUrl;
use crate::telemetry;

impl<E: Env> Reader<'_, E> {
    pub(super) fn api_url(&mut self) -> Option<ApiUrl> {
        let (text, name) = self.text(&keys::API_URL)?;
        match ApiUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(problem) => {
                let remedy = format!("write it like {}", keys::API_URL.default);
                self.wrong(name, problem, remedy);
                None
            }
        }
    }

    /// Of each source the file wins over the token itself.
    pub(super) fn token(&mut self) -> Option<SecretSource> {
        let before = self.errors();
        for source in [Source::Flag, Source::Environment, Source::File] {
            if let Some(given) = self.look(&keys::TOKEN_FILE, source) {
                self.record(&keys::TOKEN_FILE, &given);
                let path = self.resolve(&given);
                return self.secret_file(path, given.name);
            }
            if let Some(given) = self.look(&keys::TOKEN, source) {
                self.record(&keys::TOKEN, &given);
                return match Secret::token(&given.text()) {
                    Ok(secret) => Some(SecretSource::Given(secret)),
                    Err(error) => {
                        self.wrong(
                            given.name,
                            error.to_string(),
                            "copy the token again, without spaces or line ends",
                        );
                        None
                    }
                };
            }
        }
        if self.errors() == before {
            self.wrong(
                env::TOKEN_FILE,
                "there is no token",
                format!(
                    "name a file that holds it in {}, --token-file or {}, or set {}",
                    env::TOKEN_FILE,
                    keys::TOKEN_FILE.key,
                    env::TOKEN
                ),
            );
        }
        None
    }

    pub(super) fn secret_file(&mut self, path: PathBuf, name: String) -> Option<SecretSource> {
        let source = SecretSource::File(path);
        match source.read() {
            Ok(_) => Some(source),
            Err(error) => {
                let problem = telemetry::error_chain(&error).to_string();
                self.wrong(
                    name,
                    problem,
                    "name a file that this user may read and that holds the token alone",
                );
                None
            }
        }
    }

    pub(super) fn ca_file(&mut self) -> Option<PathBuf> {
        let (path, name) = self.path(&keys::CA_FILE)?;
        if let Err(problem) = has_certificate(&path) {
            self.wrong(
                name,
                problem,
                "name a file of PEM certificates, or leave it out to trust public authorities only",
            );
        }
        Some(path)
    }

    pub(super) fn proxy(&mut self, api_url: Option<&ApiUrl>) -> Option<Proxy> {
        let given = self.given(&keys::PROXY);
        let excepted = self.list(&keys::NO_PROXY);
        let credentials = self.path(&keys::PROXY_CREDENTIALS);
        let given = given?;
        let (text, name) = (given.text(), given.name);
        if text == "none" {
            return None;
        }
        if given.source == Source::Flag && text.contains('@') {
            self.wrong(
                name,
                "a command line is no place for a password",
                "name a file with --proxy-credentials-file",
            );
            return None;
        }
        let proxy = match Proxy::parse(&text) {
            Ok(proxy) => proxy,
            Err(problem) => {
                let remedy = "write it like http://proxy.example:3128, or none to go without";
                self.wrong(name, problem, remedy);
                return None;
            }
        };
        let list = excepted.map_or_else(String::new, |(hosts, _)| hosts.join(","));
        // As Go does, because a variable of the whole machine is not meant for it; a setting of
        // our own is.
        let of_machine = given.source == Source::Environment
            && env::PROXIES.iter().any(|variable| name == *variable);
        let direct =
            |url: &ApiUrl| of_machine && is_loopback(url.host()) || proxy::is_excepted(&list, url);
        if api_url.is_some_and(direct) {
            return None;
        }
        let Some((path, name)) = credentials else {
            return Some(proxy);
        };
        let proxy = proxy.with_credentials_file(path);
        if let Err(error) = proxy.authorization() {
            let problem = telemetry::error_chain(&error).to_string();
            self.wrong(
                name,
                problem,
                "name a file that holds user:password in one line",
            );
        }
        Some(proxy)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn has_certificate(path: &Path) -> Result<(), String> {
    let text = std::fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let mark = b"-----BEGIN CERTIFICATE-----";
    if text.windows(mark.len()).any(|part| part == mark) {
        Ok(())
    } else {
        Err("it holds no PEM certificate".into())
    }
}
