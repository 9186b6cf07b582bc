//! Which resources the sample cluster serves.
//!
//! Owns: the table of groups, versions, kinds and names that discovery, OpenAPI, paths and tables
//! share. Owns not: the objects (`store`), nor the rows of a table (`table`).
//! Invariant: the order of [`RESOURCES`] is the order of discovery; core comes first, so that
//! short names resolve as on a real cluster.

/// One resource of the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) namespaced: bool,
    pub(super) short: &'static [&'static str],
    /// In the category `all`, which `kubectl get all` asks for.
    pub(super) all: bool,
    pub(super) serves: Serves,
}

/// What can be asked of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// Objects of the store: get, list, watch.
    Stored,
    /// Computed on each request: get, list.
    Metrics,
    /// A question by POST, with nothing kept.
    Review,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The verbs that discovery names.
    pub(super) fn verbs(&self) -> &'static [&'static str] {
        match self.serves {
            Serves::Stored => &["get", "list", "watch"],
            Serves::Metrics => &["get", "list"],
            Serves::Review => &["create"],
        }
    }

    /// Subresources that discovery names.
    pub(super) fn subresources(&self) -> &'static [&'static str] {
        if self.group.is_empty() && self.plural == "pods" {
            &["log"]
        } else {
            &[]
        }
    }

    /// Whether this is `plural` of `group`.
    pub(super) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}

