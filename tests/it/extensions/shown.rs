//! The operator's own channels and panels, as clients of the local server see them.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use pipeops_agent::local::{Config, Local, OwnChannel};
use pipeops_agent::metrics::Metrics;
use pipeops_agent::policy::Access;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Running, read, start};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::soon;

/// A shop whose figure a test sets, and the configuration that shows it.
async fn shop(tasks: &Tasks) -> (Arc<std::sync::atomic::AtomicU32>, Value) {
    let served = Arc::new(std::sync::atomic::AtomicU32::new(7));
    let now = Arc::clone(&served);
    let server = ApiServer::start(tasks, move |_, mut peer| {
        let text = format!(
            "requests {}\n",
            now.load(std::sync::atomic::Ordering::SeqCst)
        );
        async move {
            peer.send(answer("200 OK", "", &text)).await;
            (peer, Then::Close)
        }
    })
    .await;
    let url = format!("http://{}/metrics", server.address);
    let config = json!({
        "channels": [{"name": "shop", "message_type": "get_shop", "every": "2s",
                      "prometheus": {"url": url, "metrics": {"requests": "requests"}}}],
        "panels": [{"title": "<b>Requests</b>", "source": "shop", "field": "/requests"}],
    });
    (served, config)
}

/// A local server that shows what these extensions have.
async fn local(running: &Running, config: &Value) -> (std::net::SocketAddr, Tasks) {
    let channels = running.live.iter().map(|live| OwnChannel {
        name: live.name.clone(),
        message_type: live.message_type.clone(),
        data: live.data.clone(),
    });
    let config = Config {
        channels: channels.collect(),
        panels: read(config.clone(), Access::Readonly).unwrap().panels(),
        ..Config::at("127.0.0.1:0".parse().unwrap())
    };
    let local = Local::bind(config, running.status.clone(), Arc::new(Metrics::default()));
    let local = local.await.unwrap();
    let address = local.address().unwrap();
    let tasks = Tasks::new();
    tasks.spawn_logged("local", local.serve(tasks.clone(), tasks.stopping()));
    (address, tasks)
}

#[tokio::test]
async fn event_streams_and_sockets_have_them_and_the_page_its_panels() {
    let tasks = Tasks::new();
    let api = ApiServer::start(&tasks, async |_, peer| (peer, Then::Close)).await;
    let (served, config) = shop(&tasks).await;
    let running = start(config.clone(), &api).await;
    let (address, local) = local(&running, &config).await;

    let get = async |path: &str| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(socket)
    };
    let mut panels = get("/api/panels").await;
    let mut text = String::new();
    while !text.ends_with("]}") {
        text.push(char::from(soon(panels.read_u8()).await.unwrap()));
    }
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let panel = json!({"title": "<b>Requests</b>", "source": "shop", "field": "/requests",
                       "kind": "text", "unit": null});
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["panels"], json!([panel]));
    let channels = json!(["status", "health", "metrics", "events", "commands", "shop"]);
    assert_eq!(body["channels"], channels);

    let stream = get("/api/realtime/events?channels=shop").await;
    let mut lines = stream.lines();
    let mut wait = async |wanted: &str| {
        while soon(lines.next_line()).await.unwrap().unwrap() != wanted {}
    };
    wait("event: shop").await;
    wait("data: {\"requests\":7}").await;

    let socket = TcpStream::connect(address).await.unwrap();
    let url = format!("ws://localhost:{}/ws", address.port());
    let (mut socket, _) = tokio_tungstenite::client_async(url, socket).await.unwrap();
    let mut until = async |said: Value, kind: &str| {
        socket.send(Message::text(said.to_string())).await.unwrap();
        loop {
            let heard = soon(socket.next()).await.unwrap().unwrap();
            let heard = heard.into_text().unwrap_or_default();
            let heard: Value = serde_json::from_str(&heard).unwrap_or_default();
            if heard["type"] == kind {
                return heard;
            }
        }
    };
    let asked = until(json!({"type": "get_shop"}), "get_shop").await;
    let wanted = json!({"type": "get_shop", "channel": "shop", "data": {"requests": 7}});
    assert_eq!(asked, wanted);
    let other = until(json!({"type": "get_other"}), "error").await;
    assert_eq!(other["code"], "unknown_type");
    let said = other["message"].as_str().unwrap();
    assert!(said.ends_with("logs.stop, get_shop"), "{said}");
    let update = until(json!({"type": "subscribe", "channels": ["shop"]}), "update").await;
    assert_eq!(
        (&update["channel"], &update["data"]),
        (&json!("shop"), &json!({"requests": 7}))
    );

    served.store(8, std::sync::atomic::Ordering::SeqCst);
    wait("data: {\"requests\":8}").await;
    let asked = until(json!({"type": "get_shop"}), "get_shop").await;
    assert_eq!(asked["data"], json!({"requests": 8}));
    running.stop().await;
    local.stop();
    soon(local.wait()).await;
}
