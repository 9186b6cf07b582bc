//! The agent's own server, over real sockets.

mod realtime;
mod stalled;
mod switched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pipeops_agent::limits;
use pipeops_agent::local::{Config, Local};
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
    start_with(|_| {}).await
}

async fn start_with(set: impl FnOnce(&mut Config)) -> Running {
    let status = Status::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut config = Config::at(any);
    set(&mut config);
    let local = Local::bind(config, status.clone(), Arc::new(Metrics::default()))
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
        let text = self.whole(request).await;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code.expect("a status"), body.to_owned())
    }

    /// The whole answer of one request.
    async fn whole(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        let read = timeout(SOON, socket.read_to_string(&mut text)).await;
        read.expect("an answer in time").expect("an answer");
        text
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
async fn no_route_changes_anything() {
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
    for path in ["/health/", "/api", "/ws/x", "/dashboard/x", "/..%2f"] {
        assert_eq!(local.ask(&format!("GET {path}")).await.0, 404, "{path}");
    }
    let (code, body) = local.ask("GET /metrics").await;
    assert_eq!(code, 200);
    let counted = r#"pipeops_http_requests_total{endpoint="other",code="404"} 4"#;
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

/// Whether a request on this connection is answered, and with what.
async fn answered(socket: &mut TcpStream, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _ = socket.write_all(request.as_bytes()).await;
    let mut buffer = [0; 2048];
    let read = timeout(SOON, socket.read(&mut buffer)).await;
    let read = read.expect("in time").ok().filter(|read| *read > 0)?;
    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn connections_beyond_the_cap_are_for_probes_or_closed_and_room_comes_back() {
    let local = start().await;
    let connect = async || TcpStream::connect(local.address).await.expect("connected");
    let mut held = Vec::new();
    for _ in 0..limits::LOCAL_CONNECTIONS {
        held.push(connect().await);
    }
    // Accepting is in order: what stands now stands in the room for probes.
    let mut probe = connect().await;
    assert_eq!(answered(&mut probe, "/health").await, Some(200));
    assert_eq!(answered(&mut probe, "/dashboard").await, Some(503));
    for _ in 1..limits::LOCAL_PROBES_EACH {
        held.push(connect().await);
    }
    let mut extra = connect().await;
    assert_eq!(answered(&mut extra, "/health").await, None);
    drop((held, probe));
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
async fn a_thousand_slow_heads_are_shed_in_time_and_probes_go_on() {
    let local = start().await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut socket = TcpStream::connect(local.address).await.expect("connected");
        let _ = socket.write_all(b"GET /health HTTP/1.1\r\nHost: l").await;
        slow.push(socket);
    }
    let probes = async {
        let mut answers = 0;
        while Instant::now() - began < Duration::from_secs(12) {
            // From another address, as a kubelet is on another one than a flood.
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket
                .bind("127.0.0.9:0".parse().expect("an address"))
                .expect("bound");
            let mut socket = socket.connect(local.address).await.expect("connected");
            assert_eq!(answered(&mut socket, "/health").await, Some(200));
            answers += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        answers
    };
    let shed = async {
        for socket in &mut slow {
            let mut rest = Vec::new();
            let _ = timeout(SOON, socket.read_to_end(&mut rest))
                .await
                .expect("it is closed");
        }
        Instant::now() - began
    };
    let (answers, took) = tokio::join!(probes, shed);
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(answers > 10, "{answers}");
}

#[tokio::test]
async fn the_page_is_served_with_its_kinds_and_a_policy_that_lets_nothing_else_in() {
    let local = start().await;
    for (path, kind) in [
        ("/dashboard", "text/html"),
        ("/dashboard/style.css", "text/css"),
        ("/dashboard/app.js", "text/javascript"),
        ("/dashboard/uplot.min.js", "text/javascript"),
    ] {
        let answer = local.whole(&format!("GET {path}")).await;
        let head = answer
            .split("\r\n\r\n")
            .next()
            .expect("a head")
            .to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        for header in [
            "nosniff",
            "x-frame-options: deny",
            "default-src 'none'",
            "no-store",
        ] {
            assert!(head.contains(header), "{path} {header}: {head}");
        }
        assert!(
            !head.contains("unsafe") && !head.contains("set-cookie"),
            "{head}"
        );
    }
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
