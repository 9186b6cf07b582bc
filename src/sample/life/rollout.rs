//! A Deployment that is rolled over and over.
//!
//! Owns: when a new revision begins, and which pod is made or ended next. Owns not: how a pod
//! starts and stops (`kubelet`), nor the counts (`controllers`).
//! Invariant: never fewer ready pods than replicas, never more than one above; at most
//! [`REVISIONS`] old ReplicaSets are kept.
//!
//! ```text
//! idle ──every two minutes──▶ new revision ─▶ one pod more ─▶ it is ready ─▶ one old pod ends ─┐
//!   ▲                                             ▲                                            │
//!   └──────── no old pod is left ─────────────────┴──────────── else ──────────────────────────┘
//! ```

use serde_json::Value;

use super::super::catalog;
use super::super::clock::{MINUTE, Millis, SECOND, rfc3339};
use super::super::objects::{controller_uid, pods, templates, workloads};
use super::super::store::{Key, Store};
use super::events::{Report, record};
use super::kubelet;

/// From one revision to the next: long enough for `kubectl rollout status` to see one through.
const EVERY: Millis = 2 * MINUTE;
/// Old ReplicaSets kept. The Deployment would allow ten; two keep `kubectl get rs` readable.
const REVISIONS: usize = 2;

/// Where the rollout stands.
#[derive(Debug)]
pub(super) struct Rollout {
    next: Millis,
    running: bool,
}

impl Rollout {
    pub(super) fn new(now: Millis) -> Self {
        Self {
            next: now + 20 * SECOND,
            running: false,
        }
    }

    pub(super) fn step(&mut self, store: &Store, now: Millis) {
        let Some(deployments) = catalog::find("apps", "v1", "deployments") else {
            return;
        };
        let (namespace, name) = workloads::ROLLED;
        let key = Key::new(deployments, namespace, name);
        if !self.running && now >= self.next {
            self.next = now + EVERY;
            self.running = true;
            begin(store, &key, now);
        }
        if self.running {
            self.running = !advance(store, &key, now);
        }
    }
}

