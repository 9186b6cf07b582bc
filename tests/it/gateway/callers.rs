//! What a caller gets who is not let through, and how long a connection may idle.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{collected, hello, request, rig, tls};
use crate::support::{soon, trace};

const PODS: &str = "/clusters/prod/k8s/api/v1/pods";

#[tokio::test]
async fn a_caller_without_a_valid_token_gets_a_401_status() {
    let rig = rig(|_| {});
    let agent = rig.tokens.add_agent("prod").unwrap();
    for token in ["", "x", "pgt_00000000_00", agent.as_str()] {
        let answer = rig.get(PODS, token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["kind"], "Status");
        assert_eq!(answer.hop(), "Gateway");
    }
}

#[tokio::test]
async fn an_unknown_cluster_and_a_forbidden_one_are_the_same_answer() {
    let rig = rig(|_| {});
    rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["other"]).unwrap();
    rig.tokens.add_agent("other").unwrap();
    let everything = rig.tokens.add_user("bob", &[], &["*"]).unwrap();
    let shape = |answer: &super::rig::Answer| {
        let mut status = answer.json();
        let message = status["message"].as_str().unwrap();
        status["message"] = json!(message.split(" (request").next());
        status
    };
    let forbidden = rig.get(PODS, &user).await;
    let unknown = rig
        .get("/clusters/nowhere/k8s/api/v1/pods", &everything)
        .await;
    assert_eq!(forbidden.status, StatusCode::FORBIDDEN);
    assert_eq!(unknown.status, StatusCode::FORBIDDEN);
    let (mut one, mut other) = (shape(&forbidden), shape(&unknown));
    for status in [&mut one, &mut other] {
        let text = status
            .to_string()
            .replace("prod", "X")
            .replace("nowhere", "X");
        *status = serde_json::from_str(&text).unwrap();
    }
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_known_cluster_without_agent_is_a_503_that_a_young_gateway_lets_be_retried() {
    let rig = rig(|_| {});
    rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let answer = rig.get(PODS, &user).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("not been seen")
    );
}

#[tokio::test]
async fn paths_and_headers_that_cannot_pass_are_named() {
    let rig = rig(|_| {});
    rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut caller = rig.caller().await;
    let long = format!("{PODS}?x={}", "a".repeat(61 * 1024));
    for (path, status) in [
        ("/clusters/prod/k8s/api/v1/pods/../secrets", 400),
        ("/clusters/prod/k8s/api/v1/pods%2Fexec", 400),
        (long.as_str(), 414),
    ] {
        let answer = caller.get(path, &user).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.json()["kind"], "Status");
    }
    let asking = request(&Method::GET, PODS, &user)
        .header("impersonate-user", "root")
        .body(Full::default());
    let answer = collected(caller.send(asking.unwrap()).await).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let asking = request(&Method::GET, PODS, &user)
        .header("connection", "upgrade")
        .header("upgrade", "h2c")
        .body(Full::default());
    let answer = collected(caller.send(asking.unwrap()).await).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_agents_token_belongs_to_one_cluster_and_a_users_registers_nothing() {
    let rig = rig(|_| {});
    let agent = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut caller = rig.caller().await;
    let body = hello("one", "uid-1").to_string();
    let answer = caller.post("/register", &agent, body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["cluster_id"], "prod");
    assert_eq!(answer.json()["channels"], json!(["/channel"]));
    assert_eq!(
        answer.json()["reconnect"],
        json!({ "first_ms": 1000, "cap_ms": 60_000 })
    );
    let answer = caller.post("/register", &user, body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (403, Some("forbidden"))
    );
    let answer = caller.post("/register", "x", body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (401, Some("unauthorized"))
    );
}

#[tokio::test]
async fn registrations_that_make_no_sense_are_refused_by_name() {
    let rig = rig(|_| {});
    let agent = rig.tokens.add_agent("prod").unwrap();
    let mut old = hello("one", "uid-1");
    old["protocols"] = json!(["pipeops.agent.v9"]);
    for (body, status, code) in [
        ("{".to_owned(), 400, "malformed"),
        ("\u{0}".to_owned(), 400, "malformed"),
        (
            format!("{{\"x\":\"{}\"}}", "a".repeat(70_000)),
            413,
            "too_large",
        ),
        (old.to_string(), 426, "unsupported"),
    ] {
        let answer = rig.caller().await.post("/register", &agent, body).await;
        let named = answer.json()["code"].as_str().map(str::to_owned);
        assert_eq!(
            (answer.status.as_u16(), named.as_deref()),
            (status, Some(code))
        );
    }
}

