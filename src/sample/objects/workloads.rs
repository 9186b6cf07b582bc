//! The workloads of the sample cluster and their first pods.
//!
//! Owns: the table of workloads, and what has become of their pods by the start. Owns not: the
//! shape of an object (`templates`, `pods`).
//! Invariant: every workload's name says `sample`, and every image is one that cannot be pulled.

use serde_json::Value;

use super::super::clock::{DAY, HOUR, MINUTE, Millis, SECOND};
use super::super::seed;
use super::super::store::Store;
use super::templates::{new_pod, replica_set, revision, static_pod};
use super::{NODES, pods};

/// One workload.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) kind: Kind,
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) replicas: u32,
    age: Millis,
    pub(super) account: &'static str,
    pub(super) containers: &'static [Container],
    pub(super) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// What becomes of a workload's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Runs,
    Crashes,
    TooLarge,
    NoImage,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) image: &'static str,
    pub(super) port: u16,
    pub(super) cpu: &'static str,
    pub(super) memory: &'static str,
}

const fn container(
    name: &'static str,
    image: &'static str,
    port: u16,
    cpu: &'static str,
    memory: &'static str,
) -> Container {
    Container {
        name,
        image,
        port,
        cpu,
        memory,
    }
}

/// The deployment that `life` rolls over and over.
pub(in super::super) const ROLLED: (&str, &str) = ("sample-shop", "sample-catalog");
/// The deployment whose pods crash.
pub(in super::super) const CRASHING: (&str, &str) = ("sample-shop", "sample-worker");
/// The scheduler's words about the pod that fits nowhere.
pub(in super::super) const TOO_LARGE: &str = "0/3 nodes are available: 1 node(s) had untolerated \
    taint(s), 2 Insufficient memory. no new claims to deallocate, preemption: 0/3 nodes are \
    available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for \
    incoming pod.";

