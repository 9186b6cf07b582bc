//! The sections `server` and `realtime`, and the port: the local server.
//!
//! Owns what their values have to look like. Invariant: who may ask is listed by name, and nothing
//! stands for everybody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::Uri;

use crate::config::effective::Source;
use crate::config::env::Env;
use crate::config::file::Value;
use crate::config::reader::{Given, Reader};
use crate::config::settings as keys;
use crate::config::{Realtime, Server};

impl<E: Env> Reader<'_, E> {
    pub(in crate::config) fn listen(&mut self) -> Option<SocketAddr> {
        if let Some((name, text)) = self.flag("--listen") {
            let listen = text.parse().ok();
            if listen.is_none() {
                self.wrong(
                    name,
                    format!("{text:?} is not an address and port"),
                    "write it like 127.0.0.1:8080",
                );
            }
            self.listens(name, listen?);
            return listen;
        }
        let address = self.text(&keys::ADDRESS).map(|(text, name)| {
            text.parse().unwrap_or_else(|_| {
                let problem = format!("{text:?} is not an IP address");
                self.wrong(name, problem, "write it like 127.0.0.1, or 0.0.0.0 for all");
                IpAddr::V4(Ipv4Addr::UNSPECIFIED)
            })
        });
        let (port, _) = self.number(&keys::PORT)?;
        Some(SocketAddr::new(address?, u16::try_from(port).ok()?))
    }

    /// Notes that one flag gave two settings.
    fn listens(&mut self, flag: &'static str, listen: SocketAddr) {
        let values = [
            (&keys::ADDRESS, listen.ip().to_string()),
            (&keys::PORT, listen.port().to_string()),
        ];
        for (setting, text) in values {
            self.record(
                setting,
                &Given {
                    name: flag.into(),
                    source: Source::Flag,
                    value: Value::Text(text),
                },
            );
        }
    }

    pub(super) fn server(&mut self, warnings: &mut Vec<String>) -> Option<Server> {
        let listen = self.listen();
        let named = [&keys::ENABLE_WEBSOCKET, &keys::ENABLE_SSE]
            .map(|key| self.given(key).map_or_else(String::new, |given| given.name));
        let switches = (
            self.switch(&keys::ENABLE_WEBSOCKET),
            self.switch(&keys::ENABLE_SSE),
        );
        if switches == (Some(false), Some(false)) {
            self.wrong(
                named.join(" and "),
                "WebSocket and SSE are both off",
                "leave one of them on",
            );
        }
        let dashboard = self.switch(&keys::ENABLE_DASHBOARD);
        let cors = self.switch(&keys::CORS_ENABLED);
        // Where it cannot be read that is the error.
        let allowed_origins = self.origins(cors.unwrap_or(true), warnings);
        let allowed_hosts = self.hosts();
        let token = self
            .path(&keys::SERVER_TOKEN_FILE)
            .and_then(|(path, name)| self.secret_file(path, name));
        let header_timeout = self.duration(&keys::HEADER_TIMEOUT);
        let rate_limit = self.number(&keys::RATE_LIMIT);
        Some(Server {
            listen: listen?,
            websocket: switches.0?,
            sse: switches.1?,
            dashboard: dashboard?,
            allowed_origins,
            allowed_hosts,
            token,
            header_timeout: header_timeout?,
            rate_limit: u32::try_from(rate_limit?.0).ok()?,
        })
    }

    /// An open `/ws` is cross-site hijacking: origins are listed one by one.
    fn origins(&mut self, cors: bool, warnings: &mut Vec<String>) -> Vec<String> {
        let Some((origins, name)) = self.list(&keys::ALLOWED_ORIGINS) else {
            if cors {
                warnings.push(format!(
                    "{} is true and {} names nobody: only our own pages are answered",
                    keys::CORS_ENABLED.key,
                    keys::ALLOWED_ORIGINS.key
                ));
            }
            return Vec::new();
        };
        for origin in &origins {
            if !is_origin(origin) {
                self.wrong(
                    name.clone(),
                    format!("{origin:?} is not an origin"),
                    "write each like https://ops.example, without a path; there is no wildcard",
                );
            }
        }
        if !cors {
            self.wrong(
                name,
                format!(
                    "origins are listed, and {} is false",
                    keys::CORS_ENABLED.key
                ),
                "set that to true, or leave the list out",
            );
        }
        let lower = origins.iter().map(|origin| origin.to_ascii_lowercase());
        lower.collect()
    }

    fn hosts(&mut self) -> Vec<String> {
        let Some((hosts, name)) = self.list(&keys::ALLOWED_HOSTS) else {
            return Vec::new();
        };
        for host in &hosts {
            if !is_authority(host) {
                self.wrong(
                    name.clone(),
                    format!("{host:?} is not a host"),
                    "write each like agent.example or agent.example:8080; there is no wildcard",
                );
            }
        }
        let lower = hosts.iter().map(|host| host.to_ascii_lowercase());
        lower.collect()
    }

    pub(super) fn realtime(&mut self, server: Option<&Server>) -> Option<Realtime> {
        if let Some((port, name)) = self.number(&keys::WEBSOCKET_PORT)
            && let Some(server) = server
            && port != u64::from(server.listen.port())
        {
            let ours = server.listen.port();
            self.wrong(
                name,
                format!("it is {port}, and {} is {ours}", keys::PORT.key),
                "leave it out: there is one port for everything",
            );
        }
        let sse_heartbeat = self.duration(&keys::SSE_HEARTBEAT);
        let connection_timeout = self.duration(&keys::CONNECTION_TIMEOUT);
        let max_connections = self.number(&keys::MAX_CONNECTIONS);
        Some(Realtime {
            sse_heartbeat: sse_heartbeat?,
            connection_timeout: connection_timeout?,
            max_connections: usize::try_from(max_connections?.0).ok()?,
        })
    }
}

fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri
            .host()
            .is_some_and(|host| !host.is_empty() && !host.contains('*'))
        && uri.authority().is_some_and(|authority| {
            let bare = text.split("://").nth(1);
            bare == Some(authority.as_str()) && !authority.as_str().contains('@')
        })
}

fn is_authority(text: &str) -> bool {
    text.parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.as_str().contains(['@', '*']))
}
