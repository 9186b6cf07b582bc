//! The dashboard: one page and what it loads, out of the program itself.
//!
//! Owns the routes and their headers. Owns not: the page (`assets/`). Invariant: the page loads
//! from nowhere but here, runs no script that stands in it, and holds no data.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Shared;

/// Scripts, styles and connections of this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PAGE: &str = include_str!("assets/index.html");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// What the page loads, by its name below `/dashboard/`.
const ASSETS: [(&str, &str, &str); 3] = [
    ("style.css", CSS, include_str!("assets/style.css")),
    ("app.js", JAVASCRIPT, include_str!("assets/app.js")),
    ("chart.js", JAVASCRIPT, include_str!("assets/chart.js")),
];

pub(super) fn routes() -> Router<Shared> {
    let mut router = Router::new()
        .route("/", get(moved))
        .route("/dashboard/", get(moved))
        .route("/dashboard", get(async || page()));
    for (name, kind, text) in ASSETS {
        let path = format!("/dashboard/{name}");
        router = router.route(&path, get(async move || asset(kind, text)));
    }
    router
}

async fn moved() -> Response {
    let to = [(header::LOCATION, HeaderValue::from_static("/dashboard"))];
    (StatusCode::PERMANENT_REDIRECT, to).into_response()
}

fn page() -> Response {
    let mut response = asset("text/html; charset=utf-8", PAGE);
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    response
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
