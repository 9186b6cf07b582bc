//! `resources.apply` (P-97 to P-99, P-103).

use std::time::Duration;

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{ask, objects, readonly_refuses, result};
use crate::dispatch::pair;
use crate::support::eventually;
use crate::support::objects::{Instead, Objects};
use crate::support::pair::{Ask, Setting};

const APPLY: &str = "resources.apply";
const SITE: &str = "/api/v1/namespaces/shop/configmaps/site";

fn site(colour: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"colour": colour},
           "metadata": {"name": "site", "namespace": "shop"}})
}

fn apply(manifests: &[Value]) -> Value {
    json!({"manifests": manifests})
}

#[tokio::test]
async fn an_object_is_created_then_unchanged_then_configured() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let mut said = Vec::new();
    for colour in ["blue", "blue", "green"] {
        let mut done = result(&pair, APPLY, &apply(&[site(colour)])).await;
        said.push(done["objects"][0].take());
    }
    assert_eq!(said[0]["action"], "created");
    assert_eq!(said[0]["namespace"], "shop");
    assert!(said[0]["uid"].is_string());
    assert_eq!(said[1]["action"], "unchanged");
    assert_eq!(said[1]["resource_version"], said[0]["resource_version"]);
    assert_eq!(said[2]["action"], "configured");
    assert_eq!(said[2]["changed"], json!(["data.colour"]));
    assert_ne!(said[2]["resource_version"], said[0]["resource_version"]);
    assert_eq!(objects.get(SITE).unwrap()["data"]["colour"], "green");
    // No value of the object is in the answer.
    assert!(!said.iter().any(|said| said.to_string().contains("green")));
    let patch = objects
        .server
        .seen()
        .into_iter()
        .find(|seen| seen.method == "PATCH")
        .unwrap();
    assert_eq!(
        patch.target,
        format!("{SITE}?fieldManager=pipeops-agent&force=false&fieldValidation=Strict")
    );
    // What a kind is was asked once.
    let asked = |seen: &crate::support::apiserver::Seen| seen.target == "/api/v1";
    assert_eq!(objects.server.seen().into_iter().filter(asked).count(), 1);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.put(SITE, site("blue"));
    let mut args = apply(&[site("red")]);
    args["dry_run"] = true.into();
    let done = result(&pair, APPLY, &args).await;
    assert_eq!(done["dry_run"], true);
    assert_eq!(done["objects"][0]["action"], "configured");
    assert_eq!(done["objects"][0]["changed"], json!(["data.colour"]));
    assert_eq!(objects.changes(), Vec::<String>::new());
    args["manifests"] = json!([site("blue")]);
    let done = result(&pair, APPLY, &args).await;
    assert_eq!(done["objects"][0]["action"], "unchanged");
}

#[tokio::test]
async fn a_conflict_names_manager_and_field_and_force_takes_over() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let words = "Apply failed with 1 conflict: conflict with \"kubectl\": .data.colour";
    let status = json!({"kind": "Status", "reason": "Conflict", "message": words});
    objects.instead(Instead::Refused("409 Conflict", status));
    let error = ask(&pair, APPLY, &apply(&[site("red")]))
        .await
        .end
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains(words), "{}", error.message);
    let mut args = apply(&[site("red")]);
    args["force"] = true.into();
    args["field_manager"] = "ci&job".into();
    result(&pair, APPLY, &args).await;
    let last = objects.server.seen().pop().unwrap().target;
    assert!(last.contains("fieldManager=ci%26job&force=true"), "{last}");
}

