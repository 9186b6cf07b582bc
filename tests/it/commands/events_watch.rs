//! `events.watch` (P-92, P-93).

use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::watching::{Reading, told_by};
use crate::dispatch::pair;
use crate::support::eventually;
use crate::support::oracle::Oracle;
use crate::support::pair::{Ask, Setting};

const EVENTS: &str = "/api/v1/events";

fn put(oracle: &Oracle, name: &str, count: u32, last: &str) {
    oracle.put(
        EVENTS,
        json!({"metadata": {"namespace": "d", "name": name}, "type": "Warning",
               "reason": "BackOff", "message": "Back-off", "count": count,
               "firstTimestamp": "2026-11-24T12:00:00Z", "lastTimestamp": last, "eventTime": null,
               "source": {"component": "kubelet"}, "reportingComponent": "",
               "involvedObject": {"kind": "Pod", "namespace": "d", "name": "web", "uid": "u",
                                  "fieldPath": "spec.containers{web}"}}),
    );
}

const AT: &str = "2026-11-24T12:10:00Z";

fn ask(args: &Value) -> Ask {
    Ask::new("events.watch", args)
}

/// Names and counts of the events among what was told.
fn seen(events: &[Value]) -> Vec<(String, u64)> {
    let mut seen: Vec<(String, u64)> = events
        .iter()
        .filter_map(|event| event.get("event"))
        .map(|event| {
            let name = event["name"].as_str().unwrap().to_owned();
            (name, event["count"].as_u64().unwrap())
        })
        .collect();
    seen.sort();
    seen
}

fn pairs(wanted: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = wanted
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count));
    owned.collect()
}

#[tokio::test]
async fn what_is_there_comes_first_and_a_series_is_told_once_for_each_count() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    put(&oracle, "old", 1, "2026-11-24T11:59:59Z");
    put(&oracle, "a", 3, AT);
    let server = oracle.serve(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let args = json!({"since": "2026-11-24T12:00:00Z"});
    let mut reading = Reading::new(pair.open(ask(&args)));
    let there = reading.synced().await;
    assert_eq!(seen(&there.events), pairs(&[("a", 3)]));
    assert_eq!(there.events[0]["event"].get("cursor"), None);
    // The same count again is no news, whatever else changed.
    put(&oracle, "a", 3, AT);
    put(&oracle, "a", 4, "2026-11-24T12:11:00Z");
    let event = reading.until("event").await;
    let wanted = json!({"uid": event["uid"], "cursor": event["cursor"], "namespace": "d",
        "name": "a", "type": "Warning", "reason": "BackOff", "message": "Back-off", "count": 4,
        "first": "2026-11-24T12:00:00Z", "last": "2026-11-24T12:11:00Z", "reporter": "kubelet",
        "object": {"kind": "Pod", "namespace": "d", "name": "web", "uid": "u",
                   "part": "spec.containers{web}"}});
    assert_eq!(event, wanted);
    // What is forgotten is no news either; `since` is only for what was there.
    oracle.remove(EVENTS, "d", "a");
    put(&oracle, "late", 1, "2026-11-24T11:00:00Z");
    assert_eq!(reading.until("event").await["name"], "late");
    drop(reading);
    eventually("the watch is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn the_api_server_is_asked_for_what_is_wanted_only() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let args = json!({"namespace": "d", "type": "Warning",
                      "object": {"kind": "Pod", "name": "web,x=y", "uid": "u"}});
    let mut reading = Reading::new(pair.open(ask(&args)));
    reading.synced().await;
    let fields = "fieldSelector=involvedObject.kind%3DPod%2CinvolvedObject.name%3Dweb%5C%2Cx%5C%3Dy\
                  %2CinvolvedObject.uid%3Du%2Ctype%3DWarning";
    eventually("it watches", || server.seen().len() >= 2).await;
    for seen in server.seen() {
        assert!(seen.target.starts_with("/api/v1/namespaces/d/events?"));
        assert!(seen.target.ends_with(fields), "{}", seen.target);
    }
}

