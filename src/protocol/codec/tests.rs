//! Goldens, round trips and damaged bytes.

use proptest::prelude::*;

use super::*;
use crate::protocol::frame::StreamId;

#[test]
fn unknown_types_are_ignored_unless_critical() {
    let quiet = decode_text::<ToAgent>(r#"{"type":"sparkle","x":[1]}"#);
    assert!(matches!(quiet, Ok(Decoded::Ignored)));
    let critical = decode_text::<ToAgent>(r#"{"type":"sparkle","critical":true}"#);
    assert_eq!(critical.unwrap_err(), ErrorCode::Unsupported);
}

#[test]
fn unknown_fields_are_ignored() {
    let ping = decode_text::<ToAgent>(r#"{"type":"ping","nonce":7,"later":{"a":1}}"#);
    assert!(matches!(ping, Ok(Decoded::Message(ToAgent::Ping(p))) if p.nonce == 7));
}

#[test]
fn a_message_one_byte_too_long_is_refused() {
    let pad = |length: usize| {
        let shell = r#"{"type":"ping","nonce":1,"pad":""}"#.len();
        format!(
            r#"{{"type":"ping","nonce":1,"pad":"{}"}}"#,
            "x".repeat(length - shell)
        )
    };
    assert!(decode_text::<ToAgent>(&pad(limits::TEXT_MESSAGE)).is_ok());
    let over = decode_text::<ToAgent>(&pad(limits::TEXT_MESSAGE + 1));
    assert_eq!(over.unwrap_err(), ErrorCode::TooLarge);
    let frame = Frame::Data {
        stream: StreamId::FIRST,
        fin: false,
        zstd: false,
        payload: vec![0; limits::BINARY_MESSAGE - 8].into(),
    };
    assert!(decode_binary::<ToAgent>(&frame.encode()).is_ok());
    let over = Bytes::from(vec![1; limits::BINARY_MESSAGE + 1]);
    assert_eq!(
        decode_binary::<ToAgent>(&over).unwrap_err(),
        ErrorCode::TooLarge
    );
}

#[test]
fn nesting_is_refused_one_level_too_deep_and_quotes_do_not_count() {
    let nest = |levels: usize| {
        format!(
            r#"{{"type":"ping","nonce":1,"x":{}{}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert!(decode_text::<ToAgent>(&nest(limits::JSON_DEPTH - 1)).is_ok());
    let over = decode_text::<ToAgent>(&nest(limits::JSON_DEPTH));
    assert_eq!(over.unwrap_err(), ErrorCode::TooDeep);
    let quoted = format!(
        r#"{{"type":"ping","nonce":1,"x":"\"{}"}}"#,
        "[{".repeat(100)
    );
    assert!(decode_text::<ToAgent>(&quoted).is_ok());
}

#[test]
fn the_header_is_eight_bytes_in_network_order() {
    let frame = Frame::Data {
        stream: StreamId::new(0x0102_0304).unwrap(),
        fin: true,
        zstd: false,
        payload: Bytes::from_static(b"hi"),
    };
    assert_eq!(
        frame.encode().as_ref(),
        [1, 1, 0, 0, 1, 2, 3, 4, b'h', b'i']
    );
    let window = Frame::Window {
        stream: StreamId::FIRST,
        bytes: 65_536,
    };
    assert_eq!(
        window.encode().as_ref(),
        [2, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0]
    );
    let reset = Frame::Reset {
        stream: StreamId::FIRST,
        code: ErrorCode::SlowReader,
    };
    assert_eq!(reset.encode().as_ref(), [3, 0, 0, 11, 0, 0, 0, 1]);
}

#[test]
fn reserved_bits_and_bad_lengths_are_malformed() {
    let cases: &[&[u8]] = &[
        b"",
        &[1, 0, 0, 0, 0, 0, 0],
        &[1, 4, 0, 0, 0, 0, 0, 1],
        &[1, 0, 0, 1, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0x80, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0],
        &[2, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0],
        &[3, 0, 0, 1, 0, 0, 0, 1, 0],
    ];
    for case in cases {
        let decoded = Frame::decode(&Bytes::copy_from_slice(case));
        assert_eq!(decoded.unwrap_err(), ErrorCode::Malformed, "{case:?}");
    }
    assert_eq!(
        Frame::decode(&Bytes::from_static(&[9, 0, 0, 0, 0, 0, 0, 1])).unwrap(),
        None
    );
    let critical = Frame::decode(&Bytes::from_static(&[0x89, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(critical.unwrap_err(), ErrorCode::Unsupported);
}

#[test]
fn every_code_has_its_own_number_and_string() {
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(code.number()), *code);
        assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
    }
}

fn frames() -> impl Strategy<Value = Frame> {
    let stream = (1..=StreamId::LAST.get()).prop_map(|n| StreamId::new(n).expect("in range"));
    prop_oneof![
        (
            stream.clone(),
            any::<bool>(),
            any::<bool>(),
            any::<Vec<u8>>()
        )
            .prop_map(|(stream, fin, zstd, payload)| Frame::Data {
                stream,
                fin,
                zstd,
                payload: payload.into()
            }),
        (stream.clone(), any::<u32>()).prop_map(|(stream, bytes)| Frame::Window { stream, bytes }),
        (stream, 0..ErrorCode::ALL.len()).prop_map(|(stream, i)| Frame::Reset {
            stream,
            code: ErrorCode::ALL[i]
        }),
    ]
}

proptest! {
    #[test]
    fn frames_survive_the_round_trip(frame in frames()) {
        prop_assert_eq!(Frame::decode(&frame.encode()).unwrap(), Some(frame));
    }

    #[test]
    fn damaged_frames_never_panic(frame in frames(), at in any::<prop::sample::Index>(), to: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = frame.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = decode_binary::<ToAgent>(&bytes.into());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = decode_text::<ToAgent>(&text);
        let _ = decode_text::<ToGateway>(&text);
    }
}
