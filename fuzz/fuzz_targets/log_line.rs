//! Log lines: how the bytes are cut on their way changes nothing, and no more than a piece is a line.
//!
//! Input: how many bytes come at once (0: all), then the bytes; 0xFE stands for a stamp and a blank,
//! 0xFD for a piece's length of the letter x.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pipeops_agent::cluster::logs::cursor::Cursor;
use pipeops_agent::cluster::logs::line::{Line, Splitter};
use pipeops_agent::limits;

fn split<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Line>, Option<Line>) {
    let mut splitter = Splitter::new();
    let mut lines = Vec::new();
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        lines.extend(std::iter::from_fn(|| splitter.next_line()));
    }
    (lines, splitter.rest())
}

fuzz_target!(|input: &[u8]| {
    let Some((size, input)) = input.split_first() else {
        return;
    };
    let mut bytes = Vec::new();
    for byte in input.iter().take(256) {
        match byte {
            0xFE => bytes.extend_from_slice(b"2026-11-24T11:41:00.123456789Z "),
            0xFD => bytes.extend_from_slice(&[b'x'; limits::logs::PIECE]),
            other => bytes.push(*other),
        }
    }
    let (lines, rest) = split(std::iter::once(&*bytes));
    for line in lines.iter().chain(&rest) {
        assert!(line.content.len() <= limits::logs::PIECE);
    }
    if *size > 0 {
        let cut = split(bytes.chunks(usize::from(*size) * 97));
        assert_eq!(cut, (lines, rest));
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(cursor) = Cursor::decode(text, "pod/container")
    {
        assert_eq!(cursor.encode("pod/container"), text);
    }
});
