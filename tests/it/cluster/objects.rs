//! Our own typed calls: what is asked, what is kept, what a refusal means.

use http::Method;
use pipeops_agent::cluster::objects::{Collection, Page, Shape};
use pipeops_agent::cluster::{ClusterError, ObjectError, RunAs};
use pipeops_agent::limits;
use pipeops_agent::tasks::Tasks;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster;
use crate::support::apiserver::{ApiServer, Peer, Seen, Then, answer};
use crate::support::soon;

#[derive(Debug, Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

/// A server that answers each request by `script`.
async fn scripted(
    tasks: &Tasks,
    script: impl Fn(&Seen) -> (&'static str, Value) + Send + Sync + Clone + 'static,
) -> ApiServer {
    ApiServer::start(tasks, move |seen: Seen, mut peer: Peer| {
        let (status, body) = script(&seen);
        async move {
            if let Some(length) = seen.header("content-length") {
                peer.exactly(length.parse().unwrap()).await;
            }
            peer.send(answer(status, "retry-after: 7\r\n", &body.to_string()))
                .await;
            (peer, Then::KeepAlive)
        }
    })
    .await
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "code": code, "reason": reason, "message": message})
}

#[tokio::test]
async fn a_call_asks_for_plain_json_as_the_agent_or_as_the_caller() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |_| {
        (
            "200 OK",
            json!({"metadata": {"name": "web", "labels": {"a": "b"}}}),
        )
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let pods = Collection::new("", "v1", "pods").within("d");
    let pod: Named = soon(objects.get(&pods.item("web"))).await.unwrap();
    assert_eq!(pod.metadata.name, "web");
    let ada = RunAs {
        user: "ada".into(),
        groups: vec![],
        extra: vec![],
    };
    let objects = objects.run_as(Some(ada));
    let _: Value = soon(objects.post("/api/v1/namespaces/d/pods?dryRun=All", &json!({})))
        .await
        .unwrap();
    let seen = server.seen();
    assert_eq!(seen[0].target, "/api/v1/namespaces/d/pods/web");
    assert_eq!(seen[0].header("accept"), Some("application/json"));
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
    assert_eq!(seen[0].header("impersonate-user"), None);
    assert_eq!(seen[1].method, "POST");
    assert_eq!(seen[1].target, "/api/v1/namespaces/d/pods?dryRun=All");
    assert_eq!(seen[1].header("content-type"), Some("application/json"));
    assert_eq!(seen[1].header("content-length"), Some("2"));
    assert_eq!(seen[1].header("impersonate-user"), Some("ada"));
}

#[tokio::test]
async fn a_refusal_is_named_by_what_the_api_server_says() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |seen| match seen.target.as_str() {
        "/forbidden" => (
            "403 Forbidden",
            status(403, "Forbidden", "pods is forbidden"),
        ),
        "/missing" => ("404 Not Found", status(404, "NotFound", "no such pod")),
        "/conflict" => ("409 Conflict", status(409, "Conflict", "changed meanwhile")),
        "/old" => ("410 Gone", status(410, "Expired", "too old")),
        "/long" => ("422 Nonsense", status(422, "Invalid", &"ü".repeat(4000))),
        _ => ("429 Too Many Requests", json!("no Status at all")),
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let failed = async |target: &str| soon(objects.get::<Value>(target)).await.unwrap_err();
    let error = failed("/forbidden").await;
    assert!(matches!(&error, ObjectError::Refused(refusal) if refusal.status == 403));
    assert_eq!(
        error.to_string(),
        "the API server answered 403 Forbidden: pods is forbidden"
    );
    assert!(matches!(failed("/missing").await, ObjectError::NotFound(_)));
    assert!(matches!(
        failed("/conflict").await,
        ObjectError::Conflict(_)
    ));
    assert!(matches!(failed("/old").await, ObjectError::Gone(_)));
    let long = failed("/long").await;
    let message = &long.refusal().unwrap().message;
    assert!(message.len() <= limits::OBJECT_MESSAGE && message.len() > 1000);
    let busy = failed("/busy").await;
    let refusal = busy.refusal().unwrap();
    assert_eq!(refusal.retry_after, Some(std::time::Duration::from_secs(7)));
    assert!(busy.may_pass() && !error.may_pass());
}

#[tokio::test]
async fn an_answer_above_its_bound_or_of_another_kind_is_an_error() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |_| ("200 OK", json!({"a": "x".repeat(2000)}))).await;
    let objects = cluster(&server, &tasks).await.objects();
    let error = soon(objects.clone().at_most(1000).get::<Value>("/version")).await;
    assert!(matches!(error, Err(ObjectError::TooLarge(1000))));
    let error = soon(objects.get::<Named>("/version")).await;
    assert!(matches!(error, Err(ObjectError::Malformed(_))));
    let error = soon(objects.get::<Value>("/api/../version")).await;
    assert!(matches!(&error, Err(ObjectError::Path(_))));
    assert!(error.unwrap_err().not_sent());
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_the_deadline_and_no_more() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let short = std::time::Duration::from_millis(50);
    let objects = cluster(&server, &tasks).await.objects().within(short);
    let sent = soon(objects.send::<Value>(&Method::DELETE, "/api/v1/namespaces/d", "a/b", "{}"));
    assert!(matches!(
        sent.await,
        Err(ObjectError::Cluster(ClusterError::Deadline(_)))
    ));
}

