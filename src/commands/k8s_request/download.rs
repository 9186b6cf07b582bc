//! The API server's body on its way to the caller.
//!
//! Owns how it is cut: at most what the stream takes, and small pieces that are there already go
//! together, because each piece costs a frame. What is not there is not waited for: a watch's
//! event leaves at once.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

use super::CommandError;
use crate::cluster::ClusterError;
use crate::cluster::proxy::ResponseBody;
use crate::kubeapi::headers::Headers;
use crate::limits;
use crate::session::StreamWriter;

/// Passes the body on to its end. `idle` is how long the API server may be silent; what comes after
/// `compress_after` bytes is compressed.
pub(super) async fn run(
    body: ResponseBody,
    writer: &mut StreamWriter,
    idle: Option<Duration>,
    mut compress_after: Option<u64>,
) -> Result<(), CommandError> {
    let mut source = Source { body, next: None };
    let mut left = Bytes::new();
    let mut passed = 0;
    loop {
        if compress_after.is_some_and(|after| passed >= after) {
            compress_after = None;
            writer.compress();
        }
        let room = source.ready(writer).await?;
        if left.is_empty() {
            left = match source.gathered(room, idle).await? {
                Some(bytes) => bytes,
                None => return Ok(()),
            };
        }
        let piece = left.split_to(room.min(left.len()));
        passed += piece.len() as u64;
        writer.push(piece)?;
    }
}

type Taken = Result<Option<Bytes>, ClusterError>;

/// The body, and what was taken from it too early.
struct Source {
    body: ResponseBody,
    /// An end or an error that came while pieces were gathered; it is told after them.
    next: Option<Taken>,
}

impl Source {
    /// Waits for credit; meanwhile the request's own body goes on. What is left of a read is not
    /// copied out of it: hyper keeps the buffer until it reads again.
    async fn ready(&mut self, writer: &mut StreamWriter) -> Result<usize, CommandError> {
        std::future::poll_fn(|cx| match writer.poll_ready(cx) {
            Poll::Pending => {
                self.body.poll_upload(cx);
                Poll::Pending
            }
            ready @ Poll::Ready(_) => ready,
        })
        .await
        .map_err(CommandError::Stream)
    }

    async fn gathered(
        &mut self,
        room: usize,
        idle: Option<Duration>,
    ) -> Result<Option<Bytes>, CommandError> {
        let gathered = std::future::poll_fn(|cx| self.poll_gathered(room, cx));
        match idle {
            None => gathered.await,
            Some(idle) => tokio::time::timeout(idle, gathered)
                .await
                .map_err(|_| CommandError::Stalled)?,
        }
        .map_err(CommandError::Cluster)
    }

    /// What is there, up to about `room`; waits only for the first piece.
    fn poll_gathered(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<Taken> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(next);
        }
        let first = match self.body.poll_chunk(cx) {
            Poll::Ready(Ok(Some(first))) => first,
            other => return other,
        };
        // More than half of what fits is worth a frame of its own, and no copy.
        if first.len() > room / 2 {
            return Poll::Ready(Ok(Some(first)));
        }
        let Some(second) = self.more(cx) else {
            return Poll::Ready(Ok(Some(first)));
        };
        let mut together = BytesMut::with_capacity(room.max(first.len() + second.len()));
        together.extend_from_slice(&first);
        together.extend_from_slice(&second);
        while together.len() < room / 2 {
            match self.more(cx) {
                Some(piece) => together.extend_from_slice(&piece),
                None => break,
            }
        }
        Poll::Ready(Ok(Some(together.freeze())))
    }

    /// A further piece, if there is one at this moment.
    fn more(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        match self.body.poll_chunk(cx) {
            Poll::Ready(Ok(Some(piece))) => Some(piece),
            Poll::Ready(other) => {
                self.next = Some(other);
                None
            }
            Poll::Pending => None,
        }
    }
}

/// After how many bytes compressing this answer is worth it; never for a small one, or where the
/// content is compressed already. The API server announces no length but of the smallest answers.
pub(super) fn compress_after(headers: &Headers) -> Option<u64> {
    let find = |name| {
        headers
            .iter()
            .find(|(known, _)| *known == name)
            .and_then(|(_, value)| value.to_str().ok())
    };
    if find(CONTENT_ENCODING).is_some() {
        return None;
    }
    let kind = find(CONTENT_TYPE)?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let compressible = kind.starts_with("text/")
        || kind.ends_with("json")
        || kind.ends_with("yaml")
        || kind.ends_with("cbor")
        || kind.starts_with("application/vnd.kubernetes.protobuf");
    if !compressible {
        return None;
    }
    match find(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length < limits::COMPRESS_FROM => None,
        Some(_) => Some(0),
        None => Some(limits::COMPRESS_FROM),
    }
}
