//! The ways a running command ends.

use std::time::Duration;

use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::session::Item;
use pipeops_agent::tasks::Tasks;
#[cfg(feature = "cluster-tests")]
use serde_json::json;
use tokio::time::Instant;

use super::pair;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::pair::{Ask, Pair, Setting};
use crate::support::{eventually, soon};

const PODS: &str = "/api/v1/namespaces/d/pods";
const WATCH: &str = "/api/v1/watch/pods";

/// Sends the head of a chunked answer and one piece, and then waits for the client to go.
async fn endless(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await;
        peer.closed().await;
        (peer, Then::Close)
    })
    .await
}

/// Takes requests and says nothing.
async fn silent(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await
}

#[tokio::test]
async fn a_cancelled_command_stops_its_request_within_a_second() {
    let tasks = Tasks::new();
    let server = endless(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::get(WATCH));
    assert_eq!(running.head().await["status"], 200);
    assert_eq!(running.bytes(5).await, b"first");
    assert_eq!(server.open(), 1);
    let begun = Instant::now();
    drop(running);
    eventually("the connection is closed", || server.open() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    eventually("the task is gone", || pair.commands.is_empty()).await;
    assert_eq!(pair.metrics.in_flight("k8s.request"), 0);
}

#[tokio::test]
async fn a_request_that_waits_for_its_head_is_cancelled_as_well() {
    let tasks = Tasks::new();
    let server = silent(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let running = pair.open(Ask::get(PODS));
    eventually("the request has arrived", || server.seen().len() == 1).await;
    let begun = Instant::now();
    drop(running);
    eventually("the connection is closed", || server.open() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_lost_session_takes_its_requests_along() {
    let tasks = Tasks::new();
    let server = endless(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::get(WATCH));
    assert_eq!(running.head().await["status"], 200);
    for session in &pair.sessions {
        session.abort();
    }
    eventually("the connection is closed", || server.open() == 0).await;
    eventually("the task is gone", || pair.commands.is_empty()).await;
}

#[tokio::test]
async fn the_deadline_covers_the_head_and_not_the_body() {
    let tasks = Tasks::new();
    let server = silent(&tasks).await;
    let late = pair(&server, &tasks, Setting::default()).await;
    let outcome = late.open(Ask::get(PODS).deadline_ms(50)).outcome().await;
    assert_eq!(outcome.code(), Some(ErrorCode::DeadlineExceeded));
    eventually("the connection is closed", || server.open() == 0).await;

    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsl")
            .await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        peer.send("ow").await;
        (peer, Then::KeepAlive)
    })
    .await;
    let slow = pair(&server, &tasks, Setting::default()).await;
    let outcome = slow.open(Ask::get(PODS).deadline_ms(500)).outcome().await;
    assert_eq!(outcome.end, Ok(None));
    assert_eq!(outcome.text(), "slow");
}

#[tokio::test]
async fn each_failure_of_the_api_server_has_its_code() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        match seen.target.as_str() {
            "/api/v1/cut" => {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
                    .await;
                return (peer, Then::Close);
            }
            "/api/v1/garbage" => peer.send("no HTTP at all\r\n\r\n").await,
            "/api/v1/mute" => return (peer, Then::Close),
            "/api/v1/redirect" => {
                peer.send(answer("302 Found", "location: https://x.example/\r\n", ""))
                    .await;
            }
            _ => peer.send(answer("401 Unauthorized", "", "no")).await,
        }
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    for (path, code) in [
        ("/api/v1/cut", ErrorCode::UpstreamFailed),
        ("/api/v1/garbage", ErrorCode::UpstreamFailed),
        ("/api/v1/mute", ErrorCode::UpstreamFailed),
        ("/api/v1/redirect", ErrorCode::RedirectRefused),
        ("/api/v1/pods", ErrorCode::CredentialRefused),
    ] {
        let outcome = pair.open(Ask::get(path)).outcome().await;
        assert_eq!(outcome.code(), Some(code), "{path}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_named() {
    let tasks = Tasks::new();
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let credentials = Credentials::Direct {
        url: format!("http://{address}").parse().unwrap(),
        ca_pem: None,
        token: None,
    };
    let cluster = Cluster::connect(Config { credentials }, &tasks)
        .await
        .unwrap();
    let pair = Pair::new(cluster, &tasks, Setting::default()).await;
    let outcome = pair.open(Ask::get(PODS)).outcome().await;
    let error = outcome.end.unwrap_err();
    assert_eq!(error.code, ErrorCode::UpstreamUnreachable);
    assert_eq!(error.message, "no connection: the connection was refused");
}

#[tokio::test]
async fn a_stop_ends_reads_with_shutting_down_and_mutations_with_indeterminate() {
    let tasks = Tasks::new();
    let server = silent(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let read = pair.open(Ask::get(PODS));
    let write = pair.open(Ask::post(PODS));
    eventually("both have arrived", || server.seen().len() == 2).await;
    pair.commands.stop();
    assert_eq!(read.outcome().await.code(), Some(ErrorCode::ShuttingDown));
    assert_eq!(write.outcome().await.code(), Some(ErrorCode::Indeterminate));
    soon(pair.commands.wait()).await;
    eventually("both connections are closed", || server.open() == 0).await;
}

#[cfg(feature = "cluster-tests")]
#[tokio::test]
async fn a_handler_that_panics_ends_its_own_stream_and_no_other() {
    let tasks = Tasks::new();
    let server = endless(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut watch = pair.open(Ask::get(WATCH));
    assert_eq!(watch.head().await["status"], 200);
    let mut echo = pair.open(Ask::echo(&json!({"mode": "echo"})));
    echo.send(b"one").await;
    assert_eq!(echo.bytes(3).await, b"one");
    for _ in 0..10 {
        let outcome = pair.open(Ask::get(PODS).id("test-panic-1")).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Internal));
    }
    assert_eq!(pair.metrics.panics(), 10);
    assert_eq!(pair.metrics.in_flight("k8s.request"), 1);
    echo.send(b"two").await;
    assert_eq!(echo.bytes(3).await, b"two");
    assert_eq!(watch.bytes(5).await, b"first");
    let after = pair.open(Ask::echo(&json!({"mode": "source", "bytes": 3})));
    assert_eq!(after.outcome().await.body, [0, 1, 2]);
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_the_api_server_and_nobody_else() {
    let tasks = Tasks::new();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let server = ApiServer::start(&tasks, move |seen, mut peer| {
        let count = count.clone();
        async move {
            if seen.target != WATCH {
                peer.send(answer("200 OK", "", "ok")).await;
                return (peer, Then::KeepAlive);
            }
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
                .await;
            let piece = vec![7; 64 * 1024];
            loop {
                peer.send(&piece).await;
                let before = count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
                if before > 500_000_000 {
                    return (peer, Then::Close);
                }
            }
        }
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut stalled = pair.open(Ask::get(WATCH));
    assert_eq!(stalled.head().await["status"], 200);
    for _ in 0..50 {
        let outcome = pair.open(Ask::get(PODS)).outcome().await;
        assert_eq!(outcome.text(), "ok");
    }
    // What the kernel holds of two loopback sockets, a window and a few chunks: not the body.
    let held = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(held < 16 * 1024 * 1024, "{held} bytes were taken");
    // It goes on where it stood.
    let more = stalled.bytes(held + 1_000_000).await;
    assert!(more.iter().all(|&byte| byte == 7));
    assert!(matches!(stalled.next().await, Item::Data(_)));
}
