//! Watches and logs: how they begin, go on, resume and end.
//!
//! Owns: bodies that go on. Owns not: documents (`reading`).

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Cluster, SHOP, TABLE};

#[tokio::test]
async fn a_watch_resumes_where_it_was_left() {
    let cluster = Cluster::start().await;
    let list = cluster.found("/api/v1/pods").await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/pods?watch=true&resourceVersion={version}");
    let mut watch = cluster.follow(&path).await;
    let (one, two) = (watch.event().await, watch.event().await);
    assert_ne!(
        one["object"]["metadata"]["resourceVersion"],
        two["object"]["metadata"]["resourceVersion"]
    );
    let mut again = cluster.follow(&path).await;
    assert_eq!(again.event().await, one);
    let seen = one["object"]["metadata"]["resourceVersion"]
        .as_str()
        .unwrap();
    let mut resumed = cluster
        .follow(&format!("/api/v1/pods?watch=1&resourceVersion={seen}"))
        .await;
    assert_eq!(resumed.event().await, two);
}

#[tokio::test]
async fn a_watch_from_too_long_ago_gets_410_and_ends() {
    let cluster = Cluster::start().await;
    let mut watch = cluster
        .follow("/api/v1/pods?watch=true&resourceVersion=1")
        .await;
    let event = watch.event().await;
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 410);
    assert_eq!(watch.next().await, None);
    let (status, answer) = cluster
        .get("/api/v1/pods?watch=true&resourceVersion=99999999999999")
        .await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        answer["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test]
async fn a_watch_begins_with_all_and_ends_at_its_timeout() {
    let cluster = Cluster::start().await;
    let all = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
        &allowWatchBookmarks=true&timeoutSeconds=1";
    let mut watch = cluster.follow(&format!("/api/v1/nodes?{all}")).await;
    for name in ["sample-node-1", "sample-node-2", "sample-node-3"] {
        let event = watch.event().await;
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!(name))
        );
    }
    let bookmark = watch.event().await;
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(
        bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watch_as_a_table_names_its_columns_once() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/nodes?watch=true&timeoutSeconds=1";
    let (_, body) = cluster.ask(Method::GET, path, TABLE, b"").await;
    let events: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.len() >= 3);
    assert!(
        events
            .iter()
            .all(|event| event["object"]["kind"] == "Table")
    );
    let named = events
        .iter()
        .filter(|event| !event["object"]["columnDefinitions"].is_null());
    assert_eq!(named.count(), 1);
}

#[tokio::test]
async fn a_log_gives_its_tail_and_goes_on() {
    let cluster = Cluster::start().await;
    let log = format!("{SHOP}/pods/sample-db-0/log");
    let (status, tail) = cluster
        .ask(
            Method::GET,
            &format!("{log}?tailLines=5&timestamps=true"),
            "*/*",
            b"",
        )
        .await;
    assert_eq!((status, tail.lines().count()), (StatusCode::OK, 5));
    let mut follow = cluster
        .follow(&format!("{log}?follow=true&tailLines=5&timestamps=true"))
        .await;
    let mut stamps = Vec::new();
    for _ in 0..8 {
        let line = follow.next().await.unwrap();
        stamps.push(line.split(' ').next().unwrap().to_owned());
    }
    assert!(stamps.is_sorted(), "{stamps:?}");
    // The same lines again, asked for by time: what was said stays said.
    let since = &stamps[0][..19];
    let (_, again) = cluster
        .ask(
            Method::GET,
            &format!("{log}?sinceTime={since}Z&timestamps=true"),
            "*/*",
            b"",
        )
        .await;
    let again: Vec<_> = again
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(stamps.iter().all(|stamp| again.contains(&stamp.as_str())));
    let (_, cut) = cluster
        .ask(Method::GET, &format!("{log}?limitBytes=100"), "*/*", b"")
        .await;
    assert_eq!(cut.len(), 100);
    let (_, recent) = cluster
        .ask(Method::GET, &format!("{log}?sinceSeconds=60"), "*/*", b"")
        .await;
    assert!(
        (60..400).contains(&recent.lines().count()),
        "{}",
        recent.lines().count()
    );
    let (_, backlog) = cluster.ask(Method::GET, &log, "*/*", b"").await;
    assert!(
        (1_990..2_010).contains(&backlog.lines().count()),
        "{}",
        backlog.lines().count()
    );
}

#[tokio::test]
async fn it_stops_with_its_tasks_and_ends_what_is_open() {
    let cluster = Cluster::start().await;
    let log = format!("{SHOP}/pods/sample-db-0/log?follow=true&tailLines=1");
    let mut follow = cluster.follow(&log).await;
    assert!(follow.next().await.is_some());
    cluster.tasks.stop();
    while follow.next().await.is_some() {}
    tokio::time::timeout(Duration::from_secs(10), cluster.tasks.wait())
        .await
        .unwrap();
}
