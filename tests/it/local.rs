//! The agent's own server, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeops_agent::limits;
use pipeops_agent::local::Local;
use pipeops_agent::metrics::Metrics;
use pipeops_agent::status::{Phase, Status};
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    status: Status,
    tasks: Tasks,
}

async fn start() -> Running {
    let status = Status::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let local = Local::bind(any, status.clone(), Arc::new(Metrics::default()))
        .await
        .expect("a port");
    let address = local.address().expect("an address");
    let tasks = Tasks::new();
    tasks.spawn_logged("local", local.serve(tasks.clone(), tasks.stopping()));
    Running {
        address,
        status,
        tasks,
    }
}

impl Running {
    /// The status code and the body of one request.
    async fn ask(&self, request: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        let read = timeout(SOON, socket.read_to_string(&mut text)).await;
        read.expect("an answer in time").expect("an answer");
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code.expect("a status"), body.to_owned())
    }
}

#[tokio::test]
async fn health_never_depends_on_anybody_and_ready_says_why_not() {
    let local = start().await;
    assert_eq!(local.ask("GET /health").await.0, 200);
    let (code, body) = local.ask("GET /ready").await;
    assert_eq!(code, 503);
    assert!(
        body.contains(r#""reasons":["channel","api_server"]"#),
        "{body}"
    );
    local.status.connected("s-1");
    local.status.set_api_server(Ok(("uid".into(), "v1".into())));
    assert_eq!(local.ask("GET /ready").await.0, 200);
    local.status.set_phase(Phase::Refused);
    let (code, body) = local.ask("GET /ready").await;
    assert_eq!((code, body.contains("auth")), (503, true), "{body}");
    assert_eq!(local.ask("GET /health").await.0, 200);
}

#[tokio::test]
async fn there_are_four_routes_and_no_way_to_change_anything() {
    let local = start().await;
    let (code, body) = local.ask("GET /version").await;
    assert_eq!(
        (code, body.contains(env!("CARGO_PKG_VERSION"))),
        (200, true)
    );
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(
            local.ask(&format!("{method} /health")).await.0,
            405,
            "{method}"
        );
    }
    for path in ["/", "/dashboard", "/ws", "/api/status/features", "/..%2f"] {
        assert_eq!(local.ask(&format!("GET {path}")).await.0, 404, "{path}");
    }
    let (code, body) = local.ask("GET /metrics").await;
    assert_eq!(code, 200);
    let counted = r#"pipeops_http_requests_total{endpoint="other",code="404"} 5"#;
    assert!(body.contains(counted), "{body}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let local = start().await;
    let began = Instant::now();
    let mut socket = TcpStream::connect(local.address)
        .await
        .expect("a connection");
    socket.write_all(b"GET /health HT").await.expect("sent");
    let mut rest = Vec::new();
    let closed = timeout(SOON, socket.read_to_end(&mut rest)).await;
    closed.expect("it is closed").expect("it is closed well");
    let took = Instant::now() - began;
    assert!(
        took >= limits::HEADER_DEADLINE - Duration::from_secs(1),
        "{took:?}"
    );
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_and_room_comes_back() {
    let local = start().await;
    let mut held = Vec::new();
    for _ in 0..limits::LOCAL_CONNECTIONS {
        held.push(
            TcpStream::connect(local.address)
                .await
                .expect("a connection"),
        );
    }
    // Accepting is in order: the answer to the last proves that all were taken.
    let last = held.last_mut().expect("there are some");
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    last.write_all(request).await.expect("sent");
    let mut buffer = [0; 16];
    let read = timeout(SOON, last.read(&mut buffer)).await;
    assert!(read.expect("in time").expect("an answer") > 0);
    let mut extra = TcpStream::connect(local.address)
        .await
        .expect("a connection");
    let read = timeout(SOON, extra.read(&mut buffer))
        .await
        .expect("in time");
    assert!(
        matches!(read, Ok(0) | Err(_)),
        "it was served beyond the cap"
    );
    drop(held);
    timeout(SOON, async {
        while local.tasks.len() > 4 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the connections end");
    assert_eq!(local.ask("GET /health").await.0, 200);
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let local = start().await;
    let idle = TcpStream::connect(local.address)
        .await
        .expect("a connection");
    assert_eq!(local.ask("GET /health").await.0, 200);
    local.tasks.stop();
    timeout(SOON, local.tasks.wait())
        .await
        .expect("all tasks end");
    assert!(TcpStream::connect(local.address).await.is_err());
    drop(idle);
}
