//! A gateway's reader of a command that may be resumed, over one session after the other.
//!
//! Owns the key, and how much of the command's events and bytes has been taken. Owns not: which
//! session is next, and for how long one is waited for (`gateway`). Invariant: what it delivers is
//! what the command said, every byte once and in order, whichever streams carried it.

use std::task::{Context, Poll};

use super::error::{OpenError, StreamError};
use super::stream::{Item, StreamReader};
use super::{NewStream, Session};
use crate::protocol::error::ErrorCode;
use crate::protocol::{Resume, ResumeKey};

/// See the module.
#[derive(Debug)]
pub struct LastingReader {
    /// The stream that carries it now.
    reader: Option<StreamReader>,
    resume: Resume,
}

impl LastingReader {
    /// Opens a command, which must take no bytes, such that it can be resumed. The key is a secret
    /// and no other command's.
    ///
    /// # Errors
    /// When the session is full, going away or gone; nothing was sent then.
    pub fn open(session: &Session, stream: NewStream, key: ResumeKey) -> Result<Self, OpenError> {
        let mut reader = Self {
            reader: None,
            resume: Resume {
                key,
                count: 0,
                offset: 0,
            },
        };
        reader.begin(session, stream)?;
        Ok(reader)
    }

    /// Goes on in another session of the same agent's process; `stream` is the command as it was
    /// opened.
    ///
    /// # Errors
    /// As [`LastingReader::open`].
    pub fn resume(&mut self, session: &Session, stream: NewStream) -> Result<(), OpenError> {
        let before = self.resume.count;
        self.resume.count += 1;
        self.begin(session, stream)
            .inspect_err(|_| self.resume.count = before)
    }

    fn begin(&mut self, session: &Session, mut stream: NewStream) -> Result<(), OpenError> {
        stream.upload = false;
        let (reader, _) = session.open_with(stream, Some(self.resume))?;
        self.reader = Some(reader);
        Ok(())
    }

    /// The next item, as [`StreamReader::poll_recv`]. After `Lost` it can be resumed.
    ///
    /// # Errors
    /// As [`StreamReader::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        let Some(reader) = &mut self.reader else {
            return Poll::Ready(Err(StreamError::Lost));
        };
        let item = std::task::ready!(reader.poll_recv(cx));
        match &item {
            Ok(Item::Event(event)) => self.resume.offset += event.get().len() as u64,
            Ok(Item::Data(bytes)) => self.resume.offset += bytes.len() as u64,
            Ok(Item::Fin | Item::End(_)) => {}
            Err(StreamError::Lost) => self.reader = None,
            Err(StreamError::Reset(_) | StreamError::Ended) => {}
        }
        Poll::Ready(item)
    }

    /// The next item, as [`LastingReader::poll_recv`].
    ///
    /// # Errors
    /// As [`StreamReader::recv`].
    ///
    /// # Cancel safety
    /// An item is taken only when it is returned.
    pub async fn recv(&mut self) -> Result<Item, StreamError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// How many bytes of events and data it has taken.
    pub fn taken(&self) -> u64 {
        self.resume.offset
    }

    /// Gives the command up with this code.
    pub fn reset(self, code: ErrorCode) {
        if let Some(reader) = self.reader {
            reader.reset(code);
        }
    }
}