static WORKLOADS: &[Workload] = &[
    Workload {
        kind: Kind::Deployment,
        namespace: "kube-system",
        name: "sample-coredns",
        replicas: 2,
        age: 12 * DAY,
        account: "sample-coredns",
        containers: &[container(
            "coredns",
            "sample.invalid/coredns:v1.13.1",
            53,
            "100m",
            "70Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::DaemonSet,
        namespace: "kube-system",
        name: "sample-kube-proxy",
        replicas: 3,
        age: 12 * DAY,
        account: "sample-kube-proxy",
        containers: &[container(
            "kube-proxy",
            "sample.invalid/kube-proxy:v1.36.0",
            10249,
            "50m",
            "64Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "kube-system",
        name: "sample-metrics-server",
        replicas: 1,
        age: 11 * DAY,
        account: "sample-metrics-server",
        containers: &[container(
            "metrics-server",
            "sample.invalid/metrics-server:v0.9.0",
            10250,
            "100m",
            "200Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::DaemonSet,
        namespace: "sample-monitoring",
        name: "sample-node-agent",
        replicas: 3,
        age: 9 * DAY,
        account: "default",
        containers: &[container(
            "agent",
            "sample.invalid/node-agent:2.4.1",
            9100,
            "20m",
            "48Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-shop",
        name: "sample-web",
        replicas: 3,
        age: 6 * DAY + 4 * HOUR,
        account: "sample-shop",
        containers: &[
            container(
                "web",
                "sample.invalid/shop-web:3.9.0",
                8080,
                "100m",
                "128Mi",
            ),
            container(
                "proxy",
                "sample.invalid/sidecar-proxy:1.30.2",
                15001,
                "20m",
                "40Mi",
            ),
        ],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-shop",
        name: "sample-catalog",
        replicas: 3,
        age: 6 * DAY + 4 * HOUR,
        account: "sample-shop",
        containers: &[container(
            "catalog",
            "sample.invalid/shop-catalog:1.14.2",
            8081,
            "150m",
            "192Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-shop",
        name: "sample-cart",
        replicas: 2,
        age: 5 * DAY,
        account: "sample-shop",
        containers: &[container(
            "cart",
            "sample.invalid/shop-cart:0.22.7",
            8082,
            "80m",
            "96Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::StatefulSet,
        namespace: "sample-shop",
        name: "sample-db",
        replicas: 2,
        age: 6 * DAY + 5 * HOUR,
        account: "default",
        containers: &[container(
            "postgres",
            "sample.invalid/postgres:17.5",
            5432,
            "250m",
            "512Mi",
        )],
        fate: Fate::Runs,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-shop",
        name: "sample-worker",
        replicas: 1,
        age: 3 * HOUR + 10 * MINUTE,
        account: "sample-shop",
        containers: &[container(
            "worker",
            "sample.invalid/shop-worker:0.8.0-rc1",
            0,
            "50m",
            "64Mi",
        )],
        fate: Fate::Crashes,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-shop",
        name: "sample-recommender",
        replicas: 1,
        age: 47 * MINUTE,
        account: "sample-shop",
        containers: &[container(
            "recommender",
            "sample.invalid/shop-recommender:2.0.0",
            8090,
            "2",
            "64Gi",
        )],
        fate: Fate::TooLarge,
    },
    Workload {
        kind: Kind::Deployment,
        namespace: "sample-staging",
        name: "sample-preview",
        replicas: 1,
        age: 26 * MINUTE,
        account: "default",
        containers: &[container(
            "preview",
            "sample.invalid/shop-preview:branch-typo",
            8080,
            "50m",
            "64Mi",
        )],
        fate: Fate::NoImage,
    },
];

/// Makes every workload and its pods.
pub(super) fn fill(store: &Store, now: Millis) {
    for component in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ] {
        store.put(static_pod(component, now - super::AGE));
    }
    for workload in WORKLOADS {
        let created = now - workload.age;
        let top = workload.object(created);
        let owner = match workload.kind {
            Kind::Deployment => {
                let set = replica_set(&top, 1, created);
                store.put(top);
                set
            }
            Kind::StatefulSet | Kind::DaemonSet => {
                store.put(revision(&top, created));
                top
            }
        };
        for ordinal in 0..workload.replicas {
            let mut pod = new_pod(&owner, u64::from(ordinal), created + SECOND);
            let node = match workload.kind {
                Kind::DaemonSet => NODES[ordinal as usize % NODES.len()],
                Kind::Deployment | Kind::StatefulSet => worker(workload.name, u64::from(ordinal)),
            };
            workload.fate.befall(store, &mut pod, node, created, now);
            store.put(pod);
        }
        store.put(owner);
    }
}

/// A node for a pod that may run on any worker.
pub(in super::super) fn worker(name: &str, number: u64) -> &'static str {
    let first = seed::mix(&["node", name], 0);
    if first.wrapping_add(number).is_multiple_of(2) {
        NODES[1]
    } else {
        NODES[2]
    }
}

// === impl Fate ===

impl Fate {
    fn befall(self, store: &Store, pod: &mut Value, node: &str, created: Millis, now: Millis) {
        match self {
            Self::TooLarge => return pods::refuse_to_schedule(pod, TOO_LARGE, created + SECOND),
            Self::Runs | Self::Crashes | Self::NoImage => {}
        }
        pods::schedule(pod, node, created + SECOND);
        let image = pod["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let address = pods::free_address(store, pod);
        match self {
            Self::Runs | Self::TooLarge => pods::start(pod, &address, created + 4 * SECOND),
            Self::Crashes => {
                pods::start(pod, &address, now - 5 * MINUTE - 12 * SECOND);
                for status in pod["status"]["containerStatuses"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    status["restartCount"] = 37.into();
                }
                pods::exit(pod, 1, now - 5 * MINUTE);
                pods::back_off(pod, &back_off_message(pod), now - 5 * MINUTE);
            }
            Self::NoImage => {
                let message = format!(
                    "Back-off pulling image \"{image}\": ErrImagePull: \
                    failed to pull and unpack image \"{image}\": {image}: not found"
                );
                pods::wait(pod, "ImagePullBackOff", &message, created + 30 * SECOND);
            }
        }
    }
}

/// The kubelet's words about a container that keeps ending.
pub(in super::super) fn back_off_message(pod: &Value) -> String {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    format!(
        "back-off 40s restarting failed container={} pod={}_{}({})",
        text("/spec/containers/0/name"),
        text("/metadata/name"),
        text("/metadata/namespace"),
        text("/metadata/uid"),
    )
}
