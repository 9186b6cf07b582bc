//! What must be refused, and with which code; whole sequences are `conformance`'s.

use pipeops_agent::protocol::codec::{self, Decoded, Direction, Wire};
use pipeops_agent::protocol::{Command, ErrorCode, ToAgent, ToGateway};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fixture::{self, Fixture};

fn refusal<M: Direction + std::fmt::Debug>(wire: &Wire, fixture: &Fixture) -> ErrorCode {
    match codec::decode::<M>(wire) {
        Err(code) => code,
        Ok(Decoded::Message(message)) => panic!("{fixture} was read as {message:?}"),
        Ok(Decoded::Frame(frame)) => panic!("{fixture} was read as {frame:?}"),
        Ok(Decoded::Ignored) => panic!("{fixture} was ignored"),
    }
}

fn command_refusal(command: &Value, fixture: &Fixture) -> ErrorCode {
    let name = command["name"].as_str().expect("a command has a name");
    let args = fixture::pieces(&command["args"]);
    let args = RawValue::from_string(args).unwrap_or_else(|error| panic!("{fixture}: {error}"));
    match Command::parse(name, &args) {
        Err(body) => body.code,
        Ok(command) => panic!("{fixture} was read as {command:?}"),
    }
}

/// The codes with which the ends of `to` refuse the fixture.
fn refusals(fixture: &Fixture) -> Vec<ErrorCode> {
    let json = fixture.json();
    if let Some(command) = json.get("command") {
        return vec![command_refusal(command, fixture)];
    }
    let wire = match (json.get("text"), json.get("hex")) {
        (Some(text), None) => Wire::Text(fixture::pieces(text)),
        (None, Some(hex)) => Wire::Binary(fixture::hex(hex)),
        _ => panic!("{fixture} has neither text, hex, command nor lines"),
    };
    match json["to"].as_str() {
        Some("agent") => vec![refusal::<ToAgent>(&wire, fixture)],
        Some("gateway") => vec![refusal::<ToGateway>(&wire, fixture)],
        Some("both") => vec![
            refusal::<ToAgent>(&wire, fixture),
            refusal::<ToGateway>(&wire, fixture),
        ],
        other => panic!("{fixture} is to {other:?}"),
    }
}

#[test]
fn refused_fixtures_are_refused_with_the_code_of_their_folder() {
    let fixtures = fixture::all("reject");
    for fixture in &fixtures {
        let json = fixture.json();
        assert!(json["why"].is_string(), "{fixture} does not say why");
        let rule = json["rule"].as_str().unwrap_or_default();
        assert!(rule.starts_with("P-"), "{fixture} cites no rule");
        if json.get("lines").is_some() {
            continue;
        }
        for code in refusals(fixture) {
            assert_eq!(code.as_str(), fixture.folder, "{fixture}");
        }
    }
    assert!(fixtures.len() >= 40, "only {} fixtures", fixtures.len());
}
