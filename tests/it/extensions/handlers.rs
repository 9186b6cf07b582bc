//! Event handlers.

use std::sync::{Arc, Mutex};

use pipeops_agent::limits;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{Folder, Running, start};
use crate::support::apiserver::{ApiServer, Seen, Then, answer};
use crate::support::eventually;
use crate::support::oracle::Oracle;

const EVENTS: &str = "/api/v1/events";

fn put(oracle: &Oracle, name: &str, kind: &str, reason: &str, count: u32) {
    oracle.put(
        EVENTS,
        json!({"metadata": {"namespace": "shop", "name": name}, "type": kind, "reason": reason,
               "message": "Back-off", "count": count, "firstTimestamp": "2026-11-24T12:00:00Z",
               "lastTimestamp": "2026-11-24T12:10:00Z",
               "involvedObject": {"kind": "Pod", "namespace": "shop", "name": name}}),
    );
}

type Got = Arc<Mutex<Vec<(Seen, Value)>>>;

/// A receiver that answers with these in turn, and then with 200.
async fn receiver(tasks: &Tasks, answers: &[&str]) -> (ApiServer, Got) {
    let got = Got::default();
    let kept = Arc::clone(&got);
    let answers: Vec<_> = answers.iter().map(ToString::to_string).collect();
    let answers = Arc::new(Mutex::new(std::collections::VecDeque::from(answers)));
    let server = ApiServer::start(tasks, move |seen, mut peer| {
        let (kept, answers) = (Arc::clone(&kept), Arc::clone(&answers));
        async move {
            let length = seen.header("content-length").unwrap().parse().unwrap();
            let body = peer.exactly(length).await.unwrap();
            let body = serde_json::from_slice(&body).unwrap();
            kept.lock().unwrap().push((seen, body));
            let next = answers.lock().unwrap().pop_front();
            let next = next.unwrap_or_else(|| answer("200 OK", "", "thanks"));
            peer.send(next).await;
            (peer, Then::Close)
        }
    })
    .await;
    (server, got)
}

fn names(got: &Got) -> Vec<String> {
    let got = got.lock().unwrap();
    let name = |(_, body): &(Seen, Value)| body["object"]["name"].as_str().unwrap().to_owned();
    got.iter().map(name).collect()
}

async fn watching(oracle: &Oracle) {
    eventually("events are watched", || oracle.sent_all(EVENTS)).await;
}

