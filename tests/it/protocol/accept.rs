//! What must be read, and written again byte for byte.

use pipeops_agent::protocol::codec::{self, Decoded, Direction, Wire};
use pipeops_agent::protocol::command::{
    channel_echo, connectivity_check, events_watch, features_get, health_run, k8s_request,
    logs_follow, logs_get, metrics_watch, resources_apply, resources_delete, services_list,
    services_watch, status_get, status_watch, workloads_restart, workloads_scale,
};
use pipeops_agent::protocol::hello::{Register, Registered};
use pipeops_agent::protocol::{Command, ErrorBody, Frame, ToAgent, ToGateway};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fixture::{self, Fixture, hex, meaning, to_hex};
use super::schema::Schema;

/// Reads a message and returns what our encoder makes of it.
fn recoded<M: Direction + Serialize>(fixture: &Fixture) -> String {
    match codec::decode_text::<M>(&fixture.text) {
        Ok(Decoded::Message(message)) => codec::encode(&message),
        Ok(Decoded::Frame(_) | Decoded::Ignored) => panic!("{fixture} was not read as a message"),
        Err(code) => panic!("{fixture} was refused: {code}"),
    }
}

fn recoded_part<T: DeserializeOwned + Serialize>(fixture: &Fixture, part: &str) -> String {
    let document: std::collections::BTreeMap<String, T> =
        serde_json::from_str(&fixture.text).unwrap_or_else(|error| panic!("{fixture}: {error}"));
    let value = serde_json::to_string(&document[part]).unwrap();
    format!("{{\"{part}\":{value}}}")
}

/// A fixture is its own canonical form, unless `<case>.means.json` stands beside it.
fn check_text(fixture: &Fixture, schema: &Schema, recoded: &str) {
    let canonical = fixture.sibling("means").unwrap_or(fixture.text.clone());
    assert_eq!(recoded, canonical, "{fixture}");
    // The schema speaks of what a sender writes, which is the canonical form.
    let complaints = schema.complaints(&serde_json::from_str(recoded).unwrap());
    assert!(complaints.is_empty(), "{fixture}: {complaints:?}");
}

fn check_frame(fixture: &Fixture) {
    let json = fixture.json();
    let bytes = hex(&json["hex"]);
    let Ok(Decoded::Frame(frame)) = codec::decode::<ToAgent>(&Wire::Binary(bytes.clone())) else {
        panic!("{fixture} was not read as a frame");
    };
    let mut means = json["means"].clone();
    if let Some(data) = means.get_mut("data") {
        data["hex"] = to_hex(&hex(&data["hex"])).into();
    }
    assert_eq!(meaning(&frame), means, "{fixture}");
    let written = json.get("written").map_or(bytes, hex);
    assert_eq!(frame.encode(), written, "{fixture}");
    assert_eq!(Frame::decode(&written), Ok(Some(frame)), "{fixture}");
}

fn check_ignored(fixture: &Fixture) {
    let json = fixture.json();
    let wire = match json.get("text") {
        Some(text) => Wire::Text(fixture::pieces(text)),
        None => Wire::Binary(hex(&json["hex"])),
    };
    let to = json["to"]
        .as_str()
        .expect("an ignored fixture says to whom");
    if matches!(to, "agent" | "both") {
        let decoded = codec::decode::<ToAgent>(&wire);
        assert!(
            matches!(decoded, Ok(Decoded::Ignored)),
            "{fixture}: {decoded:?}"
        );
    }
    if matches!(to, "gateway" | "both") {
        let decoded = codec::decode::<ToGateway>(&wire);
        assert!(
            matches!(decoded, Ok(Decoded::Ignored)),
            "{fixture}: {decoded:?}"
        );
    }
}

/// The one key of a fixture that holds a part of something.
fn part(fixture: &Fixture) -> String {
    let Value::Object(fields) = fixture.json() else {
        panic!("{fixture} is no object");
    };
    assert_eq!(fields.len(), 1, "{fixture}");
    fields.into_iter().next().map(|(name, _)| name).unwrap()
}

