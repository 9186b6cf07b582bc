//! `POST /register` (P-1 to P-3): who we are, and where the channel is.
//!
//! Owns the request, the reading of the answer and what a refusal means. Owns not: when to try
//! again (`ending`). Invariants: one deadline covers everything; at most 64 KiB are read; a
//! redirect is never followed; a channel of another origin is refused, so that the token stays
//! with the host that it was given for.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

use super::dial::{DialError, Dialler};
use crate::backoff;
use crate::config::secret::Secret;
use crate::limits;
use crate::protocol::ErrorBody;
use crate::protocol::hello::{Register, Registered};

/// Who we are in a control plane's access log.
pub(super) const AGENT: &str = concat!("pipeops-agent/", env!("CARGO_PKG_VERSION"));

/// Why registration failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    /// No connection.
    #[error("registration could not connect")]
    Dial(#[from] DialError),
    /// The whole took too long.
    #[error("registration took longer than {0:?}")]
    Slow(Duration),
    /// The connection broke, or what came is no HTTP.
    #[error("registration was not answered in HTTP")]
    Http(#[source] hyper::Error),
    /// The control plane, or something in between, said no.
    #[error("registration was refused: {0}")]
    Refused(Refusal),
    /// The answer is larger than any honest one.
    #[error("the answer to registration is larger than 64 KiB")]
    TooLarge,
    /// The answer is a web page: a captive portal, a proxy's login, a wrong URL.
    #[error("registration was answered with a web page: a proxy in between, or a wrong URL")]
    WebPage,
    /// The answer is not what P-2 says.
    #[error("the answer to registration cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// Every channel leads to another origin, or there is none.
    #[error("registration names no channel of this origin")]
    NoChannel,
}

/// An HTTP answer other than success (P-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body, if it is of our form.
    pub(super) body: Option<ErrorBody>,
    /// Its `Retry-After`.
    pub(super) retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        Self {
            status,
            body: serde_json::from_slice(body).ok(),
            retry_after: backoff::retry_after_of(headers),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        if self.status.is_redirection() {
            f.write_str(", a redirect, which is never followed")?;
        }
        match &self.body {
            Some(body) => write!(f, ": {body}"),
            None => Ok(()),
        }
    }
}

/// The value of `Authorization`.
pub(super) fn bearer(token: &Secret) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .expect("a secret holds only what a header may");
    value.set_sensitive(true);
    value
}

/// Registers; the answer comes with the paths of its channels that may be used.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(super) async fn register(
    dialler: &Dialler,
    token: &Secret,
    facts: &Register,
) -> Result<(Registered, Vec<String>), RegisterError> {
    let (status, headers, body) =
        tokio::time::timeout(limits::REGISTER, post(dialler, token, facts))
            .await
            .unwrap_or(Err(RegisterError::Slow(limits::REGISTER)))?;
    if !status.is_success() {
        return Err(RegisterError::Refused(Refusal::new(
            status, &headers, &body,
        )));
    }
    let registered: Registered = serde_json::from_slice(&body).map_err(|error| {
        if is_web_page(&headers, &body) {
            RegisterError::WebPage
        } else {
            RegisterError::Malformed(error)
        }
    })?;
    let channels: Vec<_> = registered
        .channels
        .iter()
        .filter_map(|channel| dialler.url().channel(channel))
        .collect();
    if channels.is_empty() {
        return Err(RegisterError::NoChannel);
    }
    Ok((registered, channels))
}

async fn post(
    dialler: &Dialler,
    token: &Secret,
    facts: &Register,
) -> Result<(StatusCode, HeaderMap, Bytes), RegisterError> {
    let connection = dialler.dial().await?;
    let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits::REGISTER_ANSWER)
        .handshake(TokioIo::new(connection))
        .await
        .map_err(RegisterError::Http)?;
    let json = serde_json::to_vec(facts).expect("facts of ours serialise");
    let mut request = Request::new(Full::new(Bytes::from(json)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = dialler
        .url()
        .below("/register")
        .parse()
        .expect("a URL that was parsed has a path that can be extended");
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&dialler.url().authority())
        .expect("the authority of a parsed URL is a header value");
    headers.insert(HOST, host);
    headers.insert(AUTHORIZATION, bearer(token));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(RegisterError::Http)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limits::REGISTER_ANSWER)
            .collect()
            .await
            .map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => RegisterError::Http(*error),
                Err(_) => RegisterError::TooLarge,
            })?
            .to_bytes();
        Ok((head.status, head.headers, body))
    };
    tokio::pin!(answer, driver);
    // The driver moves the bytes; whichever ends first, the answer says how it went.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut driver => answer.await,
    }
}

/// By its type, or by how it begins.
fn is_web_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let html = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    let begins = body.trim_ascii_start().first() == Some(&b'<');
    headers.get(CONTENT_TYPE).is_some_and(html) || begins
}
