//! `channel.echo`: bytes for the channel's own sake (P-67).
//!
//! Owns the three modes. Invariant: nothing is allocated per chunk; a source sends slices of one
//! pattern, an echo sends what it got.

use bytes::Bytes;

use super::{CommandError, Done};
use crate::limits;
use crate::protocol::command::channel_echo::{self, Mode, Request};
use crate::session::{Item, StreamReader, StreamWriter};

/// How long the pattern is before it begins again: a prime, so that a shift by any power of two
/// shows.
const PERIOD: usize = 251;

/// A chunk of the pattern from any of its offsets.
static PATTERN: [u8; limits::CHUNK + PERIOD] = pattern();

const fn pattern() -> [u8; limits::CHUNK + PERIOD] {
    let mut bytes = [0; limits::CHUNK + PERIOD];
    let mut at = 0;
    let mut byte: u8 = 0;
    while at < bytes.len() {
        bytes[at] = byte;
        at += 1;
        byte = if byte as usize == PERIOD - 1 {
            0
        } else {
            byte + 1
        };
    }
    bytes
}

pub(super) async fn run(
    mut reader: StreamReader,
    mut writer: StreamWriter,
    request: Request,
) -> Result<Done, CommandError> {
    let (received, sent) = match request.mode {
        Mode::Echo => {
            let count = echo(&mut reader, &mut writer).await?;
            (count, count)
        }
        Mode::Sink => (sink(&mut reader).await?, 0),
        Mode::Source => {
            source(&mut writer, request.bytes).await?;
            (0, request.bytes)
        }
    };
    writer.fin();
    let done = channel_echo::Done { received, sent };
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}

async fn echo(reader: &mut StreamReader, writer: &mut StreamWriter) -> Result<u64, CommandError> {
    let mut count = 0;
    while let Item::Data(bytes) = reader.recv().await? {
        count += bytes.len() as u64;
        writer.send(bytes).await?;
    }
    Ok(count)
}

async fn sink(reader: &mut StreamReader) -> Result<u64, CommandError> {
    let mut count = 0;
    while let Item::Data(bytes) = reader.recv().await? {
        count += bytes.len() as u64;
    }
    Ok(count)
}

async fn source(writer: &mut StreamWriter, bytes: u64) -> Result<(), CommandError> {
    let mut left = bytes;
    let mut offset = 0;
    while left > 0 {
        let room = writer.ready().await?.min(limits::CHUNK);
        let size = usize::try_from(left).map_or(room, |left| left.min(room));
        writer.push(Bytes::from_static(&PATTERN[offset..offset + size]))?;
        left -= size as u64;
        offset = (offset + size) % PERIOD;
    }
    Ok(())
}
