//! Discovery: which groups, versions and resources there are.
//!
//! Owns: the aggregated documents and the older ones, one request a group. Owns not: the table
//! behind them (`catalog`).
//! Invariant: both forms say the same.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::catalog::{self, Resource};
use super::request::Form;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api`.
pub(super) fn core(form: Form, address: &str) -> Answer {
    if form == Form::Discovery {
        return aggregated(|group| group.is_empty());
    }
    answer::json(
        StatusCode::OK,
        &json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }),
    )
}

/// `/apis`.
pub(super) fn groups(form: Form) -> Answer {
    if form == Form::Discovery {
        return aggregated(|group| !group.is_empty());
    }
    let groups: Vec<Value> = catalog::groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, version)| group_document(group, version))
        .collect();
    answer::json(
        StatusCode::OK,
        &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
    )
}

/// `/apis/GROUP`.
pub(super) fn group(group: &str) -> Option<Answer> {
    let (name, version) = catalog::groups()
        .into_iter()
        .find(|(name, _)| *name == group)?;
    let mut document = group_document(name, version);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(answer::json(StatusCode::OK, &document))
}

fn group_document(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub(super) fn resources(group: &str, version: &str) -> Option<Answer> {
    let mut resources = Vec::new();
    let mut api_version = None;
    for resource in catalog::of_group(group, version) {
        api_version = Some(resource.api_version());
        let mut document = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs(),
        });
        names(&mut document, resource);
        resources.push(document);
        for subresource in resource.subresources() {
            resources.push(json!({
                "name": format!("{}/{subresource}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": ["get"],
            }));
        }
    }
    let document = json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version?,
        "resources": resources,
    });
    Some(answer::json(StatusCode::OK, &document))
}

fn names(document: &mut Value, resource: &Resource) {
    if !resource.short.is_empty() {
        document["shortNames"] = resource.short.into();
    }
    if resource.all {
        document["categories"] = json!(["all"]);
    }
}

fn aggregated(wanted: impl Fn(&str) -> bool) -> Answer {
    let groups: Vec<Value> = catalog::groups()
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, version)| {
            let resources: Vec<Value> = catalog::of_group(group, version).map(described).collect();
            let version =
                json!({"version": version, "freshness": "Current", "resources": resources});
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": [version]})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups,
    });
    answer::whole(StatusCode::OK, AGGREGATED, document.to_string().into())
}

fn described(resource: &'static Resource) -> Value {
    let kind = json!({
        "group": resource.group,
        "version": resource.version,
        "kind": resource.kind,
    });
    let subresources: Vec<Value> = resource
        .subresources()
        .iter()
        .map(|name| json!({"subresource": name, "responseKind": kind, "verbs": ["get"]}))
        .collect();
    let mut document = json!({
        "resource": resource.plural,
        "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
    });
    names(&mut document, resource);
    if !subresources.is_empty() {
        document["subresources"] = subresources.into();
    }
    document
}
