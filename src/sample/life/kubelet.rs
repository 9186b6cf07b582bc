//! The kubelets: pods start, end, restart and go away.
//!
//! Owns: the moments at which a pod's state changes, and the events that tell of it. Owns not:
//! the pods' shape (`objects::pods`), nor how many there should be (`rollout`, `cron`).
//! Invariant: every state that a pod is left in is found again from its status alone.

use serde_json::Value;

use super::super::catalog;
use super::super::clock::{MINUTE, Millis, SECOND, parse};
use super::super::objects::{pods, workloads};
use super::super::store::Store;
use super::events::{Report, record};

/// From the pod's arrival on a node to its start.
const STARTS_AFTER: Millis = 3 * SECOND;
/// From the order to delete to the end.
const STOPS_AFTER: Millis = 3 * SECOND;
/// How long a Job's pod works.
const WORKS_FOR: Millis = 9 * SECOND;
/// How long a crashing container lives.
const CRASHES_AFTER: Millis = 8 * SECOND;
/// How long its exit is shown before the wait for the next start.
const EXIT_SHOWN_FOR: Millis = 3 * SECOND;
/// The wait for the next start; what the message says.
const BACKS_OFF_FOR: Millis = 40 * SECOND;

/// Does what is due on every node.
pub(super) fn step(store: &Store, now: Millis) {
    let Some(resource) = catalog::find("", "v1", "pods") else {
        return;
    };
    for (key, pod) in store.list(resource, None).objects {
        if let Some(since) = time(&pod["metadata"]["deletionTimestamp"]) {
            if now >= since + STOPS_AFTER {
                store.remove(&key);
            }
            continue;
        }
        let state = &pod["status"]["containerStatuses"][0]["state"];
        let once = pod["spec"]["restartPolicy"] != "Always";
        let crashing = is_crashing(&pod);
        if let Some(reason) = state["waiting"]["reason"].as_str() {
            wait(store, &pod, reason, now);
        } else if let Some(started) = time(&state["running"]["startedAt"]) {
            let (ends, code) = if once {
                (WORKS_FOR, 0)
            } else {
                (CRASHES_AFTER, 1)
            };
            if (once || crashing) && now >= started + ends {
                store.update(&key, |pod| pods::exit(pod, code, now));
            }
        } else if let Some(finished) = time(&state["terminated"]["finishedAt"])
            && crashing
            && now >= finished + EXIT_SHOWN_FOR
        {
            store.update(&key, |pod| {
                let message = workloads::back_off_message(pod);
                pods::back_off(pod, &message, now);
            });
            report_back_off(store, &pod, now);
        } else if state.is_null() && due(now, MINUTE) {
            let message = workloads::TOO_LARGE;
            record(
                store,
                &pod,
                Report::warning(SCHEDULER, "FailedScheduling", message),
                now,
            );
        }
    }
}

const KUBELET: &str = "kubelet";
const SCHEDULER: &str = "default-scheduler";

fn wait(store: &Store, pod: &Value, reason: &str, now: Millis) {
    let Some(resource) = catalog::find("", "v1", "pods") else {
        return;
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &pod["metadata"];
    let key = super::super::store::Key::new(
        resource,
        &text(&metadata["namespace"]),
        &text(&metadata["name"]),
    );
    match reason {
        "ContainerCreating" => {
            let since = time(&pod["status"]["startTime"]).unwrap_or_default();
            if now >= since + STARTS_AFTER {
                let address = pods::free_address(store, pod);
                store.update(&key, |pod| pods::start(pod, &address, now));
                report_started(store, pod, now);
            }
        }
        "CrashLoopBackOff" => {
            let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
            let since = time(&last["finishedAt"]).unwrap_or_default();
            if now >= since + BACKS_OFF_FOR {
                store.update(&key, |pod| pods::restart(pod, now));
                report_started(store, pod, now);
            }
        }
        _ if due(now, MINUTE) => report_pull_failure(store, pod, now),
        _ => {}
    }
}

fn is_crashing(pod: &Value) -> bool {
    let (namespace, app) = workloads::CRASHING;
    pod["metadata"]["namespace"] == namespace
        && pod["metadata"]["labels"]["app.kubernetes.io/name"] == app
}

/// True in one step of each `period`.
fn due(now: Millis, period: Millis) -> bool {
    now.rem_euclid(period) < SECOND
}

fn time(value: &Value) -> Option<Millis> {
    value.as_str().and_then(parse)
}

/// The scheduler found a node.
pub(super) fn report_scheduled(store: &Store, pod: &Value, now: Millis) {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let message = format!(
        "Successfully assigned {}/{} to {}",
        text("/metadata/namespace"),
        text("/metadata/name"),
        text("/spec/nodeName")
    );
    record(
        store,
        pod,
        Report::normal(SCHEDULER, "Scheduled", &message),
        now,
    );
}

/// The containers were made and run.
pub(super) fn report_started(store: &Store, pod: &Value, now: Millis) {
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        let name = container["name"].as_str().unwrap_or_default();
        let image = container["image"].as_str().unwrap_or_default();
        let pulled = format!(
            "Container image \"{image}\" already present on machine and can be accessed by the pod"
        );
        record(
            store,
            pod,
            Report::normal(KUBELET, "Pulled", &pulled).of(name),
            now,
        );
        for (reason, message) in [
            ("Created", "Container created"),
            ("Started", "Container started"),
        ] {
            record(
                store,
                pod,
                Report::normal(KUBELET, reason, message).of(name),
                now,
            );
        }
    }
}

/// A crashed container waits.
pub(super) fn report_back_off(store: &Store, pod: &Value, now: Millis) {
    let message = workloads::back_off_message(pod);
    let name = pod["spec"]["containers"][0]["name"]
        .as_str()
        .unwrap_or_default();
    record(
        store,
        pod,
        Report::warning(KUBELET, "BackOff", &message).of(name),
        now,
    );
}

/// The image does not exist.
pub(super) fn report_pull_failure(store: &Store, pod: &Value, now: Millis) {
    let container = &pod["spec"]["containers"][0];
    let name = container["name"].as_str().unwrap_or_default();
    let image = container["image"].as_str().unwrap_or_default();
    let failed = format!("Failed to pull image \"{image}\": {image}: not found");
    record(
        store,
        pod,
        Report::warning(KUBELET, "Failed", &failed).of(name),
        now,
    );
    let back_off = format!("Back-off pulling image \"{image}\"");
    record(
        store,
        pod,
        Report::normal(KUBELET, "BackOff", &back_off).of(name),
        now,
    );
}
