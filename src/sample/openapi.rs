//! OpenAPI v3: what the fields of each kind are, for `kubectl explain`.
//!
//! Owns: the documents, built from two lists: `openapi/schemas.txt` has every field and type of
//! the kinds that are served, as Kubernetes 1.36 has them; `openapi/descriptions.txt` has a
//! sentence of our own for those that people look up. Owns not: which kinds there are (`catalog`).
//! Invariant: a document holds every schema that it refers to.
//!
//! A line of the first list without an indent begins a type, `NAME` or `NAME = TYPE`. The lines
//! below it are its fields, `NAME TYPE`, or `NAME! TYPE` for a required one. A type is
//! `string:FORMAT` or the like, `[]TYPE`, `map:TYPE`, `object`, `any`, `int-or-string`, or a name.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::catalog::{self, Resource, Serves};
use super::seed;

const SCHEMAS: &str = include_str!("openapi/schemas.txt");
const DESCRIPTIONS: &str = include_str!("openapi/descriptions.txt");

/// `/openapi/v3`: where each group's document is. The hash changes with the content, so that
/// kubectl's cache may keep a document.
pub(super) fn index() -> Answer {
    let hash = format!("{:016X}", seed::mix(&[SCHEMAS, DESCRIPTIONS], 0));
    let paths: Map<String, Value> = catalog::groups()
        .into_iter()
        .map(|(group, version)| {
            let path = prefix(group, version);
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    answer::json(StatusCode::OK, &json!({"paths": paths}))
}

/// The document of one group and version.
pub(super) fn document(group: &str, version: &str) -> Option<Answer> {
    let types = types();
    let descriptions = descriptions();
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut wanted: Vec<&str> = Vec::new();
    for resource in catalog::of_group(group, version) {
        describe_paths(resource, &mut paths);
        let name = type_name(resource);
        if let Some((name, _)) = types.get_key_value(name.as_str()) {
            wanted.push(name);
            let mut schema = schema(name, &types, &descriptions, &mut wanted);
            schema["x-kubernetes-group-version-kind"] = json!([kind(resource)]);
            schemas.insert(full_name(name), schema);
        }
    }
    while let Some(name) = wanted.pop() {
        let full = full_name(name);
        if !schemas.contains_key(&full) {
            // Entered before its fields are looked at: a type may refer to itself.
            schemas.insert(full.clone(), Value::Null);
            let schema = schema(name, &types, &descriptions, &mut wanted);
            schemas.insert(full, schema);
        }
    }
    if paths.is_empty() {
        return None;
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Sample cluster", "version": super::objects::SERVER_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    });
    Some(answer::json(StatusCode::OK, &document))
}

/// One type of the list: its own form, or its fields.
#[derive(Debug, Default)]
struct Type {
    form: Option<&'static str>,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    form: &'static str,
    required: bool,
}

type Types = BTreeMap<&'static str, Type>;
type Descriptions = BTreeMap<&'static str, &'static str>;

fn types() -> Types {
    let mut types = Types::new();
    let mut current = "";
    for line in SCHEMAS.lines() {
        if let Some(field) = line.strip_prefix("  ") {
            let (name, form) = field.split_once(' ').unwrap_or((field, "any"));
            let required = name.ends_with('!');
            let name = name.trim_end_matches('!');
            if let Some(known) = types.get_mut(current) {
                known.fields.push(Field {
                    name,
                    form,
                    required,
                });
            }
        } else {
            let (name, form) = match line.split_once(" = ") {
                Some((name, form)) => (name, Some(form)),
                None => (line, None),
            };
            current = name;
            types.insert(
                name,
                Type {
                    form,
                    fields: Vec::new(),
                },
            );
        }
    }
    types
}

fn descriptions() -> Descriptions {
    DESCRIPTIONS
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect()
}

fn schema(
    name: &'static str,
    types: &Types,
    descriptions: &Descriptions,
    wanted: &mut Vec<&'static str>,
) -> Value {
    let Some(known) = types.get(name) else {
        return json!({"type": "object"});
    };
    let mut schema = match known.form {
        Some(form) => form_schema(form, types, wanted),
        None => json!({"type": "object"}),
    };
    if let Some(text) = descriptions.get(name) {
        schema["description"] = (*text).into();
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in &known.fields {
        let mut property = form_schema(field.form, types, wanted);
        if let Some(text) = descriptions.get(format!("{name}.{}", field.name).as_str()) {
            property["description"] = (*text).into();
        }
        properties.insert(field.name.to_owned(), property);
        if field.required {
            required.push(field.name);
        }
    }
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn form_schema(form: &'static str, types: &Types, wanted: &mut Vec<&'static str>) -> Value {
    if let Some(items) = form.strip_prefix("[]") {
        return json!({"type": "array", "items": form_schema(items, types, wanted)});
    }
    if let Some(values) = form.strip_prefix("map:") {
        let values = form_schema(values, types, wanted);
        return json!({"type": "object", "additionalProperties": values});
    }
    if types.contains_key(form) {
        wanted.push(form);
        // In an allOf, because a description beside a bare reference would not count.
        let reference = format!("#/components/schemas/{}", full_name(form));
        return json!({"allOf": [{"$ref": reference}]});
    }
    match form.split_once(':') {
        Some((kind, format)) => json!({"type": kind, "format": format}),
        None if form == "any" => json!({}),
        None if form == "int-or-string" => {
            json!({"oneOf": [{"type": "string"}, {"type": "integer"}]})
        }
        None => json!({"type": form}),
    }
}

fn full_name(name: &str) -> String {
    let home = match name.split('.').next() {
        Some("meta") => "io.k8s.apimachinery.pkg.apis",
        Some("api" | "runtime" | "util") => "io.k8s.apimachinery.pkg",
        Some("metrics") => "io.k8s.metrics.pkg.apis",
        _ => "io.k8s.api",
    };
    format!("{home}.{name}")
}

fn type_name(resource: &Resource) -> String {
    let group = match resource.group.split('.').next() {
        Some(group) if !group.is_empty() => group,
        _ => "core",
    };
    format!("{group}.{}.{}", resource.version, resource.kind)
}

fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// The paths by which kubectl finds a resource's schema. PATCH is listed because kubectl looks
/// there whether the server checks fields, before it sends what the server then refuses.
fn describe_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let base = prefix(resource.group, resource.version);
    let plural = resource.plural;
    let schema = format!("#/components/schemas/{}", full_name(&type_name(resource)));
    let operation = |action: &str| {
        json!({
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind(resource),
            "responses": {"200": {"description": "OK", "content": {
                "application/json": {"schema": {"$ref": schema}}}}},
        })
    };
    if resource.serves == Serves::Review {
        paths.insert(
            format!("/{base}/{plural}"),
            json!({"post": operation("post")}),
        );
        return;
    }
    let mut patch = operation("patch");
    patch["description"] = "The sample cluster is read-only: always refused.".into();
    patch["responses"] = json!({"405": {"description": "Method Not Allowed"}});
    patch["parameters"] =
        json!([{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]);
    let mut collections = vec![format!("/{base}/{plural}")];
    if resource.namespaced {
        collections.push(format!("/{base}/namespaces/{{namespace}}/{plural}"));
    }
    for path in &collections {
        paths.insert(path.clone(), json!({"get": operation("list")}));
    }
    if let Some(path) = collections.last() {
        let item = json!({"get": operation("get"), "patch": patch});
        paths.insert(format!("{path}/{{name}}"), item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_kind_and_every_type_it_refers_to_is_listed() {
        let types = types();
        for resource in catalog::RESOURCES {
            assert!(
                types.contains_key(type_name(resource).as_str()),
                "{}",
                resource.kind
            );
        }
        for (name, known) in &types {
            for form in known
                .fields
                .iter()
                .map(|field| field.form)
                .chain(known.form)
            {
                let inner = form.trim_start_matches("[]").trim_start_matches("map:");
                let inner = inner.trim_start_matches("[]").trim_start_matches("map:");
                let plain = inner.split(':').next().unwrap();
                let basic = ["string", "integer", "number", "boolean", "object", "any"];
                assert!(
                    basic.contains(&plain) || plain == "int-or-string" || types.contains_key(inner),
                    "{name} refers to {form}"
                );
            }
        }
    }

    #[test]
    fn every_description_is_of_something_that_is_listed() {
        let types = types();
        for name in descriptions().keys() {
            let of_field = name.rsplit_once('.').is_some_and(|(of, field)| {
                types
                    .get(of)
                    .is_some_and(|it| it.fields.iter().any(|f| f.name == field))
            });
            assert!(of_field || types.contains_key(name), "{name}");
        }
    }
}
