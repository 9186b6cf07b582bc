//! Events of the sample cluster.
//!
//! Owns: how an Event is written, counted up and forgotten. Owns not: when one is due.
//! Invariant: at most [`KEPT`] events exist, none older than an hour.

use serde_json::{Value, json};

use super::super::clock::{HOUR, MINUTE, Millis, SECOND, parse, rfc3339};
use super::super::objects::{NODES, workloads};
use super::super::seed;
use super::super::store::{Key, Store};
use super::{super::catalog, kubelet};

/// Events kept. A real cluster of this size holds about as many within its hour.
const KEPT: usize = 200;
/// How long an event is kept; the API server's default.
const KEPT_FOR: Millis = HOUR;

/// What an event says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report<'report> {
    pub(super) warning: bool,
    pub(super) reason: &'report str,
    pub(super) message: &'report str,
    /// `kubelet`, `default-scheduler`, a controller.
    pub(super) component: &'report str,
    /// The container that it is about.
    pub(super) container: Option<&'report str>,
}

impl<'report> Report<'report> {
    /// A report of normal operation.
    pub(super) fn normal(
        component: &'report str,
        reason: &'report str,
        message: &'report str,
    ) -> Self {
        Self {
            warning: false,
            reason,
            message,
            component,
            container: None,
        }
    }

    /// A report of something that an operator may want to see.
    pub(super) fn warning(
        component: &'report str,
        reason: &'report str,
        message: &'report str,
    ) -> Self {
        Self {
            warning: true,
            ..Self::normal(component, reason, message)
        }
    }

    /// The same about one container.
    pub(super) fn of(self, container: &'report str) -> Self {
        Self {
            container: Some(container),
            ..self
        }
    }
}

/// Records an event about `object`, or counts up the one that says the same.
pub(super) fn record(store: &Store, object: &Value, report: Report<'_>, now: Millis) {
    let Some(events) = catalog::find("", "v1", "events") else {
        return;
    };
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let uid = metadata["uid"].as_str().unwrap_or_default();
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let hash = seed::mix(&[uid, report.reason, report.message, report.component], 0);
    let key = Key::new(events, namespace, &format!("{name}.{hash:016x}"));
    if store.get(&key).is_some() {
        return store.update(&key, |event| {
            event["count"] = (event["count"].as_u64().unwrap_or(1) + 1).into();
            event["lastTimestamp"] = rfc3339(now).into();
        });
    }
    let mut involved = json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": name,
        "uid": uid,
        "resourceVersion": metadata["resourceVersion"],
    });
    if let Some(namespace) = metadata["namespace"].as_str() {
        involved["namespace"] = namespace.into();
    }
    if let Some(container) = report.container {
        involved["fieldPath"] = format!("spec.containers{{{container}}}").into();
    }
    let host = match report.component {
        "kubelet" => object["spec"]["nodeName"].as_str().or(Some(name)),
        _ => None,
    };
    let mut source = json!({"component": report.component});
    if let Some(host) = host {
        source["host"] = host.into();
    }
    store.put(json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": super::super::objects::metadata("Event", namespace, &key.name, now, &[]),
        "involvedObject": involved,
        "reason": report.reason,
        "message": report.message,
        "type": if report.warning { "Warning" } else { "Normal" },
        "source": source,
        "reportingComponent": report.component,
        "reportingInstance": host.unwrap_or_default(),
        "count": 1,
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "eventTime": null,
    }));
}

/// Forgets what is too old, and the oldest of what is too much.
pub(super) fn prune(store: &Store, now: Millis) {
    let Some(events) = catalog::find("", "v1", "events") else {
        return;
    };
    let mut known: Vec<(Millis, Key)> = store
        .list(events, None)
        .objects
        .into_iter()
        .map(|(key, event)| {
            (
                event["lastTimestamp"]
                    .as_str()
                    .and_then(parse)
                    .unwrap_or_default(),
                key,
            )
        })
        .collect();
    known.sort();
    let excess = known.len().saturating_sub(KEPT);
    for (index, (last, key)) in known.iter().enumerate() {
        if index < excess || *last < now - KEPT_FOR {
            store.remove(key);
        }
    }
}

/// The events that would be left of the last hour.
pub(super) fn fill(store: &Store, now: Millis) {
    let Some(pods) = catalog::find("", "v1", "pods") else {
        return;
    };
    for (_, pod) in store.list(pods, None).objects {
        let created = pod["metadata"]["creationTimestamp"]
            .as_str()
            .and_then(parse);
        let created = created.unwrap_or_default();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        {
            kubelet::report_back_off(store, &pod, now - 30 * SECOND);
        }
        if created < now - KEPT_FOR {
            continue;
        }
        if node.is_empty() {
            let report = Report::warning(
                "default-scheduler",
                "FailedScheduling",
                workloads::TOO_LARGE,
            );
            record(store, &pod, report, created + SECOND);
            continue;
        }
        kubelet::report_scheduled(store, &pod, created + SECOND);
        if pod["status"]["containerStatuses"][0]["state"]["waiting"].is_null() {
            kubelet::report_started(store, &pod, created + 4 * SECOND);
        } else {
            kubelet::report_pull_failure(store, &pod, created + MINUTE);
        }
    }
    let Some(nodes) = catalog::find("", "v1", "nodes") else {
        return;
    };
    if let Some(node) = store.get(&Key::new(nodes, "", NODES[2])) {
        let message = "Node sample-node-3 status is now: NodeHasSufficientMemory";
        let report = Report::normal("kubelet", "NodeHasSufficientMemory", message);
        record(store, &node, report, now - 31 * MINUTE);
    }
}
