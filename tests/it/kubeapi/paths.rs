//! Request paths: vectors, limits, properties.

use http::Method;
use pipeops_agent::kubeapi::{PathError, RequestPath, Upgrade};
use pipeops_agent::limits;
use proptest::prelude::*;
use serde::Deserialize;

use super::fixture;
use super::server::{self, Expected};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    method: String,
    path: String,
    query: Option<String>,
    upgrade: Option<String>,
    canonical: Option<String>,
    attributes: Option<Expected>,
    refused: Option<String>,
}

fn parse(vector: &Vector) -> Result<RequestPath, PathError> {
    let method = Method::from_bytes(vector.method.as_bytes()).unwrap();
    let upgrade = vector.upgrade.as_deref().map(|token| {
        Upgrade::from_token(token.as_bytes()).expect("the fixture names a known upgrade")
    });
    RequestPath::parse(&method, &vector.path, vector.query.as_deref(), upgrade)
}

fn get(path: &str, query: Option<&str>) -> Result<RequestPath, PathError> {
    RequestPath::parse(&Method::GET, path, query, None)
}

// === Vectors ===

#[test]
fn an_accepted_path_means_what_the_api_server_reads() {
    let vectors = fixture::<Vector>("paths/accept.jsonl");
    assert!(vectors.len() >= 500);
    for (line, vector) in vectors {
        let parsed = parse(&vector).unwrap_or_else(|error| panic!("line {line}: {error}"));
        assert_eq!(
            Some(parsed.canonical()),
            vector.canonical.as_deref(),
            "line {line}"
        );
        assert_eq!(parsed.query(), vector.query.as_deref(), "line {line}");
        assert_eq!(
            Some(Expected::from(parsed.attributes())),
            vector.attributes,
            "line {line}"
        );
    }
}

#[test]
fn a_refused_path_is_refused_for_its_own_reason() {
    for (line, vector) in fixture::<Vector>("paths/reject.jsonl") {
        let error = parse(&vector).expect_err(&format!("line {line} is refused"));
        assert_eq!(Some(format!("{error:?}")), vector.refused, "line {line}");
    }
}

#[test]
fn every_reason_to_refuse_has_a_vector() {
    let vectors = fixture::<Vector>("paths/reject.jsonl");
    // The two lengths have tests of their own below.
    for error in [
        PathError::Method,
        PathError::UpgradeMethod,
        PathError::Form,
        PathError::EmptySegment,
        PathError::DotSegment,
        PathError::Byte,
        PathError::Escape,
        PathError::EscapedSeparator,
        PathError::Encoding,
        PathError::Incomplete,
        PathError::QueryByte,
    ] {
        let name = format!("{error:?}");
        assert!(
            vectors
                .iter()
                .any(|(_, vector)| vector.refused.as_ref() == Some(&name)),
            "{name}"
        );
    }
}

#[test]
fn the_fixtures_agree_with_the_restated_server() {
    for (line, vector) in fixture::<Vector>("paths/accept.jsonl") {
        let seen = server::request_info(&vector.method, &vector.path, vector.query.as_deref());
        let mut expected = vector.attributes.unwrap();
        if server::selects(vector.query.as_deref()) {
            // Selectors are not restated: the fixture holds what the server's own code said.
            expected.name = seen
                .as_ref()
                .map(|seen| seen.name.clone())
                .unwrap_or_default();
        }
        assert_eq!(seen.ok(), Some(expected), "line {line}");
    }
}

// === Limits ===

#[test]
fn a_path_is_refused_one_byte_above_its_limit() {
    let path = format!("/{}", "a".repeat(limits::KUBE_PATH_BYTES - 1));
    assert!(get(&path, None).is_ok());
    assert_eq!(get(&format!("{path}a"), None), Err(PathError::TooLong));
}

#[test]
fn escaping_may_not_lift_a_path_above_the_limit() {
    // Each quotation mark takes three bytes once it is escaped.
    let path = format!("/{}", "\"".repeat(limits::KUBE_PATH_BYTES / 2));
    assert_eq!(get(&path, None), Err(PathError::TooLong));
    let tail = format!(
        "/api/v1/nodes/n/proxy/{}",
        "\"".repeat(limits::KUBE_PATH_BYTES / 2)
    );
    assert_eq!(get(&tail, None), Err(PathError::TooLong));
}

