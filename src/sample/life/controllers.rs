//! What controllers derive from the pods: counts, endpoints, finished Jobs.
//!
//! Owns: the status of workloads and Jobs, and the endpoints of Services. Owns not: the pods.
//! Invariant: everything here follows from the pods; settling twice changes nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::catalog;
use super::super::clock::{Millis, parse, rfc3339};
use super::super::objects::{controller_uid, metadata, owned_by, pods};
use super::super::seed;
use super::super::store::{Key, Store};

/// Brings every derived object up to date.
pub(super) fn settle(store: &Store, now: Millis) {
    let pods = objects(store, "", "pods");
    for (key, set) in objects(store, "apps", "replicasets") {
        let count = Count::of(&pods, &set);
        store.update(&key, |set| {
            let generation = set["metadata"]["generation"].clone();
            set["status"] = json!({
                "observedGeneration": generation,
                "replicas": count.all,
                "fullyLabeledReplicas": count.all,
                "readyReplicas": count.ready,
                "availableReplicas": count.ready,
            });
        });
    }
    let sets = objects(store, "apps", "replicasets");
    for (key, deployment) in objects(store, "apps", "deployments") {
        settle_deployment(store, &key, &deployment, &sets);
    }
    for (key, set) in objects(store, "apps", "statefulsets") {
        let count = Count::of(&pods, &set);
        store.update(&key, |set| {
            let revision = revision(set);
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"],
                "replicas": count.all,
                "readyReplicas": count.ready,
                "availableReplicas": count.ready,
                "currentReplicas": count.all,
                "updatedReplicas": count.all,
                "currentRevision": revision,
                "updateRevision": revision,
                "collisionCount": 0,
            });
        });
    }
    for (key, set) in objects(store, "apps", "daemonsets") {
        let count = Count::of(&pods, &set);
        store.update(&key, |set| {
            set["status"] = json!({
                "observedGeneration": set["metadata"]["generation"],
                "currentNumberScheduled": count.all,
                "desiredNumberScheduled": count.all,
                "numberAvailable": count.ready,
                "numberMisscheduled": 0,
                "numberReady": count.ready,
                "updatedNumberScheduled": count.all,
            });
        });
    }
    for (key, job) in objects(store, "batch", "jobs") {
        settle_job(store, &key, &job, &pods);
    }
    for (_, service) in objects(store, "", "services") {
        settle_endpoints(store, &service, &pods, now);
    }
}

type Objects = Vec<(Key, Arc<Value>)>;

fn objects(store: &Store, group: &str, plural: &str) -> Objects {
    let resource = catalog::find(group, "v1", plural);
    resource
        .map(|resource| store.list(resource, None).objects)
        .unwrap_or_default()
}

fn revision(owner: &Value) -> String {
    let name = owner["metadata"]["name"].as_str().unwrap_or_default();
    format!("{name}-{}", seed::suffix(&["revision", name], 1, 10))
}

struct Count {
    all: u64,
    ready: u64,
}