#[tokio::test]
async fn it_resumes_right_after_its_cursor() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    put(&oracle, "a", 1, AT);
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask(&json!({}))));
    reading.synced().await;
    put(&oracle, "b", 1, AT);
    let cursor = reading.until("event").await["cursor"].clone();
    drop(reading);
    put(&oracle, "c", 1, AT);
    let mut reading = Reading::new(pair.open(ask(&json!({"resume": {"": cursor}}))));
    assert_eq!(reading.until("event").await["name"], "c");
    for foreign in ["s:1:2", "e:", "e:1:2"] {
        let told = told_by(pair.open(ask(&json!({"resume": {"": foreign}})))).await;
        assert_eq!(told.end.unwrap_err().code, ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn where_history_is_gone_there_is_a_gap_and_then_what_is_still_there_and_new() {
    for restarted in [true, false] {
        let tasks = Tasks::new();
        let oracle = Oracle::new(1);
        put(&oracle, "a", 1, AT);
        put(&oracle, "b", 1, AT);
        let server = oracle.serve(&tasks).await;
        let pair = pair(&server, &tasks, Setting::default()).await;
        let mut reading = Reading::new(pair.open(ask(&json!({}))));
        let cursor = reading.synced().await.cursor();
        let kept = (!restarted).then_some(reading);
        oracle.refuse("/api", 503, "ServiceUnavailable");
        oracle.break_off();
        put(&oracle, "a", 2, "2026-11-24T12:12:00Z");
        put(&oracle, "c", 1, AT);
        put(&oracle, "came and went", 1, AT);
        oracle.remove(EVENTS, "d", "came and went");
        oracle.compact();
        oracle.accept("/api");
        let args = json!({"resume": {"": cursor}});
        let mut reading = kept.unwrap_or_else(|| Reading::new(pair.open(ask(&args))));
        let gap = reading.until("gap").await;
        assert_eq!(gap["reason"], "compacted");
        assert!(gap["cursor"].is_string());
        let there = reading.synced().await;
        assert_eq!(
            seen(&there.events),
            pairs(&[("a", 2), ("c", 1)]),
            "{restarted}"
        );
        assert!(
            there
                .events
                .iter()
                .all(|event| event["event"].get("cursor").is_none())
        );
        put(&oracle, "d", 1, AT);
        assert_eq!(reading.until("event").await["name"], "d");
    }
}

#[tokio::test]
async fn an_api_server_that_is_gone_for_a_while_is_waited_for_and_a_refusal_ends_it() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    put(&oracle, "a", 1, AT);
    let mut reading = Reading::new(pair.open(ask(&json!({}))));
    reading.synced().await;
    oracle.refuse("/api", 503, "ServiceUnavailable");
    oracle.break_off();
    assert_eq!(
        reading.until("interrupted").await["code"],
        "upstream_failed"
    );
    put(&oracle, "b", 1, AT);
    oracle.accept("/api");
    reading.until("restored").await;
    assert_eq!(reading.until("event").await["name"], "b");
    oracle.refuse("/api", 403, "Forbidden");
    oracle.break_off();
    let error = reading.end().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UpstreamRefused);
}

#[tokio::test]
async fn a_slow_reader_gets_every_event_in_the_end() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    for at in 0..3000 {
        put(&oracle, &format!("event-{at:05}"), 1, AT);
    }
    let oracle = oracle.paged(250);
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let slow = pair.open(ask(&json!({})));
    eventually("it has begun", || !server.seen().is_empty()).await;
    tokio::task::yield_now().await;
    let pages = |server: &crate::support::apiserver::ApiServer| server.seen().len();
    assert!(
        pages(&server) < 12,
        "it reads on while nobody takes what it read"
    );
    let mut reading = Reading::new(slow);
    assert_eq!(reading.synced().await.events.len(), 3000);
}