fn revision_of(object: &Value) -> u64 {
    let text = object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn replica_sets(store: &Store, deployment: &Value) -> Vec<(Key, std::sync::Arc<Value>)> {
    let uid = deployment["metadata"]["uid"].as_str();
    let Some(resource) = catalog::find("apps", "v1", "replicasets") else {
        return Vec::new();
    };
    let mut sets = store
        .list(resource, deployment["metadata"]["namespace"].as_str())
        .objects;
    sets.retain(|(_, set)| controller_uid(set) == uid);
    sets.sort_by_key(|(_, set)| revision_of(set));
    sets
}

/// Starts a new revision, as `kubectl rollout restart` would.
fn begin(store: &Store, key: &Key, now: Millis) {
    store.update(key, |deployment| {
        let revision = revision_of(deployment) + 1;
        let generation = deployment["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        deployment["metadata"]["generation"] = generation.into();
        deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] =
            revision.to_string().into();
        deployment["spec"]["template"]["metadata"]["annotations"]
            ["kubectl.kubernetes.io/restartedAt"] = rfc3339(now).into();
        deployment["status"]["observedGeneration"] = generation.into();
    });
    let Some(deployment) = store.get(key) else {
        return;
    };
    let old = replica_sets(store, &deployment);
    let excess = old.len().saturating_sub(REVISIONS);
    for (old_key, _) in old.iter().take(excess) {
        store.remove(old_key);
    }
    let mut set = templates::replica_set(&deployment, revision_of(&deployment), now);
    set["spec"]["replicas"] = 0.into();
    store.put(set);
    progress(store, key, false, now);
}

/// Takes the next step of a running rollout. True when it is over.
fn advance(store: &Store, key: &Key, now: Millis) -> bool {
    let (Some(deployment), Some(resource)) = (store.get(key), catalog::find("", "v1", "pods"))
    else {
        return true;
    };
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
    let mut sets = replica_sets(store, &deployment);
    let Some((new_key, new_set)) = sets.pop() else {
        return true;
    };
    let pods_of = |set: &Value| {
        let uid = set["metadata"]["uid"].as_str().map(str::to_owned);
        let mut found = store.list(resource, Some(&key.namespace)).objects;
        found.retain(|(_, pod)| {
            controller_uid(pod) == uid.as_deref() && pod["metadata"]["deletionTimestamp"].is_null()
        });
        found
    };
    let fresh = pods_of(&new_set);
    let ready = fresh.iter().filter(|(_, pod)| pods::is_ready(pod)).count() as u64;
    let old: Vec<_> = sets
        .iter()
        .flat_map(|(set_key, set)| pods_of(set).into_iter().map(move |pod| (set_key, pod)))
        .collect();
    let count = fresh.len() as u64;
    if count > ready {
        return false;
    }
    if count + old.len() as u64 > wanted {
        if let Some((set_key, (pod_key, pod))) = old.first() {
            store.update(pod_key, |pod| pods::terminate(pod, now));
            report_scaling(store, set_key, pod, false, now);
            scale(store, &deployment, set_key, false, now);
        }
        return false;
    }
    if count < wanted {
        scale(store, &deployment, &new_key, true, now);
        let mut pod = templates::new_pod(&new_set, count, now);
        pods::schedule(&mut pod, workloads::worker(&key.name, count), now);
        store.put(pod.clone());
        kubelet::report_scheduled(store, &pod, now);
        report_scaling(store, &new_key, &pod, true, now);
        return false;
    }
    progress(store, key, true, now);
    true
}

/// Changes a ReplicaSet's size by one, and tells of it.
fn scale(store: &Store, deployment: &Value, key: &Key, up: bool, now: Millis) {
    let Some(set) = store.get(key) else { return };
    let before = set["spec"]["replicas"].as_u64().unwrap_or_default();
    let after = if up {
        before + 1
    } else {
        before.saturating_sub(1)
    };
    store.update(key, |set| set["spec"]["replicas"] = after.into());
    let direction = if up { "up" } else { "down" };
    let message = format!(
        "Scaled {direction} replica set {} from {before} to {after}",
        key.name
    );
    let report = Report::normal("deployment-controller", "ScalingReplicaSet", &message);
    record(store, deployment, report, now);
}

fn report_scaling(store: &Store, set: &Key, pod: &Value, created: bool, now: Millis) {
    let Some(set) = store.get(set) else { return };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (reason, message) = if created {
        ("SuccessfulCreate", format!("Created pod: {name}"))
    } else {
        ("SuccessfulDelete", format!("Deleted pod: {name}"))
    };
    record(
        store,
        &set,
        Report::normal("replicaset-controller", reason, &message),
        now,
    );
    if !created {
        record(
            store,
            pod,
            Report::normal("kubelet", "Killing", "Stopping container catalog"),
            now,
        );
    }
}

/// Writes the condition that `kubectl rollout status` waits for.
fn progress(store: &Store, key: &Key, done: bool, now: Millis) {
    let Some(deployment) = store.get(key) else {
        return;
    };
    let name = replica_sets(store, &deployment)
        .last()
        .map(|(set, _)| set.name.clone())
        .unwrap_or_default();
    let (reason, message) = if done {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        ("NewReplicaSetAvailable", message)
    } else {
        (
            "ReplicaSetUpdated",
            format!("ReplicaSet \"{name}\" is progressing."),
        )
    };
    store.update(key, |deployment| {
        let conditions = deployment["status"]["conditions"].as_array_mut();
        for condition in conditions.into_iter().flatten() {
            if condition["type"] == "Progressing" {
                condition["reason"] = reason.into();
                condition["message"] = message.clone().into();
                condition["lastUpdateTime"] = rfc3339(now).into();
            }
        }
    });
}
