//! Pods, and the states they pass through.
//!
//! Owns: the shape of a Pod and each change of its status. Owns not: when a change happens
//! (`life`), nor the workloads that pods belong to (`workloads`).
//! Invariant: phase and conditions always follow from the container statuses.

use serde_json::{Value, json};

use super::super::clock::{Millis, rfc3339};
use super::super::seed;
use super::super::store::Store;
use super::super::{catalog, objects::NODES};
use super::{metadata, owned_by};

/// A new pod of `owner`, made from a template, not yet scheduled.
pub(in super::super) fn from_template(
    owner: &Value,
    template: &Value,
    name: &str,
    created: Millis,
) -> Value {
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut metadata = metadata("Pod", namespace, name, created, &[]);
    metadata["labels"] = template["metadata"]["labels"].clone();
    if let Some(annotations) = template["metadata"].get("annotations") {
        metadata["annotations"] = annotations.clone();
    }
    metadata["ownerReferences"] = owned_by(owner);
    let mut spec = template["spec"].clone();
    mount_token(&mut spec, name);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending", "conditions": [], "qosClass": quality(&template["spec"])},
    });
    set_condition(&mut pod, "PodScheduled", false, created);
    pod
}

/// Every pod of a real cluster has its token mounted by admission.
fn mount_token(spec: &mut Value, pod: &str) {
    let volume = format!("kube-api-access-{}", seed::suffix(&["token", pod], 0, 5));
    let mount = json!({
        "name": volume,
        "readOnly": true,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    });
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        push(&mut container["volumeMounts"], mount.clone());
    }
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]);
    push(
        &mut spec["volumes"],
        json!({"name": volume, "projected": {"defaultMode": 420, "sources": sources}}),
    );
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

fn quality(spec: &Value) -> &'static str {
    let mut containers = spec["containers"].as_array().into_iter().flatten();
    if containers.all(|container| container["resources"]["requests"].is_null()) {
        "BestEffort"
    } else {
        "Burstable"
    }
}

/// Puts the pod on a node: its containers are being created.
pub(in super::super) fn schedule(pod: &mut Value, node: &str, now: Millis) {
    pod["spec"]["nodeName"] = node.into();
    let host = node_ip(node);
    pod["status"]["hostIP"] = host.clone().into();
    pod["status"]["hostIPs"] = json!([{"ip": host}]);
    pod["status"]["startTime"] = rfc3339(now).into();
    set_condition(pod, "PodScheduled", true, now);
    set_condition(pod, "Initialized", true, now);
    let statuses: Vec<Value> = containers(pod)
        .map(|container| {
            json!({
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": false,
                "started": false,
                "restartCount": 0,
                "lastState": {},
                "state": {"waiting": {"reason": "ContainerCreating"}},
            })
        })
        .collect();
    pod["status"]["containerStatuses"] = statuses.into();
    settle(pod, now);
}

/// Leaves the pod without a node, with the scheduler's reason.
pub(in super::super) fn refuse_to_schedule(pod: &mut Value, message: &str, now: Millis) {
    set_condition(pod, "PodScheduled", false, now);
    let conditions = pod["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        condition["reason"] = "Unschedulable".into();
        condition["message"] = message.into();
    }
}

/// Starts every container of the pod.
pub(in super::super) fn start(pod: &mut Value, address: &str, now: Millis) {
    pod["status"]["podIP"] = address.into();
    pod["status"]["podIPs"] = json!([{"ip": address}]);
    set_condition(pod, "PodReadyToStartContainers", true, now);
    let uid = pod["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for status in statuses(pod) {
        let name = status["name"].as_str().unwrap_or_default().to_owned();
        let image = status["image"].as_str().unwrap_or_default().to_owned();
        let restarts = status["restartCount"].as_u64().unwrap_or_default();
        status["containerID"] = container_id(&uid, &name, restarts).into();
        status["imageID"] = image_id(&image).into();
        status["ready"] = true.into();
        status["started"] = true.into();
        status["state"] = json!({"running": {"startedAt": rfc3339(now)}});
    }
    settle(pod, now);
}

/// Makes every container of the pod wait.
pub(in super::super) fn wait(pod: &mut Value, reason: &str, message: &str, now: Millis) {
    for status in statuses(pod) {
        status["ready"] = false.into();
        status["started"] = false.into();
        status["state"] = json!({"waiting": {"reason": reason, "message": message}});
    }
    settle(pod, now);
}

/// Ends every running container of the pod with an exit code.
pub(in super::super) fn exit(pod: &mut Value, code: i64, now: Millis) {
    let reason = if code == 0 { "Completed" } else { "Error" };
    for status in statuses(pod) {
        let started = status["state"]["running"]["startedAt"].clone();
        status["ready"] = false.into();
        status["started"] = false.into();
        status["state"] = json!({"terminated": {
            "exitCode": code,
            "reason": reason,
            "startedAt": if started.is_null() { rfc3339(now).into() } else { started },
            "finishedAt": rfc3339(now),
            "containerID": status["containerID"],
        }});
    }
    settle(pod, now);
}

