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
const ASSETS: [(&str, &str, &str); 9] = [
    ("style.css", CSS, include_str!("assets/style.css")),
    ("app.js", JAVASCRIPT, include_str!("assets/app.js")),
    ("feed.js", JAVASCRIPT, include_str!("assets/feed.js")),
    ("panels.js", JAVASCRIPT, include_str!("assets/panels.js")),
    ("charts.js", JAVASCRIPT, include_str!("assets/charts.js")),
    ("logs.js", JAVASCRIPT, include_str!("assets/logs.js")),
    ("nodes.js", JAVASCRIPT, include_str!("assets/nodes.js")),
    ("own.js", JAVASCRIPT, include_str!("assets/own.js")),
    (
        "uplot.min.js",
        JAVASCRIPT,
        include_str!("assets/uplot.min.js"),
    ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_all_that_it_loads_is_under_100_kb() {
        let sum: usize = ASSETS.iter().map(|(_, _, text)| text.len()).sum();
        assert!(sum + PAGE.len() < 100_000, "{}", sum + PAGE.len());
    }

    #[test]
    fn nothing_of_ours_parses_markup_or_names_another_host() {
        let sinks = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ];
        for (name, _, text) in ASSETS.into_iter().chain([("index.html", "", PAGE)]) {
            for sink in sinks {
                assert!(!text.contains(sink), "{name} has {sink}");
            }
            let hosts = text.matches("://").count();
            let known = text.matches("://www.w3.org/2000/svg").count()
                + text.matches("://github.com/leeoniya/uPlot").count();
            assert_eq!(hosts, known, "{name} names a host");
        }
    }
}
