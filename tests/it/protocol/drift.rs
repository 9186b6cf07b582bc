//! The committed schemas are what the types say; `UPDATE=1` rewrites them.

use pipeops_agent::protocol::command::{
    channel_echo, connectivity_check, events_watch, features_get, health_run, k8s_request,
    logs_follow, logs_get, metrics_watch, resources_apply, resources_delete, services_list,
    services_watch, status_get, status_watch, workloads_restart, workloads_scale,
};
use pipeops_agent::protocol::hello::{Register, Registered};
use pipeops_agent::protocol::{Command, ErrorBody, ToAgent, ToGateway};
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

use super::fixture::root;

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(as_written))
        .into_generator()
}

/// A schema says what a sender may write: an absent field is left out, never null, and a number
/// fits its type.
fn as_written(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(kinds)) = object.get("type") {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        object.insert("type".into(), kind.expect("a type beside null"));
    }
    if let Some(Value::Array(mut branches)) = object.remove("anyOf") {
        branches.retain(|branch| branch["type"] != "null");
        match branches.as_slice() {
            [Value::Object(only)] => object.extend(only.clone()),
            _ => {
                object.insert("anyOf".into(), branches.into());
            }
        }
    }
    if object
        .get("format")
        .is_some_and(|format| format == "uint32")
    {
        object.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
}

fn of<T: JsonSchema>() -> Schema {
    generator().into_root_schema_for::<T>()
}

type Part = fn(&mut SchemaGenerator) -> Schema;

/// One document for several types that belong together: an object with a property for each.
fn together(title: &str, description: &str, parts: &[(&str, Part)]) -> Schema {
    let mut generator = generator();
    let properties: serde_json::Map<String, Value> = parts
        .iter()
        .map(|(name, part)| ((*name).to_owned(), part(&mut generator).to_value()))
        .collect();
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

/// The schema of a command; a new one does not pass until it is written here.
fn command(name: &str) -> Schema {
    let parts: &[(&str, Part)] = match name {
        "k8s.request" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<k8s_request::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<k8s_request::Event>,
            ),
        ],
        "channel.echo" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<channel_echo::Request>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<channel_echo::Done>,
            ),
        ],
        "resources.apply" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<resources_apply::Request>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<resources_apply::Done>,
            ),
        ],
        "resources.delete" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<resources_delete::Request>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<resources_delete::Done>,
            ),
        ],
        "workloads.restart" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<workloads_restart::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<workloads_restart::Event>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<workloads_restart::Done>,
            ),
        ],
        "workloads.scale" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<workloads_scale::Request>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<workloads_scale::Done>,
            ),
        ],
        "metrics.watch" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<metrics_watch::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<metrics_watch::Event>,
            ),
        ],
        "features.get" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<features_get::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<features_get::Event>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<features_get::Done>,
            ),
        ],
        "connectivity.check" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<connectivity_check::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<connectivity_check::Event>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<connectivity_check::Done>,
            ),
        ],
        "health.run" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<health_run::Request>,
            ),
            ("result", SchemaGenerator::subschema_for::<health_run::Done>),
        ],
        "events.watch" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<events_watch::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<events_watch::Event>,
            ),
        ],
        "services.list" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<services_list::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<services_list::Event>,
            ),
            (
                "result",
                SchemaGenerator::subschema_for::<services_list::Done>,
            ),
        ],
        "services.watch" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<services_watch::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<services_watch::Event>,
            ),
        ],
        "logs.follow" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<logs_follow::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<logs_follow::Event>,
            ),
        ],
        "logs.get" => &[
            ("args", SchemaGenerator::subschema_for::<logs_get::Request>),
            (
                "event",
                SchemaGenerator::subschema_for::<logs_follow::Event>,
            ),
            ("result", SchemaGenerator::subschema_for::<logs_get::Done>),
        ],
        "status.get" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<status_get::Request>,
            ),
            ("event", SchemaGenerator::subschema_for::<status_get::Event>),
            (
                "result",
                SchemaGenerator::subschema_for::<status_get::Summary>,
            ),
        ],
        "status.watch" => &[
            (
                "args",
                SchemaGenerator::subschema_for::<status_watch::Request>,
            ),
            (
                "event",
                SchemaGenerator::subschema_for::<status_watch::Event>,
            ),
        ],
        other => panic!("{other} has no schema"),
    };
    together(
        name,
        "`args` stands in `open`, each `event` in an `event`, `result` in the good `end`.",
        parts,
    )
}

fn check(name: &str, schema: &Schema) {
    let path = root().join(format!("proto/v2/{name}.schema.json"));
    let mut fresh = serde_json::to_string_pretty(schema).unwrap();
    fresh.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, fresh).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first_difference = fresh
        .lines()
        .zip(committed.lines().chain(std::iter::repeat("(nothing)")))
        .enumerate()
        .find(|(_, (fresh, committed))| fresh != committed);
    assert!(
        fresh == committed,
        "{} is not what the types say; first difference {first_difference:?}; \
         UPDATE=1 cargo test --features schema protocol rewrites it",
        path.display(),
    );
}

#[test]
fn the_schemas_are_what_the_types_say() {
    check("to_agent", &of::<ToAgent>());
    check("to_gateway", &of::<ToGateway>());
    check(
        "register",
        &together(
            "register",
            "`request` is the body of `POST /register`, `answer` that of its 200, `refusal` that of any other status.",
            &[
                ("request", SchemaGenerator::subschema_for::<Register>),
                ("answer", SchemaGenerator::subschema_for::<Registered>),
                ("refusal", SchemaGenerator::subschema_for::<ErrorBody>),
            ],
        ),
    );
    for name in Command::NAMES {
        check(
            &format!("commands/{}", name.replace('.', "_")),
            &command(name),
        );
    }
    none_is_left_over();
}

fn none_is_left_over() {
    let names = std::fs::read_dir(root().join("proto/v2/commands")).unwrap();
    for entry in names {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.strip_suffix(".schema.json").unwrap();
        let known = Command::NAMES
            .iter()
            .any(|command| command.replace('.', "_") == stem);
        assert!(known, "{name} belongs to no command");
    }
}
