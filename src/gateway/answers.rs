//! Answers that the gateway composes itself.
//!
//! Owns their form: a Kubernetes `Status` where a client of the API may ask, `{"code","message"}`
//! where an agent does, JSON or text for people. Invariant: none holds a secret.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::body::Body;
use crate::kubeapi::status::{self, Failure, Hop};
use crate::protocol::error::ErrorBody;

/// When to try again what was not begun.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

fn answer(code: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Text.
pub(crate) fn text(code: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    answer(code, content_type, body)
}

/// JSON.
pub(crate) fn json(code: StatusCode, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_string(body).expect("text and numbers always serialise");
    answer(code, "application/json", body)
}

/// A refusal towards an agent (P-3).
pub(crate) fn refusal(code: StatusCode, body: &ErrorBody) -> Response<Body> {
    json(code, body)
}

/// Adds `Retry-After`.
pub(crate) fn retry_after(response: &mut Response<Body>, wait: Duration) {
    let seconds = HeaderValue::from(wait.as_secs().max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
}

/// A `Status`, for clients of the Kubernetes API.
pub(crate) fn status(failure: &Failure, hop: Hop, correlation: &str) -> Response<Body> {
    let composed = failure.answer(hop, correlation);
    let mut response = answer(composed.code, status::CONTENT_TYPE, composed.body);
    if let Some(seconds) = composed.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if composed.code == StatusCode::UNAUTHORIZED {
        // RFC 9110, section 15.5.2, asks for it; kubectl prompts for nothing then.
        let challenge = HeaderValue::from_static("Bearer realm=\"pipeops-gateway\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
