//! The task of a session: races reading, writing, time and failing over one link.
//!
//! Owns the order of the end: whatever happened, the peer is told why if the link still carries it
//! (within [`GOODBYE`], and once more that long to let it arrive), the link is closed with the code of
//! P-9, and every handle learns it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::Instant;

use super::error::Ended;
use super::shared::Shared;
use super::stream::{Ender, StreamReader, StreamWriter};
use super::{Incoming, Notice, Open, translate};
use crate::limits;
use crate::link::{Link, LinkError};
use crate::mux::{Arrival, Role, Signal};
use crate::protocol::codec::Wire;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Goaway;

/// The time that a goodbye may take: the peer may be the one that does not read.
const GOODBYE: Duration = Duration::from_secs(1);

/// Tells every handle when the session's future ends or is dropped.
#[derive(Debug)]
pub(super) struct Gone(pub(super) Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.with(|mux, _| mux.lose());
    }
}

/// Drives the session to its end.
///
/// # Cancel safety
/// Dropping the future ends the session without a goodbye.
pub(super) async fn run<L: Link>(
    link: L,
    shared: Arc<Shared>,
    owner: Arc<dyn Open>,
    gone: Gone,
) -> Ended {
    let (mut sink, mut stream) = link.split();
    let mut left = None;
    let mut ended = tokio::select! {
        biased;
        ended = pass_time(&shared) => ended,
        ended = read(&mut stream, &shared, owner.as_ref(), &mut left) => ended,
        ended = write(&mut sink, &shared) => ended,
    };
    shared.over();
    // The handles learn it before the goodbye, which may take its time.
    drop(gone);
    let Ok(mut link) = sink.reunite(stream) else {
        return ended;
    };
    // A peer that has said goodbye may be gone before our answer to it was written.
    if matches!(ended, Ended::PeerClosed(_) | Ended::Link(LinkError::Io(_))) {
        let close = link.peer_close();
        match left {
            Some(goaway) => ended = Ended::PeerLeft(goaway),
            None if close.is_some() => ended = Ended::PeerClosed(close),
            None => {}
        }
    }
    let goodbye = goodbye(&mut link, &shared, &ended);
    match tokio::time::timeout(GOODBYE, goodbye).await {
        Ok(Ok(())) if is_heard(&ended) => {
            let discard = std::future::poll_fn(|cx| link.poll_discard(cx));
            // A peer that goes on talking is not listened to for longer.
            let _ = tokio::time::timeout(GOODBYE, discard).await;
        }
        Ok(_) => {}
        Err(_) => tracing::debug!("Goodbye timed out"),
    }
    ended
}

/// Whether somebody is there to whom the goodbye matters, and who may still be sending.
fn is_heard(ended: &Ended) -> bool {
    match ended {
        Ended::Failed(code, _) => *code != ErrorCode::PingTimeout,
        Ended::Link(LinkError::TooLarge | LinkError::Protocol(_)) => true,
        Ended::Link(LinkError::Io(_))
        | Ended::Drained
        | Ended::PeerLeft(_)
        | Ended::PeerClosed(_) => false,
    }
}

async fn goodbye<L: Link>(link: &mut L, shared: &Shared, ended: &Ended) -> Result<(), LinkError> {
    match ended {
        Ended::Failed(code, message) => {
            let goaway = Signal::Goaway(Goaway {
                code: *code,
                message: message.clone(),
                last_stream: None,
                reconnect: None,
            });
            link.set_close(code.close_code(), code.as_str());
            link.send(translate::encode(shared.role, shared.binary, goaway))
                .await?;
        }
        Ended::Drained => link.set_close(ErrorCode::ShuttingDown.close_code(), "drained"),
        Ended::PeerLeft(_) | Ended::PeerClosed(_) => link.set_close(1000, ""),
        Ended::Link(LinkError::TooLarge) => {
            link.set_close(ErrorCode::TooLarge.close_code(), "too_large");
        }
        Ended::Link(LinkError::Protocol(_)) => link.set_close(1002, "malformed"),
        Ended::Link(LinkError::Io(_)) => return Ok(()),
    }
    link.close().await
}

