//! Configuration, accounts, volumes and limits.
//!
//! Owns: ConfigMaps, Secrets, ServiceAccounts, volumes, quotas, autoscalers, budgets. Owns not:
//! what serves traffic (`network`).
//! Invariant: every Secret's value says that it is a sample.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::clock::{DAY, HOUR, MINUTE, Millis, rfc3339};
use super::super::seed;
use super::super::store::Store;
use super::cluster::NAMESPACES;
use super::{NODES, metadata};

const SHOP: &str = "sample-shop";

pub(super) fn fill(store: &Store, born: Millis) {
    for namespace in NAMESPACES {
        store.put(account(namespace, "default", born));
        let text = "# The sample cluster's certificate authority is not kept here.\n";
        store.put(config_map(
            namespace,
            "kube-root-ca.crt",
            born,
            &json!({"ca.crt": text}),
        ));
    }
    for (namespace, name) in [
        ("kube-system", "sample-coredns"),
        ("kube-system", "sample-kube-proxy"),
        ("kube-system", "sample-metrics-server"),
        (SHOP, "sample-shop"),
    ] {
        store.put(account(namespace, name, born + 5 * MINUTE));
    }
    let corefile = ".:53 {\n    errors\n    health\n    ready\n    kubernetes sample.local\n    \
        forward . /etc/resolv.conf\n    cache 30\n}\n";
    store.put(config_map(
        "kube-system",
        "sample-coredns",
        born,
        &json!({"Corefile": corefile}),
    ));
    store.put(config_map(
        SHOP,
        "sample-web-settings",
        born + 5 * DAY,
        &json!({
            "LOG_LEVEL": "info",
            "FEATURE_NEW_CHECKOUT": "true",
            "currency.properties": "default=EUR\naccepted=EUR,USD,NGN\n",
        }),
    ));
    store.put(config_map(
        SHOP,
        "sample-catalog-settings",
        born + 5 * DAY,
        &json!({
            "catalog.yaml": "refresh: 30s\nsource: sample-db-0.sample-db\npage: 50\n",
        }),
    ));
    store.put(secret(
        SHOP,
        "sample-db-credentials",
        "Opaque",
        born + 5 * DAY,
        &[
            ("username", "sample"),
            ("password", "sample-this-is-not-a-real-password"),
        ],
    ));
    store.put(secret(
        SHOP,
        "sample-shop-tls",
        "kubernetes.io/tls",
        born + 6 * DAY,
        &[
            ("tls.crt", "sample: not a certificate\n"),
            ("tls.key", "sample: not a key\n"),
        ],
    ));
    store.put(secret(
        "sample-monitoring",
        "sample-webhook",
        "Opaque",
        born + 3 * DAY,
        &[("url", "https://hooks.sample.invalid/not-a-real-hook")],
    ));
    volumes(store, born + 5 * DAY + 19 * HOUR);
    autoscaling(store, born + 6 * DAY);
}

/// Quotas and ranges, which a namespace's owner added later.
pub(super) fn fill_quotas(store: &Store, created: Millis) {
    let hard = json!({"pods": "50", "requests.cpu": "12", "requests.memory": "96Gi"});
    store.put(json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata("ResourceQuota", SHOP, "sample-quota", created, &[]),
        "spec": {"hard": hard},
        "status": {"hard": hard,
            "used": {"pods": "14", "requests.cpu": "3930m", "requests.memory": "66Gi"}},
    }));
    store.put(json!({
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": metadata("LimitRange", "sample-staging", "sample-defaults", created, &[]),
        "spec": {"limits": [{
            "type": "Container",
            "default": {"cpu": "500m", "memory": "256Mi"},
            "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
        }]},
    }));
}

fn account(namespace: &str, name: &str, created: Millis) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata("ServiceAccount", namespace, name, created, &[]),
    })
}

fn config_map(namespace: &str, name: &str, created: Millis, data: &Value) -> Value {
    let metadata = metadata("ConfigMap", namespace, name, created, &[]);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

fn secret(
    namespace: &str,
    name: &str,
    kind: &str,
    created: Millis,
    entries: &[(&str, &str)],
) -> Value {
    let data: Value = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(STANDARD.encode(value))))
        .collect();
    let labels = [("pipeops.io/sample", "true")];
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata("Secret", namespace, name, created, &labels),
        "type": kind,
        "data": data,
    })
}

fn volumes(store: &Store, created: Millis) {
    for ordinal in 0..2 {
        let claim_name = format!("data-sample-db-{ordinal}");
        let labels = [("app.kubernetes.io/name", "sample-db")];
        let mut claim_metadata =
            metadata("PersistentVolumeClaim", SHOP, &claim_name, created, &labels);
        claim_metadata["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
        let uid = claim_metadata["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let volume_name = format!("pvc-{uid}");
        let mut volume_metadata = metadata("PersistentVolume", "", &volume_name, created, &[]);
        volume_metadata["finalizers"] = json!(["kubernetes.io/pv-protection"]);
        let modes = json!(["ReadWriteOnce"]);
        store.put(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": claim_metadata,
            "spec": {
                "accessModes": modes,
                "resources": {"requests": {"storage": "8Gi"}},
                "storageClassName": "sample-standard",
                "volumeMode": "Filesystem",
                "volumeName": volume_name,
            },
            "status": {"phase": "Bound", "accessModes": modes, "capacity": {"storage": "8Gi"}},
        }));
        store.put(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": volume_metadata,
            "spec": {
                "accessModes": modes,
                "capacity": {"storage": "8Gi"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": SHOP, "name": claim_name, "uid": uid},
                "csi": {"driver": "csi.sample.invalid",
                    "volumeHandle": seed::suffix(&["volume", &claim_name], 0, 12)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{
                    "key": "kubernetes.io/hostname", "operator": "In", "values": &NODES[1..],
                }]}]}},
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": "sample-standard",
                "volumeMode": "Filesystem",
            },
            "status": {"phase": "Bound", "lastPhaseTransitionTime": rfc3339(created)},
        }));
    }
    // One claim that nobody uses yet, so that a Pending claim can be seen.
    store.put(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata("PersistentVolumeClaim", "sample-staging", "sample-scratch",
            created + 6 * DAY, &[]),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi"}},
            "storageClassName": "sample-standard",
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Pending"},
    }));
}

fn autoscaling(store: &Store, created: Millis) {
    store.put(json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata("HorizontalPodAutoscaler", SHOP, "sample-web", created, &[]),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sample-web"},
            "minReplicas": 3,
            "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 70}}}],
        },
        "status": {
            "currentReplicas": 3,
            "desiredReplicas": 3,
            "lastScaleTime": rfc3339(created + DAY),
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": 34, "averageValue": "41m"}}}],
            "conditions": [
                {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale",
                    "message": "recommended size matches current size",
                    "lastTransitionTime": rfc3339(created)},
                {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound",
                    "message": "the HPA was able to compute the replica count from cpu utilization",
                    "lastTransitionTime": rfc3339(created)},
            ],
        },
    }));
    store.put(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata("PodDisruptionBudget", SHOP, "sample-web", created, &[]),
        "spec": {"minAvailable": 2,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "sample-web"}}},
        "status": {"currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1,
            "expectedPods": 3, "observedGeneration": 1},
    }));
}
