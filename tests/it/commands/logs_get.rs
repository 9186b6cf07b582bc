//! `logs.get` (P-86).

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::session::Item;
use serde_json::{Value, json};

use super::logs_follow::Rig;
use crate::support::pair::{Ask, Setting};

/// All events, and the end.
async fn get(rig: &Rig, args: &Value) -> (Vec<Value>, Result<Value, ErrorCode>) {
    let mut running = rig.pair.open(Ask::new("logs.get", args));
    let mut events = Vec::new();
    loop {
        match running.next().await {
            Item::Event(event) => events.push(serde_json::from_str(event.get()).unwrap()),
            Item::End(end) => {
                let end = end
                    .map(|result| {
                        serde_json::from_str(result.expect("it has a result").get()).unwrap()
                    })
                    .map_err(|body| body.code);
                return (events, end);
            }
            other => panic!("nothing else was expected: {other:?}"),
        }
    }
}

fn texts(events: &[Value]) -> Vec<String> {
    let batches = events
        .iter()
        .filter_map(|event| event["lines"]["lines"].as_array());
    let lines = batches
        .flatten()
        .map(|line| line[1].as_str().unwrap().to_owned());
    lines.collect()
}

#[tokio::test]
async fn what_there_is_comes_and_ends_well() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..100, "a");
    let (events, end) = get(&rig, &json!({"namespace": "d", "pod": "p", "tail": 3})).await;
    assert_eq!(texts(&events), ["97 a", "98 a", "99 a"]);
    assert_eq!(events.last().unwrap()["ended"]["reason"], "read");
    assert_eq!(end, Ok(json!({"lines": 3, "limited": false})));
}

#[tokio::test]
async fn a_bound_is_exact_and_the_cursor_goes_on_behind_it() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..10, "a");
    let args = json!({"namespace": "d", "selector": "app=a", "max_lines": 4});
    let (events, end) = get(&rig, &args).await;
    assert_eq!(texts(&events).len(), 4);
    assert_eq!(end, Ok(json!({"lines": 4, "limited": true})));
    let ended = &events.last().unwrap()["ended"];
    let source = ended["source"].as_str().unwrap();
    let args = json!({"namespace": "d", "selector": "app=a", "resume": {source: ended["cursor"]}});
    let (events, end) = get(&rig, &args).await;
    let rest: Vec<String> = (4..10).map(|line| format!("{line} a")).collect();
    assert_eq!(texts(&events), rest);
    assert_eq!(end, Ok(json!({"lines": 6, "limited": false})));
}

#[tokio::test]
async fn what_cannot_be_had_ends_with_its_error() {
    let rig = Rig::new(Setting::default()).await;
    let (_, end) = get(&rig, &json!({"namespace": "d", "pod": "none"})).await;
    assert_eq!(end, Err(ErrorCode::NotFound));
    let (_, end) = get(&rig, &json!({"namespace": "d"})).await;
    assert_eq!(end, Err(ErrorCode::BadRequest));
    let log = "/api/v1/namespaces/d/pods/p/log";
    rig.kubelet.oracle.refuse(log, 503, "ServiceUnavailable");
    let args = json!({"namespace": "d", "pod": "p"});
    let mut running = rig.pair.open(Ask::new("logs.get", &args).deadline_ms(700));
    loop {
        if let Item::End(end) = running.next().await {
            assert_eq!(end.unwrap_err().code, ErrorCode::DeadlineExceeded);
            return;
        }
    }
}