#[tokio::test]
async fn each_object_has_its_own_outcome() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let widget = json!({"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "w"}});
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let mut lost = site("blue");
    lost["metadata"] = json!({"name": "lost"});
    objects.instead(Instead::Warned("is old"));
    let mut args = apply(&[space, widget.clone(), lost]);
    args["namespace"] = "shop".into();
    let done = result(&pair, APPLY, &args).await;
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
    assert_eq!(
        said,
        [("shop", "created"), ("w", "failed"), ("lost", "created")]
    );
    assert_eq!(done["objects"][0]["warnings"], json!(["is old"]));
    assert_eq!(done["objects"][0].get("namespace"), None);
    assert_eq!(done["objects"][1]["error"]["code"], "not_found");
    assert_eq!(done["objects"][2]["namespace"], "shop");
    // Where not one succeeded, the command has not.
    let outcome = ask(&pair, APPLY, &apply(&[widget.clone(), widget])).await;
    assert_eq!(outcome.code(), Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_namespace_on_a_kind_without_one_is_refused() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let space = json!({"apiVersion": "v1", "kind": "Namespace",
                       "metadata": {"name": "shop", "namespace": "shop"}});
    let outcome = ask(&pair, APPLY, &apply(&[space])).await;
    assert_eq!(outcome.code(), Some(ErrorCode::BadRequest));
    assert_eq!(objects.arrived(), 0);
}

#[tokio::test]
async fn readonly_refuses_it_even_dry() {
    let mut args = apply(&[site("blue")]);
    readonly_refuses(APPLY, &args).await;
    args["dry_run"] = true.into();
    readonly_refuses(APPLY, &args).await;
}

#[tokio::test]
async fn what_the_api_server_leaves_open_is_indeterminate_and_nothing_else_is() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let said = |words: &str| json!({"kind": "Status", "reason": "So", "message": words});
    let misfit = "failed to create typed patch object (shop/site; /v1, Kind=ConfigMap): .dat: \
                  field not declared in schema";
    let cases = [
        (
            Instead::Refused(
                "500 Internal Server Error",
                json!({"kind": "Status", "message": misfit, "code": 500}),
            ),
            ErrorCode::UpstreamRefused,
        ),
        (Instead::CarriedOutAndCut, ErrorCode::Indeterminate),
        (
            Instead::Refused("500 Internal Server Error", said("etcd is slow")),
            ErrorCode::Indeterminate,
        ),
        (
            Instead::Refused("504 Gateway Timeout", said("late")),
            ErrorCode::Indeterminate,
        ),
        (
            Instead::Refused("422 Unprocessable Entity", said("no")),
            ErrorCode::UpstreamRefused,
        ),
        (
            Instead::Refused("403 Forbidden", said("no")),
            ErrorCode::UpstreamRefused,
        ),
        (
            Instead::Refused("401 Unauthorized", said("who")),
            ErrorCode::CredentialRefused,
        ),
    ];
    for (instead, code) in cases {
        objects.instead(instead.clone());
        let outcome = ask(&pair, APPLY, &apply(&[site("blue")])).await;
        assert_eq!(outcome.code(), Some(code), "{instead:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn nothing_is_said_of_what_is_in_a_secret() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"password": value},
               "metadata": {"name": "s", "namespace": "shop"}})
    };
    result(&pair, APPLY, &apply(&[secret("b25l")])).await;
    let done = result(&pair, APPLY, &apply(&[secret("dHdv")])).await;
    assert_eq!(done["objects"][0]["changed"], json!(["data"]));
    for line in ["422 Unprocessable Entity", "500 Internal Server Error"] {
        let status = json!({"kind": "Status", "reason": "Invalid",
                            "message": "data[password]: Invalid value: \"dHdv\""});
        objects.instead(Instead::Refused(line, status));
        let error = ask(&pair, APPLY, &apply(&[secret("dHdv")]))
            .await
            .end
            .unwrap_err();
        assert!(error.message.contains("Invalid"), "{}", error.message);
        assert!(!error.message.contains("dHdv"), "{}", error.message);
        assert!(!error.message.contains("password"), "{}", error.message);
    }
}

#[tokio::test]
async fn without_a_key_the_end_of_the_stream_is_its_end() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.hold();
    let running = pair.open(Ask::new(APPLY, &apply(&[site("blue")])));
    eventually("the patch has arrived", || objects.arrived() == 1).await;
    drop(running);
    eventually("the task is gone", || pair.commands.is_empty()).await;
    assert_eq!(pair.metrics.in_flight(APPLY), 0);
}

#[tokio::test]
async fn a_deadline_after_the_patch_was_sent_leaves_it_open() {
    let tasks = Tasks::new();
    let (objects, pair) = objects(&tasks).await;
    objects.hold();
    let ask = Ask::new(APPLY, &apply(&[site("blue")])).deadline_ms(300);
    let begun = tokio::time::Instant::now();
    let outcome = pair.open(ask).outcome().await;
    assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn with_impersonation_every_request_on_objects_runs_as_the_actor() {
    let tasks = Tasks::new();
    let objects = Objects::start(&tasks).await;
    let setting = Setting {
        impersonate: true,
        ..Setting::default()
    };
    let pair = pair(&objects.server, &tasks, setting).await;
    let nobody = ask(&pair, APPLY, &apply(&[site("blue")])).await;
    assert_eq!(nobody.code(), Some(ErrorCode::Forbidden));
    let ask = Ask::new(APPLY, &apply(&[site("blue")])).actor("ada", &["dev"]);
    assert!(pair.open(ask).outcome().await.end.is_ok());
    for seen in objects.server.seen() {
        if seen.target.starts_with(SITE) {
            assert_eq!(seen.all("impersonate-user"), ["ada"], "{seen:?}");
        }
    }
    assert_eq!(objects.changes().len(), 1);
}
