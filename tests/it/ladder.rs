//! Which transport is taken, and what is said of the obstacle.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::Transports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::rig::{collected, request};
use crate::resume::Tunnel;
use crate::sse;
use crate::support::apiserver::{ApiServer, Peer, Then, answer};
use crate::support::middle::{Manner, Middle};
use crate::support::{eventually, soon};

const PODS: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods";
const LARGE: usize = 2 * 1024 * 1024;

/// One that answers everything with the same large list.
async fn server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |_, mut peer: Peer| {
        peer.send(answer("200 OK", "", &"y".repeat(LARGE))).await;
        (peer, Then::KeepAlive)
    })
    .await
}

/// Through something on the way that meddles; the transport that was taken, and the obstacle.
async fn through(manner: Manner, transports: Transports) -> (Tunnel, Middle, &'static str, String) {
    let tasks = Tasks::new();
    let server = server(&tasks).await;
    let (tunnel, middle) = behind(&server, manner, transports, &tasks).await;
    let now = tunnel.status.snapshot();
    let obstacle = now.obstacle().unwrap_or_default().to_owned();
    // More than any buffer on the way, and twice.
    for _ in 0..2 {
        let list = tunnel.rig.get(PODS, &tunnel.user).await;
        assert_eq!(list.status, StatusCode::OK);
        assert_eq!(list.body.unwrap().len(), LARGE);
    }
    (tunnel, middle, now.transport(), obstacle)
}

async fn behind(
    server: &ApiServer,
    manner: Manner,
    transports: Transports,
    tasks: &Tasks,
) -> (Tunnel, Middle) {
    let mut middle = None;
    let tunnel = Tunnel::behind(server, tasks, async |rig, settings| {
        let made = Middle::start(rig, manner, tasks).await;
        std::fs::write(settings.ca_file.as_ref().unwrap(), &made.ca_pem).unwrap();
        settings.api_url = ApiUrl::parse(&made.url).unwrap();
        settings.transports = transports;
        middle = Some(made);
    })
    .await;
    // The gateway knows it sooner than the agent.
    eventually("the agent is connected", || {
        tunnel.status.snapshot().transport() != "none"
    })
    .await;
    (tunnel, middle.unwrap())
}

#[tokio::test]
async fn where_upgrades_pass_a_websocket_is_taken() {
    let (.., transport, obstacle) = through(Manner::Passes, Transports::default()).await;
    assert_eq!((transport, obstacle.as_str()), ("wss", ""));
}

#[tokio::test]
async fn where_the_upgrade_is_stripped_requests_carry_the_session() {
    let (.., transport, obstacle) = through(Manner::Strips, Transports::default()).await;
    assert_eq!(transport, "sse");
    assert!(
        obstacle.contains("a proxy in between strips it"),
        "{obstacle}"
    );
}

#[tokio::test]
async fn where_answers_are_kept_back_each_is_asked_to_end() {
    let (.., transport, obstacle) = through(Manner::KeepsBack, Transports::default()).await;
    assert_eq!(transport, "sse");
    assert!(!obstacle.is_empty());
}

#[tokio::test]
async fn a_path_that_fails_now_and_then_costs_no_session() {
    let (tunnel, ..) = through(Manner::Fails, Transports::default()).await;
    let now = tunnel.status.snapshot();
    assert_eq!((now.transport(), now.sessions), ("sse", 1));
}

#[tokio::test]
async fn a_way_that_is_switched_off_is_not_taken() {
    let only = |websocket, sse| Transports {
        websocket,
        sse,
        ..Transports::default()
    };
    let (.., transport, obstacle) = through(Manner::Passes, only(false, true)).await;
    assert_eq!((transport, obstacle.as_str()), ("sse", ""));
    let (.., transport, _) = through(Manner::Passes, only(true, false)).await;
    assert_eq!(transport, "wss");
}

#[tokio::test]
async fn a_websocket_is_taken_up_without_a_lost_stream() {
    let tasks = Tasks::new();
    let server = sse::server(&tasks).await;
    let soon_again = Transports {
        again: Duration::from_millis(200),
        ..Transports::default()
    };
    let (tunnel, middle) = behind(&server, Manner::Strips, soon_again, &tasks).await;
    assert_eq!(tunnel.status.snapshot().transport(), "sse");
    let tunnel = Arc::new(tunnel);
    let mut executor = tunnel.rig.caller().await;
    let exec = request(&Method::POST, &format!("{PODS}/web/exec"), &tunnel.user)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::default());
    let exec = executor.send(exec.unwrap()).await;
    assert_eq!(exec.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut exec = TokioIo::new(soon(hyper::upgrade::on(exec)).await.unwrap());
    let watching = Arc::clone(&tunnel);
    let watch = tasks.spawn("watch", async move {
        let mut caller = watching.rig.caller().await;
        let get = request(&Method::GET, &format!("{PODS}?watch=1"), &watching.user);
        collected(caller.send(get.body(Full::default()).unwrap()).await).await
    });

    middle.does(Manner::Passes);
    eventually("a WebSocket is taken", || {
        tunnel.status.snapshot().transport() == "wss"
    })
    .await;
    for round in 0..3 {
        let sent = format!("round {round}");
        soon(exec.write_all(sent.as_bytes())).await.unwrap();
        let mut back = vec![0; sent.len()];
        soon(exec.read_exact(&mut back)).await.unwrap();
        assert!(back == sent.as_bytes(), "round {round}");
        let list = tunnel.rig.get(PODS, &tunnel.user).await;
        assert_eq!(list.status, StatusCode::OK);
    }
    let expected: String = (0..sse::LINES).map(sse::line).collect();
    assert!(soon(watch).await.unwrap().body.unwrap() == expected.as_bytes());
    let now = tunnel.status.snapshot();
    assert_eq!((now.sessions, now.reconnects.len()), (2, 0));
}
