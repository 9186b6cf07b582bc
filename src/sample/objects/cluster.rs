//! Nodes, namespaces, and what belongs to the cluster as a whole.
//!
//! Owns: cluster-scoped objects and the leases. Owns not: who renews a lease (`life`).
//! Invariant: every node is Ready and says that it is a sample.

use serde_json::{Value, json};

use super::super::clock::{MINUTE, Millis, SECOND, rfc3339, rfc3339_micro};
use super::super::seed;
use super::super::store::Store;
use super::{NODES, SERVER_VERSION, metadata, pods};

/// The namespaces, in the order in which they were made.
pub(super) const NAMESPACES: [&str; 7] = [
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "sample-monitoring",
    "sample-shop",
    "sample-staging",
];
/// Components that hold a lease for their leadership.
pub(super) const LEADERS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

pub(super) fn fill(store: &Store, born: Millis, now: Millis) {
    for name in NAMESPACES {
        let labels = [("kubernetes.io/metadata.name", name)];
        store.put(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": metadata("Namespace", "", name, born, &labels),
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }));
    }
    for (index, name) in NODES.into_iter().enumerate() {
        store.put(node(index, name, born, now));
        let node_lease = lease("kube-node-lease", name, name, 40, born, now);
        store.put(node_lease);
    }
    for component in LEADERS {
        let holder = format!("{}_{}", NODES[0], seed::uid(&["leader", component], 0));
        store.put(lease("kube-system", component, &holder, 15, born, now));
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Pods that the sample cluster needs.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Pods that a node of the sample cluster needs.",
        ),
    ] {
        store.put(json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": metadata("PriorityClass", "", name, born, &[]),
            "value": value,
            "globalDefault": false,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }));
    }
    store.put(storage_class(born));
    roles(store, born);
}

fn node(index: usize, name: &str, born: Millis, now: Millis) -> Value {
    let control_plane = index == 0;
    let mut labels = vec![
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("pipeops.io/sample", "true"),
        ("topology.kubernetes.io/region", "sample-region"),
        (
            "topology.kubernetes.io/zone",
            ["sample-zone-a", "sample-zone-b", "sample-zone-c"][index],
        ),
    ];
    if control_plane {
        labels.push(("node-role.kubernetes.io/control-plane", ""));
    }
    let mut metadata = metadata("Node", "", name, born, &labels);
    metadata["annotations"] = json!({"node.alpha.kubernetes.io/ttl": "0"});
    let range = format!("10.244.{index}.0/24");
    let mut spec = json!({"podCIDR": range, "podCIDRs": [range],
        "providerID": format!("sample://{name}")});
    if control_plane {
        spec["taints"] =
            json!([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]);
    }
    let (cpu, memory) = if control_plane { (4, 8) } else { (8, 32) };
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": rfc3339(now),
            "lastTransitionTime": rfc3339(born + 40 * SECOND),
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": pods::node_ip(name)},
                {"type": "Hostname", "address": name},
            ],
            "capacity": resources(cpu, memory * 1_048_576),
            "allocatable": resources(cpu, memory * 1_048_576 - 102_400),
            "conditions": [
                condition("MemoryPressure", false, "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available"),
                condition("DiskPressure", false, "KubeletHasNoDiskPressure",
                    "kubelet has no disk pressure"),
                condition("PIDPressure", false, "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available"),
                condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": [{
                "names": [pods::image_id("sample.invalid/kube-proxy:v1.36.0"),
                    "sample.invalid/kube-proxy:v1.36.0"],
                "sizeBytes": 31_457_280,
            }],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": seed::uid(&["boot", name], 0),
                "containerRuntimeVersion": "containerd://2.1.0-sample",
                "kernelVersion": "6.12.0-sample",
                "kubeProxyVersion": "",
                "kubeletVersion": SERVER_VERSION,
                "machineID": seed::uid(&["machine", name], 0).replace('-', ""),
                "operatingSystem": "linux",
                "osImage": "Sample Linux 1",
                "systemUUID": seed::uid(&["system", name], 0),
            },
        },
    })
}

fn resources(cpu: u32, kibibytes: u64) -> Value {
    json!({
        "cpu": cpu.to_string(),
        "memory": format!("{kibibytes}Ki"),
        "ephemeral-storage": "101430960Ki",
        "hugepages-2Mi": "0",
        "pods": "110",
    })
}

fn lease(
    namespace: &str,
    name: &str,
    holder: &str,
    seconds: u32,
    born: Millis,
    now: Millis,
) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata("Lease", namespace, name, born, &[]),
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": rfc3339_micro(born + MINUTE),
            "renewTime": rfc3339_micro(now),
            "leaseTransitions": 1,
        },
    })
}

fn storage_class(born: Millis) -> Value {
    let mut metadata = metadata("StorageClass", "", "sample-standard", born, &[]);
    metadata["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": "csi.sample.invalid",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}

fn roles(store: &Store, born: Millis) {
    const API: &str = "rbac.authorization.k8s.io";
    let api_version = format!("{API}/v1");
    let read = ["get", "list", "watch"];
    store.put(json!({
        "apiVersion": api_version,
        "kind": "ClusterRole",
        "metadata": metadata("ClusterRole", "", "sample-reader", born, &[]),
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": read},
            {"nonResourceURLs": ["*"], "verbs": ["get"]},
        ],
    }));
    store.put(json!({
        "apiVersion": api_version,
        "kind": "ClusterRoleBinding",
        "metadata": metadata("ClusterRoleBinding", "", "sample-readers", born, &[]),
        "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": "sample-reader"},
        "subjects": [{"apiGroup": API, "kind": "Group", "name": "sample:readers"}],
    }));
    store.put(json!({
        "apiVersion": api_version,
        "kind": "Role",
        "metadata": metadata("Role", "sample-shop", "sample-shop-config", born, &[]),
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": read}],
    }));
    store.put(json!({
        "apiVersion": api_version,
        "kind": "RoleBinding",
        "metadata": metadata("RoleBinding", "sample-shop", "sample-shop-config", born, &[]),
        "roleRef": {"apiGroup": API, "kind": "Role", "name": "sample-shop-config"},
        "subjects": [{"kind": "ServiceAccount", "name": "sample-shop", "namespace": "sample-shop"}],
    }));
}
