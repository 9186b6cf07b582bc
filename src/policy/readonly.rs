//! The preset `readonly`, as a list.
//!
//! Owns what may be read. What is not here is denied: secrets, config maps (people keep passwords
//! there), custom resources (nobody knows what they hold), roles and their bindings, every
//! subresource that runs something or reaches past the API server.
//! Invariant: the list has no wildcard, and the ClusterRole that is shipped lists the same.

use http::Method;

use super::{Need, Target};
use crate::kubeapi::{Attributes, RequestPath, Verb};

/// Group, and its resources that may be got, listed and watched.
const READ: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "replicationcontrollers",
            "resourcequotas",
            "serviceaccounts",
            "services",
        ],
    ),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    (
        "apps",
        &[
            "controllerrevisions",
            "daemonsets",
            "deployments",
            "replicasets",
            "statefulsets",
        ],
    ),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("batch", &["cronjobs", "jobs"]),
    ("coordination.k8s.io", &["leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    ("metrics.k8s.io", &["nodes", "pods"]),
    (
        "networking.k8s.io",
        &["ingressclasses", "ingresses", "networkpolicies"],
    ),
    ("node.k8s.io", &["runtimeclasses"]),
    ("policy", &["poddisruptionbudgets"]),
    ("scheduling.k8s.io", &["priorityclasses"]),
    (
        "storage.k8s.io",
        &[
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
        ],
    ),
];

/// Group, resource and subresource that may be got.
const READ_BELOW: &[(&str, &str, &str)] = &[
    ("", "pods", "log"),
    ("", "pods", "status"),
    ("", "namespaces", "status"),
    ("", "persistentvolumeclaims", "status"),
    ("", "replicationcontrollers", "scale"),
    ("", "resourcequotas", "status"),
    ("", "services", "status"),
    ("apps", "daemonsets", "status"),
    ("apps", "deployments", "scale"),
    ("apps", "deployments", "status"),
    ("apps", "replicasets", "scale"),
    ("apps", "replicasets", "status"),
    ("apps", "statefulsets", "scale"),
    ("apps", "statefulsets", "status"),
    ("autoscaling", "horizontalpodautoscalers", "status"),
    ("batch", "cronjobs", "status"),
    ("batch", "jobs", "status"),
    ("networking.k8s.io", "ingresses", "status"),
    ("policy", "poddisruptionbudgets", "status"),
];

/// What a caller asks about themselves: a POST, but nothing is kept of it.
const REVIEWS: &[(&str, &str)] = &[
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// Paths outside resources, with or without a slash at their end.
const PATHS: &[&str] = &[
    "/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version",
];

/// Prefixes of such paths: discovery, schemas, single health checks.
const BELOW: &[&str] = &[
    "/api/",
    "/apis/",
    "/healthz/",
    "/livez/",
    "/openapi/",
    "/readyz/",
];

/// Every access that the list allows, as the ClusterRole that is shipped grants them.
pub(super) fn needs() -> Vec<Need> {
    let mut needs = Vec::new();
    for (group, resources) in READ {
        for resource in *resources {
            for verb in [Verb::Get, Verb::List, Verb::Watch] {
                // Usage is measured, and cannot be watched.
                if *group != "metrics.k8s.io" || verb != Verb::Watch {
                    needs.push(Need::resource(verb, group, resource));
                }
            }
        }
    }
    let below = READ_BELOW.iter();
    needs.extend(below.map(|(group, resource, subresource)| {
        Need::resource(Verb::Get, group, resource).below(subresource)
    }));
    let reviews = REVIEWS.iter();
    needs.extend(reviews.map(|(group, resource)| Need::resource(Verb::Create, group, resource)));
    needs.extend(PATHS.iter().map(|path| Need::path(path)));
    needs
}

/// Which rule allows the request, or which denies it.
pub(super) fn decide(path: &RequestPath) -> Result<&'static str, &'static str> {
    let attributes = path.attributes();
    if attributes.upgrade.is_some() {
        return Err("an upgraded connection can do anything");
    }
    // `POST /api/v1/watch/pods` is the verb watch to the API server, and nothing honest.
    let reads = matches!(*path.method(), Method::GET | Method::HEAD);
    if attributes.resource_request {
        resource(attributes, reads)
    } else {
        other(attributes.verb, path.canonical())
    }
}

/// Which rule allows all that a command of ours needs, or which denies the first that is denied.
pub(super) fn decide_all(needs: &[Need]) -> Result<&'static str, &'static str> {
    let mut allowed = Err("it says not what it needs");
    for need in needs {
        allowed = match need.target {
            Target::Resource {
                group,
                resource,
                subresource,
            } => listed(need.verb, group, resource, subresource),
            Target::Path(path) => other(need.verb, path),
            Target::Kind { .. } => Err("it writes"),
        };
        allowed?;
    }
    allowed
}

fn resource(attributes: &Attributes, reads: bool) -> Result<&'static str, &'static str> {
    let group = attributes.api_group.as_str();
    let resource = attributes.resource.as_str();
    if attributes.verb == Verb::Create {
        let asks = REVIEWS.contains(&(group, resource))
            && attributes.subresource.is_empty()
            && attributes.name.is_empty()
            && attributes.namespace.is_empty();
        return if asks {
            Ok("a question about oneself")
        } else {
            Err("it writes")
        };
    }
    if !reads {
        return Err("it writes");
    }
    listed(attributes.verb, group, resource, &attributes.subresource)
}

fn listed(
    verb: Verb,
    group: &str,
    resource: &str,
    subresource: &str,
) -> Result<&'static str, &'static str> {
    let asks =
        verb == Verb::Create && REVIEWS.contains(&(group, resource)) && subresource.is_empty();
    if asks {
        return Ok("a question about oneself");
    }
    if !matches!(verb, Verb::Get | Verb::List | Verb::Watch) {
        return Err("it writes");
    }
    if !subresource.is_empty() {
        let listed = verb == Verb::Get && READ_BELOW.contains(&(group, resource, subresource));
        return if listed {
            Ok("readonly")
        } else {
            Err("the subresource is not on the list")
        };
    }
    let listed = READ
        .iter()
        .any(|(known, resources)| *known == group && resources.contains(&resource));
    if listed {
        Ok("readonly")
    } else {
        Err("the resource is not on the list")
    }
}

fn other(verb: Verb, path: &str) -> Result<&'static str, &'static str> {
    if !matches!(verb, Verb::Get | Verb::Head) {
        return Err("it writes");
    }
    let listed = PATHS.contains(&path.strip_suffix('/').unwrap_or(path))
        || BELOW.iter().any(|prefix| path.starts_with(prefix));
    if listed {
        Ok("discovery and health")
    } else {
        Err("the path is not on the list")
    }
}
