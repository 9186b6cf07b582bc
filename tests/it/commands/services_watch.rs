//! `services.watch` (P-87 to P-89, P-91).

use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::json;

use super::services_list::{SERVICES, SLICES, service, slice};
use super::watching::{Reading, told_by};
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
    Ask::new("services.watch", &json!({"resume": resume}))
}

#[tokio::test]
async fn the_whole_comes_first_then_what_changes_and_what_is_gone() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(SERVICES, service("d", "web"));
    oracle.put(SERVICES, service("d", "db"));
    let server = oracle.serve(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let mut reading = Reading::new(pair.open(ask("")));
    let first = reading.synced().await;
    assert_eq!(first.names("services"), ["d/db", "d/web"]);
    // Both changes within a second are told once.
    oracle.put(SLICES, slice("d", "web", &[false]));
    oracle.put(SLICES, slice("d", "web", &[true]));
    let second = reading.synced().await;
    assert_eq!(second.names("services"), ["d/web"]);
    assert_eq!(second.items("services")[0]["ready"], 1);
    oracle.remove(SERVICES, "d", "web");
    let third = reading.synced().await;
    assert_eq!(third.names("removed"), ["d/web"]);
    drop(reading);
    eventually("the command ends", || pair.commands.is_empty()).await;
}

#[tokio::test]
async fn it_resumes_at_its_moment_and_tells_only_what_has_changed_since() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    for name in ["a", "b", "c"] {
        oracle.put(SERVICES, service("d", name));
    }
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask("")));
    let cursor = reading.synced().await.cursor();
    drop(reading);
    oracle.put(SERVICES, service("d", "d"));
    oracle.remove(SERVICES, "d", "b");
    // Another agent, as far as anybody can tell.
    let mut reading = Reading::new(pair.open(ask(&cursor)));
    assert!(reading.synced().await.events.is_empty());
    let changed = reading.synced().await;
    assert_eq!(changed.names("services"), ["d/d"]);
    assert_eq!(changed.names("removed"), ["d/b"]);
}

#[tokio::test]
async fn a_moment_that_is_too_old_is_reset() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(SERVICES, service("d", "a"));
    let cursor = format!("s:{0}:{0}", oracle.version());
    oracle.put(SERVICES, service("d", "b"));
    oracle.compact();
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask(&cursor)));
    let whole = reading.synced().await;
    assert_eq!(whole.events[0], json!({"reset": {}}));
    assert_eq!(whole.names("services"), ["d/a", "d/b"]);
    for foreign in ["s:1", "e:1", "s:1:x/y", "7"] {
        let told = told_by(pair.open(ask(foreign))).await;
        assert_eq!(
            told.end.unwrap_err().code,
            ErrorCode::BadRequest,
            "{foreign}"
        );
    }
}

#[tokio::test]
async fn an_api_server_that_is_gone_for_a_while_costs_a_word_and_no_change() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(SERVICES, service("d", "a"));
    oracle.put(SERVICES, service("d", "b"));
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let mut reading = Reading::new(pair.open(ask("")));
    reading.synced().await;
    oracle.refuse("/api", 503, "ServiceUnavailable");
    oracle.break_off();
    let interrupted = reading.until("interrupted").await;
    assert_eq!(interrupted["code"], "upstream_failed");
    oracle.remove(SERVICES, "d", "a");
    oracle.put(SERVICES, service("d", "c"));
    oracle.compact();
    oracle.accept("/api");
    reading.until("restored").await;
    let changed = reading.synced().await;
    assert_eq!(changed.names("services"), ["d/c"]);
    assert_eq!(changed.names("removed"), ["d/a"]);
    // And a refusal ends it.
    oracle.refuse(SERVICES, 403, "Forbidden");
    oracle.break_off();
    let error = reading.end().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UpstreamRefused);
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_state_and_nothing_piles_up() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let name = |at: usize| format!("web-{at:04}");
    for at in 0..2000 {
        oracle.put(SERVICES, service("d", &name(at)));
    }
    let oracle = oracle.paged(250);
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    // The first state is more than its window; it reads nothing while all of it changes twice.
    let slow = pair.open(ask(""));
    eventually("it has read the services", || {
        server
            .seen()
            .iter()
            .any(|seen| seen.target.contains("watch=1"))
    })
    .await;
    for port in [1, 2] {
        for at in 0..2000 {
            let mut changed = service("d", &name(at));
            changed["spec"]["ports"][0]["port"] = json!(port);
            oracle.put(SERVICES, changed);
        }
    }
    eventually("the changes have been sent", || oracle.sent_all(SERVICES)).await;
    for _ in 0..10_000 {
        // What was sent is taken in by whoever can run.
        tokio::task::yield_now().await;
    }
    let mut reading = Reading::new(slow);
    let mut told = 0;
    let mut last = std::collections::BTreeMap::new();
    while last.len() < 2000 || last.values().any(|port| *port != json!(2)) {
        for item in reading.synced().await.items("services") {
            told += 1;
            last.insert(item["name"].to_string(), item["ports"][0]["port"].clone());
        }
    }
    assert!(
        told < 6000,
        "{told} items: the state between was told as well"
    );
}
