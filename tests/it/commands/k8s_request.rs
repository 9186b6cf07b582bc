//! `k8s.request` (P-60 to P-66).

use pipeops_agent::session::Item;
use pipeops_agent::tasks::Tasks;
use serde_json::json;

use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::pair::{Ask, Setting};
use crate::support::{eventually, soon};

const PODS: &str = "/api/v1/namespaces/d/pods";
const EXEC: &str = "/api/v1/namespaces/d/pods/p/exec";

#[tokio::test]
async fn a_get_brings_head_body_and_a_good_end() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        let headers = "content-type: application/json\r\nwarning: 299 - \"old\"\r\n\
                       warning: 299 - \"older\"\r\nset-cookie: a=b\r\nwww-authenticate: Basic\r\n";
        peer.send(answer("404 Not Found", headers, "{\"kind\":\"Status\"}"))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let args = json!({"method": "GET", "path": PODS, "query": "limit=5&x=%2F",
                      "headers": [["accept", "a/b"], ["accept", "c/d"], ["cookie", "c"],
                                  ["authorization", "Bearer caller"]]});
    let outcome = pair.open(Ask::new("k8s.request", &args)).outcome().await;
    assert_eq!(outcome.status(), 404);
    assert_eq!(outcome.text(), "{\"kind\":\"Status\"}");
    assert_eq!(outcome.end, Ok(None));
    assert_eq!(outcome.header("set-cookie"), None);
    assert_eq!(outcome.header("www-authenticate"), None);
    let warnings = outcome.head.as_ref().unwrap()["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == "warning")
        .count();
    assert_eq!(warnings, 2);
    let seen = &server.seen()[0];
    assert_eq!(seen.target, format!("{PODS}?limit=5&x=%2F"));
    assert_eq!(seen.all("accept"), ["a/b", "c/d"]);
    assert_eq!(seen.all("authorization"), ["Bearer agent-token"]);
    assert_eq!(seen.header("cookie"), None);
}

#[tokio::test]
async fn a_watchs_event_leaves_at_once() {
    let tasks = Tasks::new();
    let (events, script) = tokio::sync::mpsc::channel::<&str>(1);
    let script = std::sync::Arc::new(tokio::sync::Mutex::new(script));
    let server = ApiServer::start(&tasks, move |_, mut peer| {
        let script = script.clone();
        async move {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            while let Some(event) = script.lock().await.recv().await {
                peer.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            }
            peer.send("0\r\n\r\n").await;
            (peer, Then::KeepAlive)
        }
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::get("/api/v1/watch/pods"));
    assert_eq!(running.head().await["status"], 200);
    for event in ["{\"type\":\"ADDED\"}\n", "{\"type\":\"DELETED\"}\n"] {
        events.send(event).await.unwrap();
        assert_eq!(running.bytes(event.len()).await, event.as_bytes());
    }
    drop(events);
    assert_eq!(running.outcome().await.end, Ok(None));
}

#[tokio::test]
async fn many_small_pieces_arrive_whole_and_in_order() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        let mut all = String::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for number in 0..20_000 {
            all.push_str(&format!("6\r\n{number:05}\n\r\n"));
        }
        all.push_str("0\r\n\r\n");
        peer.send(all).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    for _ in 0..2 {
        let outcome = pair.open(Ask::get(PODS)).outcome().await;
        let numbers: Vec<usize> = outcome.text().lines().map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers, (0..20_000).collect::<Vec<_>>());
        assert_eq!(outcome.end, Ok(None));
    }
    assert_eq!(server.seen()[1].connection, 1, "the connection was kept");
}

#[tokio::test]
async fn a_body_goes_up_with_the_length_that_was_announced() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let length = seen.header("content-length").unwrap().parse().unwrap();
        let body = peer.exactly(length).await.unwrap();
        peer.send(answer(
            "201 Created",
            "",
            std::str::from_utf8(&body).unwrap(),
        ))
        .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let body = "x".repeat(700_000);
    let args = json!({"method": "PUT", "path": "/api/v1/namespaces/d/pods/p", "body": true,
                      "headers": [["content-length", body.len().to_string()]]});
    let mut running = pair.open(Ask::new("k8s.request", &args).uploading());
    running.send(body.as_bytes()).await;
    running.writer.fin();
    let outcome = running.outcome().await;
    assert_eq!(outcome.status(), 201);
    assert_eq!(outcome.text(), body);
}

