//! Clients that stop reading, over real sockets and in real time.

use pipeops_agent::status::{Finding, HealthState};
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;

use super::realtime::{Stream, say};
use super::*;

/// A connection whose kernel takes little for a client that does not read.
async fn narrow(local: &Running) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a small one");
    socket.connect(local.address).await.expect("connected")
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_the_others_hear_on() {
    let local = start().await;
    let mut reading = Stream::open(&local, "channels=health", None).await;
    let mut stream = narrow(&local).await;
    let request = "GET /api/realtime/events?channels=health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let url = format!("ws://{}/ws", local.address);
    let (mut socket, _) = client_async(url, narrow(&local).await)
        .await
        .expect("a WebSocket");
    let subscribe = json!({"type": "subscribe", "channels": ["health"]});
    say(&mut socket, &subscribe).await;

    let gone = |metrics: &str| {
        metrics.contains("pipeops_sse_connections 1\n")
            && metrics.contains("pipeops_websocket_connections 0\n")
    };
    let began = Instant::now();
    let mut told = 0;
    loop {
        // Much more than the kernel holds, each heard by the client that reads before the next.
        told += 1;
        let name = format!("{told}:");
        local.status.set_health(vec![Finding {
            component: "memory",
            state: [HealthState::Ok, HealthState::Degraded][told % 2],
            message: format!("{name}{}", "x".repeat(64 * 1024)),
        }]);
        loop {
            let (_, health) = reading.next_of("health").await;
            let message = health["components"][0]["message"].as_str();
            if message.is_some_and(|message| message.starts_with(&name)) {
                break;
            }
        }
        let (_, metrics) = local.ask("GET /metrics").await;
        if told == 1 {
            assert!(metrics.contains("pipeops_sse_connections 2\n"), "{metrics}");
            assert!(!gone(&metrics), "{metrics}");
        }
        if gone(&metrics) {
            break;
        }
        let took = Instant::now() - began;
        assert!(took < limits::LOCAL_STALL + SOON, "{took:?} {metrics}");
    }
    let took = Instant::now() - began;
    assert!(took >= limits::LOCAL_STALL, "{took:?}");
    let (_, metrics) = local.ask("GET /metrics").await;
    assert!(
        !metrics.contains("pipeops_local_clients_dropped_total 0\n"),
        "{metrics}"
    );
}
