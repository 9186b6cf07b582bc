//! `resources.delete` (P-97, P-98, P-100).

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{ask, objects, readonly_refuses, result};
use crate::support::eventually;
use crate::support::objects::Instead;
use crate::support::pair::Ask;

const DELETE: &str = "resources.delete";

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/configmaps/{name}")
}

fn site(name: &str) -> Value {
    json!({"api_version": "v1", "kind": "ConfigMap", "namespace": "shop", "name": name})
}

fn manifest(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test]
async fn objects_go_in_their_order_and_manifests_from_the_last() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    for name in ["a", "b", "c", "d"] {
        objects.put(&path(name), manifest(name));
    }
    let args = json!({"objects": [site("a"), site("b")], "namespace": "shop",
                      "manifests": [manifest("c"), manifest("d")],
                      "propagation": "foreground", "grace_seconds": 0});
    let done = result(&pair, DELETE, &args).await;
    let said: Vec<_> = done["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            (
                object["name"].as_str().unwrap(),
                object["action"].as_str().unwrap(),
            )
        })
        .collect();
    let deleted = ["a", "b", "d", "c"].map(|name| (name, "deleted"));
    assert_eq!(said, deleted);
    assert!(done["objects"][0]["uid"].is_string());
    assert_eq!(
        objects.changes(),
        ["a", "b", "d", "c"].map(|name| format!("DELETE {}", path(name)))
    );
    assert_eq!(
        objects.bodies()[0],
        json!({"apiVersion": "v1", "kind": "DeleteOptions",
               "propagationPolicy": "Foreground", "gracePeriodSeconds": 0})
    );
}

#[tokio::test]
async fn what_is_not_there_is_not_found_unless_that_is_well() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let mut args = json!({"objects": [site("a")]});
    let outcome = ask(&pair, DELETE, &args).await;
    assert_eq!(outcome.code(), Some(ErrorCode::NotFound));
    args["ignore_not_found"] = true.into();
    let done = result(&pair, DELETE, &args).await;
    assert_eq!(done["objects"][0]["action"], "absent");
    assert_eq!(objects.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_precondition_that_does_not_hold_is_a_conflict() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(&path("a"), manifest("a"));
    let mut one = site("a");
    one["uid"] = "another".into();
    one["resource_version"] = "1".into();
    let outcome = ask(&pair, DELETE, &json!({"objects": [one]})).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Conflict));
    assert_eq!(
        objects.bodies()[0]["preconditions"],
        json!({"uid": "another", "resourceVersion": "1"})
    );
    assert!(objects.get(&path("a")).is_some());
}

#[tokio::test]
async fn an_object_that_stays_for_a_while_is_being_deleted() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let cases = [
        (json!({}), "deleted"),
        (
            json!({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}),
            "deleting",
        ),
        (
            json!({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}),
            "deleted",
        ),
        (
            json!({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0, "finalizers": ["f"]}),
            "deleting",
        ),
    ];
    for (metadata, action) in cases {
        let object = json!({"kind": "ConfigMap", "metadata": metadata});
        objects.instead(Instead::Refused("200 OK", object));
        let done = result(&pair, DELETE, &json!({"objects": [site("a")]})).await;
        assert_eq!(done["objects"][0]["action"], action, "{metadata}");
    }
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(&path("a"), manifest("a"));
    let args = json!({"objects": [site("a")], "dry_run": true});
    let done = result(&pair, DELETE, &args).await;
    assert_eq!(
        (&done["dry_run"], &done["objects"][0]["action"]),
        (&json!(true), &json!("deleted"))
    );
    assert_eq!(objects.bodies()[0]["dryRun"], json!(["All"]));
    assert!(objects.get(&path("a")).is_some());
}

#[tokio::test]
async fn readonly_refuses_it() {
    readonly_refuses(DELETE, &json!({"objects": [site("a")]})).await;
}

#[tokio::test]
async fn a_lost_answer_is_indeterminate_and_a_cancel_ends_it() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(&path("a"), manifest("a"));
    objects.instead(Instead::CarriedOutAndCut);
    let outcome = ask(&pair, DELETE, &json!({"objects": [site("a")]})).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    objects.hold();
    let running = pair.open(Ask::new(DELETE, &json!({"objects": [site("a")]})));
    eventually("it has arrived", || objects.arrived() == 2).await;
    drop(running);
    eventually("the task is gone", || pair.commands.is_empty()).await;
}
