//! `workloads.scale` (P-97, P-101).

use pipeops_agent::limits;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{ask, objects, readonly_refuses, result};
use crate::support::eventually;
use crate::support::objects::Instead;
use crate::support::pair::Ask;

const SCALE: &str = "workloads.scale";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

fn web(replicas: u32) -> Value {
    json!({"kind": "Deployment", "namespace": "shop", "name": "web", "replicas": replicas})
}

fn deployment() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}})
}

#[tokio::test]
async fn the_result_says_from_what_to_what() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment());
    let done = result(&pair, SCALE, &web(3)).await;
    assert_eq!((&done["from"], &done["to"]), (&json!(1), &json!(3)));
    assert_eq!(
        done["resource_version"],
        objects.get(WEB).unwrap()["metadata"]["resourceVersion"]
    );
    assert_eq!(objects.changes(), [format!("PATCH {WEB}/scale")]);
    assert_eq!(objects.bodies(), [json!({"spec": {"replicas": 3}})]);
}

#[tokio::test]
async fn an_expectation_holds_at_the_moment_of_the_change_or_nothing_is_changed() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment());
    let mut args = web(3);
    args["expected_replicas"] = 2.into();
    let error = ask(&pair, SCALE, &args).await.end.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(error.message, "it has 1 replicas, and not 2");
    args["expected_replicas"] = 1.into();
    args["expected_resource_version"] = "77".into();
    let outcome = ask(&pair, SCALE, &args).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Conflict));
    assert_eq!(objects.arrived(), 0);
    // Another change of the object in between is looked at, and is none of the replicas.
    args.as_object_mut()
        .unwrap()
        .remove("expected_resource_version");
    objects.instead(Instead::AnotherFirst);
    let done = result(&pair, SCALE, &args).await;
    assert_eq!(done["to"], 3);
    assert_eq!((objects.arrived(), objects.changes().len()), (2, 1));
}

#[tokio::test]
async fn an_object_that_always_changes_is_given_up() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment());
    for _ in 0..limits::SCALE_TRIES {
        objects.instead(Instead::AnotherFirst);
    }
    let mut args = web(3);
    args["expected_replicas"] = 1.into();
    let outcome = ask(&pair, SCALE, &args).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Conflict));
    assert_eq!(objects.arrived(), limits::SCALE_TRIES as usize);
    assert_eq!(objects.changes().len(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let error = ask(&pair, SCALE, &web(3)).await.end.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(
        error.message,
        "there is no Deployment web in namespace shop"
    );
    assert_eq!(objects.arrived(), 0);
}

#[tokio::test]
async fn a_dry_run_scales_nothing() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment());
    let mut args = web(3);
    args["dry_run"] = true.into();
    let done = result(&pair, SCALE, &args).await;
    assert_eq!(done["dry_run"], true);
    assert_eq!(objects.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn readonly_refuses_it() {
    readonly_refuses(SCALE, &web(3)).await;
}

#[tokio::test]
async fn a_lost_answer_is_indeterminate_and_a_cancel_ends_it() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(WEB, deployment());
    objects.instead(Instead::CarriedOutAndCut);
    let outcome = ask(&pair, SCALE, &web(3)).await;
    assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    objects.hold();
    let running = pair.open(Ask::new(SCALE, &web(4)));
    eventually("it has arrived", || objects.arrived() == 2).await;
    drop(running);
    eventually("the task is gone", || pair.commands.is_empty()).await;
}
