//! What the local server shows of the cluster, with less than the preset's rights.

use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::commands::Shared;
use pipeops_agent::commands::overview::Overview;
use pipeops_agent::health::{self, Monitor};
use pipeops_agent::status::Status;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::status_get::{DEPLOYMENTS, NODES, PODS, deployment, node, pod};
use crate::support::oracle::Oracle;
use crate::support::soon;

async fn shared(oracle: &Oracle, tasks: &Tasks) -> Shared {
    let server = oracle.serve(tasks).await;
    let credentials = Credentials::Direct {
        url: format!("http://{}", server.address).parse().unwrap(),
        ca_pem: None,
        token: Some("agent-token".to_owned().into()),
    };
    let cluster = Cluster::connect(Config { credentials }, tasks)
        .await
        .unwrap();
    Shared {
        health: Monitor::new(
            cluster.clone(),
            Status::default(),
            health::Config::default(),
        ),
        cluster,
        impersonate: false,
    }
}

#[tokio::test]
async fn what_may_not_be_listed_is_named_and_the_rest_is_told() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    oracle.put(NODES, node("node-1", "True"));
    oracle.put(PODS, pod("d", "a", None));
    oracle.put(PODS, pod("d", "b", Some(1)));
    oracle.put(DEPLOYMENTS, deployment("d", "web", 2));
    oracle.refuse(NODES, 403, "Forbidden");
    oracle.refuse("/apis/batch/v1/cronjobs", 403, "Forbidden");
    let shared = shared(&oracle, &tasks).await;
    let mut overview = Overview::new(&shared);
    let told = async {
        loop {
            overview.changed().await.unwrap();
            if let Some(told) = overview.told() {
                return told;
            }
        }
    };
    let told = soon(told).await;
    assert_eq!(told["missing"], json!(["nodes", "cronjobs"]));
    assert_eq!(told["nodes"], Value::Null, "none is not known");
    assert_eq!(told["workloads"], Value::Null, "nor all of them");
    assert_eq!(told["pods"]["total"], 2);
    assert_eq!(told["pods"]["unhealthy"][0]["name"], "b");

    // Where nothing may be listed, that is the error, and is tried again later.
    oracle.refuse("/", 403, "Forbidden");
    let mut nothing = Overview::new(&shared);
    soon(async { while nothing.changed().await.is_ok() {} }).await;
}
