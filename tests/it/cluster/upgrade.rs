//! Upgrades: a connection of their own, opaque, and never used again.

use http::Method;
use pipeops_agent::cluster::{AnswerBody, ClusterError};
use pipeops_agent::kubeapi::{HeaderError, RequestPath, Upgrade};
use pipeops_agent::tasks::Tasks;

use super::{Ask, cluster, text};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::{eventually, soon};

const EXEC: &str = "/api/v1/namespaces/d/pods/p/exec";

#[tokio::test]
async fn an_upgraded_connection_is_opaque_both_ways_and_closes_by_halves() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        // The first bytes of the new protocol come with the head.
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\nhello ")
            .await;
        let said = peer.exactly(4).await.unwrap();
        peer.send(said).await;
        // After the caller's half has closed, the other still works.
        peer.closed().await;
        peer.send(" bye").await;
        (peer, Then::Close)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    let answer = soon(Ask::upgrade(EXEC).of(&cluster)).await.unwrap();
    assert_eq!(answer.status, 101);
    let names: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["connection", "upgrade"]);
    let AnswerBody::Upgraded(upgraded) = answer.body else {
        panic!("it was upgraded");
    };
    let (mut reader, mut writer) = upgraded.split();
    soon(writer.send(b"ping")).await.unwrap();
    soon(writer.finish()).await.unwrap();
    let mut all = Vec::new();
    loop {
        let bytes = soon(reader.chunk(3)).await.unwrap();
        assert!(bytes.len() <= 3);
        if bytes.is_empty() {
            break;
        }
        all.extend_from_slice(&bytes);
    }
    assert_eq!(all, b"hello ping bye");
    let seen = &server.seen()[0];
    assert_eq!(seen.header("connection"), Some("Upgrade"));
    assert_eq!(seen.header("upgrade"), Some("SPDY/3.1"));
    assert_eq!(seen.header("content-length"), Some("0"));
}

#[tokio::test]
async fn an_upgrade_that_was_not_granted_closes_its_connection() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("403 Forbidden", "", "no")).await;
        // A request smuggled behind the refused upgrade would be read here.
        (peer, Then::KeepAlive)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    // A kept connection exists, and must not be taken for the upgrade either.
    let plain = soon(Ask::get("/version").of(&cluster)).await.unwrap();
    soon(text(plain)).await.unwrap();
    let refused = soon(Ask::upgrade(EXEC).of(&cluster)).await.unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(soon(text(refused)).await.unwrap(), "no");
    eventually("the upgrade's connection is closed", || server.open() == 1).await;
    let again = soon(Ask::get("/version").of(&cluster)).await.unwrap();
    soon(text(again)).await.unwrap();
    let connections: Vec<_> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 2, 1]);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_refused() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .await;
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    for ask in [Ask::new(&Method::GET, "/version"), Ask::upgrade(EXEC)] {
        let error = soon(ask.of(&cluster)).await.unwrap_err();
        assert!(
            matches!(
                error,
                ClusterError::AnswerHeaders(HeaderError::UnexpectedSwitch)
            ),
            "{error:?}"
        );
    }
    eventually("both are closed", || server.open() == 0).await;
}

#[tokio::test]
async fn a_watch_over_websocket_names_an_origin_and_an_application_is_told_none() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("403 Forbidden", "", "")).await;
        (peer, Then::Close)
    })
    .await;
    let cluster = cluster(&server, &tasks).await;
    for (path, query, origin) in [
        (
            "/api/v1/namespaces",
            Some("watch=true"),
            Some("https://kubernetes.default.svc"),
        ),
        ("/api/v1/namespaces/d/services/s/proxy/", None, None),
    ] {
        let path = RequestPath::parse(&Method::GET, path, query, Some(Upgrade::WebSocket)).unwrap();
        let ask = Ask {
            path,
            ..Ask::get("/")
        };
        // What a caller says of its origin never passes.
        let ask = ask
            .header("origin", "https://evil.example")
            .header("upgrade", "websocket")
            .header("connection", "Upgrade");
        soon(ask.of(&cluster)).await.unwrap();
        assert_eq!(server.seen().last().unwrap().header("origin"), origin);
    }
}
