//! A real agent and a real gateway without a WebSocket between them, over connections that are cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::Transports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::rig::{collected, request};
use crate::resume::Tunnel;
use crate::support::apiserver::{ApiServer, Peer, Then, answer};
use crate::support::soon;

const PODS: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods";
const ONLY_SSE: Transports = Transports {
    websocket: false,
    sse: true,
    again: pipeops_agent::limits::WEBSOCKET_AGAIN,
};
pub(crate) const LINES: usize = 400;

pub(crate) fn line(number: usize) -> String {
    format!("{number:08} {}\n", "x".repeat(number % 900))
}

/// A list, a watch of so many lines, and an exec that sends back what it gets.
pub(crate) async fn server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |seen, mut peer: Peer| {
        if seen.target.contains("watch=1") {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for number in 0..LINES {
                let line = line(number);
                peer.send(format!("{:x}\r\n{line}\r\n", line.len())).await;
                if number % 5 == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            peer.send("0\r\n\r\n").await;
            return (peer, Then::KeepAlive);
        }
        if seen.target.contains("/exec") {
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                        upgrade: SPDY/3.1\r\n\r\n";
            peer.send(head).await;
            while let Some(bytes) = peer.some().await {
                peer.send(bytes).await;
            }
            return (peer, Then::Close);
        }
        let large = "y".repeat(3 * 1024 * 1024);
        peer.send(answer("200 OK", "", &large)).await;
        (peer, Then::KeepAlive)
    })
    .await
}

/// Sessions that the gateway has seen.
async fn sessions(tunnel: &Tunnel) -> f64 {
    let metrics = tunnel.rig.get("/metrics", &tunnel.user).await;
    let metrics = String::from_utf8(metrics.body.unwrap().to_vec()).unwrap();
    metrics
        .lines()
        .filter(|line| line.starts_with("pipeops_gateway_session_ends_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn lists_watches_and_exec_pass_and_a_cut_connection_costs_no_stream() {
    let tasks = Tasks::new();
    let server = server(&tasks).await;
    let tunnel = Tunnel::with(&server, &tasks, |settings| settings.transports = ONLY_SSE).await;
    let tunnel = Arc::new(tunnel);
    let list = tunnel.rig.get(PODS, &tunnel.user).await;
    assert_eq!(list.status, StatusCode::OK);
    assert_eq!(list.body.unwrap().len(), 3 * 1024 * 1024);

    let watching = Arc::clone(&tunnel);
    let watch = tasks.spawn("watch", async move {
        let mut caller = watching.rig.caller().await;
        let get = request(&Method::GET, &format!("{PODS}?watch=1"), &watching.user);
        collected(caller.send(get.body(Full::default()).unwrap()).await).await
    });
    let mut executor = tunnel.rig.caller().await;
    let exec = request(&Method::POST, &format!("{PODS}/web/exec"), &tunnel.user)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::default());
    let exec = executor.send(exec.unwrap()).await;
    assert_eq!(exec.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut exec = TokioIo::new(soon(hyper::upgrade::on(exec)).await.unwrap());

    for round in 0_u32..6 {
        let sent = format!("round {round} {}", "z".repeat(20_000));
        soon(exec.write_all(sent.as_bytes())).await.unwrap();
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(3 * u64::from(round))).await;
        }
        // Requests, answers and events are lost on their way.
        tunnel.relay.cut();
        let mut back = vec![0; sent.len()];
        soon(exec.read_exact(&mut back)).await.unwrap();
        assert!(back == sent.as_bytes(), "round {round}");
    }
    let expected: String = (0..LINES).map(line).collect();
    let watched = soon(watch).await.unwrap();
    assert!(watched.body.unwrap() == expected.as_bytes());
    assert_eq!(
        sessions(&tunnel).await,
        0.0,
        "one session carried all of it"
    );
}

#[tokio::test]
async fn a_token_that_is_removed_ends_the_session() {
    let tasks = Tasks::new();
    let server = server(&tasks).await;
    let tunnel = Tunnel::with(&server, &tasks, |settings| settings.transports = ONLY_SSE).await;
    let mut caller = tunnel.rig.caller().await;
    let get = request(&Method::GET, &format!("{PODS}?watch=1"), &tunnel.user);
    let mut watch = caller.send(get.body(Full::default()).unwrap()).await;
    let first = soon(watch.body_mut().frame()).await.unwrap().unwrap();
    assert_ne!(first.into_data().unwrap(), Bytes::new());
    assert!(tunnel.rig.tokens.remove(&tunnel.token));
    soon(async {
        while let Some(frame) = watch.body_mut().frame().await {
            if frame.is_err() {
                return;
            }
        }
        panic!("the watch ended well");
    })
    .await;
}
