//! `metrics.k8s.io`, so that `kubectl top` has something to show.
//!
//! Owns: what nodes and pods are said to use. Owns not: the pods and nodes themselves.
//! Invariant: usage is a function of the container and of the time; a node uses what its pods use
//! and a little more.

use std::f64::consts::TAU;

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer, Failure};
use super::catalog;
use super::clock::{MINUTE, Millis, SECOND, rfc3339};
use super::collection::{many, not_found, one};
use super::request::{Form, Query, Target};
use super::seed;
use super::selector::Selector;
use super::store::Store;

/// The interval that one sample stands for, as metrics-server has it by default.
const WINDOW: Millis = 15 * SECOND;

/// Millicores and mebibytes.
#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    cpu: u64,
    memory: u64,
}

impl Usage {
    fn document(self) -> Value {
        json!({"cpu": format!("{}m", self.cpu), "memory": format!("{}Ki", self.memory * 1024)})
    }
}

/// Answers a GET or a LIST.
///
/// # Errors
/// 404 for an object without metrics, 400 for a selector that cannot be read.
pub(super) fn answer(
    store: &Store,
    target: &Target,
    query: &Query,
    form: Form,
    now: Millis,
) -> Result<Answer, Failure> {
    let selector = Selector::of(query, target.resource)?;
    let at = now.div_euclid(WINDOW) * WINDOW;
    let all = if target.resource.plural == "nodes" {
        nodes(store, at)
    } else {
        pods(store, at)
    };
    let mut wanted = all.into_iter().filter(|object| {
        let namespace = object["metadata"]["namespace"].as_str();
        target.namespace.is_none() || target.namespace.as_deref() == namespace
    });
    if let Some(name) = &target.name {
        let object = wanted.find(|object| object["metadata"]["name"] == name.as_str());
        let object = object.ok_or_else(|| not_found(target.resource, name))?;
        return Ok(answer::json(
            StatusCode::OK,
            &one(target.resource, &object, query, form, now),
        ));
    }
    let objects: Vec<Value> = wanted.filter(|object| selector.matches(object)).collect();
    let document = many(
        target.resource,
        objects.iter(),
        query,
        form,
        &json!({}),
        now,
    );
    Ok(answer::json(StatusCode::OK, &document))
}

fn metrics(kind: &str, of: &Value, at: Millis) -> Value {
    let mut metadata = json!({
        "name": of["metadata"]["name"],
        "labels": of["metadata"]["labels"],
        "creationTimestamp": rfc3339(at),
    });
    if let Some(namespace) = of["metadata"]["namespace"].as_str() {
        metadata["namespace"] = namespace.into();
    }
    json!({
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": metadata,
        "timestamp": rfc3339(at),
        "window": "15s",
    })
}

fn pods(store: &Store, at: Millis) -> Vec<Value> {
    let Some(resource) = catalog::find("", "v1", "pods") else {
        return Vec::new();
    };
    let pods = store.list(resource, None).objects.into_iter();
    pods.filter_map(|(_, pod)| {
        let containers: Vec<Value> = running(&pod)
            .map(|name| json!({"name": name, "usage": usage(&pod, name, at).document()}))
            .collect();
        let mut document = metrics("PodMetrics", &pod, at);
        let any = !containers.is_empty();
        document["containers"] = containers.into();
        any.then_some(document)
    })
    .collect()
}

fn nodes(store: &Store, at: Millis) -> Vec<Value> {
    let (Some(nodes), Some(pods)) = (
        catalog::find("", "v1", "nodes"),
        catalog::find("", "v1", "pods"),
    ) else {
        return Vec::new();
    };
    let pods = store.list(pods, None).objects;
    let nodes = store.list(nodes, None).objects.into_iter();
    nodes
        .map(|(key, node)| {
            // The system's own share.
            let mut sum = Usage {
                cpu: 60,
                memory: 700,
            };
            for (_, pod) in pods
                .iter()
                .filter(|(_, pod)| pod["spec"]["nodeName"] == *key.name)
            {
                for container in running(pod) {
                    let used = usage(pod, container, at);
                    sum = Usage {
                        cpu: sum.cpu + used.cpu,
                        memory: sum.memory + used.memory,
                    };
                }
            }
            let mut document = metrics("NodeMetrics", &node, at);
            document["usage"] = sum.document();
            document
        })
        .collect()
}

fn running(pod: &Value) -> impl Iterator<Item = &str> {
    let statuses = pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    statuses
        .filter(|status| !status["state"]["running"].is_null())
        .filter_map(|status| status["name"].as_str())
}

/// A level that differs by container, and a wave of some minutes around it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a picture of usage, small and positive"
)]
fn usage(pod: &Value, container: &str, at: Millis) -> Usage {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let hash = seed::mix(&[uid, container, "usage"], 0);
    let period = (3 + hash % 5) as f64 * MINUTE as f64;
    let phase = (hash >> 8) % 360;
    let wave = ((at % (60 * MINUTE)) as f64 / period + phase as f64 / 360.0) * TAU;
    let noise = (seed::mix(&[uid, container, "noise"], at.unsigned_abs()) % 100) as f64 / 100.0;
    let cpu = (5 + (hash >> 16) % 110) as f64;
    let memory = (18 + (hash >> 32) % 240) as f64;
    Usage {
        cpu: (cpu * (1.0 + 0.4 * wave.sin() + 0.2 * noise)).max(1.0) as u64,
        memory: (memory * (1.0 + 0.05 * wave.sin() + 0.02 * noise)).max(1.0) as u64,
    }
}
