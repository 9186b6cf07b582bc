//! Who may ask, and from where.
//!
//! | route | peer | `Host` | `Origin` |
//! |---|---|---|---|
//! | probes, version, metrics | anyone | an address or a known name, where the peer is loopback | this server's own, or listed |
//! | the dashboard's page | anyone where there is a token, else loopback | known | own, listed, or a link from anywhere |
//! | everything else | exactly 127.0.0.1 or ::1, or the token | known | own, or listed |
//!
//! Owns these decisions. Invariants: a name that we do not know is refused, so that no name of
//! somebody else's that resolves to this address (DNS rebinding) makes a page of theirs ours; a
//! page of another origin gets nothing unless it is listed; a sidecar's 127.0.0.6 is not loopback,
//! because it speaks for others; the token is compared in constant time and stands in no URL.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Config;
use super::accept::Peer;
use super::answer::{self, Failure};
use crate::config::secret::SecretSource;

/// The subprotocol of `/ws`; a browser has no other way to send a token there.
pub(super) const PROTOCOL: &str = "pipeops.local.v1";
/// The token as a subprotocol, base64url behind it.
const BEARER: &str = "bearer.";

/// The rules of one server.
#[derive(Debug)]
pub(super) struct Guard {
    token: Option<SecretSource>,
    hosts: Vec<String>,
    origins: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Open,
    Page,
    Guarded,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/health" | "/ready" | "/version" | "/metrics" => Self::Open,
            "/" | "/dashboard" => Self::Page,
            path if path.starts_with("/dashboard/") => Self::Page,
            _ => Self::Guarded,
        }
    }
}

/// Checks a request before its route sees it, and finishes what the answer says of itself.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let judged = match &peer {
        Some(peer) => guard.judge(
            peer,
            request.method(),
            request.uri().path(),
            request.headers(),
        ),
        None => Err(UNKNOWN_PEER),
    };
    let mut response = match judged {
        Err(failure) => {
            let mut response = failure.into_response();
            answer::secure(response.headers_mut());
            return response;
        }
        Ok(origin) => {
            let preflight = request.method() == Method::OPTIONS;
            let mut response = if preflight && origin.is_some() {
                StatusCode::NO_CONTENT.into_response()
            } else {
                next.run(request).await
            };
            if let Some(origin) = origin {
                share(response.headers_mut(), origin);
            }
            response
        }
    };
    answer::secure(response.headers_mut());
    response
}

/// Lets a listed origin read the answer. Never with credentials: there are none that a browser adds.
fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    for (name, value) in [
        ("access-control-allow-methods", "GET"),
        (
            "access-control-allow-headers",
            "authorization, last-event-id",
        ),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

const UNKNOWN_PEER: Failure = Failure::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal",
    "the connection has no peer",
    "report this defect",
);
const BUSY: Failure = Failure::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "busy",
    "there are as many connections as the configuration allows",
    "close some, or raise realtime.max_connections or server.rate_limit",
);
const HOST: Failure = Failure::new(
    StatusCode::MISDIRECTED_REQUEST,
    "unknown_host",
    "the Host header names somebody else",
    "use localhost or the address itself, or add the name to server.allowed_hosts",
);
const ORIGIN: Failure = Failure::new(
    StatusCode::FORBIDDEN,
    "forbidden_origin",
    "pages of another origin get nothing here",
    "set server.cors_enabled and add the origin to server.allowed_origins",
);
const UNAUTHORIZED: Failure = Failure::new(
    StatusCode::UNAUTHORIZED,
    "unauthorized",
    "this needs the local token, or a connection from loopback",
    "send Authorization: Bearer with the content of server.token_file, or use kubectl port-forward",
);
const TOKEN: Failure = Failure::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "token_unreadable",
    "the file of the local token cannot be read",
    "see to it that server.token_file is there and readable",
);
const CHANGES: Failure = Failure::new(
    StatusCode::METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "this server only tells, it changes nothing",
    "use GET",
);

