//! `workloads.restart` (P-97, P-102).

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::session::Item;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{ask, objects, readonly_refuses, result};
use crate::support::objects::{Instead, Objects};
use crate::support::pair::{Ask, Running};
use crate::support::{eventually, soon};

const RESTART: &str = "workloads.restart";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

fn web() -> Value {
    json!({"kind": "Deployment", "namespace": "shop", "name": "web"})
}

fn deployment(updated: u32) -> Value {
    json!({"metadata": {"name": "web", "generation": 3,
                        "annotations": {"deployment.kubernetes.io/revision": "3"}},
           "spec": {"replicas": 3},
           "status": {"observedGeneration": 4, "replicas": 3, "updatedReplicas": updated,
                      "availableReplicas": 3}})
}

/// What the controllers would make of it.
fn rolled_out(objects: &Objects, updated: u32) {
    let mut object = objects.get(WEB).unwrap();
    object["status"]["updatedReplicas"] = updated.into();
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "4".into();
    objects.put(WEB, object);
}

async fn progress(running: &mut Running) -> Value {
    match running.next().await {
        Item::Event(event) => {
            serde_json::from_str::<Value>(event.get()).unwrap()["progress"].take()
        }
        other => panic!("progress was expected, not {other:?}"),
    }
}

async fn end(running: &mut Running) -> Value {
    match running.next().await {
        Item::End(Ok(Some(result))) => serde_json::from_str(result.get()).unwrap(),
        other => panic!("a good end was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn the_annotation_of_kubectl_is_set_and_the_generation_told() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment(3));
    let done = result(&pair, RESTART, &web()).await;
    assert_eq!(
        (&done["generation_before"], &done["generation"]),
        (&json!(3), &json!(4))
    );
    assert_eq!(done["revision_before"], "3");
    assert_eq!(done.get("rollout"), None);
    let object = objects.get(WEB).unwrap();
    let annotations = &object["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(
        annotations["kubectl.kubernetes.io/restartedAt"],
        done["restarted_at"]
    );
    let stamp = done["restarted_at"].as_str().unwrap();
    assert!(stamp.len() == 20 && stamp.ends_with('Z'), "{stamp}");
}

#[tokio::test]
async fn a_wait_tells_how_far_the_new_pods_are_and_ends_with_them() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment(0));
    let mut args = web();
    args["wait"] = true.into();
    let mut running = pair.open(Ask::new(RESTART, &args));
    let first = progress(&mut running).await;
    assert_eq!(
        first,
        json!({"desired": 3, "updated": 0, "available": 3, "old": 3})
    );
    rolled_out(&objects, 2);
    assert_eq!(progress(&mut running).await["updated"], 2);
    rolled_out(&objects, 3);
    let done = end(&mut running).await;
    assert_eq!(done["rollout"]["complete"], true);
    assert_eq!(done["rollout"]["progress"]["old"], 0);
    assert_eq!(
        (&done["revision_before"], &done["revision"]),
        (&json!("3"), &json!("4"))
    );
}

#[tokio::test]
async fn a_wait_that_its_deadline_ends_still_says_that_the_restart_was_made() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment(0));
    let mut args = web();
    args["wait"] = true.into();
    let mut running = pair.open(Ask::new(RESTART, &args).deadline_ms(600));
    progress(&mut running).await;
    let done = end(&mut running).await;
    assert_eq!(done["rollout"]["complete"], false);
    assert_eq!(
        done["rollout"]["reason"],
        "the command's deadline came first"
    );
    assert_eq!(done["generation"], 4);
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_no_wait() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment(0));
    let mut args = web();
    args["wait"] = true.into();
    // Nothing is read of it, so nothing of its window comes back.
    let running = pair.open(Ask::new(RESTART, &args));
    eventually("the patch has arrived", || objects.arrived() == 1).await;
    for updated in [1, 2, 3] {
        rolled_out(&objects, updated);
    }
    eventually("it has ended", || pair.commands.is_empty()).await;
    drop(running);
}

#[tokio::test]
async fn a_paused_deployment_is_a_conflict() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let mut paused = deployment(3);
    paused["spec"]["paused"] = true.into();
    objects.put(WEB, paused);
    let outcome = ask(&pair, RESTART, &web()).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Conflict));
    assert_eq!(objects.arrived(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_dry_run_waits_for_nothing() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let outcome = ask(&pair, RESTART, &web()).await;
    assert_eq!(outcome.code(), Some(ErrorCode::NotFound));
    objects.put(WEB, deployment(0));
    let mut args = web();
    args["wait"] = true.into();
    args["dry_run"] = true.into();
    let done = result(&pair, RESTART, &args).await;
    assert_eq!(done["dry_run"], true);
    assert_eq!(done.get("rollout"), None);
    assert_eq!(objects.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn readonly_refuses_it() {
    readonly_refuses(RESTART, &web()).await;
}

#[tokio::test]
async fn a_lost_answer_is_indeterminate_and_a_cancel_ends_the_wait() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment(0));
    objects.instead(Instead::CarriedOutAndCut);
    let outcome = ask(&pair, RESTART, &web()).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    let mut args = web();
    args["wait"] = true.into();
    let mut running = pair.open(Ask::new(RESTART, &args));
    progress(&mut running).await;
    drop(running);
    soon(async { eventually("the task is gone", || pair.commands.is_empty()).await }).await;
}
