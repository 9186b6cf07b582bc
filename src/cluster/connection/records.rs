//! TLS that keeps little of what nobody reads: a thousand stalled answers have a connection each.
//!
//! Owns the socket below TLS, whose reads end where a record ends, and what of a record did not fit
//! its reader. Owns not: TLS itself, nor whether what comes is a record at all. rustls gives the room
//! of its read buffer back only when nothing is in it, and it reads 4 KiB whatever a record has:
//! after a record of 16 KiB nearly every connection would keep 32 KiB for a few bytes of the next,
//! and 16 KiB more for the rest of the last. Invariant: every byte is delivered once and in order.

use std::io::{self, BufRead};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::reach::Socket;

/// Bytes of a record's head: kind, version, length.
const HEAD: usize = 5;

/// A socket, and where its records end.
#[derive(Debug)]
pub(super) struct Records<S> {
    socket: S,
    cut: Cut,
    /// Read beyond a record's end, from `taken` on.
    early: Vec<u8>,
    taken: usize,
}

/// Where in a record the reader is.
#[derive(Debug, Default)]
struct Cut {
    head: [u8; HEAD],
    known: usize,
    /// Bytes of the record's body that are still to come.
    left: usize,
}

impl Cut {
    /// How many of these bytes there are up to the first end of a record; all, where there is none.
    fn within(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                let more = (HEAD - self.known).min(bytes.len() - at);
                self.head[self.known..self.known + more].copy_from_slice(&bytes[at..at + more]);
                self.known += more;
                at += more;
                if self.known < HEAD {
                    break;
                }
                self.known = 0;
                self.left = usize::from(u16::from_be_bytes([self.head[3], self.head[4]]));
            } else {
                let more = self.left.min(bytes.len() - at);
                self.left -= more;
                at += more;
            }
            if self.left == 0 {
                break;
            }
        }
        at
    }
}

impl<S> Records<S> {
    pub(super) fn new(socket: S) -> Self {
        Self {
            socket,
            cut: Cut::default(),
            early: Vec::new(),
            taken: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken < this.early.len() {
            let rest = &this.early[this.taken..];
            let rest = &rest[..rest.len().min(buf.remaining())];
            let bytes = this.cut.within(rest);
            buf.put_slice(&rest[..bytes]);
            this.taken += bytes;
            if this.taken == this.early.len() {
                this.early = Vec::new();
                this.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        let bytes = this.cut.within(read);
        if bytes < read.len() {
            this.early = read[bytes..].to_vec();
            buf.set_filled(before + bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// A TLS connection.
pub(in crate::cluster) struct Secure {
    pub(super) stream: TlsStream<Records<Socket>>,
    /// What of a record did not fit its reader, from `taken` on, in a buffer of its own size.
    rest: Vec<u8>,
    taken: usize,
}

impl Secure {
    pub(super) fn new(stream: TlsStream<Records<Socket>>) -> Self {
        Self {
            stream,
            rest: Vec::new(),
            taken: 0,
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken < self.rest.len() {
            let more = (self.rest.len() - self.taken).min(buf.remaining());
            buf.put_slice(&self.rest[self.taken..self.taken + more]);
            self.taken += more;
            if self.taken == self.rest.len() {
                self.rest = Vec::new();
                self.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.tidy();
        Poll::Ready(Ok(()))
    }

    /// After a read, which may be the last for hours: rustls lets go of the record and of its room.
    fn tidy(&mut self) {
        let session = self.stream.get_mut().1;
        if let Ok(rest) = session.reader().into_first_chunk()
            && !rest.is_empty()
        {
            self.rest = rest.to_vec();
            let length = rest.len();
            session.reader().consume(length);
        }
        if session.wants_read() {
            let _ = session.read_tls(&mut Nothing);
        }
    }
}

/// Takes nothing: what rustls reads from it only lets it tidy its buffer.
struct Nothing;

impl io::Read for Nothing {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let mut record = vec![23, 3, 3];
        record.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        record.extend((0..length).map(|at| u8::try_from(at % 251).unwrap()));
        record
    }

    /// Whatever the size of the reads, none goes beyond a record, and nothing is lost.
    #[tokio::test]
    async fn a_read_ends_with_its_record() {
        let lengths = [1, 0, 16_384, 7, 4_091, 4_096, 300, 16_640, 2];
        let all: Vec<u8> = lengths.iter().flat_map(|length| record(*length)).collect();
        let ends: Vec<usize> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += HEAD + length;
                Some(*end)
            })
            .collect();
        for size in [1, 3, 5, 6, 4_096, 100_000] {
            let mut records = Records::new(&all[..]);
            let (mut got, mut buf) = (Vec::new(), vec![0; size]);
            loop {
                let read = records.read(&mut buf).await.unwrap();
                if read == 0 {
                    break;
                }
                let (from, to) = (got.len(), got.len() + read);
                assert!(
                    !ends.iter().any(|end| from < *end && *end < to),
                    "reads of {size}: {from} to {to} goes beyond a record"
                );
                got.extend_from_slice(&buf[..read]);
            }
            assert_eq!(got, all, "reads of {size}");
            assert_eq!(records.early.capacity(), 0);
        }
    }
}
