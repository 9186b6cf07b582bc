//! An upgraded connection: opaque bytes, both ways, each side closing when it will (P-64).
//!
//! Invariants: each direction waits only for itself; the API server's end ends the command, after
//! the caller had a moment to close theirs.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::CommandError;
use crate::cluster::proxy::{Upgraded, UpgradedReader, UpgradedWriter};
use crate::limits;
use crate::session::{Item, StreamReader, StreamWriter};

/// Passes bytes until the API server has ended.
pub(super) async fn run(
    upgraded: Upgraded,
    reader: StreamReader,
    writer: &mut StreamWriter,
) -> Result<(), CommandError> {
    let (from_server, to_server) = upgraded.split();
    let mut up = pin!(upward(reader, to_server));
    let mut down = pin!(downward(from_server, writer));
    let mut up_ended = None;
    let ended = std::future::poll_fn(|cx| {
        // The way down goes first: its end decides, and an error on the way up is often only
        // that the server has closed.
        if let Poll::Ready(ended) = down.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if up_ended.is_none()
            && let Poll::Ready(ended) = up.as_mut().poll(cx)
        {
            if let Err(CommandError::Stream(error)) = ended {
                return Poll::Ready(Err(CommandError::Stream(error)));
            }
            up_ended = Some(());
        }
        Poll::Pending
    })
    .await;
    ended?;
    if up_ended.is_none() {
        // What the caller still sends goes nowhere; all that counts is that it closes.
        let _ = tokio::time::timeout(limits::UPGRADE_LINGER, up).await;
    }
    Ok(())
}

async fn upward(mut reader: StreamReader, mut server: UpgradedWriter) -> Result<(), CommandError> {
    while let Item::Data(bytes) = reader.recv().await? {
        server.send(&bytes).await.map_err(CommandError::Upgraded)?;
    }
    server.finish().await.map_err(CommandError::Upgraded)
}

async fn downward(
    mut server: UpgradedReader,
    writer: &mut StreamWriter,
) -> Result<(), CommandError> {
    loop {
        let room = writer.ready().await?;
        let bytes = server.chunk(room).await.map_err(CommandError::Upgraded)?;
        if bytes.is_empty() {
            writer.fin();
            return Ok(());
        }
        writer.push(bytes)?;
    }
}