impl Guard {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Arc::new(Self {
            token: config.token.clone(),
            hosts: lower(&config.allowed_hosts),
            origins: lower(&config.allowed_origins),
        })
    }

    /// Whether a request may pass, and which other origin may read its answer.
    fn judge(
        &self,
        peer: &Peer,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Failure> {
        let route = Route::of(path);
        if peer.reserved && route != Route::Open {
            return Err(BUSY);
        }
        let host = self.host(route, peer, headers)?;
        let origin = self.origin(route, host.as_ref(), headers)?;
        if *method == Method::OPTIONS {
            // A preflight carries no token; it tells nothing but that the origin is listed.
            return origin.map(Some).ok_or(CHANGES);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(CHANGES);
        }
        match route {
            Route::Open => {}
            Route::Page if self.token.is_some() => {}
            Route::Page | Route::Guarded => self.authorize(peer, headers)?,
        }
        Ok(origin)
    }

    /// The `Host` that was asked, if it is one of ours.
    fn host(
        &self,
        route: Route,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Option<Authority>, Failure> {
        let mut all = headers.get_all(header::HOST).iter();
        let host = match (all.next(), all.next()) {
            (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
            (Some(_), Some(_)) => return Err(HOST),
            (None, _) => None,
        };
        // The pod network calls us by whatever name it likes; what may be a browser does not.
        if route == Route::Open && !canonical(peer.address).is_loopback() {
            return Ok(host);
        }
        let known = host.as_ref().is_some_and(|host| {
            let name = host.host().trim_matches(['[', ']']).to_ascii_lowercase();
            match name.parse::<IpAddr>() {
                Ok(address) if route == Route::Open => !address.is_unspecified(),
                Ok(address) => address.is_loopback() || address == canonical(peer.local),
                Err(_) => name == "localhost" || self.hosts.contains(&name),
            }
        }) && host
            .as_ref()
            .is_some_and(|host| !host.as_str().contains('@'));
        // Without a Host it is no browser.
        let absent = route == Route::Open && headers.get(header::HOST).is_none();
        if known || absent { Ok(host) } else { Err(HOST) }
    }

    /// The other origin that asks, if it is listed.
    fn origin(
        &self,
        route: Route,
        host: Option<&Authority>,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Failure> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(origin) = headers.get(header::ORIGIN) {
            let said = origin.to_str().unwrap_or("null").to_ascii_lowercase();
            // Over TLS that somebody in front of us ends, the scheme differs and the host does not.
            let own = host.is_some_and(|host| {
                let host = host.as_str().to_ascii_lowercase();
                let of = |scheme| said.strip_prefix(scheme) == Some(host.as_str());
                of("http://") || of("https://")
            });
            return if own {
                Ok(None)
            } else if self.origins.contains(&said) {
                Ok(Some(origin.clone()))
            } else {
                Err(ORIGIN)
            };
        }
        // What sends no Origin, an image or a script tag, still says where it stands.
        let site = HeaderName::from_static("sec-fetch-site");
        let link = || {
            let dest = HeaderName::from_static("sec-fetch-dest");
            route == Route::Page && text(&dest) == Some("document")
        };
        match text(&site) {
            None | Some("same-origin" | "none") => Ok(None),
            Some(_) if link() => Ok(None),
            Some(_) => Err(ORIGIN),
        }
    }

    fn authorize(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Failure> {
        let address = canonical(peer.address);
        let loopback = [
            IpAddr::from([127, 0, 0, 1]),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ];
        if loopback.contains(&address) {
            return Ok(());
        }
        let (Some(source), Some(given)) = (&self.token, bearer(headers)) else {
            return Err(UNAUTHORIZED);
        };
        // Read at each request: a rotated one holds at once, and the file is in memory.
        let token = source.read().map_err(|_| TOKEN)?;
        verify_slices_are_equal(token.expose().as_bytes(), given.as_bytes())
            .map_err(|_| UNAUTHORIZED)
    }
}

/// The token that a request shows: in `Authorization`, or as a WebSocket's subprotocol.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let scheme = "bearer ";
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (given, token) = value.to_str().ok()?.split_at_checked(scheme.len())?;
        return given
            .eq_ignore_ascii_case(scheme)
            .then(|| token.trim().to_owned());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let encoded = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|one| one.trim().strip_prefix(BEARER))?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}

/// An address without the mapping that a listener on `::` gives it.
fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests;
