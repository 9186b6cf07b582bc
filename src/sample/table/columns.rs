//! The columns of each kind.
//!
//! Owns: names and order of columns. Owns not: how a cell is made (`cells`, `pod`).
//! Invariant: they are those of the API server's own printers, so that kubectl reads the same.

use super::super::catalog::Resource;
use super::{Column, cells, column, pod, wide};

const NAME: Column = column("Name", cells::name);
const AGE: Column = column("Age", cells::age);
const CREATED: Column = column("Created At", cells::created);
const CONTAINERS: Column = wide("Containers", cells::template_containers);
const IMAGES: Column = wide("Images", cells::template_images);
const SELECTOR: Column = wide("Selector", cells::selector);
const DESIRED: Column = column("Desired", |set, _| cells::number(&set["spec"]["replicas"]));
const CURRENT: Column = column("Current", |set, _| {
    cells::number(&set["status"]["replicas"])
});
const READY: Column = column("Ready", |set, _| {
    cells::number(&set["status"]["readyReplicas"])
});
const SUBJECTS: [Column; 3] = [
    wide("Users", |binding, _| cells::subjects(binding, "User")),
    wide("Groups", |binding, _| cells::subjects(binding, "Group")),
    wide("ServiceAccounts", |binding, _| {
        cells::subjects(binding, "ServiceAccount")
    }),
];

static PLAIN: [Column; 2] = [NAME, AGE];

