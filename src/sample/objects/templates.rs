//! The objects behind a workload: controllers, their revisions, their pods.
//!
//! Owns: the shape of Deployments, StatefulSets, DaemonSets, ReplicaSets, ControllerRevisions and
//! of the pods they make. Owns not: which workloads there are (`workloads`), nor the counts in
//! their status (`life::controllers` derives them from the pods).
//! Invariant: a pod's labels and containers always come from its owner's template.

use serde_json::{Value, json};

use super::super::clock::{MINUTE, Millis, SECOND, rfc3339};
use super::super::seed;
use super::workloads::{Container, Fate, Kind, Workload};
use super::{NODES, metadata, owned_by, pods};

/// A pod of a ReplicaSet, StatefulSet, DaemonSet or Job.
pub(in super::super) fn new_pod(owner: &Value, number: u64, created: Millis) -> Value {
    let owner_name = owner["metadata"]["name"].as_str().unwrap_or_default();
    let indexed = owner["kind"] == "StatefulSet";
    let name = if indexed {
        format!("{owner_name}-{number}")
    } else {
        let uid = owner["metadata"]["uid"].as_str().unwrap_or_default();
        format!("{owner_name}-{}", seed::suffix(&["pod", uid], number, 5))
    };
    let mut pod = pods::from_template(owner, &owner["spec"]["template"], &name, created);
    pod["metadata"]["generateName"] = format!("{owner_name}-").into();
    if indexed {
        pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = name.clone().into();
        pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = number.to_string().into();
        pod["spec"]["hostname"] = name.clone().into();
        if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
            volumes.push(json!({"name": "data",
                "persistentVolumeClaim": {"claimName": format!("data-{name}")}}));
        }
    }
    if owner["kind"] == "DaemonSet" || indexed {
        pod["metadata"]["labels"]["controller-revision-hash"] =
            seed::suffix(&["revision", owner_name], 1, 10).into();
    }
    pod
}

/// The ReplicaSet of one revision of a Deployment, with the template that the Deployment has now.
pub(in super::super) fn replica_set(deployment: &Value, revision: u64, created: Millis) -> Value {
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = deployment["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let hash = seed::suffix(&["template", namespace, name], revision, 10);
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = hash.clone().into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.clone().into();
    let set_name = format!("{name}-{hash}");
    let mut metadata = metadata("ReplicaSet", namespace, &set_name, created, &[]);
    metadata["labels"] = template["metadata"]["labels"].clone();
    metadata["generation"] = 1.into();
    metadata["ownerReferences"] = owned_by(deployment);
    metadata["annotations"] = json!({
        "deployment.kubernetes.io/desired-replicas":
            deployment["spec"]["replicas"].as_u64().unwrap_or_default().to_string(),
        "deployment.kubernetes.io/max-replicas":
            (deployment["spec"]["replicas"].as_u64().unwrap_or_default() + 1).to_string(),
        "deployment.kubernetes.io/revision": revision.to_string(),
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {
            "replicas": deployment["spec"]["replicas"],
            "selector": selector,
            "template": template,
        },
        "status": {"replicas": 0, "observedGeneration": 1},
    })
}

/// The ControllerRevision of a StatefulSet or DaemonSet.
pub(super) fn revision(owner: &Value, created: Millis) -> Value {
    let name = owner["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = owner["metadata"]["namespace"].as_str().unwrap_or_default();
    let hash = seed::suffix(&["revision", name], 1, 10);
    let mut metadata = metadata(
        "ControllerRevision",
        namespace,
        &format!("{name}-{hash}"),
        created,
        &[],
    );
    metadata["labels"] = owner["spec"]["template"]["metadata"]["labels"].clone();
    metadata["ownerReferences"] = owned_by(owner);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": 1,
        "data": {"spec": {"template": owner["spec"]["template"]}},
    })
}

