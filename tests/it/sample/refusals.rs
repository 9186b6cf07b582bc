//! What the sample cluster says no to, and how.
//!
//! Owns: wrong tokens, writes, sessions, unknown paths, and the reviews that tell beforehand.
//! Owns not: what it says yes to (`reading`).

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Cluster, SHOP, names};

#[tokio::test]
async fn a_log_that_is_not_there_is_a_status() {
    let cluster = Cluster::start().await;
    let pods = cluster
        .found(&format!(
            "{SHOP}/pods?labelSelector=app.kubernetes.io/name%3Dsample-web"
        ))
        .await;
    let web = &names(&pods)[0];
    let (status, answer) = cluster.get(&format!("{SHOP}/pods/{web}/log")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["message"].as_str().unwrap().contains("[web proxy]"),
        "{answer}"
    );
    let (status, answer) = cluster
        .get(&format!("{SHOP}/pods/sample-db-0/log?previous=true"))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, _) = cluster.get(&format!("{SHOP}/pods/none/log")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn writes_and_sessions_are_refused_with_words_that_say_why() {
    let cluster = Cluster::start().await;
    let pod = format!("{SHOP}/pods/sample-db-0");
    for (method, path) in [
        (Method::DELETE, pod.clone()),
        (Method::PATCH, pod.clone()),
        (Method::POST, format!("{SHOP}/pods")),
        (Method::PUT, "/api/v1/nodes/sample-node-1".to_owned()),
        (Method::POST, format!("{pod}/exec?command=sh")),
        (Method::GET, format!("{pod}/exec?command=sh")),
        (Method::GET, format!("{pod}/attach")),
        (Method::GET, format!("{pod}/portforward")),
    ] {
        let (status, body) = cluster
            .ask(method.clone(), &path, "application/json", b"{}")
            .await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert_eq!(answer["reason"], "MethodNotAllowed");
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("sample cluster"),
            "{answer}"
        );
    }
    let body = vec![b' '; 2 * 1024 * 1024];
    let (status, _) = cluster
        .ask(Method::POST, &format!("{SHOP}/pods"), "*/*", &body)
        .await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn only_the_token_opens_it() {
    let cluster = Cluster::start().await;
    for (path, token, expected) in [
        (
            "/api/v1/pods",
            Some("Bearer sample-00000000000000000000000000000000"),
            401,
        ),
        ("/api/v1/pods", Some("Basic c2FtcGxl"), 401),
        ("/api/v1/pods", None, 401),
        ("/version", Some("Bearer x"), 401),
        ("/version", None, 200),
        ("/readyz", None, 200),
    ] {
        let mut request = cluster.request(Method::GET, path, "application/json", b"");
        request.headers_mut().remove(AUTHORIZATION);
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.parse().unwrap());
        }
        let response = cluster.send(request).await;
        assert_eq!(response.status().as_u16(), expected, "{path} {token:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_status_404() {
    let cluster = Cluster::start().await;
    for path in [
        "/nothing",
        "/api/v2/pods",
        "/apis/none/v1",
        "/api/v1/pods/x",
        "/openapi/v2",
        "/api/v1/namespaces/sample-shop/pods/none",
        "/api/v1/namespaces/a%2Fb/pods",
    ] {
        let (status, answer) = cluster.get(path).await;
        assert_eq!(
            (status, &answer["reason"]),
            (StatusCode::NOT_FOUND, &json!("NotFound")),
            "{path}"
        );
    }
    let protobuf = "application/vnd.kubernetes.protobuf";
    let (status, _) = cluster.get_as("/api/v1/pods", protobuf).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn reviews_say_that_reading_is_allowed_and_writing_is_not() {
    let cluster = Cluster::start().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, allowed) in [
        ("get", true),
        ("watch", true),
        ("delete", false),
        ("create", false),
    ] {
        let review = json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}});
        let body = review.to_string();
        let (status, answer) = cluster
            .ask(Method::POST, path, "*/*", body.as_bytes())
            .await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["status"]["allowed"]),
            (StatusCode::CREATED, &json!(allowed))
        );
    }
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, answer) = cluster.ask(Method::POST, path, "*/*", b"{}").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"]["userInfo"]["username"], "sample-reader");
    let (status, _) = cluster
        .ask(Method::POST, path, "*/*", b"not a review")
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
