//! Custom health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use pipeops_agent::limits;
use pipeops_agent::status::HealthState::{Degraded, Failing, Ok as Good};
use pipeops_agent::tasks::Tasks;
use serde_json::json;
use tokio::net::TcpListener;

#[cfg(feature = "demo")]
use super::Folder;
use super::start;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::soon;

/// A target that answers with the code it is told.
async fn target(tasks: &Tasks) -> (ApiServer, Arc<AtomicU16>) {
    let code = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&code);
    let server = ApiServer::start(tasks, move |_, mut peer| {
        let code = now.load(Ordering::SeqCst);
        async move {
            let away = "location: http://127.0.0.1:1/\r\n";
            peer.send(answer(&format!("{code} X"), away, "status: fine"))
                .await;
            (peer, Then::Close)
        }
    })
    .await;
    (server, code)
}

/// An API server with one Deployment.
async fn deployment(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |seen, mut peer| {
        assert_eq!(seen.header("authorization"), Some("Bearer agent-token"));
        let body = json!({"kind": "Deployment", "status": {"conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable"}]}});
        let found = seen.target == "/apis/apps/v1/namespaces/shop/deployments/web";
        let status = if found { "200 OK" } else { "404 Not Found" };
        peer.send(answer(status, "", &body.to_string())).await;
        (peer, Then::KeepAlive)
    })
    .await
}

#[tokio::test]
async fn each_kind_stands_beside_the_built_in_components() {
    let tasks = Tasks::new();
    let api = deployment(&tasks).await;
    let (web, code) = target(&tasks).await;
    let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis_at = redis.local_addr().unwrap();
    let url = format!("http://{}/healthz", web.address);
    let path = "/apis/apps/v1/namespaces/shop/deployments/web";
    let config = json!({"health_checks": [
        {"name": "web", "every": "2s", "failures": 1, "severity": "failing",
         "http": {"url": url, "contains": "fine"}},
        {"name": "other", "every": "2s", "http": {"url": url, "contains": "wrong"}},
        {"name": "redis", "every": "2s", "failures": 1, "tcp": {"address": redis_at.to_string()}},
        {"name": "rollout", "failures": 1, "kubernetes": {"path": path, "condition": "Available"}},
        {"name": "gone", "failures": 1,
         "kubernetes": {"path": format!("{path}-2"), "condition": "Available"}},
    ]});
    let running = start(config, &api).await;
    let good = "it answers 200 and what is looked for";
    running.comes_to("check/web", Good, good).await;
    let other = "failed 1 of 2 times: it answers 200 without what is looked for";
    running.comes_to("check/other", Good, other).await;
    running
        .comes_to("check/redis", Good, "it takes connections")
        .await;
    let rollout = "Available is False (MinimumReplicasUnavailable)";
    running.comes_to("check/rollout", Degraded, rollout).await;
    let gone = "the API server answered 404";
    running.comes_to("check/gone", Degraded, gone).await;
    assert_eq!(running.status.snapshot().health.state(), Degraded);

    // A redirect is an answer like any other, and is not followed.
    code.store(302, Ordering::SeqCst);
    drop(redis);
    running
        .comes_to("check/web", Failing, "it answers 302")
        .await;
    running
        .comes_to("check/redis", Degraded, "no connection: refused")
        .await;
    assert_eq!(running.status.snapshot().health.state(), Failing);
    assert!(
        running
            .status
            .snapshot()
            .health
            .problems()
            .contains(&"check/web")
    );
    // Whoever asks for a look at everything is told of them too.
    let all = soon(running.monitor.examine()).await;
    let found = all
        .iter()
        .find(|found| found.component.finding.component == "check/web");
    assert!(!found.unwrap().took.is_zero());

    code.store(204, Ordering::SeqCst);
    let empty = "it answers 204 without what is looked for";
    running.comes_to("check/web", Failing, empty).await;
    code.store(200, Ordering::SeqCst);
    running.comes_to("check/web", Good, good).await;
    running.stop().await;
}

#[tokio::test]
async fn what_never_answers_or_never_ends_is_left_in_time() {
    let tasks = Tasks::new();
    let api = deployment(&tasks).await;
    let silent = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let endless = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while !peer.gone() {
            peer.send([b'x'; 4096]).await;
        }
        (peer, Then::Close)
    })
    .await;
    let http =
        |server: &ApiServer| json!({"url": format!("http://{}/", server.address), "contains": "y"});
    let one = |name: &str, server| json!({"name": name, "timeout": "300ms", "every": "1h", "failures": 1, "http": http(server)});
    let config = json!({"health_checks": [one("silent", &silent), one("endless", &endless)]});
    let running = start(config, &api).await;
    running
        .comes_to("check/silent", Degraded, "no answer within 300 ms")
        .await;
    let endless = "it answers 200 without what is looked for";
    running.comes_to("check/endless", Degraded, endless).await;
    running.stop().await;
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn only_a_trusted_certificate_sees_the_token() {
    let tasks = Tasks::new();
    let api = deployment(&tasks).await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = ApiServer::start_tls(&tasks, Arc::new(tls), async |seen, mut peer| {
        let known = seen.header("authorization") == Some("Bearer hunter2");
        let status = if known { "200 OK" } else { "401 Unauthorized" };
        peer.send(answer(status, "", "")).await;
        (peer, Then::Close)
    })
    .await;
    let folder = Folder::new("tls");
    let token = folder.file("token", "hunter2\n");
    let check = json!({"name": "tls", "every": "2s", "failures": 1, "http":
        {"url": format!("https://{}/", server.address), "bearer_file": token}});
    let running = start(json!({ "health_checks": [check] }), &api).await;
    let untrusted = "its certificate is not trusted";
    running.comes_to("check/tls", Degraded, untrusted).await;
    assert!(server.seen().is_empty(), "no request, and no token");
    running.stop().await;

    let ca = folder.file("ca.pem", &made.cert.pem());
    let config = json!({"ca_file": ca, "health_checks": [check]});
    let running = start(config, &api).await;
    running.comes_to("check/tls", Good, "it answers 200").await;
    folder.file("token", "changed");
    running
        .comes_to("check/tls", Degraded, "it answers 401")
        .await;
    running.stop().await;
}

#[tokio::test]
async fn an_answer_whose_head_is_above_the_bound_is_no_answer() {
    let tasks = Tasks::new();
    let api = deployment(&tasks).await;
    let server = async |length: usize| {
        ApiServer::start(&tasks, move |_, mut peer| async move {
            let head = format!("x-long: {}\r\n", "x".repeat(length));
            peer.send(answer("200 OK", &head, "fine")).await;
            (peer, Then::Close)
        })
        .await
    };
    let fits = server(limits::EXTENSION_HEAD / 2).await;
    let large = server(limits::EXTENSION_HEAD * 2).await;
    let config = json!({"health_checks": [
        {"name": "fits", "every": "2s", "failures": 1, "http": {"url": format!("http://{}/", fits.address)}},
        {"name": "large", "every": "2s", "failures": 1, "http": {"url": format!("http://{}/", large.address)}},
    ]});
    let running = start(config, &api).await;
    running.comes_to("check/fits", Good, "it answers 200").await;
    crate::support::eventually("the large one failed", || {
        running
            .component("check/large")
            .is_some_and(|(state, _)| state == Degraded)
    })
    .await;
    running.stop().await;
}