/// Starts the containers again after they ended, with one restart more.
pub(in super::super) fn restart(pod: &mut Value, now: Millis) {
    for status in statuses(pod) {
        if !status["state"]["terminated"].is_null() {
            status["lastState"] = status["state"].clone();
        }
        status["restartCount"] = (status["restartCount"].as_u64().unwrap_or_default() + 1).into();
    }
    let address = pod["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    start(pod, &address, now);
}

/// The containers ended and wait for their next start, as a crash loop does.
pub(in super::super) fn back_off(pod: &mut Value, message: &str, now: Millis) {
    for status in statuses(pod) {
        if !status["state"]["terminated"].is_null() {
            status["lastState"] = status["state"].clone();
        }
    }
    wait(pod, "CrashLoopBackOff", message, now);
}

/// Marks the pod as being deleted.
pub(in super::super) fn terminate(pod: &mut Value, now: Millis) {
    let grace = pod["spec"]["terminationGracePeriodSeconds"].clone();
    pod["metadata"]["deletionTimestamp"] = rfc3339(now).into();
    pod["metadata"]["deletionGracePeriodSeconds"] = grace;
}

/// Whether every container is ready.
pub(in super::super) fn is_ready(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && condition(pod, "Ready") == Some("True")
}

/// The status of a condition.
pub(in super::super) fn condition<'pod>(pod: &'pod Value, kind: &str) -> Option<&'pod str> {
    let mut conditions = pod["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == kind)?["status"].as_str()
}

/// An address of the node's pod range that no pod has.
pub(in super::super) fn free_address(store: &Store, pod: &Value) -> String {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if pod["spec"]["hostNetwork"] == true {
        return node_ip(node);
    }
    let taken: Vec<String> = catalog::find("", "v1", "pods")
        .map(|pods| store.list(pods, None).objects)
        .into_iter()
        .flatten()
        .filter_map(|(_, pod)| pod["status"]["podIP"].as_str().map(str::to_owned))
        .collect();
    let first = seed::mix(
        &[
            "address",
            pod["metadata"]["uid"].as_str().unwrap_or_default(),
        ],
        0,
    );
    let range = node_number(node);
    (0..250)
        .map(|step| format!("10.244.{range}.{}", 2 + (first % 250 + step) % 250))
        .find(|address| !taken.contains(address))
        .unwrap_or_else(|| format!("10.244.{range}.2"))
}

/// A node's address.
pub(in super::super) fn node_ip(node: &str) -> String {
    format!("10.10.0.{}", 11 + node_number(node))
}

fn node_number(node: &str) -> usize {
    NODES
        .iter()
        .position(|name| *name == node)
        .unwrap_or_default()
}

/// The id of one run of a container.
fn container_id(uid: &str, container: &str, restarts: u64) -> String {
    format!("containerd://{}", digest(&[uid, container], restarts))
}

/// The id of an image.
pub(in super::super) fn image_id(image: &str) -> String {
    let repository = image
        .rsplit_once(':')
        .map_or(image, |(repository, _)| repository);
    format!("{repository}@sha256:{}", digest(&[image], 0))
}

fn digest(words: &[&str], number: u64) -> String {
    (0..4)
        .map(|part| format!("{:016x}", seed::mix(words, number * 4 + part)))
        .collect()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["containers"].as_array().into_iter().flatten()
}

fn statuses(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    pod["status"]["containerStatuses"]
        .as_array_mut()
        .into_iter()
        .flatten()
}

/// Derives phase and readiness from the container statuses.
fn settle(pod: &mut Value, now: Millis) {
    let states: Vec<Value> = statuses(pod).map(|status| status.clone()).collect();
    let once = pod["spec"]["restartPolicy"] != "Always";
    let ended = |status: &Value| !status["state"]["terminated"].is_null();
    let failed = |status: &Value| status["state"]["terminated"]["exitCode"] != 0;
    let pulling =
        |status: &Value| status["containerID"].is_null() && !status["state"]["waiting"].is_null();
    let phase = if states.iter().any(pulling) {
        "Pending"
    } else if once && states.iter().all(ended) {
        if states.iter().any(failed) {
            "Failed"
        } else {
            "Succeeded"
        }
    } else {
        "Running"
    };
    pod["status"]["phase"] = phase.into();
    let ready = !states.is_empty() && states.iter().all(|status| status["ready"] == true);
    for kind in ["ContainersReady", "Ready"] {
        set_condition(pod, kind, ready, now);
        let names: Vec<&str> = states
            .iter()
            .filter(|status| status["ready"] != true)
            .filter_map(|status| status["name"].as_str())
            .collect();
        let list = pod["status"]["conditions"].as_array_mut();
        for condition in list
            .into_iter()
            .flatten()
            .filter(|condition| condition["type"] == kind)
        {
            if phase == "Succeeded" {
                condition["reason"] = "PodCompleted".into();
            } else if !ready {
                condition["reason"] = "ContainersNotReady".into();
                condition["message"] =
                    format!("containers with unready status: [{}]", names.join(" ")).into();
            }
        }
    }
}

fn set_condition(pod: &mut Value, kind: &str, holds: bool, now: Millis) {
    let status = if holds { "True" } else { "False" };
    let fresh = json!({
        "type": kind,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": rfc3339(now),
    });
    let Some(conditions) = pod["status"]["conditions"].as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
    {
        Some(known) if known["status"] == status => {
            let since = known["lastTransitionTime"].clone();
            *known = fresh;
            known["lastTransitionTime"] = since;
        }
        Some(known) => *known = fresh,
        None => conditions.push(fresh),
    }
}
