//! Every body and event of `fixtures/carriage/v2` is read, and written, as it says.

use bytes::{Bytes, BytesMut};
use pipeops_agent::link::carriage::{
    Body, Parcel, begin_body, read_body, read_event, write_event, write_parcel,
};
use pipeops_agent::protocol::codec::Wire;
use serde_json::{Value, json};

fn lines(name: &str) -> Vec<Value> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/carriage/v2");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 10, "{name} has hardly anything");
    lines
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parcel(value: &Value) -> Option<Parcel> {
    if let Some(text) = value["text"].as_str() {
        return Some(Parcel::Message(Wire::Text(text.to_owned())));
    }
    if let Some(text) = value["hex"].as_str() {
        return Some(Parcel::Message(Wire::Binary(unhex(text).into())));
    }
    let code = value["close"].as_u64()?.try_into().unwrap();
    Some(Parcel::Close(
        code,
        value["reason"].as_str().unwrap().to_owned(),
    ))
}

#[test]
fn bodies_are_read_and_written_as_their_fixtures_say() {
    for line in lines("bodies.jsonl") {
        let about = line["about"].as_str().unwrap();
        let bytes = Bytes::from(unhex(line["hex"].as_str().unwrap()));
        let read = read_body(bytes.clone());
        if let Some(code) = line["refused"].as_str() {
            assert_eq!(read.unwrap_err().as_str(), code, "{about}");
            continue;
        }
        let means = &line["means"];
        let parcels = means["messages"].as_array().unwrap();
        let expected = Body {
            first: means["first"].as_u64().unwrap(),
            acknowledged: means["acknowledged"].as_u64().unwrap(),
            parcels: parcels.iter().filter_map(parcel).collect(),
        };
        assert_eq!(read.as_ref(), Ok(&expected), "{about}");
        let mut written = BytesMut::new();
        begin_body(expected.first, expected.acknowledged, &mut written);
        for parcel in &expected.parcels {
            write_parcel(parcel, &mut written);
        }
        assert_eq!(hex(&written), hex(&bytes), "{about}");
    }
}

/// The three parts of an event, as a parser of the HTML standard makes them.
fn parts(text: &str) -> (String, String, String) {
    let (mut id, mut kind, mut data) = (String::new(), String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(": ").unwrap();
        match field {
            "id" => value.clone_into(&mut id),
            "event" => value.clone_into(&mut kind),
            "data" => data.push(value),
            other => panic!("{other} is no field of ours"),
        }
    }
    (id, kind, data.join("\n"))
}

#[test]
fn events_are_read_and_written_as_their_fixtures_say() {
    for line in lines("events.jsonl") {
        let about = line["about"].as_str().unwrap();
        let text = line["text"].as_str().unwrap();
        let (id, kind, data) = parts(text);
        let read = read_event(&id, &kind, data);
        if let Some(code) = line["refused"].as_str() {
            assert_eq!(read.unwrap_err().as_str(), code, "{about}");
            continue;
        }
        let number = line["means"]["id"].as_u64().unwrap();
        let expected = parcel(&line["means"]["message"]);
        assert_eq!(read, Ok((number, expected.clone())), "{about}");
        if let Some(parcel) = expected {
            let mut written = BytesMut::new();
            write_event(number, &parcel, &mut written);
            assert_eq!(written, text, "{about}");
        }
    }
}

#[test]
fn line_ends_within_a_text_stay_line_ends() {
    let mut written = BytesMut::new();
    let text = Parcel::Message(Wire::Text("{\r\n\"a\":\r1}".to_owned()));
    write_event(5, &text, &mut written);
    let (id, kind, data) = parts(std::str::from_utf8(&written).unwrap());
    let Ok((5, Some(Parcel::Message(Wire::Text(read))))) = read_event(&id, &kind, data) else {
        panic!("it is read");
    };
    assert_eq!(
        serde_json::from_str::<Value>(&read).unwrap(),
        json!({"a": 1})
    );
    assert_eq!(Parcel::bytes(&text), 10);
}