#[tokio::test]
async fn a_kubeconfig_is_handed_to_whoever_shows_the_token_that_it_holds() {
    let rig = rig(|_| {});
    rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["prod"]).unwrap();
    let answer = rig.get("/clusters/prod/kubeconfig", &user).await;
    let config = answer.json();
    assert_eq!(config["users"][0]["user"]["token"], user);
    let server = &config["clusters"][0]["cluster"]["server"];
    assert_eq!(server, "https://gateway.test/clusters/prod/k8s");
    let answer = rig.get("/clusters/other/kubeconfig", &user).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn probes_and_metrics_answer_and_the_rest_does_not() {
    let rig = rig(|_| {});
    let mut caller = rig.caller().await;
    for path in ["/health", "/ready"] {
        assert_eq!(caller.get(path, "").await.status, StatusCode::OK);
    }
    let metrics = caller.get("/metrics", "").await;
    let text = String::from_utf8(metrics.body.unwrap().to_vec()).unwrap();
    let listed = include_str!("../../../docs/metrics.md");
    for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(listed.contains(name), "{name} is not in docs/metrics.md");
    }
    assert_eq!(caller.get("/", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        caller.get("/clusters", "").await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_dribbles_or_never_comes_ends_within_its_deadline() {
    let rig = rig(|_| {});
    for start in ["", "GET /health HTTP/1.1\r\nhost: x\r\n"] {
        let mut io = tls(rig.address, &rig.ca_pem).await.unwrap();
        io.write_all(start.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let closed = async {
            let mut rest = Vec::new();
            let _ = io.read_to_end(&mut rest).await;
            rest
        };
        let closed = tokio::time::timeout(Duration::from_secs(30), closed).await;
        assert!(closed.is_ok(), "the connection was still open");
        let took = tokio::time::Instant::now() - began;
        assert!(took >= Duration::from_secs(9), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_begins_ends_within_its_deadline() {
    let rig = rig(|_| {});
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_secs(30), socket.read(&mut byte)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_outlives_the_head_deadline_but_not_its_own() {
    let rig = rig(|_| {});
    let mut io = tls(rig.address, &rig.ca_pem).await.unwrap();
    let ask = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = [0; 1024];
    for _ in 0..3 {
        io.write_all(ask).await.unwrap();
        let read = soon(io.read(&mut answer)).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
        // Go's client keeps a connection for 90 s.
        let quiet = tokio::time::timeout(Duration::from_secs(90), io.read(&mut answer)).await;
        assert!(quiet.is_err(), "closed while a client may still use it");
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), io.read(&mut answer)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}

#[test]
fn a_request_is_one_line_in_the_access_log_and_no_secret_is_in_any() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let secret = std::cell::RefCell::new(String::new());
    let log = trace::records(|| {
        runtime.block_on(async {
            let rig = rig(|_| {});
            rig.tokens.add_agent("prod").unwrap();
            let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
            let path = "/clusters/prod/k8s/api/v1/namespaces/ns/pods/web/log?follow=canary-query";
            let asking = request(&Method::GET, path, &user)
                .header("cookie", "canary-cookie")
                .body(Full::default());
            let answer = collected(rig.caller().await.send(asking.unwrap()).await).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            *secret.borrow_mut() = user;
        });
    });
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("pipeops_agent::access"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in [
        "user=\"alice\"",
        "cluster=\"prod\"",
        "verb=\"get\"",
        "resource=\"pods\"",
        "subresource=\"log\"",
        "namespace=\"ns\"",
        "name=\"web\"",
        "status=503",
    ] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    let secret = secret.into_inner();
    let canary = secret.rsplit('_').next().unwrap();
    assert!(!log.contains(canary) && !log.contains("canary"), "{log}");
}