/// The columns of a resource. The API server's own printers have the same, in the same order.
pub(super) fn columns(resource: &Resource) -> &'static [Column] {
    match (resource.group, resource.plural) {
        ("", "pods") => {
            &const {
                [
                    NAME,
                    column("Ready", pod::ready),
                    column("Status", pod::status),
                    column("Restarts", pod::restarts),
                    AGE,
                    wide("IP", |pod, _| cells::text(&pod["status"]["podIP"])),
                    wide("Node", |pod, _| cells::text(&pod["spec"]["nodeName"])),
                    wide("Nominated Node", |pod, _| {
                        cells::text(&pod["status"]["nominatedNodeName"])
                    }),
                    wide("Readiness Gates", |_, _| "<none>".into()),
                ]
            }
        }
        ("", "nodes") => {
            &const {
                [
                    NAME,
                    column("Status", cells::node_status),
                    column("Roles", cells::node_roles),
                    AGE,
                    column("Version", |node, _| {
                        cells::text(&node["status"]["nodeInfo"]["kubeletVersion"])
                    }),
                    wide("Internal-IP", |node, _| {
                        cells::text(&node["status"]["addresses"][0]["address"])
                    }),
                    wide("External-IP", |_, _| "<none>".into()),
                    wide("OS-Image", |node, _| {
                        cells::text(&node["status"]["nodeInfo"]["osImage"])
                    }),
                    wide("Kernel-Version", |node, _| {
                        cells::text(&node["status"]["nodeInfo"]["kernelVersion"])
                    }),
                    wide("Container-Runtime", |node, _| {
                        cells::text(&node["status"]["nodeInfo"]["containerRuntimeVersion"])
                    }),
                ]
            }
        }
        ("", "namespaces") => {
            &const {
                [
                    NAME,
                    column("Status", |object, _| {
                        cells::text(&object["status"]["phase"])
                    }),
                    AGE,
                ]
            }
        }
        ("", "configmaps") => {
            &const {
                [
                    NAME,
                    column("Data", |object, _| cells::length(&object["data"])),
                    AGE,
                ]
            }
        }
        ("", "secrets") => {
            &const {
                [
                    NAME,
                    column("Type", |object, _| cells::text(&object["type"])),
                    column("Data", |object, _| cells::length(&object["data"])),
                    AGE,
                ]
            }
        }
        ("", "events") => {
            &const {
                [
                    column("Last Seen", |event, now| {
                        cells::since(&event["lastTimestamp"], now)
                    }),
                    column("Type", |event, _| cells::text(&event["type"])),
                    column("Reason", |event, _| cells::text(&event["reason"])),
                    column("Object", cells::event_object),
                    wide("Subobject", |event, _| {
                        cells::bare(&event["involvedObject"]["fieldPath"])
                    }),
                    wide("Source", cells::event_source),
                    column("Message", |event, _| cells::text(&event["message"])),
                    wide("First Seen", |event, now| {
                        cells::since(&event["firstTimestamp"], now)
                    }),
                    wide("Count", |event, _| cells::number(&event["count"])),
                    wide("Name", cells::name),
                ]
            }
        }
        ("", "endpoints") => &const { [NAME, column("Endpoints", cells::endpoints), AGE] },
        ("", "services") => {
            &const {
                [
                    NAME,
                    column("Type", |service, _| cells::text(&service["spec"]["type"])),
                    column("Cluster-IP", |service, _| {
                        cells::text(&service["spec"]["clusterIP"])
                    }),
                    column("External-IP", |service, _| {
                        cells::text(&service["status"]["loadBalancer"]["ingress"][0]["ip"])
                    }),
                    column("Port(s)", cells::service_ports),
                    AGE,
                    wide("Selector", cells::service_selector),
                ]
            }
        }
        ("", "persistentvolumeclaims") => {
            &const {
                [
                    NAME,
                    column("Status", |claim, _| cells::text(&claim["status"]["phase"])),
                    column("Volume", |claim, _| {
                        cells::bare(&claim["spec"]["volumeName"])
                    }),
                    column("Capacity", |claim, _| {
                        cells::bare(&claim["status"]["capacity"]["storage"])
                    }),
                    column("Access Modes", |claim, _| {
                        cells::access_modes(&claim["status"])
                    }),
                    column("StorageClass", |claim, _| {
                        cells::bare(&claim["spec"]["storageClassName"])
                    }),
                    column("VolumeAttributesClass", |_, _| "<unset>".into()),
                    AGE,
                    wide("VolumeMode", |claim, _| {
                        cells::bare(&claim["spec"]["volumeMode"])
                    }),
                ]
            }
        }
        ("", "persistentvolumes") => {
            &const {
                [
                    NAME,
                    column("Capacity", |volume, _| {
                        cells::bare(&volume["spec"]["capacity"]["storage"])
                    }),
                    column("Access Modes", |volume, _| {
                        cells::access_modes(&volume["spec"])
                    }),
                    column("Reclaim Policy", |volume, _| {
                        cells::bare(&volume["spec"]["persistentVolumeReclaimPolicy"])
                    }),
                    column("Status", |volume, _| {
                        cells::text(&volume["status"]["phase"])
                    }),
                    column("Claim", cells::volume_claim),
                    column("StorageClass", |volume, _| {
                        cells::bare(&volume["spec"]["storageClassName"])
                    }),
                    column("VolumeAttributesClass", |_, _| "<unset>".into()),
                    column("Reason", |_, _| "".into()),
                    AGE,
                    wide("VolumeMode", |volume, _| {
                        cells::bare(&volume["spec"]["volumeMode"])
                    }),
                ]
            }
        }
        ("", "resourcequotas") => {
            &const {
                [
                    NAME,
                    column("Request", cells::quota),
                    column("Limit", |_, _| "".into()),
                    AGE,
                ]
            }
        }
        ("", "limitranges") | ("rbac.authorization.k8s.io", "clusterroles" | "roles") => {
            &const { [NAME, CREATED] }
        }
        ("", "replicationcontrollers") | ("apps", "replicasets") => {
            &const {
                [
                    NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR,
                ]
            }
        }
        ("apps", "deployments") => {
            &const {
                [
                    NAME,
                    column("Ready", cells::replicas),
                    column("Up-to-date", |object, _| {
                        cells::number(&object["status"]["updatedReplicas"])
                    }),
                    column("Available", |object, _| {
                        cells::number(&object["status"]["availableReplicas"])
                    }),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    SELECTOR,
                ]
            }
        }
        ("apps", "statefulsets") => {
            &const {
                [
                    NAME,
                    column("Ready", cells::replicas),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                ]
            }
        }
        ("apps", "daemonsets") => {
            &const {
                [
                    NAME,
                    column("Desired", |set, _| {
                        cells::number(&set["status"]["desiredNumberScheduled"])
                    }),
                    column("Current", |set, _| {
                        cells::number(&set["status"]["currentNumberScheduled"])
                    }),
                    column("Ready", |set, _| {
                        cells::number(&set["status"]["numberReady"])
                    }),
                    column("Up-to-date", |set, _| {
                        cells::number(&set["status"]["updatedNumberScheduled"])
                    }),
                    column("Available", |set, _| {
                        cells::number(&set["status"]["numberAvailable"])
                    }),
                    column("Node Selector", |set, _| {
                        cells::pairs(&set["spec"]["template"]["spec"]["nodeSelector"])
                    }),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    SELECTOR,
                ]
            }
        }
        ("apps", "controllerrevisions") => {
            &const {
                [
                    NAME,
                    column("Controller", cells::controller),
                    column("Revision", |object, _| cells::number(&object["revision"])),
                    AGE,
                ]
            }
        }
        ("batch", "jobs") => {
            &const {
                [
                    NAME,
                    column("Status", cells::job_status),
                    column("Completions", cells::job_completions),
                    column("Duration", cells::job_duration),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    SELECTOR,
                ]
            }
        }
        ("batch", "cronjobs") => {
            &const {
                [
                    NAME,
                    column("Schedule", |object, _| {
                        cells::text(&object["spec"]["schedule"])
                    }),
                    column("Timezone", |object, _| {
                        cells::text(&object["spec"]["timeZone"])
                    }),
                    column("Suspend", |object, _| {
                        cells::switch(&object["spec"]["suspend"])
                    }),
                    column("Active", |object, _| {
                        cells::length(&object["status"]["active"])
                    }),
                    column("Last Schedule", |object, now| {
                        cells::since_or_none(&object["status"]["lastScheduleTime"], now)
                    }),
                    AGE,
                    wide("Containers", |object, now| {
                        cells::template_containers(&object["spec"]["jobTemplate"], now)
                    }),
                    wide("Images", |object, now| {
                        cells::template_images(&object["spec"]["jobTemplate"], now)
                    }),
                    wide("Selector", |_, _| "<none>".into()),
                ]
            }
        }
        ("autoscaling", "horizontalpodautoscalers") => {
            &const {
                [
                    NAME,
                    column("Reference", cells::scale_target),
                    column("Targets", cells::scale_metrics),
                    column("MinPods", |object, _| {
                        cells::printed(&object["spec"]["minReplicas"])
                    }),
                    column("MaxPods", |object, _| {
                        cells::number(&object["spec"]["maxReplicas"])
                    }),
                    column("Replicas", |object, _| {
                        cells::number(&object["status"]["currentReplicas"])
                    }),
                    AGE,
                ]
            }
        }
        ("coordination.k8s.io", "leases") => {
            &const {
                [
                    NAME,
                    column("Holder", |lease, _| {
                        cells::bare(&lease["spec"]["holderIdentity"])
                    }),
                    AGE,
                ]
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            &const {
                [
                    NAME,
                    column("AddressType", |slice, _| cells::text(&slice["addressType"])),
                    column("Ports", cells::slice_ports),
                    column("Endpoints", cells::slice_endpoints),
                    AGE,
                ]
            }
        }
        ("networking.k8s.io", "ingresses") => {
            &const {
                [
                    NAME,
                    column("Class", |object, _| {
                        cells::text(&object["spec"]["ingressClassName"])
                    }),
                    column("Hosts", cells::ingress_hosts),
                    column("Address", |object, _| {
                        cells::bare(&object["status"]["loadBalancer"]["ingress"][0]["ip"])
                    }),
                    column("Ports", cells::ingress_ports),
                    AGE,
                ]
            }
        }
        ("networking.k8s.io", "ingressclasses") => {
            &const {
                [
                    NAME,
                    column("Controller", |class, _| {
                        cells::text(&class["spec"]["controller"])
                    }),
                    column("Parameters", |_, _| "<none>".into()),
                    AGE,
                ]
            }
        }
        ("networking.k8s.io", "networkpolicies") => {
            &const {
                [
                    NAME,
                    column("Pod-Selector", |object, _| {
                        cells::pairs(&object["spec"]["podSelector"]["matchLabels"])
                    }),
                    AGE,
                ]
            }
        }
        ("policy", "poddisruptionbudgets") => {
            &const {
                [
                    NAME,
                    column("Min Available", |object, _| {
                        cells::or_not(&object["spec"]["minAvailable"])
                    }),
                    column("Max Unavailable", |object, _| {
                        cells::or_not(&object["spec"]["maxUnavailable"])
                    }),
                    column("Allowed Disruptions", |object, _| {
                        cells::number(&object["status"]["disruptionsAllowed"])
                    }),
                    AGE,
                ]
            }
        }
        ("rbac.authorization.k8s.io", "clusterrolebindings" | "rolebindings") => {
            &const {
                let [users, groups, accounts] = SUBJECTS;
                [
                    NAME,
                    column("Role", cells::role),
                    AGE,
                    users,
                    groups,
                    accounts,
                ]
            }
        }
        ("scheduling.k8s.io", "priorityclasses") => {
            &const {
                [
                    NAME,
                    column("Value", |class, _| cells::number(&class["value"])),
                    column("Global-Default", |class, _| class["globalDefault"].clone()),
                    AGE,
                    column("PreemptionPolicy", |class, _| {
                        cells::text(&class["preemptionPolicy"])
                    }),
                ]
            }
        }
        ("storage.k8s.io", "storageclasses") => {
            &const {
                [
                    column("Name", cells::storage_class_name),
                    column("Provisioner", |class, _| cells::text(&class["provisioner"])),
                    column("ReclaimPolicy", |class, _| {
                        cells::text(&class["reclaimPolicy"])
                    }),
                    column("VolumeBindingMode", |class, _| {
                        cells::text(&class["volumeBindingMode"])
                    }),
                    column("AllowVolumeExpansion", |class, _| {
                        class["allowVolumeExpansion"].clone()
                    }),
                    AGE,
                ]
            }
        }
        _ => &PLAIN,
    }
}