const fn resource(
    (group, version): (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
) -> Resource {
    Resource {
        group,
        version,
        kind,
        plural,
        singular,
        namespaced,
        short,
        all: false,
        serves: Serves::Stored,
    }
}

const fn in_all(resource: Resource) -> Resource {
    Resource {
        all: true,
        ..resource
    }
}

const fn metrics(resource: Resource) -> Resource {
    Resource {
        serves: Serves::Metrics,
        ..resource
    }
}

const fn review(resource: Resource) -> Resource {
    Resource {
        serves: Serves::Review,
        ..resource
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");
const AUTOSCALING: (&str, &str) = ("autoscaling", "v2");
const BATCH: (&str, &str) = ("batch", "v1");
const COORDINATION: (&str, &str) = ("coordination.k8s.io", "v1");
const DISCOVERY: (&str, &str) = ("discovery.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const POLICY: (&str, &str) = ("policy", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const SCHEDULING: (&str, &str) = ("scheduling.k8s.io", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");
const METRICS: (&str, &str) = ("metrics.k8s.io", "v1beta1");

/// Every resource that is served.
pub(super) static RESOURCES: &[Resource] = &[
    resource(CORE, "ConfigMap", "configmaps", "configmap", true, &["cm"]),
    resource(CORE, "Endpoints", "endpoints", "endpoints", true, &["ep"]),
    resource(CORE, "Event", "events", "event", true, &["ev"]),
    resource(
        CORE,
        "LimitRange",
        "limitranges",
        "limitrange",
        true,
        &["limits"],
    ),
    resource(CORE, "Namespace", "namespaces", "namespace", false, &["ns"]),
    resource(CORE, "Node", "nodes", "node", false, &["no"]),
    resource(
        CORE,
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        true,
        &["pvc"],
    ),
    resource(
        CORE,
        "PersistentVolume",
        "persistentvolumes",
        "persistentvolume",
        false,
        &["pv"],
    ),
    in_all(resource(CORE, "Pod", "pods", "pod", true, &["po"])),
    in_all(resource(
        CORE,
        "ReplicationController",
        "replicationcontrollers",
        "replicationcontroller",
        true,
        &["rc"],
    )),
    resource(
        CORE,
        "ResourceQuota",
        "resourcequotas",
        "resourcequota",
        true,
        &["quota"],
    ),
    resource(CORE, "Secret", "secrets", "secret", true, &[]),
    resource(
        CORE,
        "ServiceAccount",
        "serviceaccounts",
        "serviceaccount",
        true,
        &["sa"],
    ),
    in_all(resource(
        CORE,
        "Service",
        "services",
        "service",
        true,
        &["svc"],
    )),
    resource(
        APPS,
        "ControllerRevision",
        "controllerrevisions",
        "controllerrevision",
        true,
        &[],
    ),
    in_all(resource(
        APPS,
        "DaemonSet",
        "daemonsets",
        "daemonset",
        true,
        &["ds"],
    )),
    in_all(resource(
        APPS,
        "Deployment",
        "deployments",
        "deployment",
        true,
        &["deploy"],
    )),
    in_all(resource(
        APPS,
        "ReplicaSet",
        "replicasets",
        "replicaset",
        true,
        &["rs"],
    )),
    in_all(resource(
        APPS,
        "StatefulSet",
        "statefulsets",
        "statefulset",
        true,
        &["sts"],
    )),
    review(resource(
        AUTHENTICATION,
        "SelfSubjectReview",
        "selfsubjectreviews",
        "selfsubjectreview",
        false,
        &[],
    )),
    review(resource(
        AUTHORIZATION,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        false,
        &[],
    )),
    review(resource(
        AUTHORIZATION,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        false,
        &[],
    )),
    in_all(resource(
        AUTOSCALING,
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
        true,
        &["hpa"],
    )),
    in_all(resource(
        BATCH,
        "CronJob",
        "cronjobs",
        "cronjob",
        true,
        &["cj"],
    )),
    in_all(resource(BATCH, "Job", "jobs", "job", true, &[])),
    resource(COORDINATION, "Lease", "leases", "lease", true, &[]),
    resource(
        DISCOVERY,
        "EndpointSlice",
        "endpointslices",
        "endpointslice",
        true,
        &[],
    ),
    resource(
        NETWORKING,
        "IngressClass",
        "ingressclasses",
        "ingressclass",
        false,
        &[],
    ),
    resource(
        NETWORKING,
        "Ingress",
        "ingresses",
        "ingress",
        true,
        &["ing"],
    ),
    resource(
        NETWORKING,
        "NetworkPolicy",
        "networkpolicies",
        "networkpolicy",
        true,
        &["netpol"],
    ),
    resource(
        POLICY,
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "poddisruptionbudget",
        true,
        &["pdb"],
    ),
    resource(
        RBAC,
        "ClusterRoleBinding",
        "clusterrolebindings",
        "clusterrolebinding",
        false,
        &[],
    ),
    resource(
        RBAC,
        "ClusterRole",
        "clusterroles",
        "clusterrole",
        false,
        &[],
    ),
    resource(
        RBAC,
        "RoleBinding",
        "rolebindings",
        "rolebinding",
        true,
        &[],
    ),
    resource(RBAC, "Role", "roles", "role", true, &[]),
    resource(
        SCHEDULING,
        "PriorityClass",
        "priorityclasses",
        "priorityclass",
        false,
        &["pc"],
    ),
    resource(
        STORAGE,
        "StorageClass",
        "storageclasses",
        "storageclass",
        false,
        &["sc"],
    ),
    metrics(resource(METRICS, "NodeMetrics", "nodes", "", false, &[])),
    metrics(resource(METRICS, "PodMetrics", "pods", "", true, &[])),
];

/// Finds a resource by its path segments.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|resource| resource.is(group, plural) && resource.version == version)
}

/// Finds the stored resource of a kind. The sample's own objects name kinds that exist.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|resource| {
        resource.kind == kind
            && resource.serves == Serves::Stored
            && match api_version.split_once('/') {
                Some((group, version)) => resource.group == group && resource.version == version,
                None => resource.group.is_empty() && resource.version == api_version,
            }
    })
}

/// Every group and version, in the order of the table. Each group has exactly one version.
pub(super) fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups = Vec::new();
    for resource in RESOURCES {
        let pair = (resource.group, resource.version);
        if !groups.contains(&pair) {
            groups.push(pair);
        }
    }
    groups
}

/// The resources of one group and version.
pub(super) fn of_group(group: &str, version: &str) -> impl Iterator<Item = &'static Resource> {
    let (group, version) = (group.to_owned(), version.to_owned());
    RESOURCES
        .iter()
        .filter(move |item| item.group == group && item.version == version)
}
