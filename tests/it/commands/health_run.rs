//! `health.run` (P-108, P-109).

use pipeops_agent::policy::Access;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::telling::{all, json_server};
use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Then};
use crate::support::eventually;
use crate::support::pair::{Ask, Setting};

fn readonly() -> Setting {
    Setting {
        access: Access::Readonly,
        ..Setting::default()
    }
}

fn component<'a>(done: &'a Value, name: &str) -> &'a Value {
    let all = done["components"].as_array().unwrap();
    let found = all.iter().find(|component| component["component"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {done}"))
}

#[tokio::test]
async fn every_component_is_looked_at_and_the_worst_is_the_state() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, body| {
        let said = match seen.target.as_str() {
            "/readyz" => json!("ok"),
            target if target.ends_with("selfsubjectrulesreviews") => json!({"status": {}}),
            _ => {
                let asked = &body["spec"]["resourceAttributes"];
                let allowed = asked["group"] != "metrics.k8s.io" || asked["verb"] != "list";
                json!({"status": {"allowed": allowed}})
            }
        };
        ("200 OK", said)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let (events, end) = all(pair.open(Ask::new("health.run", &json!({})))).await;
    assert!(events.is_empty());
    let done = end.unwrap().unwrap();
    let names = done["components"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| it["component"].as_str().unwrap()).collect();
    let wanted = [
        "api_server",
        "credentials",
        "permissions",
        "channel",
        "runtime",
        "memory",
        "descriptors",
    ];
    assert_eq!(names, wanted);
    assert_eq!(component(&done, "api_server")["state"], "ok");
    assert_eq!(component(&done, "credentials")["state"], "ok");
    let permissions = component(&done, "permissions");
    assert_eq!(permissions["state"], "degraded");
    let missing = "missing list nodes.metrics.k8s.io, list pods.metrics.k8s.io";
    assert_eq!(permissions["message"], missing);
    // There is no session behind this dispatch.
    assert_eq!(component(&done, "channel")["state"], "failing");
    assert_eq!(done["health"], "failing");
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_answer_and_no_error() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, peer| (peer, Then::Close)).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let (_, end) = all(pair.open(Ask::new("health.run", &json!({})))).await;
    let done = end.unwrap().unwrap();
    assert_eq!(component(&done, "api_server")["state"], "failing");
    assert_eq!(component(&done, "permissions")["state"], "degraded");
}

#[tokio::test]
async fn a_cancelled_run_closes_its_connection() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let running = pair.open(Ask::new("health.run", &json!({})));
    eventually("it waits", || server.open() == 1).await;
    drop(running);
    eventually("its connection is closed", || server.open() == 0).await;
}