fn recoded_command(fixture: &Fixture, name: &str) -> String {
    let part = part(fixture);
    match (name, part.as_str()) {
        ("k8s.request", "args") => recoded_part::<k8s_request::Request>(fixture, &part),
        ("k8s.request", "event") => recoded_part::<k8s_request::Event>(fixture, &part),
        ("channel.echo", "args") => recoded_part::<channel_echo::Request>(fixture, &part),
        ("channel.echo", "result") => recoded_part::<channel_echo::Done>(fixture, &part),
        ("resources.apply", "args") => recoded_part::<resources_apply::Request>(fixture, &part),
        ("resources.apply", "result") => recoded_part::<resources_apply::Done>(fixture, &part),
        ("resources.delete", "args") => recoded_part::<resources_delete::Request>(fixture, &part),
        ("resources.delete", "result") => recoded_part::<resources_delete::Done>(fixture, &part),
        ("workloads.restart", "args") => recoded_part::<workloads_restart::Request>(fixture, &part),
        ("workloads.restart", "event") => recoded_part::<workloads_restart::Event>(fixture, &part),
        ("workloads.restart", "result") => recoded_part::<workloads_restart::Done>(fixture, &part),
        ("workloads.scale", "args") => recoded_part::<workloads_scale::Request>(fixture, &part),
        ("workloads.scale", "result") => recoded_part::<workloads_scale::Done>(fixture, &part),
        ("metrics.watch", "args") => recoded_part::<metrics_watch::Request>(fixture, &part),
        ("metrics.watch", "event") => recoded_part::<metrics_watch::Event>(fixture, &part),
        ("features.get", "args") => recoded_part::<features_get::Request>(fixture, &part),
        ("features.get", "event") => recoded_part::<features_get::Event>(fixture, &part),
        ("features.get", "result") => recoded_part::<features_get::Done>(fixture, &part),
        ("connectivity.check", "args") => {
            recoded_part::<connectivity_check::Request>(fixture, &part)
        }
        ("connectivity.check", "event") => {
            recoded_part::<connectivity_check::Event>(fixture, &part)
        }
        ("connectivity.check", "result") => {
            recoded_part::<connectivity_check::Done>(fixture, &part)
        }
        ("health.run", "args") => recoded_part::<health_run::Request>(fixture, &part),
        ("health.run", "result") => recoded_part::<health_run::Done>(fixture, &part),
        ("events.watch", "args") => recoded_part::<events_watch::Request>(fixture, &part),
        ("events.watch", "event") => recoded_part::<events_watch::Event>(fixture, &part),
        ("services.list", "args") => recoded_part::<services_list::Request>(fixture, &part),
        ("services.list", "event") => recoded_part::<services_list::Event>(fixture, &part),
        ("services.list", "result") => recoded_part::<services_list::Done>(fixture, &part),
        ("services.watch", "args") => recoded_part::<services_watch::Request>(fixture, &part),
        ("services.watch", "event") => recoded_part::<services_watch::Event>(fixture, &part),
        ("logs.follow", "args") => recoded_part::<logs_follow::Request>(fixture, &part),
        ("logs.get", "args") => recoded_part::<logs_get::Request>(fixture, &part),
        ("logs.follow" | "logs.get", "event") => recoded_part::<logs_follow::Event>(fixture, &part),
        ("logs.get", "result") => recoded_part::<logs_get::Done>(fixture, &part),
        ("status.get", "args") => recoded_part::<status_get::Request>(fixture, &part),
        ("status.get", "event") => recoded_part::<status_get::Event>(fixture, &part),
        ("status.get", "result") => recoded_part::<status_get::Summary>(fixture, &part),
        ("status.watch", "args") => recoded_part::<status_watch::Request>(fixture, &part),
        ("status.watch", "event") => recoded_part::<status_watch::Event>(fixture, &part),
        (name, part) => panic!("{fixture}: {name} has no {part}"),
    }
}

#[test]
fn accepted_fixtures_are_valid_are_read_and_are_written_alike() {
    let to_agent = Schema::committed("to_agent");
    let to_gateway = Schema::committed("to_gateway");
    let register = Schema::committed("register");
    for fixture in &fixture::all("accept") {
        let kind = fixture.folder.as_str();
        match kind {
            "data_frame" | "window_frame" | "reset_frame" => check_frame(fixture),
            "ignored" => check_ignored(fixture),
            "register" => {
                let part = part(fixture);
                let recoded = match part.as_str() {
                    "request" => recoded_part::<Register>(fixture, &part),
                    "answer" => recoded_part::<Registered>(fixture, &part),
                    "refusal" => recoded_part::<ErrorBody>(fixture, &part),
                    other => panic!("{fixture}: no part {other}"),
                };
                check_text(fixture, &register, &recoded);
            }
            _ => {
                let command = Command::NAMES
                    .iter()
                    .find(|name| name.replace('.', "_") == kind);
                if let Some(name) = command {
                    let schema = Schema::committed(&format!("commands/{kind}"));
                    check_text(fixture, &schema, &recoded_command(fixture, name));
                    continue;
                }
                // A type of both directions means the same in each.
                if ToAgent::TYPES.contains(&kind) {
                    check_text(fixture, &to_agent, &recoded::<ToAgent>(fixture));
                }
                if ToGateway::TYPES.contains(&kind) {
                    check_text(fixture, &to_gateway, &recoded::<ToGateway>(fixture));
                }
            }
        }
    }
}

/// A schema that accepted anything would make the check above worthless.
#[test]
fn the_schemas_refuse_what_is_not_of_their_shape() {
    let to_agent = Schema::committed("to_agent");
    for wrong in [
        r#"{"type":"ping"}"#,
        r#"{"type":"ping","nonce":"7"}"#,
        r#"{"type":"hello"}"#,
        r#"{"type":"cancel","stream":1,"code":"tired"}"#,
        r#"{"type":"credit","stream":0,"bytes":1}"#,
        r#"{"type":"open","stream":1,"window":1,"class":"express","command":{"id":"a","name":"b","args":{}}}"#,
    ] {
        let complaints = to_agent.complaints(&serde_json::from_str(wrong).unwrap());
        assert!(!complaints.is_empty(), "{wrong}");
    }
    let request = Schema::committed("commands/k8s_request");
    let wrong = serde_json::json!({"args": {"method": "GET", "path": "/", "headers": [["one"]]}});
    assert!(!request.complaints(&wrong).is_empty());
}
