//! A request's body on its way up.
//!
//! Owns the pump from the caller's body to a stream, and the memory of what was sent, so that a
//! request of which nothing was begun can be sent once more. Invariants: the caller's body is read
//! only when the stream has credit; at most [`limits::REPLAY`] bytes are kept, and only until the
//! head; a body that breaks off resets the stream, so that the API server never takes it for whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::limits;
use crate::session::{StreamError, StreamWriter};

/// A body, and what of it has been sent already.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    counter: Arc<AtomicU64>,
    /// To be sent before the body is read on.
    pending: VecDeque<Bytes>,
    /// What has been sent on this stream; nothing once it is too much to keep.
    sent: Option<Vec<Bytes>>,
    kept: usize,
    finished: bool,
}

/// How the pump ended.
enum Pumped {
    /// All is sent.
    Sent,
    /// The stream takes no more: its answer says why.
    Unwanted,
    /// The caller broke off.
    Broken,
}

impl Upload {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            counter: Arc::default(),
            pending: VecDeque::new(),
            sent: Some(Vec::new()),
            kept: 0,
            finished: false,
        }
    }

    /// The bytes that have gone up.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.counter)
    }

    /// Moves bytes until there are no more.
    ///
    /// # Cancel safety
    /// Safe: a frame that was read is pending until it is sent.
    async fn pump(&mut self, writer: &mut StreamWriter) -> Pumped {
        loop {
            let Ok(room) = writer.ready().await else {
                return Pumped::Unwanted;
            };
            if let Some(next) = self.pending.front_mut() {
                let piece = next.split_to(room.min(next.len()));
                if next.is_empty() {
                    self.pending.pop_front();
                }
                match self.push(writer, piece) {
                    Ok(()) => continue,
                    Err(_) => return Pumped::Unwanted,
                }
            }
            if self.finished {
                writer.fin();
                return Pumped::Sent;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        self.pending.push_back(bytes);
                    }
                }
                Some(Err(_)) => return Pumped::Broken,
                None => self.finished = true,
            }
        }
    }

    fn push(&mut self, writer: &mut StreamWriter, piece: Bytes) -> Result<(), StreamError> {
        self.counter
            .fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.kept += piece.len();
        if self.kept > limits::REPLAY {
            self.sent = None;
        }
        if let Some(sent) = &mut self.sent {
            sent.push(piece.clone());
        }
        writer.push(piece)
    }
}

/// The way up of one stream: with a body, or without.
#[derive(Debug)]
pub(crate) struct Uploading {
    upload: Option<Upload>,
    writer: Option<StreamWriter>,
    done: bool,
}

impl Uploading {
    /// Takes the body, if there is one.
    pub(crate) fn begin(upload: &mut Option<Upload>) -> Self {
        let upload = upload.take();
        Self {
            done: upload.is_none(),
            upload,
            writer: None,
        }
    }

    /// Whether there is a body.
    pub(crate) const fn is_some(&self) -> bool {
        self.upload.is_some()
    }

    /// Gives it its stream, if it has a way up.
    pub(crate) fn attach(&mut self, writer: Option<StreamWriter>) {
        self.writer = writer;
    }

    /// Moves bytes; says whether the caller broke off. Never resolves once all is sent.
    ///
    /// # Cancel safety
    /// Safe, and may be called again.
    pub(crate) async fn drive(&mut self) -> bool {
        let (Some(upload), Some(writer), false) = (&mut self.upload, &mut self.writer, self.done)
        else {
            return std::future::pending().await;
        };
        let pumped = upload.pump(writer).await;
        self.done = true;
        matches!(pumped, Pumped::Broken)
    }

    /// Makes the body ready for another stream, if all that was sent is still known; says whether.
    pub(crate) fn rewind(self, upload: &mut Option<Upload>) -> bool {
        let Some(mut body) = self.upload else {
            return true;
        };
        let Some(sent) = body.sent.take() else {
            return false;
        };
        for piece in sent.into_iter().rev() {
            body.pending.push_front(piece);
        }
        body.sent = Some(Vec::new());
        body.kept = 0;
        body.counter.store(0, Ordering::Relaxed);
        *upload = Some(body);
        true
    }

    /// The stream's writer, for an upgraded connection.
    pub(crate) fn into_writer(self) -> Option<StreamWriter> {
        self.writer
    }

    /// What is left to do after the head, if anything.
    pub(crate) fn rest(mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        if self.upload.is_none()
            && let Some(writer) = &mut self.writer
        {
            // An upgrade that was refused (P-65): dropping the writer would reset the answer.
            writer.fin();
        }
        let (Some(mut upload), Some(mut writer), false) = (self.upload, self.writer, self.done)
        else {
            return None;
        };
        upload.sent = None;
        Some(async move {
            // A writer that is dropped unfinished resets its stream, which is right for a body
            // that broke off; where the stream takes no more, it has ended already.
            upload.pump(&mut writer).await;
        })
    }
}
