//! The zstd stream of one direction of one stream (P-36).
//!
//! Owns the contexts: one compressor or decompressor a stream, flushed with every frame so that a
//! frame can be restored when it arrives. Invariant: one frame restores to at most
//! [`limits::RESTORED`] bytes, whatever it claims; a context's window is at most 2^17 bytes.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use crate::limits;

const LEVEL: i32 = 1;
const WINDOW_LOG: u32 = 17;

/// One byte more than a frame may restore to, which no honest frame fills; and more than the
/// largest chunk can grow to.
const SCRATCH_BYTES: usize = limits::RESTORED + 1;

thread_local! {
    /// Where a frame's bytes land before their number is known. Zeroed once for all streams; never
    /// held across a call.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<T>(least: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < least {
            scratch.resize(least, 0);
        }
        work(&mut scratch[..least])
    })
}

/// Compresses the chunks of one stream.
pub(super) struct Compressor {
    encoder: Encoder<'static>,
}

/// Restores the chunks of one stream.
pub(super) struct Restorer {
    decoder: Decoder<'static>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl std::fmt::Debug for Restorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restorer")
    }
}

impl Compressor {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self { encoder })
    }

    /// The largest input whose output surely fits `room`: incompressible bytes grow a little.
    pub(super) const fn input_for(room: usize) -> usize {
        let overhead = 64 + room / 128;
        room.saturating_sub(overhead)
    }

    /// One frame's payload for these bytes.
    pub(super) fn compress(&mut self, bytes: &[u8]) -> std::io::Result<Bytes> {
        let most = bytes.len() + bytes.len() / 128 + 64;
        with_scratch(most, |out| self.compress_into(bytes, out))
    }

    fn compress_into(&mut self, bytes: &[u8], out: &mut [u8]) -> std::io::Result<Bytes> {
        let mut written = 0;
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around_pos(out, written);
            self.encoder.run(&mut input, &mut output)?;
            written = output.pos();
        }
        loop {
            let mut output = OutBuffer::around_pos(out, written);
            let left = self.encoder.flush(&mut output)?;
            written = output.pos();
            if left == 0 {
                break;
            }
            if written == out.len() {
                return Err(std::io::ErrorKind::OutOfMemory.into());
            }
        }
        Ok(Bytes::copy_from_slice(&out[..written]))
    }
}

impl Restorer {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder })
    }

    /// The bytes that one frame's payload stands for.
    pub(super) fn restore(&mut self, payload: &[u8]) -> std::io::Result<Bytes> {
        with_scratch(SCRATCH_BYTES, |out| self.restore_into(payload, out))
    }

    fn restore_into(&mut self, payload: &[u8], out: &mut [u8]) -> std::io::Result<Bytes> {
        let mut written = 0;
        let mut input = InBuffer::around(payload);
        loop {
            let before = (input.pos(), written);
            let mut output = OutBuffer::around_pos(out, written);
            self.decoder.run(&mut input, &mut output)?;
            written = output.pos();
            if written > limits::RESTORED {
                return Err(std::io::Error::other("a frame restores to too much"));
            }
            if input.pos() == payload.len() && before.1 == written
                || before == (input.pos(), written)
            {
                break;
            }
        }
        if input.pos() < payload.len() {
            return Err(std::io::Error::other("bytes after the zstd stream's end"));
        }
        Ok(Bytes::copy_from_slice(&out[..written]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_survive_and_share_one_context() {
        let (mut there, mut back) = (Compressor::new().unwrap(), Restorer::new().unwrap());
        let chunk: Vec<u8> = (0..limits::CHUNK).map(|i| (i * i % 251) as u8).collect();
        let first = there.compress(&chunk).unwrap();
        let second = there.compress(&chunk).unwrap();
        assert!(
            second.len() < first.len() / 4,
            "{} then {}",
            first.len(),
            second.len()
        );
        assert_eq!(back.restore(&first).unwrap(), chunk);
        assert_eq!(back.restore(&second).unwrap(), chunk);
        assert_eq!(
            back.restore(&there.compress(b"x").unwrap())
                .unwrap()
                .as_ref(),
            b"x"
        );
    }

    #[test]
    fn incompressible_bytes_fit_the_room_they_were_cut_for() {
        let mut there = Compressor::new().unwrap();
        let mut state = 1_u64;
        for room in [256, 1000, limits::CHUNK] {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            })
            .take(Compressor::input_for(room))
            .collect();
            assert!(there.compress(&bytes).unwrap().len() <= room);
        }
    }

    #[test]
    fn a_frame_may_restore_to_the_bound_and_no_further() {
        for (size, fits) in [(limits::RESTORED, true), (limits::RESTORED + 1, false)] {
            let payload = Compressor::new().unwrap().compress(&vec![7; size]).unwrap();
            let restored = Restorer::new().unwrap().restore(&payload);
            assert_eq!(
                restored.is_ok_and(|bytes| bytes.len() == size),
                fits,
                "{size}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_within_its_bound() {
        let bomb = zstd::bulk::compress(&vec![0; 16 * 1024 * 1024], 19).unwrap();
        assert!(bomb.len() < 4096);
        assert!(Restorer::new().unwrap().restore(&bomb).is_err());
        assert!(
            Restorer::new()
                .unwrap()
                .restore(b"not zstd at all")
                .is_err()
        );
    }
}