impl Count {
    fn of(pods: &Objects, owner: &Value) -> Self {
        let uid = owner["metadata"]["uid"].as_str();
        let alive: Vec<_> = pods
            .iter()
            .filter(|(_, pod)| controller_uid(pod) == uid)
            .filter(|(_, pod)| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        let ready = alive.iter().filter(|(_, pod)| pods::is_ready(pod)).count();
        Self {
            all: alive.len() as u64,
            ready: ready as u64,
        }
    }
}

fn settle_deployment(store: &Store, key: &Key, deployment: &Value, sets: &Objects) {
    let uid = deployment["metadata"]["uid"].as_str();
    let newest = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    let (mut all, mut ready, mut updated) = (0, 0, 0);
    for (_, set) in sets.iter().filter(|(_, set)| controller_uid(set) == uid) {
        let replicas = set["status"]["replicas"].as_u64().unwrap_or_default();
        all += replicas;
        ready += set["status"]["readyReplicas"].as_u64().unwrap_or_default();
        if &set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == newest {
            updated += replicas;
        }
    }
    store.update(key, |deployment| {
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
        let mut status = json!({
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": all,
            "updatedReplicas": updated,
            "conditions": deployment["status"]["conditions"],
        });
        // As in Go, where a zero of these is left out.
        for (field, value) in [
            ("readyReplicas", ready),
            ("availableReplicas", ready),
            ("unavailableReplicas", wanted.max(all).saturating_sub(ready)),
        ] {
            if value > 0 {
                status[field] = value.into();
            }
        }
        deployment["status"] = status;
    });
}

fn settle_job(store: &Store, key: &Key, job: &Value, pods: &Objects) {
    let uid = job["metadata"]["uid"].as_str();
    let Some((_, pod)) = pods.iter().find(|(_, pod)| controller_uid(pod) == uid) else {
        return;
    };
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"];
    if pod["status"]["phase"] != "Succeeded" {
        let ready = u64::from(pods::is_ready(pod));
        return store.update(key, |job| job["status"]["ready"] = ready.into());
    }
    if job["status"]["succeeded"] == 1 {
        return;
    }
    store.update(key, |job| {
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": "CompletionsReached",
                "message": "Reached expected number of succeeded pods",
                "lastProbeTime": ended, "lastTransitionTime": ended})
        };
        job["status"] = json!({
            "startTime": job["status"]["startTime"],
            "completionTime": ended,
            "succeeded": 1,
            "ready": 0,
            "terminating": 0,
            "uncountedTerminatedPods": {},
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
        });
    });
    let owner = job["metadata"]["ownerReferences"][0]["name"].as_str();
    if let (Some(cron_jobs), Some(owner)) = (catalog::find("batch", "v1", "cronjobs"), owner) {
        store.update(&Key::new(cron_jobs, &key.namespace, owner), |cron_job| {
            cron_job["status"]["lastSuccessfulTime"] = ended.clone();
            if let Some(status) = cron_job["status"].as_object_mut() {
                status.remove("active");
            }
        });
    }
}

fn settle_endpoints(store: &Store, service: &Value, pods: &Objects, now: Millis) {
    let Some(selector) = service["spec"]["selector"].as_object() else {
        return;
    };
    let namespace = service["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    let behind: Vec<&Value> = pods
        .iter()
        .filter(|(key, _)| key.namespace == namespace)
        .map(|(_, pod)| &**pod)
        .filter(|pod| {
            selector
                .iter()
                .all(|(label, value)| &pod["metadata"]["labels"][label] == value)
        })
        .filter(|pod| pod["status"]["podIP"].is_string())
        .filter(|pod| pod["status"]["phase"] == "Running")
        .collect();
    let ports: Vec<Value> = service["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| {
            json!({"name": port["name"], "port": port["targetPort"], "protocol": port["protocol"]})
        })
        .collect();
    let created = service["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(parse);
    let created = created.unwrap_or(now);

    let target = |pod: &Value| {
        json!({"kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"]})
    };
    let endpoints: Vec<Value> = behind
        .iter()
        .map(|pod| {
            let ready = pods::is_ready(pod);
            let terminating = !pod["metadata"]["deletionTimestamp"].is_null();
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": {"ready": ready, "serving": ready, "terminating": terminating},
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": target(pod),
            })
        })
        .collect();
    let slice_name = format!("{name}-{}", seed::suffix(&["slice", namespace, name], 0, 5));
    let mut slice_metadata = metadata(
        "EndpointSlice",
        namespace,
        &slice_name,
        created,
        &[
            (
                "endpointslice.kubernetes.io/managed-by",
                "endpointslice-controller.k8s.io",
            ),
            ("kubernetes.io/service-name", name),
        ],
    );
    slice_metadata["generateName"] = format!("{name}-").into();
    slice_metadata["ownerReferences"] = owned_by(service);
    store.put(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": slice_metadata,
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }));

    let mut subset = json!({"ports": ports});
    for (field, wanted) in [("addresses", true), ("notReadyAddresses", false)] {
        let list: Vec<Value> = behind
            .iter()
            .filter(|pod| pods::is_ready(pod) == wanted)
            .map(|pod| {
                json!({"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"],
                    "targetRef": target(pod)})
            })
            .collect();
        if !list.is_empty() {
            subset[field] = list.into();
        }
    }
    let mut endpoints_metadata = metadata(
        "Endpoints",
        namespace,
        name,
        created,
        &[("endpoints.kubernetes.io/managed-by", "endpoint-controller")],
    );
    endpoints_metadata["annotations"] =
        json!({"endpoints.kubernetes.io/last-change-trigger-time": rfc3339(created)});
    let subsets = if behind.is_empty() {
        json!([])
    } else {
        json!([subset])
    };
    store.put(json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": endpoints_metadata,
        "subsets": subsets,
    }));
}
