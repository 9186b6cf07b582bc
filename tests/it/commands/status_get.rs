//! `status.get` (P-94).

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::watching::told_by;
use crate::dispatch::pair;
use crate::support::eventually;
use crate::support::oracle::Oracle;
use crate::support::pair::{Ask, Setting};

pub(super) const NODES: &str = "/api/v1/nodes";
pub(super) const PODS: &str = "/api/v1/pods";
pub(super) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const SERVICES: &str = "/api/v1/services";

pub(super) fn node(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {
        "capacity": {"cpu": "4"}, "nodeInfo": {"kubeletVersion": "v1.36.3"},
        "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]}})
}

/// A pod that runs; ready, or crashing with this many restarts.
pub(super) fn pod(namespace: &str, name: &str, restarts: Option<u32>) -> Value {
    let (ready, state) = match restarts {
        None => ("True", json!({"running": {}})),
        Some(_) => ("False", json!({"waiting": {"reason": "CrashLoopBackOff"}})),
    };
    json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"nodeName": "node-1"},
           "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                      "containerStatuses": [{"name": "app", "ready": restarts.is_none(),
                                             "restartCount": restarts.unwrap_or(0), "state": state}]}})
}

pub(super) fn deployment(namespace: &str, name: &str, available: u32) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "generation": 1},
           "spec": {"replicas": 2},
           "status": {"observedGeneration": 1, "updatedReplicas": 2,
                      "readyReplicas": available, "availableReplicas": available}})
}

#[tokio::test]
async fn everything_is_told_with_what_is_not_as_it_should_be() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(NODES, node("node-1", "True"));
    oracle.put(NODES, node("node-2", "Unknown"));
    oracle.put(PODS, pod("d", "well", None));
    oracle.put(PODS, pod("d", "crashing", Some(7)));
    oracle.put(
        PODS,
        json!({"metadata": {"namespace": "e", "name": "done"},
                            "status": {"phase": "Succeeded"}}),
    );
    oracle.put(DEPLOYMENTS, deployment("d", "short", 1));
    oracle.put(
        SERVICES,
        json!({"metadata": {"namespace": "d", "name": "web"}}),
    );
    let server = oracle.serve(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let told = told_by(pair.open(Ask::new("status.get", &json!({})))).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        told.events[0],
        json!({"cluster": {"kubernetes": "v1.36.3", "agent": version}})
    );
    assert_eq!(told.names("nodes"), ["/node-1", "/node-2"]);
    assert_eq!(told.items("nodes")[1]["problems"][0]["status"], "Unknown");
    let workload = &told.items("workloads")[0];
    assert_eq!(
        (&workload["ready"], &workload["desired"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(workload["reason"], "Unavailable");
    let unhealthy = told.items("unhealthy");
    assert_eq!(unhealthy.len(), 1);
    assert_eq!(unhealthy[0]["reason"], "CrashLoopBackOff");
    assert_eq!(unhealthy[0]["restarts"], 7);
    assert_eq!(told.names("namespaces"), ["/d", "/e"]);
    let pods = json!({"pending": 0, "running": 2, "succeeded": 1, "failed": 0, "unknown": 0,
                      "unhealthy": 1});
    let summary = json!({"nodes": 2, "nodes_ready": 1, "pods": pods, "workloads": 1,
                         "workloads_unhealthy": 1, "services": 1});
    assert_eq!(told.result(), summary);
    assert_eq!(told.events.last().unwrap(), &json!({"summary": summary}));
}

#[tokio::test]
async fn of_one_namespace_it_asks_for_nothing_else() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(PODS, pod("d", "a", None));
    oracle.put(PODS, pod("e", "b", None));
    oracle.refuse(NODES, 403, "Forbidden");
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let told = told_by(pair.open(Ask::new("status.get", &json!({"namespace": "d"})))).await;
    assert_eq!(told.result()["pods"]["running"], 1);
    let targets = server.seen().into_iter().map(|seen| seen.target);
    let others: Vec<String> = targets
        .filter(|target| !target.contains("/namespaces/d/") && target != "/version")
        .collect();
    assert_eq!(others, Vec::<String>::new());
    // Of the whole cluster, the refusal is named.
    let told = told_by(pair.open(Ask::new("status.get", &json!({})))).await;
    assert_eq!(told.end.unwrap_err().code, ErrorCode::UpstreamRefused);
}

#[tokio::test]
async fn only_so_many_unhealthy_pods_are_told_and_the_others_counted() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1).paged(250);
    let many = limits::STATUS_UNHEALTHY + 60;
    for at in 0..many {
        oracle.put(PODS, pod("d", &format!("crashing-{at:05}"), Some(1)));
    }
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let running = pair.open(Ask::new("status.get", &json!({})));
    let told = told_by(running).await;
    assert_eq!(told.items("unhealthy").len(), limits::STATUS_UNHEALTHY);
    assert_eq!(told.result()["more_unhealthy"], 60);
    assert_eq!(told.result()["pods"]["unhealthy"], many);
    // One that is given up reads no further.
    drop(pair.open(Ask::new("status.get", &json!({}))));
    eventually("the command ends", || pair.commands.is_empty()).await;
}