fn counted(running: &Running, handler: &str, outcome: &str) -> u64 {
    let line = format!(
        "pipeops_event_handler_events_total{{handler=\"{handler}\",outcome=\"{outcome}\"}} "
    );
    let text = running.metrics.encode();
    let found = text.lines().find_map(|known| known.strip_prefix(&line));
    found.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn an_event_that_matches_is_posted_once_with_the_secret_of_the_file() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    put(&oracle, "before", "Warning", "BackOff", 1);
    let api = oracle.serve(&tasks).await;
    let (hook, got) = receiver(&tasks, &[]).await;
    let folder = Folder::new("hook");
    let secret = folder.file("secret", "hunter2\n");
    let url = format!("http://{}/hook", hook.address);
    let matching = json!({"kind": ["Pod"], "reason": ["BackOff", "OOMKilling"],
                          "type": ["Warning"], "namespace": ["shop"]});
    let config = json!({"event_handlers": [
        {"name": "bearer", "match": matching, "webhook": {"url": url, "secret_file": secret}},
        {"name": "header", "match": {"reason": ["BackOff"]}, "repeats": true,
         "webhook": {"url": url, "secret_file": secret, "secret_header": "X-Hook-Token"}},
        {"name": "line", "log": {"level": "warn"}},
    ]});
    let running = start(config, &api).await;
    watching(&oracle).await;
    put(&oracle, "normal", "Normal", "Pulled", 1);
    put(&oracle, "a", "Warning", "BackOff", 1);
    put(&oracle, "a", "Warning", "BackOff", 2);
    put(&oracle, "b", "Warning", "OOMKilling", 1);
    eventually("four posts", || got.lock().unwrap().len() == 4).await;
    eventually("three lines", || {
        counted(&running, "line", "delivered") == 3
    })
    .await;
    let mut all = names(&got);
    all.sort();
    assert_eq!(all, ["a", "a", "a", "b"]);
    let got = got.lock().unwrap().clone();
    for (seen, body) in &got {
        assert_eq!((&*seen.method, &*seen.target), ("POST", "/hook"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        let by = body["handler"].as_str().unwrap();
        let (bearer, token) = match by {
            "bearer" => (Some("Bearer hunter2"), None),
            _ => (None, Some("hunter2")),
        };
        assert_eq!(seen.header("authorization"), bearer);
        assert_eq!(seen.header("x-hook-token"), token);
        assert_eq!(seen.header("idempotency-key"), body["id"].as_str());
    }
    let (_, first) = got
        .iter()
        .find(|(_, body)| body["handler"] == "bearer")
        .unwrap();
    let wanted = json!({"handler": "bearer", "cluster": "prod", "id": first["id"],
        "type": "Warning", "reason": "BackOff", "message": "Back-off", "count": 1,
        "first": "2026-11-24T12:00:00Z", "last": "2026-11-24T12:10:00Z",
        "object": {"kind": "Pod", "namespace": "shop", "name": "a"}});
    assert_eq!(first, &wanted);
    for handler in ["bearer", "header"] {
        eventually("both are counted", || {
            counted(&running, handler, "delivered") == 2
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_one_that_refuses_is_not() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let api = oracle.serve(&tasks).await;
    let away = answer("503 Service Unavailable", "", "");
    let moved = answer("307 Temporary Redirect", "location: /elsewhere\r\n", "");
    let bad = answer("422 Unprocessable Content", "", "");
    let (hook, got) = receiver(&tasks, &[&away, "garbage\r\n\r\n", &bad]).await;
    let (other, seen) = receiver(&tasks, &[&moved]).await;
    let one = |name: &str, server: &ApiServer| json!({"name": name, "webhook": {"url": format!("http://{}/", server.address)}});
    let config = json!({"event_handlers": [one("tried", &hook), one("moved", &other)]});
    let running = start(config, &api).await;
    watching(&oracle).await;
    put(&oracle, "a", "Warning", "BackOff", 1);
    put(&oracle, "b", "Warning", "BackOff", 1);
    eventually("what is refused is failed", || {
        counted(&running, "tried", "failed") == 1 && counted(&running, "tried", "delivered") == 1
    })
    .await;
    assert_eq!(names(&got), ["a", "a", "a", "b"]);
    {
        let got = got.lock().unwrap();
        let keys: Vec<_> = got
            .iter()
            .map(|(seen, _)| seen.header("idempotency-key"))
            .collect();
        assert!(keys[..3].iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_ne!(keys[2], keys[3]);
    }
    eventually("b is delivered", || {
        counted(&running, "moved", "delivered") == 1
    })
    .await;
    assert_eq!(counted(&running, "moved", "failed"), 1);
    let targets: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(seen, _)| seen.target.clone())
        .collect();
    assert_eq!(targets, ["/", "/"], "no redirect is followed");
    running.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_loses_its_own_events_only_and_they_are_counted() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1).paged(1000);
    let api = oracle.serve(&tasks).await;
    let stuck = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let (hook, got) = receiver(&tasks, &[]).await;
    let url = |server: &ApiServer| format!("http://{}/", server.address);
    let config = json!({"event_handlers": [
        {"name": "stuck", "webhook": {"url": url(&stuck), "timeout": "30s"}},
        {"name": "works", "match": {"reason": ["Last"]}, "webhook": {"url": url(&hook)}},
    ]});
    let running = start(config, &api).await;
    watching(&oracle).await;
    // One is being delivered, and so many wait.
    let most = limits::HANDLER_QUEUE + 1;
    put(&oracle, "first", "Normal", "Pulled", 1);
    eventually("it is stuck", || stuck.open() == 1).await;
    for at in 0..most + 9 {
        put(&oracle, &format!("e{at}"), "Normal", "Pulled", 1);
    }
    put(&oracle, "last", "Normal", "Last", 1);
    eventually("the other works", || names(&got) == ["last"]).await;
    eventually("drops are counted", || {
        counted(&running, "stuck", "dropped") == 11
    })
    .await;
    assert_eq!(counted(&running, "works", "dropped"), 0);
    running.stop().await;
}

#[tokio::test]
async fn events_survive_a_watch_that_breaks_and_a_history_that_is_gone() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let api = oracle.serve(&tasks).await;
    let (hook, got) = receiver(&tasks, &[]).await;
    let url = format!("http://{}/", hook.address);
    let config = json!({"event_handlers": [{"name": "h", "webhook": {"url": url}}]});
    let running = start(config, &api).await;
    watching(&oracle).await;
    put(&oracle, "a", "Normal", "Pulled", 1);
    eventually("a", || names(&got) == ["a"]).await;
    oracle.break_off();
    put(&oracle, "b", "Normal", "Pulled", 1);
    oracle.compact();
    eventually("b", || names(&got) == ["a", "b"]).await;
    running.stop().await;
}
