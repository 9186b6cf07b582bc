//! `channel.echo` (P-67).

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::json;

use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Then};
use crate::support::pair::{Ask, Pair, Setting};

async fn any_pair(tasks: &Tasks, setting: Setting) -> Pair {
    let server = ApiServer::start(tasks, async |_, peer| (peer, Then::Close)).await;
    pair(&server, tasks, setting).await
}

#[tokio::test]
async fn echo_sends_back_what_it_gets_and_counts_it() {
    for binary in [true, false] {
        let tasks = Tasks::new();
        let setting = Setting {
            binary,
            ..Setting::default()
        };
        let pair = any_pair(&tasks, setting).await;
        let mut running = pair.open(Ask::echo(&json!({"mode": "echo"})));
        running.send(b"some").await;
        assert_eq!(running.bytes(4).await, b"some");
        running.send(b" more").await;
        running.writer.fin();
        let outcome = running.outcome().await;
        assert_eq!(outcome.text(), " more");
        assert_eq!(
            outcome.end.unwrap().unwrap(),
            json!({"received": 9, "sent": 9})
        );
    }
}

#[tokio::test]
async fn sink_takes_everything_up_to_fin() {
    let tasks = Tasks::new();
    let pair = any_pair(&tasks, Setting::default()).await;
    let mut running = pair.open(Ask::echo(&json!({"mode": "sink"})));
    // More than a window, so credit must come back.
    let piece = vec![1; 100_000];
    for _ in 0..20 {
        running.send(&piece).await;
    }
    running.writer.fin();
    let outcome = running.outcome().await;
    assert!(outcome.body.is_empty());
    assert_eq!(
        outcome.end.unwrap().unwrap(),
        json!({"received": 2_000_000, "sent": 0})
    );
}

#[tokio::test]
async fn source_sends_the_pattern_of_the_protocol() {
    let tasks = Tasks::new();
    let pair = any_pair(&tasks, Setting::default()).await;
    for bytes in [0, 1, 251, 252, 16_384, 1_000_003] {
        let ask = Ask::echo(&json!({"mode": "source", "bytes": bytes}));
        let outcome = pair.open(ask).outcome().await;
        assert_eq!(outcome.body.len(), bytes);
        for (at, &byte) in outcome.body.iter().enumerate() {
            assert_eq!(usize::from(byte), at % 251, "at {at} of {bytes}");
        }
        assert_eq!(
            outcome.end.unwrap().unwrap(),
            json!({"received": 0, "sent": bytes})
        );
    }
}

#[tokio::test]
async fn the_deadline_covers_all_of_it() {
    let tasks = Tasks::new();
    let pair = any_pair(&tasks, Setting::default()).await;
    let running = pair.open(Ask::echo(&json!({"mode": "echo"})).deadline_ms(50));
    let outcome = running.outcome().await;
    assert_eq!(outcome.code(), Some(ErrorCode::DeadlineExceeded));
}
