//! Updates over both ways: snapshots, ids, coming back, who is dropped, and named errors.

use futures_util::{SinkExt, StreamExt};
use pipeops_agent::status::{Finding, HealthState};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;

/// An event stream, read an event at a time.
pub(super) struct Stream {
    socket: TcpStream,
    rest: String,
}

impl Stream {
    pub(super) async fn open(local: &Running, query: &str, last: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(local.address).await.expect("connected");
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let request =
            format!("GET /api/realtime/events?{query} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        Self {
            socket,
            rest: String::new(),
        }
    }

    /// The channel, the id and the data of the next event.
    pub(super) async fn next(&mut self) -> (String, String, Value) {
        loop {
            if let Some(at) = self.rest.find("\n\n") {
                let event = self.rest[..at].to_owned();
                self.rest.drain(..at + 2);
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(str::to_owned)
                };
                let (Some(channel), Some(id), Some(data)) =
                    (field("event: "), field("id: "), field("data: "))
                else {
                    continue;
                };
                return (channel, id, serde_json::from_str(&data).expect("JSON"));
            }
            self.read().await;
        }
    }

    /// Waits for the head: the stream has its place in the hub.
    async fn begun(&mut self) {
        while !self.rest.contains("\r\n\r\n") {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(SOON, self.socket.read(&mut buffer)).await;
        let read = read.expect("in time").expect("read");
        assert!(read > 0, "it ended after {:?}", self.rest);
        self.rest
            .push_str(&String::from_utf8_lossy(&buffer[..read]));
    }

    pub(super) async fn next_of(&mut self, channel: &str) -> (String, Value) {
        loop {
            let (of, id, data) = self.next().await;
            if of == channel {
                return (id, data);
            }
        }
    }
}

fn find(status: &Status, state: HealthState) {
    status.set_health(vec![Finding {
        component: "memory",
        state,
        message: "so".into(),
    }]);
}

#[tokio::test]
async fn a_stream_begins_with_how_things_stand_and_tells_a_change_within_a_second() {
    let local = start().await;
    find(&local.status, HealthState::Ok);
    let mut stream = Stream::open(&local, "channels=health,status,commands", None).await;
    let (_, health) = stream.next_of("health").await;
    assert_eq!(health["state"], "healthy");
    let (_, status) = stream.next_of("status").await;
    assert_eq!(status["link"]["phase"], "starting");
    assert_eq!(status["agent"]["version"], env!("CARGO_PKG_VERSION"));

    let began = Instant::now();
    find(&local.status, HealthState::Failing);
    let (_, health) = stream.next_of("health").await;
    assert_eq!(health["state"], "unhealthy");
    local.status.connected("s-1");
    let (_, status) = stream.next_of("status").await;
    assert_eq!(status["link"]["phase"], "connected");
    assert!(Instant::now() - began < Duration::from_secs(1));

    let began = Instant::now();
    let mut shown = local
        .status
        .command_began("c-1", "k8s.request", Some("ann"));
    let (_, commands) = stream.next_of("commands").await;
    assert_eq!(commands["running"][0]["actor"], "ann");
    shown.ended("ok");
    drop(shown);
    let (_, commands) = stream.next_of("commands").await;
    assert_eq!(commands["recent"][0]["outcome"], "ok");
    assert!(Instant::now() - began < Duration::from_secs(1));
}

#[tokio::test]
async fn who_comes_back_with_the_last_id_hears_only_what_is_newer() {
    let local = start().await;
    find(&local.status, HealthState::Ok);
    let mut stream = Stream::open(&local, "channels=health", None).await;
    let (first, _) = stream.next_of("health").await;
    find(&local.status, HealthState::Degraded);
    let (second, _) = stream.next_of("health").await;
    assert_ne!(first, second);
    drop(stream);
    // Nothing is newer: the next thing heard is the next change.
    let mut back = Stream::open(&local, "channels=health", Some(&second)).await;
    back.begun().await;
    find(&local.status, HealthState::Failing);
    let (_, health) = back.next_of("health").await;
    assert_eq!(health["state"], "unhealthy");
    // An id of another process is none.
    let mut other = Stream::open(&local, "channels=health", Some("1-999999")).await;
    let (_, health) = other.next_of("health").await;
    assert_eq!(health["state"], "unhealthy");
}

#[tokio::test]
async fn an_unknown_channel_is_named_and_a_stream_is_counted() {
    let local = start().await;
    let (code, body) = local
        .ask("GET /api/realtime/events?channels=health,x")
        .await;
    assert_eq!(
        (code, body.contains("unknown_channel")),
        (400, true),
        "{body}"
    );
    let mut stream = Stream::open(&local, "channels=metrics", None).await;
    let (_, metrics) = stream.next_of("metrics").await;
    assert_eq!(metrics["sse_clients"], 1);
    let (_, body) = local.ask("GET /metrics").await;
    assert!(body.contains("pipeops_sse_connections 1"), "{body}");
    assert!(body.contains("pipeops_websocket_connections 0"), "{body}");
}

pub(super) type Socket = WebSocketStream<TcpStream>;

