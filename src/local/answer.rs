//! Failures as they are answered, and the headers that every answer has.
//!
//! Owns the shape `{"error":{"code","message","remedy"}}` and the security headers. Invariant: no
//! answer is cached, sniffed or framed, and none but the dashboard's may load anything.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) remedy: &'static str,
}

impl Failure {
    pub(super) const fn new(
        status: StatusCode,
        code: &'static str,
        message: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            message,
            remedy,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        told(self.status, self.code, self.message, self.remedy)
    }
}

/// A failure whose words are made up as it happens.
pub(super) fn told(status: StatusCode, code: &str, message: &str, remedy: &str) -> Response {
    let body = json!({ "error": { "code": code, "message": message, "remedy": remedy } });
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer realm=\"pipeops-agent\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// What is not the page has nothing to load.
const NOTHING: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The headers of every answer; what a route has set itself stays.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, NOTHING),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    }
}