pub(super) fn static_pod(component: &str, created: Millis) -> Value {
    let node = NODES[0];
    let name = format!("{component}-{node}");
    let image = format!("sample.invalid/{component}:v1.36.0");
    let owner = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": node, "namespace": "kube-system",
        "uid": seed::uid(&["Node", "", node], created.unsigned_abs()),
    }});
    let template = json!({
        "metadata": {
            "labels": {"component": component, "tier": "control-plane"},
            "annotations": {
                "kubernetes.io/config.source": "file",
                "kubernetes.io/config.mirror": seed::uid(&["mirror", component], 0),
            },
        },
        "spec": {
            "containers": [{
                "name": component,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": [component, "--sample=true"],
                "resources": {"requests": {"cpu": "100m"}},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "hostNetwork": true,
            "priority": 2_000_001_000,
            "priorityClassName": "system-node-critical",
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "enableServiceLinks": true,
            "terminationGracePeriodSeconds": 30,
            "tolerations": [{"effect": "NoExecute", "operator": "Exists"}],
        },
    });
    let mut pod = pods::from_template(&owner, &template, &name, created);
    pods::schedule(&mut pod, node, created);
    pods::start(&mut pod, &pods::node_ip(node), created + 5 * SECOND);
    pod
}

// === impl Workload ===

impl Workload {
    pub(super) fn object(&self, created: Millis) -> Value {
        let labels = [
            ("app.kubernetes.io/name", self.name),
            ("app.kubernetes.io/part-of", "sample"),
        ];
        let kind = match self.kind {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
            Kind::DaemonSet => "DaemonSet",
        };
        let mut metadata = metadata(kind, self.namespace, self.name, created, &labels);
        metadata["generation"] = 1.into();
        let mut spec = json!({
            "selector": {"matchLabels": {"app.kubernetes.io/name": self.name}},
            "template": self.template(),
            "revisionHistoryLimit": 10,
        });
        match self.kind {
            Kind::Deployment => {
                metadata["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
                spec["replicas"] = self.replicas.into();
                spec["progressDeadlineSeconds"] = 600.into();
                spec["strategy"] = json!({"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
            }
            Kind::StatefulSet => {
                spec["replicas"] = self.replicas.into();
                spec["serviceName"] = self.name.into();
                spec["podManagementPolicy"] = "OrderedReady".into();
                spec["updateStrategy"] =
                    json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
                spec["persistentVolumeClaimRetentionPolicy"] =
                    json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
                spec["volumeClaimTemplates"] = json!([{
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "8Gi"}},
                        "storageClassName": "sample-standard",
                        "volumeMode": "Filesystem",
                    },
                    "status": {"phase": "Pending"},
                }]);
            }
            Kind::DaemonSet => {
                metadata["annotations"] = json!({"deprecated.daemonset.template.generation": "1"});
                spec["updateStrategy"] = json!({"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
            }
        }
        let status = match (self.kind, self.fate) {
            (Kind::Deployment, Fate::Runs) => json!({
                "observedGeneration": 1,
                "conditions": [
                    condition("Progressing", "True", "NewReplicaSetAvailable", created,
                        &format!("ReplicaSet for {} has successfully progressed.", self.name)),
                    condition("Available", "True", "MinimumReplicasAvailable", created,
                        "Deployment has minimum availability."),
                ],
            }),
            (Kind::Deployment, Fate::Crashes | Fate::TooLarge | Fate::NoImage) => json!({
                "observedGeneration": 1,
                "conditions": [
                    condition("Available", "False", "MinimumReplicasUnavailable", created,
                        "Deployment does not have minimum availability."),
                    condition("Progressing", "False", "ProgressDeadlineExceeded",
                        created + 10 * MINUTE,
                        &format!("ReplicaSet for {} has timed out progressing.", self.name)),
                ],
            }),
            (Kind::StatefulSet | Kind::DaemonSet, _) => json!({"observedGeneration": 1}),
        };
        json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": metadata,
            "spec": spec,
            "status": status,
        })
    }

    fn template(&self) -> Value {
        let system = self.namespace == "kube-system";
        let containers: Vec<Value> = self
            .containers
            .iter()
            .map(|container| container.object(self.kind == Kind::StatefulSet))
            .collect();
        let mut spec = json!({
            "containers": containers,
            "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": self.account,
            "serviceAccountName": self.account,
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        });
        if system {
            spec["priority"] = 2_000_000_000.into();
            spec["priorityClassName"] = "system-cluster-critical".into();
        }
        if self.kind == Kind::DaemonSet {
            spec["hostNetwork"] = true.into();
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        }
        json!({
            "metadata": {"labels": {
                "app.kubernetes.io/name": self.name,
                "app.kubernetes.io/part-of": "sample",
            }},
            "spec": spec,
        })
    }
}

fn condition(kind: &str, status: &str, reason: &str, at: Millis, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": rfc3339(at), "lastUpdateTime": rfc3339(at)})
}

// === impl Container ===

impl Container {
    fn object(&self, with_data: bool) -> Value {
        let mut object = json!({
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "SAMPLE", "value": "true"}],
            "resources": {
                "requests": {"cpu": self.cpu, "memory": self.memory},
                "limits": {"memory": self.memory},
            },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        });
        if self.port != 0 {
            object["ports"] =
                json!([{"name": "main", "containerPort": self.port, "protocol": "TCP"}]);
            object["readinessProbe"] = json!({
                "tcpSocket": {"port": "main"},
                "periodSeconds": 10, "timeoutSeconds": 1,
                "successThreshold": 1, "failureThreshold": 3,
            });
        }
        if with_data {
            object["volumeMounts"] = json!([{"name": "data", "mountPath": "/var/lib/data"}]);
            object["envFrom"] = json!([{"secretRef": {"name": "sample-db-credentials"}}]);
        }
        object
    }
}
