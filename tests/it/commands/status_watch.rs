//! `status.watch` (P-87 to P-89, P-95, P-96).

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::json;

use super::status_get::{DEPLOYMENTS, NODES, PODS, deployment, node, pod};
use super::watching::{Reading, Told, told_by};
use crate::dispatch::pair;
use crate::support::eventually;
use crate::support::oracle::Oracle;
use crate::support::pair::{Ask, Setting};

fn ask(resume: &str) -> Ask {
    let resume = if resume.is_empty() {
        json!({})
    } else {
        json!({"": resume})
    };
    Ask::new("status.watch", &json!({"resume": resume}))
}

/// The names of what is gone.
fn gone(told: &Told, kind: &str) -> Vec<String> {
    let removed = told.events.iter().filter_map(|event| event.get("removed"));
    let mut names: Vec<String> = removed
        .filter_map(|removed| removed.get(kind))
        .flat_map(|items| items.as_array().unwrap().clone())
        .map(|item| match item.as_str() {
            Some(name) => name.to_owned(),
            None => item["name"].as_str().unwrap().to_owned(),
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_whole_comes_first_then_what_changes() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(NODES, node("node-1", "True"));
    oracle.put(PODS, pod("d", "a", None));
    oracle.put(PODS, pod("d", "b", Some(1)));
    oracle.put(DEPLOYMENTS, deployment("d", "web", 2));
    let server = oracle.serve(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let mut reading = Reading::new(pair.open(ask("")));
    let first = reading.synced().await;
    assert_eq!(first.names("nodes"), ["/node-1"]);
    assert_eq!(first.names("workloads"), ["d/web"]);
    assert_eq!(first.names("unhealthy"), ["d/b"]);
    oracle.put(PODS, pod("d", "b", None));
    oracle.put(PODS, pod("e", "c", Some(3)));
    oracle.remove(NODES, "", "node-1");
    let second = reading.synced().await;
    assert_eq!(second.names("unhealthy"), ["e/c"]);
    assert_eq!(gone(&second, "pods"), ["b"]);
    assert_eq!(gone(&second, "nodes"), ["node-1"]);
    assert_eq!(second.names("namespaces"), ["/d", "/e"]);
    assert_eq!(
        second.events.last().unwrap()["summary"]["pods"]["unhealthy"],
        1
    );
    assert!(second.names("workloads").is_empty());
    // What is as it was is not told, however often the API server reports it.
    oracle.put(DEPLOYMENTS, deployment("d", "web", 2));
    oracle.put(PODS, pod("e", "c", Some(4)));
    let third = reading.synced().await;
    assert_eq!(third.names("unhealthy"), ["e/c"]);
    assert_eq!(third.events.len(), 1, "{:?}", third.events);
    drop(reading);
    eventually("the command ends", || pair.commands.is_empty()).await;
}

#[tokio::test]
async fn it_resumes_at_its_moment_or_says_that_it_cannot() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(PODS, pod("d", "a", Some(1)));
    oracle.put(PODS, pod("d", "b", Some(1)));
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask("")));
    let cursor = reading.synced().await.cursor();
    drop(reading);
    oracle.remove(PODS, "d", "a");
    oracle.put(PODS, pod("d", "c", Some(2)));
    let mut reading = Reading::new(pair.open(ask(&cursor)));
    let resumed = reading.synced().await;
    assert_eq!(
        resumed.events.len(),
        1,
        "only the versions: {:?}",
        resumed.events
    );
    let changed = reading.synced().await;
    assert_eq!(changed.names("unhealthy"), ["d/c"]);
    assert_eq!(gone(&changed, "pods"), ["a"]);
    drop(reading);
    oracle.put(PODS, pod("d", "d", None));
    oracle.compact();
    let mut reading = Reading::new(pair.open(ask(&cursor)));
    let whole = reading.synced().await;
    assert_eq!(whole.events[0], json!({"reset": {}}));
    assert_eq!(whole.names("unhealthy"), ["d/b", "d/c"]);
    let told = told_by(pair.open(ask("s:1:2"))).await;
    assert_eq!(told.end.unwrap_err().code, ErrorCode::BadRequest);
}

#[tokio::test]
async fn an_outage_costs_a_word_and_no_change() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(PODS, pod("d", "a", Some(1)));
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask("")));
    reading.synced().await;
    oracle.refuse("/api", 503, "ServiceUnavailable");
    oracle.break_off();
    reading.until("interrupted").await;
    oracle.remove(PODS, "d", "a");
    oracle.put(PODS, pod("d", "b", Some(1)));
    oracle.compact();
    oracle.accept("/api");
    let (mut unhealthy, mut removed) = (Vec::new(), Vec::new());
    while unhealthy.is_empty() || removed.is_empty() {
        let told = reading.synced().await;
        unhealthy.extend(told.names("unhealthy"));
        removed.extend(gone(&told, "pods"));
    }
    assert_eq!(
        (unhealthy, removed),
        (vec!["d/b".to_owned()], vec!["a".to_owned()])
    );
    oracle.refuse(PODS, 403, "Forbidden");
    oracle.break_off();
    let error = reading.end().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UpstreamRefused);
}

#[tokio::test]
async fn when_many_get_well_the_others_are_told_in_their_place() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1).paged(250);
    let many = 2 * limits::STATUS_UNHEALTHY + 300;
    let name = |at: usize| format!("crashing-{at:05}");
    for at in 0..many {
        oracle.put(PODS, pod("d", &name(at), Some(1)));
    }
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask("")));
    let first = reading.synced().await;
    assert_eq!(first.names("unhealthy").len(), limits::STATUS_UNHEALTHY);
    // All that the agent holds in reserve and more: it must look again.
    let well = limits::STATUS_UNHEALTHY + 200;
    for at in 0..well {
        oracle.put(PODS, pod("d", &name(at), None));
    }
    let mut known: std::collections::BTreeSet<String> =
        first.names("unhealthy").into_iter().collect();
    let wanted: std::collections::BTreeSet<String> = (well..well + limits::STATUS_UNHEALTHY)
        .map(|at| format!("d/{}", name(at)))
        .collect();
    while known != wanted {
        let told = reading.synced().await;
        for name in gone(&told, "pods") {
            known.remove(&format!("d/{name}"));
        }
        known.extend(told.names("unhealthy"));
    }
}