#[tokio::test]
async fn an_exec_is_opaque_bytes_both_ways_and_ends_with_the_server() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\nx-stream-protocol-version: v4.channel.k8s.io\r\n\r\n>")
            .await;
        let said = peer.exactly(5).await.unwrap();
        peer.send(said).await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::exec(EXEC));
    let head = running.head().await;
    assert_eq!(head["status"], 101);
    assert_eq!(running.bytes(1).await, b">");
    running.send(b"\0\xff\r\nx").await;
    assert_eq!(running.bytes(5).await, b"\0\xff\r\nx");
    assert!(matches!(running.next().await, Item::Fin));
    // The caller closes its half upon that, and the command ends.
    running.writer.fin();
    let outcome = running.outcome().await;
    assert_eq!(outcome.end, Ok(None));
    eventually("the connection is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn an_exec_whose_caller_has_finished_still_gets_its_output() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n",
        )
        .await;
        peer.closed().await;
        peer.send("the rest").await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::exec(EXEC));
    running.send(b"input").await;
    running.writer.fin();
    let outcome = running.outcome().await;
    assert_eq!(outcome.status(), 101);
    assert_eq!(outcome.text(), "the rest");
    assert_eq!(outcome.end, Ok(None));
}

#[tokio::test]
async fn an_upgrade_that_was_not_granted_is_an_ordinary_answer() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer(
            "400 Bad Request",
            "",
            "you must specify a container",
        ))
        .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut running = pair.open(Ask::exec(EXEC));
    running.send(b"what nobody will read").await;
    let outcome = running.outcome().await;
    assert_eq!(outcome.status(), 400);
    assert_eq!(outcome.text(), "you must specify a container");
    assert_eq!(outcome.end, Ok(None));
    eventually("the connection is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn an_answer_is_compressed_only_where_that_is_wanted_and_useful() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let headers = match seen.target.as_str() {
            "/api/v1/json" => "content-type: application/json\r\n",
            "/api/v1/gzip" => "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            _ => "content-type: application/octet-stream\r\n",
        };
        peer.send(answer("200 OK", headers, &"a".repeat(200_000)))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let setting = Setting {
        zstd: true,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let mut carried = Vec::new();
    for ask in [
        Ask::get("/api/v1/json").zstd(),
        Ask::get("/api/v1/json"),
        Ask::get("/api/v1/gzip").zstd(),
        Ask::get("/api/v1/bytes").zstd(),
    ] {
        let before = pair.gateway.counts().received;
        let outcome = soon(pair.open(ask).outcome()).await;
        assert_eq!(outcome.body.len(), 200_000);
        carried.push(pair.gateway.counts().received - before);
    }
    assert!(carried[0] < 20_000, "{carried:?}");
    assert!(
        carried[1..].iter().all(|&bytes| bytes >= 200_000),
        "{carried:?}"
    );
}

#[tokio::test]
async fn an_answer_of_no_announced_length_is_compressed_beyond_its_first_bytes() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let size = if seen.target == "/api/v1/small" {
            12_000
        } else {
            200_000
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let body = "a".repeat(size);
        peer.send(format!("{head}{size:x}\r\n{body}\r\n0\r\n\r\n"))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    let setting = Setting {
        zstd: true,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    for (path, whole, least, most) in [
        ("/api/v1/small", 12_000, 12_000, 13_000),
        ("/api/v1/large", 200_000, 16_000, 60_000),
    ] {
        let before = pair.gateway.counts().received;
        let outcome = soon(pair.open(Ask::get(path).zstd()).outcome()).await;
        assert_eq!(outcome.body.len(), whole);
        let carried = pair.gateway.counts().received - before;
        assert!((least..most).contains(&carried), "{path}: {carried}");
    }
}
