//! The codec: whatever arrives is a message, a frame, ignored or refused with a code; what was read
//! is written and read again alike.
//!
//! Input: one byte (0 text, else binary), then the message as a link carries it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pipeops_agent::limits;
use pipeops_agent::protocol::codec::{self, Decoded, Direction, Wire};
use pipeops_agent::protocol::{ErrorCode, ToAgent, ToGateway};

fn text<M: Direction + serde::Serialize>(text: &str) {
    match codec::decode_text::<M>(text) {
        Ok(Decoded::Message(message)) => {
            let written = codec::encode(&message);
            let again = match codec::decode_text::<M>(&written) {
                Ok(Decoded::Message(again)) => codec::encode(&again),
                // Escapes may make a message longer than what it was read from.
                Err(ErrorCode::TooLarge) => return,
                other => panic!("what was written is not read: {:?}", other.err()),
            };
            assert_eq!(written, again, "written twice alike");
        }
        Ok(Decoded::Frame(_)) => panic!("a frame out of text"),
        Ok(Decoded::Ignored) | Err(_) => {}
    }
    if text.len() > limits::TEXT_MESSAGE {
        assert_eq!(
            codec::decode_text::<M>(text).err(),
            Some(ErrorCode::TooLarge)
        );
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    if *kind == 0 {
        if let Ok(input) = std::str::from_utf8(input) {
            text::<ToAgent>(input);
            text::<ToGateway>(input);
        }
        return;
    }
    let wire = Wire::Binary(Bytes::copy_from_slice(input));
    if let Ok(Decoded::Frame(frame)) = codec::decode::<ToAgent>(&wire) {
        let written = Wire::Binary(frame.encode());
        match codec::decode::<ToGateway>(&written) {
            Ok(Decoded::Frame(again)) => assert_eq!(frame, again, "written and read alike"),
            _ => panic!("what was written is not read"),
        }
    }
});