#[test]
fn a_query_is_refused_one_byte_above_its_limit() {
    let query = "a".repeat(limits::KUBE_QUERY_BYTES);
    assert!(get("/api/v1/pods", Some(&query)).is_ok());
    assert_eq!(
        get("/api/v1/pods", Some(&format!("{query}a"))),
        Err(PathError::QueryTooLong)
    );
}

#[test]
fn a_query_is_refused_one_parameter_above_its_limit() {
    let query = "a&".repeat(limits::KUBE_QUERY_PARAMETERS - 1);
    assert!(get("/api/v1/pods", Some(&query)).is_ok());
    assert_eq!(
        get("/api/v1/pods", Some(&format!("{query}&"))),
        Err(PathError::QueryTooLong)
    );
}

#[test]
fn path_and_query_together_fit_one_target() {
    let query = "a".repeat(limits::KUBE_QUERY_BYTES);
    let longest = limits::KUBE_TARGET_BYTES - limits::KUBE_QUERY_BYTES - 1;
    let path = format!("/{}", "a".repeat(longest - 1));
    let parsed = get(&path, Some(&query)).unwrap();
    assert_eq!(
        parsed.path_and_query().as_str().len(),
        limits::KUBE_TARGET_BYTES
    );
    assert_eq!(
        get(&format!("{path}a"), Some(&query)),
        Err(PathError::QueryTooLong)
    );
}

#[test]
fn an_empty_query_is_not_the_same_as_none() {
    assert_eq!(
        get("/version", Some("")).unwrap().path_and_query().as_str(),
        "/version?"
    );
    assert_eq!(
        get("/version", None).unwrap().path_and_query().as_str(),
        "/version"
    );
}

// === Properties ===

/// Paths of the pieces that the rules are about, so that most are near an edge.
fn likely_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "api",
        "apis",
        "v1",
        "apps",
        "namespaces",
        "pods",
        "nodes",
        "services",
        "x",
        "y",
        "exec",
        "log",
        "status",
        "finalize",
        "proxy",
        "watch",
        "%70roxy",
        "w%61tch",
        "namespace%73",
        "sta%74us",
        "p%6Fds",
        "%61pi",
        "a%20b",
        "a:80",
        "a%C3%A9",
        "\"",
        "|",
        "...",
        "",
        "",
        ".",
        "..",
        "%2e%2E",
        "%2F",
        "a%2fb",
        "%25",
        "%252e",
        "%00",
        "%zz",
        "%",
        "\\",
        "debug",
        "pprof",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.join("/")))
}

fn likely_query() -> impl Strategy<Value = Option<String>> {
    let piece = prop::sample::select(vec![
        "watch",
        "watch=",
        "watch=1",
        "watch=0",
        "watch=false",
        "watch=FALSE",
        "w%61tch=true",
        "watch=%30",
        "watch=fal%C5%BFe",
        "watch;",
        "watch=1;",
        "limit=1",
        "limit=x",
        "limit=",
        "limit=+1",
        "limit=%2B1",
        "timeoutSeconds=5",
        "timeoutSeconds=5s",
        "",
        "=",
        "a=b",
        "%",
        "a=%zz",
        "+watch=1",
    ]);
    prop::option::of(prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.join("&")))
}

fn any_method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_decided_on_is_what_the_server_reads(
        method in any_method(),
        path in likely_path(),
        query in likely_query(),
    ) {
        let query = query.as_deref();
        if let Ok(parsed) = RequestPath::parse(&method, &path, query, None) {
            server::check(&parsed, &path);
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(path in ".{0,60}", query in prop::option::of(".{0,60}")) {
        for path in [path.clone(), format!("/{path}"), format!("/api/v1/nodes/n/proxy/{path}")] {
            if let Ok(parsed) = get(&path, query.as_deref()) {
                server::check(&parsed, &path);
            }
        }
    }

    #[test]
    fn an_escaped_segment_is_read_as_the_plain_one(name in "[a-z0-9:.-]{1,20}") {
        prop_assume!(name != "." && name != "..");
        let escaped: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let plain = get(&format!("/api/v1/namespaces/n/pods/{name}"), None);
        prop_assert_eq!(get(&format!("/api/v1/namespaces/n/pods/{escaped}"), None), plain);
    }
}
