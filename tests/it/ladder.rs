//! Which transport is taken, and what is said of the obstacle.

use http::StatusCode;
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::Transports;

use crate::resume::Tunnel;
use crate::support::apiserver::{ApiServer, Peer, Then, answer};
use crate::support::eventually;
use crate::support::middle::{Manner, Middle};

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
    let mut middle = None;
    let tunnel = Tunnel::behind(&server, &tasks, async |rig, settings| {
        let made = Middle::start(rig, manner, &tasks).await;
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
    let now = tunnel.status.snapshot();
    let obstacle = now.obstacle().unwrap_or_default().to_owned();
    // More than any buffer on the way, and twice.
    for _ in 0..2 {
        let list = tunnel.rig.get(PODS, &tunnel.user).await;
        assert_eq!(list.status, StatusCode::OK);
        assert_eq!(list.body.unwrap().len(), LARGE);
    }
    (tunnel, middle.unwrap(), now.transport(), obstacle)
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
    let only = |websocket, sse| Transports { websocket, sse };
    let (.., transport, obstacle) = through(Manner::Passes, only(false, true)).await;
    assert_eq!((transport, obstacle.as_str()), ("sse", ""));
    let (.., transport, _) = through(Manner::Passes, only(true, false)).await;
    assert_eq!(transport, "wss");
}
