//! A connection after `101 Switching Protocols`: opaque bytes, both ways.
//!
//! Invariant: an idle upgraded connection holds no buffer of ours; bytes are copied once, into an
//! allocation of their exact size.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use crate::cluster::connection::{Io, Live};
use crate::cluster::error::ClusterError;
use crate::limits;

thread_local! {
    /// Where bytes land before their number is known. Never held across a poll.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::CHUNK]);
}

/// The upgraded connection.
pub struct Upgraded {
    io: Io,
    /// What came in one read with the head.
    read: Bytes,
}

impl std::fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl Upgraded {
    /// The two directions.
    #[must_use]
    pub fn split(self) -> (UpgradedReader, UpgradedWriter) {
        let (reader, writer) = tokio::io::split(self.io);
        let reader = UpgradedReader {
            io: reader,
            read: self.read,
        };
        (reader, UpgradedWriter { io: writer })
    }
}

/// Bytes from the API server.
#[derive(Debug)]
pub struct UpgradedReader {
    io: ReadHalf<Io>,
    read: Bytes,
}

impl UpgradedReader {
    /// The next bytes, at most `most`; empty when the API server sends no more.
    ///
    /// # Errors
    /// When the connection breaks.
    ///
    /// # Cancel safety
    /// Bytes are taken only when they are returned.
    pub async fn chunk(&mut self, most: usize) -> io::Result<Bytes> {
        if !self.read.is_empty() {
            return Ok(self.read.split_to(most.min(self.read.len())));
        }
        std::future::poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let most = most.min(scratch.len());
                let mut buf = ReadBuf::new(&mut scratch[..most]);
                match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled()))),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            })
        })
        .await
    }
}

/// Bytes to the API server.
#[derive(Debug)]
pub struct UpgradedWriter {
    io: WriteHalf<Io>,
}

impl UpgradedWriter {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// When the connection breaks.
    ///
    /// # Cancel safety
    /// Not safe: a part may have been sent.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// No more bytes come from here.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }
}

/// Takes the raw connection once hyper has read the 101.
pub(super) async fn take_over(mut live: Live) -> Result<Upgraded, ClusterError> {
    std::future::poll_fn(|cx| live.poll_drive(cx))
        .await
        .map_err(ClusterError::Failed)?;
    let (io, read) = live.into_raw();
    Ok(Upgraded { io, read })
}
