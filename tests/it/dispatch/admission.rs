//! What is refused before anything is begun.

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::protocol::message::Class;
use pipeops_agent::tasks::Tasks;
use serde_json::json;

use super::pair;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::pair::{Ask, Setting};
use crate::support::{eventually, soon};

const PODS: &str = "/api/v1/namespaces/d/pods";

async fn ok_server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::KeepAlive)
    })
    .await
}

#[tokio::test]
async fn readonly_refuses_a_write_and_nothing_reaches_the_api_server() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    for ask in [
        Ask::post(PODS),
        Ask::exec("/api/v1/namespaces/d/pods/p/exec"),
    ] {
        let outcome = pair.open(ask).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Forbidden));
        assert!(outcome.head.is_none());
    }
    assert!(server.seen().is_empty());
    assert_eq!(pair.metrics.count("k8s.request", "forbidden"), 2);
    let outcome = pair.open(Ask::get(PODS)).outcome().await;
    assert_eq!((outcome.status(), outcome.text()), (200, "ok"));
}

#[tokio::test]
async fn what_is_no_command_of_ours_is_refused_by_name() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let cases = [
        (Ask::new("pods.eat", &json!({})), ErrorCode::UnknownCommand),
        (
            Ask::new("k8s.request", &json!({"method": 7})),
            ErrorCode::BadRequest,
        ),
        (Ask::get("/api/../secrets"), ErrorCode::BadRequest),
        (Ask::get("/api//v1"), ErrorCode::BadRequest),
        (
            Ask::new("k8s.request", &json!({"method": "CONNECT", "path": "/api"})),
            ErrorCode::BadRequest,
        ),
        (
            Ask::new(
                "k8s.request",
                &json!({"method": "GET", "path": "/api", "headers": [["a b", "c"]]}),
            ),
            ErrorCode::BadRequest,
        ),
    ];
    for (ask, code) in cases {
        let outcome = pair.open(ask).outcome().await;
        assert_eq!(outcome.code(), Some(code), "{outcome:?}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_full_class_is_busy_and_leaves_the_others_their_room() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let ask = || Ask::get("/api/v1/pods").class(Class::Interactive);
    let running: Vec<_> = (0..limits::SLOTS_INTERACTIVE)
        .map(|_| pair.open(ask()))
        .collect();
    let refused = pair.open(ask()).outcome().await;
    assert_eq!(refused.code(), Some(ErrorCode::Busy));
    let echo = pair.open(Ask::echo(&json!({"mode": "source", "bytes": 1})));
    assert_eq!(echo.outcome().await.body, [0]);
    drop(running);
    eventually("every slot is free again", || {
        pair.metrics.in_flight("k8s.request") == 0
    })
    .await;
}

#[tokio::test]
async fn a_mutation_that_may_have_run_is_not_run_again() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let outcome = pair.open(Ask::post(PODS).attempt(2)).outcome().await;
    assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    assert!(server.seen().is_empty());
    let outcome = pair.open(Ask::get(PODS).attempt(2)).outcome().await;
    assert_eq!(outcome.status(), 200);
}

#[tokio::test]
async fn a_closed_dispatch_refuses_what_is_new_and_finishes_what_runs() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::echo(&json!({"mode": "echo"})));
    running.send(b"one").await;
    assert_eq!(running.bytes(3).await, b"one");
    pair.dispatch.close();
    let refused = pair.open(Ask::get(PODS)).outcome().await;
    assert_eq!(refused.code(), Some(ErrorCode::ShuttingDown));
    running.send(b"two").await;
    running.writer.fin();
    let outcome = soon(running.outcome()).await;
    assert_eq!(outcome.text(), "two");
    assert_eq!(outcome.end.unwrap().unwrap()["received"], 6);
}

#[tokio::test]
async fn with_impersonation_a_request_runs_as_its_actor_or_not_at_all() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let setting = Setting {
        impersonate: true,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    for refused in [
        Ask::get(PODS),
        Ask::get(PODS).actor("system:admin", &[]),
        Ask::get(PODS).actor("ada", &["dev", "system:masters"]),
        Ask::get(PODS).actor("a\nda", &[]),
    ] {
        let outcome = pair.open(refused).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Forbidden), "{outcome:?}");
    }
    assert!(server.seen().is_empty());
    let ask = Ask::get(PODS).actor("ada", &["dev", "ops"]);
    assert_eq!(pair.open(ask).outcome().await.status(), 200);
    let seen = &server.seen()[0];
    assert_eq!(seen.all("impersonate-user"), ["ada"]);
    assert_eq!(seen.all("impersonate-group"), ["dev", "ops"]);
}