/// Pings, grace, pressure; and the end that comes from outside.
async fn pass_time(shared: &Shared) -> Ended {
    loop {
        if let Some((code, message)) = shared.failed() {
            return Ended::Failed(code, message);
        }
        if let Err(fault) = shared.with(|mux, now| mux.tick(now)) {
            return Ended::Failed(fault.code, fault.message.to_owned());
        }
        let deadline = Instant::from_std(shared.with(|mux, _| mux.deadline()));
        // A word now and then, for the agent's watchdog; a gateway has none and many sessions.
        let deadline = match shared.role {
            Role::Agent => deadline.min(Instant::now() + limits::PROGRESS_EVERY),
            Role::Gateway => deadline,
        };
        shared.beat();
        tokio::select! {
            biased;
            () = shared.timer.notified() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// Takes what arrives. Never waits for a handler or for the socket's write side.
async fn read<L: Link>(
    stream: &mut SplitStream<L>,
    shared: &Arc<Shared>,
    owner: &dyn Open,
    left: &mut Option<Goaway>,
) -> Ended {
    while let Some(message) = stream.next().await {
        let wire = match message {
            Ok(wire) => wire,
            Err(error) => return Ended::Link(error),
        };
        let arrival = match translate::decode(shared.role, shared.binary, &wire) {
            Ok(signal) => {
                // The next ping may be due before the echo would have been overdue.
                let echoed = matches!(signal, Signal::Pong(_));
                let arrival = shared.receive(signal);
                if echoed {
                    shared.timer.notify_one();
                }
                arrival
            }
            Err(code) => return Ended::Failed(code, format!("a message was refused: {code}")),
        };
        match arrival {
            Ok(None) => {}
            Ok(Some(arrival)) => deliver(arrival, shared, owner, left),
            Err(fault) => return Ended::Failed(fault.code, fault.message.to_owned()),
        }
    }
    Ended::PeerClosed(None)
}

fn deliver(arrival: Arrival, shared: &Arc<Shared>, owner: &dyn Open, left: &mut Option<Goaway>) {
    match arrival {
        Arrival::Opened(key, open) => {
            let compression = open.compression.filter(|_| shared.zstd);
            let resume = open.resume.filter(|_| shared.resume.is_some());
            owner.open(Incoming {
                id: open.stream,
                class: open.class,
                compression,
                resume,
                command: open.command,
                reader: StreamReader::new(Arc::clone(shared), key),
                writer: StreamWriter::new(
                    Arc::clone(shared),
                    key,
                    compression.is_some() && resume.is_none(),
                ),
                ender: Ender::new(Arc::clone(shared), key),
            });
        }
        Arrival::Report(report) => owner.notice(Notice::Report(report)),
        Arrival::Heartbeat(heartbeat) => owner.notice(Notice::Heartbeat(heartbeat)),
        Arrival::Role(role) => owner.notice(Notice::Role(role)),
        Arrival::Warning(warning) => owner.notice(Notice::Warning(warning)),
        Arrival::Ack(report) => owner.notice(Notice::Ack(report)),
        Arrival::Goaway(goaway) => {
            *left = Some(goaway.clone());
            owner.notice(Notice::Goaway(goaway));
        }
    }
}

/// Owns the sink: gathers a batch, feeds it, flushes once.
async fn write<L: Link>(sink: &mut SplitSink<L, Wire>, shared: &Shared) -> Ended {
    let mut batch = VecDeque::new();
    loop {
        shared.gather(limits::WRITE_BATCH, |signal| {
            let wire = translate::encode(shared.role, shared.binary, signal);
            let bytes = match &wire {
                Wire::Text(text) => text.len(),
                Wire::Binary(bytes) => bytes.len(),
            };
            batch.push_back(wire);
            bytes
        });
        if batch.is_empty() {
            if shared.with(|mux, _| mux.is_leaving() && mux.is_drained()) {
                return Ended::Drained;
            }
            shared.output.notified().await;
            continue;
        }
        while let Some(wire) = batch.pop_front() {
            if let Err(error) = sink.feed(wire).await {
                return Ended::Link(error);
            }
        }
        if let Err(error) = sink.flush().await {
            return Ended::Link(error);
        }
        shared.sent();
    }
}
