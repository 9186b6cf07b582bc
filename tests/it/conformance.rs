//! Whole sessions, replayed against each end on its own.
//!
//! Owns the check that both ends of the channel do what `fixtures/sessions/v2` and the sessions of
//! `fixtures/frames/v2/reject` say. The tested end is a real session over a WebSocket; the test
//! plays the other end, and is its caller or its command. Time is paused: a quiet second costs
//! nothing. The format is described in `fixtures/README.md`.

mod frames;
mod played;
mod replay;
mod tested;

use serde_json::Value;

use crate::protocol::fixture;

/// The lines of a scenario, the head first.
fn scenarios() -> Vec<(String, Value, Vec<Value>)> {
    let folder = fixture::root().join("fixtures/sessions/v2");
    let mut all = Vec::new();
    for path in fixture::entries(&folder) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}"))
            })
            .collect();
        let head = lines.remove(0);
        all.push((name, head, lines));
    }
    for hostile in fixture::all("reject") {
        let json = hostile.json();
        if let Some(lines) = json["lines"].as_array() {
            all.push((hostile.to_string(), json["session"].clone(), lines.clone()));
        }
    }
    all
}

async fn replay_all(end: &str) {
    let mut failed = Vec::new();
    let mut count = 0;
    for (name, head, lines) in scenarios() {
        if !head["replay"]
            .as_array()
            .unwrap()
            .iter()
            .any(|to| to == end)
        {
            continue;
        }
        count += 1;
        if let Err(why) = replay::run(end, &head, &lines).await {
            failed.push(format!("{name}: {why}"));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {count} failed\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(count >= 12, "only {count} scenarios");
}

#[tokio::test(start_paused = true)]
async fn the_agents_end_does_what_every_session_says() {
    replay_all("agent").await;
}

#[tokio::test(start_paused = true)]
async fn the_gateways_end_does_what_every_session_says() {
    replay_all("gateway").await;
}
