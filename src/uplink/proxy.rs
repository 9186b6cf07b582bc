//! A tunnel through a corporate proxy, by `CONNECT`.
//!
//! Owns the request, the reading of its answer and what a refusal is called. Owns not: which proxy
//! and when (`config::proxy`), the connection to it (`dial`), nor what is spoken in the tunnel.
//! Invariants: the proxy is told the control plane's name and port and our credentials for the
//! proxy itself, nothing else; of its answer at most 16 KiB are read; bytes that it sends before
//! we speak end the attempt.

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::register::AGENT;
use crate::config::proxy::Proxy;
use crate::config::secret::SecretError;
use crate::config::value::ApiUrl;
use crate::limits;
use crate::reach::Socket;

/// The first leg: plain TCP, or TLS where the proxy itself is reached by TLS.
pub(super) type Leg = Either<Socket, Box<TlsStream<Socket>>>;

/// Why the proxy made no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// Our own.
    #[error("the proxy's credentials cannot be used")]
    Credentials(#[source] SecretError),
    /// It wants to know who we are, or knows and does not let us in.
    #[error("it wants credentials ({schemes}): {}", if *.sent {
        "those that were sent are refused"
    } else {
        "give them in the proxy's URL or in a file"
    })]
    Unauthorized {
        /// What it would take.
        schemes: String,
        /// Whether we sent any.
        sent: bool,
    },
    /// It does not take us there.
    #[error("it answers {status}{detail}")]
    Refused {
        /// Its answer.
        status: StatusCode,
        /// What else it says of the reason.
        detail: String,
    },
    /// What came is no HTTP, or the connection broke.
    #[error("it does not answer in HTTP")]
    Http(#[source] hyper::Error),
    /// The other end is to be silent until we speak.
    #[error("something spoke in the tunnel before us")]
    Early,
}

impl ProxyError {
    /// Whether only somebody who mends the credentials can help.
    pub(super) const fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Credentials(_) | Self::Unauthorized { .. })
    }
}

/// Asks for a tunnel to `target`.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(super) async fn tunnel(leg: Leg, proxy: &Proxy, target: &ApiUrl) -> Result<Leg, ProxyError> {
    let authorization = proxy.authorization().map_err(ProxyError::Credentials)?;
    let sent = authorization.is_some();
    let request = request(target, authorization);
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits::PROXY_ANSWER)
        .handshake(TokioIo::new(leg))
        .await
        .map_err(ProxyError::Http)?;
    let mut driver = std::pin::pin!(driver.with_upgrades());
    let answer = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Ok(Err((head.status, head.headers)));
        }
        hyper::upgrade::on(http::Response::from_parts(head, body))
            .await
            .map(Ok)
    };
    let mut answer = std::pin::pin!(answer);
    // The driver moves the bytes; whichever ends first, the answer says how it went.
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut driver => answer.await,
    };
    let upgraded = match answer.map_err(ProxyError::Http)? {
        Ok(upgraded) => upgraded,
        Err((status, headers)) => return Err(refused(status, &headers, sent)),
    };
    let parts = upgraded
        .downcast::<TokioIo<Leg>>()
        .expect("what was given is what comes back");
    if parts.read_buf.is_empty() {
        Ok(parts.io.into_inner())
    } else {
        Err(ProxyError::Early)
    }
}

fn request(target: &ApiUrl, authorization: Option<HeaderValue>) -> Request<Empty<Bytes>> {
    // With its port always: that is what CONNECT takes.
    let authority = if target.host().contains(':') {
        format!("[{}]:{}", target.host(), target.port())
    } else {
        format!("{}:{}", target.host(), target.port())
    };
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority.parse().expect("the authority of a parsed URL");
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&authority);
    headers.insert(HOST, host.expect("the authority of a parsed URL"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if let Some(authorization) = authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization);
    }
    request
}

fn refused(status: StatusCode, headers: &HeaderMap, sent: bool) -> ProxyError {
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let schemes: Vec<_> = headers
            .get_all(PROXY_AUTHENTICATE)
            .iter()
            .filter_map(|value| word(value))
            .collect();
        let schemes = match schemes.as_slice() {
            [] => "of a kind that it does not say".to_owned(),
            schemes => schemes.join(", "),
        };
        return ProxyError::Unauthorized { schemes, sent };
    }
    // Squid names its reason here, such as ERR_DNS_FAIL.
    let reason = headers.get("x-squid-error").and_then(word);
    let detail = reason.map(|reason| format!(" ({reason})"));
    ProxyError::Refused {
        status,
        detail: detail.unwrap_or_default(),
    }
}

/// The first word of a header; what a proxy sends goes into one line of a log.
fn word(value: &HeaderValue) -> Option<&str> {
    let word = value.to_str().ok()?.split([' ', ',']).next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ((1..=40).contains(&word.len()) && word.bytes().all(plain)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_the_proxy_wants_and_nothing_strange() {
        let mut headers = HeaderMap::new();
        for scheme in ["Negotiate", "Basic realm=\"squid\"", "<b>bad</b>"] {
            headers.append(PROXY_AUTHENTICATE, scheme.parse().unwrap());
        }
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let error = refused(status, &headers, false);
        assert_eq!(
            error.to_string(),
            "it wants credentials (Negotiate, Basic): give them in the proxy's URL or in a file"
        );
        assert!(error.is_unauthorized());
        let error = refused(status, &HeaderMap::new(), true);
        assert!(
            error
                .to_string()
                .ends_with("those that were sent are refused")
        );
        let mut headers = HeaderMap::new();
        headers.insert("x-squid-error", "ERR_ACCESS_DENIED 0".parse().unwrap());
        let error = refused(StatusCode::FORBIDDEN, &headers, false);
        assert_eq!(
            error.to_string(),
            "it answers 403 Forbidden (ERR_ACCESS_DENIED)"
        );
    }
}
