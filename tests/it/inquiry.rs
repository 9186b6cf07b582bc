//! `healthcheck` and `status`, as programs, against the local server and against what is none.

use std::process::{Command, Output};
use std::sync::Arc;

use pipeops_agent::inquiry::{self, InquiryError};
use pipeops_agent::limits;
use pipeops_agent::local::Local;
use pipeops_agent::metrics::Metrics;
use pipeops_agent::status::Status;
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeops-agent");

/// What the program says, run beside this test's runtime.
async fn program(arguments: &[&str], port: u16) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(arguments);
    command.env("PIPEOPS_PORT", port.to_string());
    tokio::task::spawn_blocking(move || command.output().expect("it starts"))
        .await
        .expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Answers one request on a port of its own with `answer`, and then waits for the other side.
async fn scripted(tasks: &Tasks, answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tasks.spawn_logged("peer", async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let _ = socket.write_all(&answer).await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    port
}

#[tokio::test]
async fn healthcheck_and_status_tell_what_the_local_server_answers() {
    let status = Status::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let local = Local::bind(
        pipeops_agent::local::Config::at(any),
        status.clone(),
        Arc::new(Metrics::default()),
    )
    .await
    .expect("a port");
    let port = local.address().expect("an address").port();
    let tasks = Tasks::new();
    tasks.spawn_logged("local", local.serve(tasks.clone(), tasks.stopping()));

    let alive = program(&["healthcheck"], port).await;
    assert_eq!(alive.status.code(), Some(0), "{}", text(&alive.stderr));
    assert!(alive.stdout.is_empty() && alive.stderr.is_empty());

    let unready = program(&["healthcheck", "--ready"], port).await;
    assert_eq!(unready.status.code(), Some(1));
    let said = text(&unready.stderr);
    assert!(said.contains("503") && said.contains("channel"), "{said}");

    status.connected("s-1");
    status.set_api_server(Ok(("uid".into(), "v1.36.3".into())));
    let ready = program(&["healthcheck", "--ready"], port).await;
    assert_eq!(ready.status.code(), Some(0), "{}", text(&ready.stderr));

    let told = program(&["status"], port).await;
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let said = text(&told.stdout);
    assert!(said.contains("API server answers"), "{said}");
    let told = program(&["status", "-o", "json"], port).await;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert!(told.is_object(), "{told}");
}

#[tokio::test]
async fn a_flag_wins_over_the_variable_and_nobody_there_is_said() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let flag = format!("--port={port}");
    let nobody = program(&["status", &flag], 1).await;
    assert_eq!(nobody.status.code(), Some(1));
    let said = text(&nobody.stderr);
    assert!(said.contains(&format!("port {port}")), "{said}");
    let wrong = program(&["healthcheck", "--port", "many"], 1).await;
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[tokio::test]
async fn an_answer_beyond_the_bound_and_one_that_is_no_http_are_foreign() {
    let tasks = Tasks::new();
    let mut large = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    large.resize(large.len() + limits::INQUIRY_ANSWER + 1, b' ');
    for answer in [large, b"220 mail ESMTP\r\n".to_vec()] {
        let port = scripted(&tasks, answer).await;
        let error = inquiry::health(port, false).await.unwrap_err();
        assert!(matches!(error, InquiryError::Foreign { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_given_up_within_the_deadline() {
    let tasks = Tasks::new();
    let port = scripted(&tasks, Vec::new()).await;
    let began = tokio::time::Instant::now();
    let error = inquiry::health(port, false).await.unwrap_err();
    assert!(matches!(error, InquiryError::Silent), "{error}");
    let took = tokio::time::Instant::now().saturating_duration_since(began);
    assert!(took < limits::INQUIRY * 2, "{took:?}");
}