pub(super) async fn connect(
    local: &Running,
    headers: &[(&'static str, &str)],
) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/ws", local.address)
        .into_client_request()
        .expect("a request");
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        request.headers_mut().insert(*name, value);
    }
    let socket = TcpStream::connect(local.address).await.expect("connected");
    match client_async(request, socket).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn hear(socket: &mut Socket) -> Value {
    loop {
        let message = timeout(SOON, socket.next()).await.expect("in time");
        match message.expect("it is open").expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

pub(super) async fn hear_of(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = hear(socket).await;
        if message["type"] == kind {
            return message;
        }
    }
}

pub(super) async fn say(socket: &mut Socket, message: &Value) {
    let text = message.to_string();
    socket.send(Message::Text(text.into())).await.expect("sent");
}

#[tokio::test]
async fn a_socket_is_welcomed_subscribes_asks_and_is_told_what_it_does_wrong() {
    let local = start().await;
    let mut socket = connect(&local, &[]).await.expect("it is let in");
    assert_eq!(hear(&mut socket).await["type"], "welcome");
    say(
        &mut socket,
        &json!({"type": "subscribe", "channels": ["metrics", "status"]}),
    )
    .await;
    let update = hear_of(&mut socket, "update").await;
    assert!(
        update["id"].is_string() && update["at"].is_string(),
        "{update}"
    );
    say(&mut socket, &json!({"type": "ping", "id": 7})).await;
    assert_eq!(hear_of(&mut socket, "pong").await["id"], 7);
    say(&mut socket, &json!({"type": "get_status"})).await;
    let status = hear_of(&mut socket, "status").await;
    assert_eq!(status["data"]["link"]["transport"], "none");
    say(&mut socket, &json!({"type": "get_metrics"})).await;
    assert_eq!(
        hear_of(&mut socket, "metrics").await["data"]["websocket_clients"],
        1
    );
    for (wrong, code) in [
        (json!({"type": "exec", "command": "id"}), "unknown_type"),
        (
            json!({"type": "subscribe", "channels": ["secrets"]}),
            "unknown_channel",
        ),
        (json!({"type": "subscribe"}), "bad_message"),
        (json!([1]), "bad_message"),
        (json!({"type": "logs.start", "id": "a"}), "bad_message"),
        (
            json!({"type": "logs.start", "id": "a", "namespace": "a/b", "pod": "x"}),
            "bad_message",
        ),
        (json!({"type": "logs.stop", "id": "a"}), "not_found"),
    ] {
        say(&mut socket, &wrong).await;
        assert_eq!(hear_of(&mut socket, "error").await["code"], code, "{wrong}");
    }
    for _ in 0..2 * limits::LOCAL_MESSAGES {
        say(&mut socket, &json!({"type": "ping"})).await;
    }
    assert_eq!(hear_of(&mut socket, "error").await["code"], "too_many");
    let large = "x".repeat(limits::LOCAL_MESSAGE + 1);
    let _ = socket.send(Message::Text(large.into())).await;
    let closed = timeout(SOON, async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| u16::from(frame.code));
            }
        }
        None
    });
    assert_eq!(closed.await.expect("in time"), Some(1009));
}

#[tokio::test]
async fn another_origin_or_a_rebound_name_gets_nothing_over_any_way() {
    let local = start().await;
    for (headers, expected) in [
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("host", "evil.example:8080")], 421),
        (
            vec![
                ("host", "evil.example:8080"),
                ("origin", "http://evil.example:8080"),
            ],
            421,
        ),
    ] {
        let refused = connect(&local, &headers).await.err();
        assert_eq!(refused, Some(expected), "{headers:?}");
        for path in [
            "/api/realtime/events",
            "/api/config",
            "/api/status",
            "/metrics",
        ] {
            let lines: String = headers
                .iter()
                .map(|(n, v)| format!("{n}: {v}\r\n"))
                .collect();
            let host = if lines.contains("host:") {
                ""
            } else {
                "host: localhost\r\n"
            };
            let request = format!("GET {path} HTTP/1.1\r\n{host}{lines}connection: close\r\n\r\n");
            let mut socket = TcpStream::connect(local.address).await.expect("connected");
            socket.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            let read = timeout(SOON, socket.read_to_string(&mut answer)).await;
            read.expect("in time").expect("read");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {expected}")),
                "{answer}"
            );
            assert!(
                !answer.to_lowercase().contains("access-control-allow"),
                "{answer}"
            );
        }
    }
    let own = format!("http://{}", local.address);
    assert!(connect(&local, &[("origin", &own)]).await.is_ok());
}

#[tokio::test]
async fn a_stuck_channel_turns_health_bad_and_a_control_plane_that_is_away_does_not() {
    let local = start().await;
    local.status.progress_within(limits::PROGRESS_WITHIN);
    local.status.set_phase(Phase::Waiting);
    local.status.failed("dns", "no such name".into());
    assert_eq!(local.ask("GET /health").await.0, 200);
    local.status.progress_within(Duration::ZERO);
    let (code, body) = local.ask("GET /health").await;
    assert_eq!((code, body.contains("stuck")), (503, true), "{body}");
    local.status.progress_within(limits::PROGRESS_WITHIN);
    assert_eq!(local.ask("GET /health").await.0, 200);
}
