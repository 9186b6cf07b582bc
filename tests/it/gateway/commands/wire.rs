//! A command as bytes on a connection: a body that does not come, and an answer's chunks.

use pipeops_agent::limits;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::rig::tls;
use super::{connected, path};
use crate::support::{soon, step_by_step};

#[tokio::test(start_paused = true)]
async fn arguments_that_do_not_come_end_within_their_deadline() {
    let (rig, _agent, user, _) = connected().await;
    step_by_step(&rig.tasks);
    let mut io = tls(rig.address, &rig.ca_pem).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user}\r\n\
         content-length: 1000\r\nconnection: close\r\n\r\n{{",
        path("status.get")
    );
    let began = tokio::time::Instant::now();
    io.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = io.read_to_end(&mut answer);
    let _ = tokio::time::timeout(limits::COMMAND_BODY_DEADLINE * 3, read)
        .await
        .expect("it ends");
    let took = tokio::time::Instant::now() - began;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    assert!(text.contains("took too long"), "{text}");
    assert!(took >= limits::COMMAND_BODY_DEADLINE, "{took:?}");
}

#[tokio::test]
async fn events_that_are_there_are_written_together_up_to_a_batch() {
    let (rig, mut agent, user, _) = connected().await;
    let text = "x".repeat(1000);
    let mut io = tls(rig.address, &rig.ca_pem).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user}\r\n\
         accept: text/event-stream\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}",
        path("events.watch")
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let open = agent.opened().await;
    // Less than the window: all of it is there before the caller reads.
    let events = 200;
    for number in 0..events {
        let event = json!({"note": {"number": number, "text": text}});
        agent.event(&open, event).await;
    }
    agent.end(&open["stream"]).await;
    let mut answer = Vec::new();
    let read = soon(io.read_to_end(&mut answer)).await;
    assert!(read.is_ok() || !answer.is_empty());
    let body = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap()
        + 4;
    let mut rest = &answer[body..];
    let (mut largest, mut total) = (0, 0);
    loop {
        let line = rest.windows(2).position(|end| end == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        largest = largest.max(size);
        total += size;
        rest = &rest[line + 2 + size + 2..];
    }
    assert!(total > events * text.len());
    assert!(largest > 2 * text.len(), "they come together: {largest}");
    assert!(largest < limits::EVENTS_BATCH + 2 * text.len(), "{largest}");
}