/// The pages of a list of `count` pods in pieces of 100, whatever limit is asked for.
fn pages(seen: &Seen, count: usize) -> Value {
    let from = seen.target.split_once("continue=").map_or(0, |(_, next)| {
        next.split('&').next().unwrap().parse().unwrap()
    });
    let to = count.min(from + 100);
    let items: Vec<Value> = (from..to)
        .map(|number| json!({"metadata": {"name": format!("pod-{number}")}, "spec": {"x": [1]}}))
        .collect();
    let next = if to < count {
        to.to_string()
    } else {
        String::new()
    };
    json!({"kind": "PodList", "metadata": {"resourceVersion": "77", "continue": next}, "items": items})
}

#[tokio::test]
async fn a_list_comes_page_by_page_and_says_its_version_at_the_end() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |seen| ("200 OK", pages(seen, 230))).await;
    let objects = cluster(&server, &tasks).await.objects();
    let pods = Collection::new("", "v1", "pods").labels("app=web");
    let mut list = objects.list::<Named>(&pods);
    let mut found = Vec::new();
    let mut version = None;
    while let Some(page) = soon(list.next()).await.unwrap() {
        assert!(version.is_none() && !page.restarted);
        found.extend(page.items.into_iter().map(|pod| pod.metadata.name));
        version = page.version;
    }
    let wanted: Vec<String> = (0..230).map(|number| format!("pod-{number}")).collect();
    assert_eq!(found, wanted);
    assert_eq!(version.as_deref(), Some("77"));
    let targets: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(
        targets,
        [
            "/api/v1/pods?limit=250&labelSelector=app%3Dweb",
            "/api/v1/pods?limit=250&continue=100&labelSelector=app%3Dweb",
            "/api/v1/pods?limit=250&continue=200&labelSelector=app%3Dweb"
        ]
    );
}

#[tokio::test]
async fn a_list_that_grows_too_old_begins_anew_a_few_times_and_then_fails() {
    for gone in [1, limits::OBJECT_RESTARTS, limits::OBJECT_RESTARTS + 1] {
        let tasks = Tasks::new();
        let left = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(gone));
        let server = scripted(&tasks, move |seen| {
            let again = seen.target.contains("continue=")
                && left
                    .fetch_update(
                        std::sync::atomic::Ordering::SeqCst,
                        std::sync::atomic::Ordering::SeqCst,
                        |left| left.checked_sub(1),
                    )
                    .is_ok();
            if again {
                (
                    "410 Gone",
                    status(410, "Expired", "the continuation is too old"),
                )
            } else {
                ("200 OK", pages(seen, 150))
            }
        })
        .await;
        let objects = cluster(&server, &tasks).await.objects();
        let mut list = objects.list::<Named>(&Collection::new("", "v1", "pods"));
        let mut restarts = 0;
        let mut items = 0;
        let ended = loop {
            match soon(list.next()).await {
                Ok(Some(Page {
                    items: more,
                    restarted,
                    ..
                })) => {
                    if restarted {
                        restarts += 1;
                        items = 0;
                    }
                    items += more.len();
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if gone > limits::OBJECT_RESTARTS {
            assert!(matches!(ended, Err(ObjectError::Gone(_))));
        } else {
            assert!(ended.is_ok());
            assert_eq!((restarts, items), (gone, 150));
        }
    }
}

#[tokio::test]
async fn a_list_of_the_past_is_asked_for_by_its_version() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |seen| ("200 OK", pages(seen, 150))).await;
    let objects = cluster(&server, &tasks).await.objects();
    let mut list = objects
        .list::<Named>(&Collection::new("", "v1", "pods"))
        .exactly("70");
    while soon(list.next()).await.unwrap().is_some() {}
    let targets: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(
        targets,
        [
            "/api/v1/pods?limit=250&resourceVersion=70&resourceVersionMatch=Exact",
            "/api/v1/pods?limit=250&continue=100"
        ]
    );
}

#[tokio::test]
async fn a_page_with_an_object_above_the_bound_is_refused_before_it_is_held() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"items\":[{\"a\":\"")
            .await;
        let block = "x".repeat(64 * 1024);
        for _ in 0..=limits::OBJECT_BYTES / block.len() {
            peer.send(&block).await;
        }
        (peer, Then::Close)
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let mut list = objects.list::<Value>(&Collection::new("", "v1", "pods"));
    assert!(matches!(
        soon(list.next()).await,
        Err(ObjectError::TooLarge(limits::OBJECT_BYTES))
    ));
}

#[tokio::test]
async fn a_row_above_its_bound_is_refused_before_it_is_held() {
    let tasks = Tasks::new();
    let server = scripted(&tasks, |seen| {
        let text = "x".repeat(if seen.target.ends_with("large") {
            limits::OBJECT_SMALL
        } else {
            limits::OBJECT_SMALL - 100
        });
        ("200 OK", json!({"rows": [{"cells": [text]}]}))
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let read = async |target: &str| {
        let mut rows = soon(objects.unpaged::<Value>(target, Shape::Table))
            .await
            .unwrap();
        let mut count = 0;
        while let Some(some) = soon(rows.next()).await? {
            count += some.len();
        }
        Ok::<_, ObjectError>(count)
    };
    assert!(matches!(read("/api/v1/pods?small").await, Ok(1)));
    assert!(matches!(
        read("/api/v1/pods?large").await,
        Err(ObjectError::TooLarge(limits::OBJECT_SMALL))
    ));
}

#[tokio::test]
async fn a_table_without_an_end_is_not_counted_for_ever() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"rows\":[{}")
            .await;
        let rows = ",{}".repeat(20_000);
        while !peer.gone() {
            peer.send(&rows).await;
        }
        (peer, Then::Close)
    })
    .await;
    let counted = cluster(&server, &tasks).await;
    let census = tokio::time::timeout(std::time::Duration::from_secs(120), counted.census()).await;
    assert!(matches!(
        census.unwrap(),
        Err(ObjectError::TooLarge(limits::CENSUS_ROWS))
    ));
}
