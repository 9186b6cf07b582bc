//! An upgraded connection: raw bytes both ways between a caller and a stream.
//!
//! Owns the two directions of exec, attach and port-forward after the 101, with the half-close of
//! each, and their common end. Invariants: nothing is read of a side before the other has room; a
//! lost side ends the other at once; the end of the token ends both.

use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::mem::MaybeUninit;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::access::{Access, Outcome};
use super::agents::Load;
use super::caller::Caller;
use super::tokens::Entry;
use super::users::Slot;
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::session::{Item, StreamError, StreamReader, StreamWriter};

/// Both ends of an upgraded connection.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) reader: StreamReader,
    pub(crate) writer: StreamWriter,
    pub(crate) entry: Arc<Entry>,
    pub(crate) access: Access,
    pub(crate) _slot: Slot,
    pub(crate) _load: Load,
}

impl Tunnel {
    /// Carries bytes until either side ends.
    pub(crate) async fn run(mut self, on_upgrade: OnUpgrade, kill: CancellationToken) {
        let Ok(Ok(upgraded)) = timeout(limits::HEADER_DEADLINE, on_upgrade).await else {
            return;
        };
        // Every connection that reaches here was accepted by us.
        let Ok(parts) = upgraded.downcast::<TokioIo<Caller>>() else {
            return;
        };
        let mut io = parts.io.into_inner();
        io.upgrade(limits::TLS_HELD);
        let (caller_read, caller_write) = tokio::io::split(io);
        let (mut sent, mut received) = (0, 0);
        let outcome = {
            let up = up(caller_read, parts.read_buf, &mut self.writer, &mut sent);
            let down = down(&mut self.reader, caller_write, &mut received);
            let (mut up, mut down) = (pin!(up), pin!(down));
            tokio::select! {
                biased;
                () = kill.cancelled() => Outcome::Broken(ErrorCode::ShuttingDown),
                () = self.entry.revoked.cancelled() => Outcome::Broken(ErrorCode::Unauthorized),
                outcome = &mut down => outcome,
                gone = &mut up => if gone { Outcome::CallerGone } else { down.await },
            }
        };
        self.access.up = sent;
        self.access.down = received;
        self.access.outcome = outcome;
        if outcome == Outcome::Broken(ErrorCode::Unauthorized) {
            self.reader.reset(ErrorCode::Unauthorized);
        }
    }
}

/// Caller to stream. Says whether the caller is gone, rather than done sending.
async fn up(
    mut caller: ReadHalf<Caller>,
    mut first: Bytes,
    writer: &mut StreamWriter,
    sent: &mut u64,
) -> bool {
    loop {
        let Ok(room) = writer.ready().await else {
            // The way down says how the stream ended.
            return std::future::pending().await;
        };
        let bytes = if first.is_empty() {
            match read(&mut caller, room).await {
                Ok(bytes) => bytes,
                Err(_) => return true,
            }
        } else {
            first.split_to(room.min(first.len()))
        };
        if bytes.is_empty() {
            writer.fin();
            return false;
        }
        *sent += bytes.len() as u64;
        if writer.push(bytes).is_err() {
            return std::future::pending().await;
        }
    }
}

/// Reads what is there, at most `room` bytes. An idle connection holds no buffer.
async fn read(caller: &mut ReadHalf<Caller>, room: usize) -> std::io::Result<Bytes> {
    std::future::poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; limits::CHUNK];
        let room = room.min(space.len());
        let mut buffer = ReadBuf::uninit(&mut space[..room]);
        match Pin::new(&mut *caller).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Stream to caller.
async fn down(
    reader: &mut StreamReader,
    mut caller: WriteHalf<Caller>,
    received: &mut u64,
) -> Outcome {
    let mut open = true;
    loop {
        match next(reader, &mut caller).await {
            Ok(Item::Data(bytes)) if open => {
                *received += bytes.len() as u64;
                if caller.write_all(&bytes).await.is_err() {
                    return Outcome::CallerGone;
                }
            }
            Ok(Item::Data(_) | Item::Event(_)) => {}
            Ok(Item::Fin) => {
                open = false;
                if caller.shutdown().await.is_err() {
                    return Outcome::CallerGone;
                }
            }
            Ok(Item::End(Ok(_))) => {
                let last = timeout(limits::TUNNEL_LAST, caller.shutdown()).await;
                return match last {
                    Ok(Ok(())) => Outcome::Complete,
                    Ok(Err(_)) | Err(_) if open => Outcome::CallerGone,
                    _ => Outcome::Complete,
                };
            }
            Ok(Item::End(Err(body))) => return Outcome::Broken(body.code),
            Err(StreamError::Reset(code)) => return Outcome::Broken(code),
            Err(StreamError::Lost | StreamError::Ended) => {
                return Outcome::Broken(ErrorCode::ChannelLost);
            }
        }
    }
}

/// The next item; what was written before is flushed while none is there.
async fn next(
    reader: &mut StreamReader,
    caller: &mut WriteHalf<Caller>,
) -> Result<Item, StreamError> {
    std::future::poll_fn(|cx| match reader.poll_recv(cx) {
        Poll::Ready(item) => Poll::Ready(item),
        Poll::Pending => {
            // An error comes back at the next write.
            let _ = Pin::new(&mut *caller).poll_flush(cx);
            Poll::Pending
        }
    })
    .await
}
