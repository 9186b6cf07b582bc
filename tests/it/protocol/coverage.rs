//! Nothing on the wire is without a fixture, and nothing of the text without a rule.

use std::collections::BTreeSet;

use pipeops_agent::protocol::{Command, ErrorCode, ToAgent, ToGateway};
use serde_json::Value;

use super::fixture;

fn folders(verdict: &str) -> BTreeSet<String> {
    let fixtures = fixture::all(verdict).into_iter();
    fixtures.map(|fixture| fixture.folder).collect()
}

fn codes(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(code) if name == "code" => {
                        into.insert(code.clone());
                    }
                    other => codes(other, into),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| codes(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Codes that say what happened elsewhere: nothing that a peer sends is answered with them, or
/// not by what `session` alone can know.
fn says_what_happened_elsewhere(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Cancelled
        | ErrorCode::Forbidden
        | ErrorCode::DeadlineExceeded
        | ErrorCode::UpstreamUnreachable
        | ErrorCode::CredentialRefused
        | ErrorCode::UpstreamFailed
        | ErrorCode::RedirectRefused
        | ErrorCode::SlowReader
        | ErrorCode::ShuttingDown
        | ErrorCode::ChannelLost
        | ErrorCode::Indeterminate
        | ErrorCode::Internal
        | ErrorCode::Unauthorized
        | ErrorCode::DuplicateAgent
        | ErrorCode::Decommissioned
        | ErrorCode::IdsExhausted
        | ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::UpstreamRefused
        | ErrorCode::InProgress
        | ErrorCode::ResumeGap => true,
        ErrorCode::BadRequest
        | ErrorCode::UnknownCommand
        | ErrorCode::Busy
        | ErrorCode::CreditExceeded
        | ErrorCode::CreditOverflow
        | ErrorCode::DecompressionFailed
        | ErrorCode::TooLarge
        | ErrorCode::TooDeep
        | ErrorCode::Malformed
        | ErrorCode::ProtocolError
        | ErrorCode::Unsupported
        | ErrorCode::Flood
        | ErrorCode::PingTimeout => false,
    }
}

#[test]
fn every_message_and_command_has_an_accepted_fixture() {
    let folders = folders("accept");
    let commands = Command::NAMES.iter().map(|name| name.replace('.', "_"));
    let wanted = ToAgent::TYPES
        .iter()
        .chain(ToGateway::TYPES)
        .map(|kind| (*kind).to_owned())
        .chain(commands)
        .chain(
            [
                "data_frame",
                "window_frame",
                "reset_frame",
                "register",
                "ignored",
            ]
            .map(Into::into),
        );
    let wanted: BTreeSet<String> = wanted.collect();
    assert_eq!(wanted, folders);
}

#[test]
fn every_error_code_occurs_in_an_accepted_fixture() {
    let mut seen = BTreeSet::new();
    for fixture in fixture::all("accept") {
        codes(&fixture.json(), &mut seen);
    }
    let all: BTreeSet<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(all, seen);
}

#[test]
fn every_code_that_refuses_input_has_a_refused_fixture() {
    let folders = folders("reject");
    for code in ErrorCode::ALL {
        if !says_what_happened_elsewhere(*code) {
            assert!(folders.contains(code.as_str()), "no fixture for {code}");
        }
    }
    let all: BTreeSet<String> = ErrorCode::ALL.iter().map(ToString::to_string).collect();
    assert!(folders.is_subset(&all), "a folder is named by no code");
}

#[test]
fn every_command_has_refused_arguments() {
    let refused: BTreeSet<String> = fixture::all("reject")
        .iter()
        .filter_map(|fixture| {
            let name = fixture.json()["command"]["name"].as_str()?.to_owned();
            (fixture.folder == "bad_request").then_some(name)
        })
        .collect();
    for name in Command::NAMES {
        assert!(refused.contains(*name), "{name} has none");
    }
}

/// The numbers of all rules that `text` cites, in its order.
fn cited(text: &str) -> Vec<u32> {
    let number = |rest: &str| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    text.split("P-").skip(1).filter_map(number).collect()
}

#[test]
fn every_rule_that_a_fixture_cites_is_in_the_text_once() {
    let text = std::fs::read_to_string(fixture::root().join("proto/README.md")).unwrap();
    let mut rules = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("**P-") {
            let number = cited(&format!("P-{rest}"))[0];
            assert!(rules.insert(number), "P-{number} is written twice");
        }
    }
    let known = |text: &str| cited(text).iter().all(|number| rules.contains(number));
    assert!(known(&text), "the text cites a rule that it has not");
    for fixture in fixture::all("reject") {
        let rule = fixture.json()["rule"].clone();
        assert!(
            known(rule.as_str().unwrap_or_default()),
            "{fixture} cites a rule that is not there"
        );
    }
}

#[test]
fn the_table_of_codes_is_the_list_of_the_program() {
    let text = std::fs::read_to_string(fixture::root().join("proto/README.md")).unwrap();
    let rows: Vec<(String, u16, u16)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            let code = cells
                .next()?
                .strip_prefix('`')?
                .strip_suffix('`')?
                .to_owned();
            let number = cells.next()?.parse().ok()?;
            let close = cells.nth(1)?.parse().ok()?;
            Some((code, number, close))
        })
        .collect();
    let list: Vec<(String, u16, u16)> = ErrorCode::ALL
        .iter()
        .map(|code| (code.to_string(), code.number(), code.close_code()))
        .collect();
    assert_eq!(list, rows);
}
