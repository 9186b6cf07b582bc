//! `services.list` (P-90).

use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::watching::{Told, told_by};
use crate::dispatch::pair;
use crate::support::eventually;
use crate::support::oracle::Oracle;
use crate::support::pair::{Ask, Setting};

pub(super) const SERVICES: &str = "/api/v1/services";
pub(super) const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

pub(super) fn service(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name},
           "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"},
                              {"name": "ops", "port": 81, "protocol": "TCP", "targetPort": 9090}]}})
}

/// A slice with these endpoints, each ready or not.
pub(super) fn slice(namespace: &str, service: &str, endpoints: &[bool]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .enumerate()
        .map(|(at, ready)| {
            json!({"addresses": [format!("10.1.0.{at}")], "conditions": {"ready": ready},
                   "nodeName": "node-1", "targetRef": {"kind": "Pod", "name": format!("pod-{at}")}})
        })
        .collect();
    json!({"metadata": {"namespace": namespace, "name": format!("{service}-abc"),
                        "labels": {"kubernetes.io/service-name": service}},
           "endpoints": endpoints, "ports": null})
}

#[tokio::test]
async fn services_come_with_their_ports_and_what_is_behind_them() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(SERVICES, service("d", "web"));
    oracle.put(SLICES, slice("d", "web", &[false, true]));
    oracle.put(SERVICES, service("e", "other"));
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let told = told_by(pair.open(Ask::new("services.list", &json!({"namespace": "d"})))).await;
    assert_eq!(told.result(), json!({"services": 1}));
    let web = json!({"namespace": "d", "name": "web", "uid": "6f1c3a52-0b7e-4a58-9a30-000000000001",
        "type": "ClusterIP", "cluster_ips": ["10.0.0.1"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "target_port": "web"},
                  {"name": "ops", "port": 81, "protocol": "TCP", "target_port": "9090"}],
        "ready": 1, "not_ready": 1,
        "endpoints": [{"address": "10.1.0.1", "ready": true, "pod": "pod-1", "node": "node-1"},
                      {"address": "10.1.0.0", "ready": false, "pod": "pod-0", "node": "node-1"}]});
    assert_eq!(told.events, [json!({"services": {"items": [web]}})]);
    let all = told_by(pair.open(Ask::new("services.list", &json!({})))).await;
    assert_eq!(all.result(), json!({"services": 2}));
    assert!(
        server
            .seen()
            .iter()
            .all(|seen| !seen.target.contains("watch"))
    );
}

#[tokio::test]
async fn it_only_reads_and_readonly_allows_it() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    let server = oracle.serve(&tasks).await;
    let setting = Setting {
        access: Access::Readonly,
        ..Setting::default()
    };
    let pair = pair(&server, &tasks, setting).await;
    let told = told_by(pair.open(Ask::new("services.list", &json!({})))).await;
    assert_eq!(told.result(), json!({"services": 0}));
}

#[tokio::test]
async fn a_refusal_of_the_api_server_is_named() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.refuse(SLICES, 403, "Forbidden");
    let server = oracle.serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let told = told_by(pair.open(Ask::new("services.list", &json!({})))).await;
    let error = told.end.unwrap_err();
    assert_eq!(error.code, ErrorCode::UpstreamRefused);
    assert!(error.message.contains("403 Forbidden"), "{}", error.message);
    let path = json!({"namespace": "a/../b"});
    let told = told_by(pair.open(Ask::new("services.list", &path))).await;
    assert_eq!(told.end.unwrap_err().code, ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_slow_reader_is_waited_for_and_one_that_is_gone_stops_the_reading() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    for at in 0..3000 {
        oracle.put(SERVICES, service("d", &format!("web-{at:04}")));
    }
    let server = oracle.paged(250).serve(&tasks).await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let slow = pair.open(Ask::new("services.list", &json!({})));
    // Another one is not kept waiting by it.
    let told = told_by(pair.open(Ask::new("services.list", &json!({})))).await;
    assert_eq!(told.result(), json!({"services": 3000}));
    let told: Told = told_by(slow).await;
    assert_eq!(told.items("services").len(), 3000);
    let gone = pair.open(Ask::new("services.list", &json!({})));
    drop(gone);
    eventually("the command ends", || pair.commands.is_empty()).await;
}
