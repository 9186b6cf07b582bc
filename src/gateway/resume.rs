//! A command's answer over one session after the other (P-75 to P-79), on the gateway's side.
//!
//! Owns the waiting of a caller for its agent to come back, and the way on from there. Owns not: how
//! much was taken (`session::lasting`), nor which agent is back ([`super::agents`]).
//! Invariants: a caller waits no longer than the agent keeps its command, and not at all for what
//! cannot come back; what it reads is what the agent said, every byte once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Shared;
use super::agents::{Connected, Load};
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Class;
use crate::protocol::{CommandEnvelope, ResumeKey};
use crate::session::{
    Item, LastingReader, NewStream, OpenError, Session, StreamError, StreamReader, StreamWriter,
};

/// The reader of an answer.
#[derive(Debug)]
pub(crate) enum Reader {
    /// It ends with its session.
    Plain(StreamReader),
    /// It goes on in the next one.
    Lasting(Box<Lasting>),
}

impl Reader {
    /// Opens a stream; one that `lasts` goes on in the next session, where the agent does that. It
    /// must only read, and take no bytes.
    ///
    /// # Errors
    /// When it cannot be opened; nothing was sent then.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        session: &Arc<Connected>,
        stream: NewStream,
        lasts: bool,
    ) -> Result<(Self, Option<StreamWriter>), OpenError> {
        if lasts {
            let (command, class) = (&stream.command, stream.class);
            if let Some(lasting) = Lasting::open(shared, session, command, class)? {
                return Ok((Self::Lasting(Box::new(lasting)), None));
            }
        }
        let handle = session.session().ok_or(OpenError::Lost)?;
        let (reader, writer) = handle.open(stream)?;
        Ok((Self::Plain(reader), Some(writer)))
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        match self {
            Self::Plain(reader) => reader.poll_recv(cx),
            Self::Lasting(reader) => reader.poll_recv(cx),
        }
    }

    /// The next item.
    ///
    /// # Cancel safety
    /// An item is taken only when it is returned.
    pub(crate) async fn recv(&mut self) -> Result<Item, StreamError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Gives the stream up with this code.
    pub(crate) fn reset(self, code: ErrorCode) {
        match self {
            Self::Plain(reader) => reader.reset(code),
            Self::Lasting(reader) => reader.reader.reset(code),
        }
    }

    /// The stream's own reader, where it is one stream's.
    pub(crate) fn into_plain(self) -> Option<StreamReader> {
        match self {
            Self::Plain(reader) => Some(reader),
            Self::Lasting(_) => None,
        }
    }
}

type Coming = Pin<Box<dyn Future<Output = Option<Arc<Connected>>> + Send>>;

/// The reader of a command that may be resumed.
pub(crate) struct Lasting {
    shared: Arc<Shared>,
    /// Whose session carries it, or did.
    session: Arc<Connected>,
    /// Counted in a session that it went on in; in the first one its caller is counted.
    load: Option<Load>,
    command: CommandEnvelope,
    class: Class,
    reader: LastingReader,
    /// The next session, while there is none.
    coming: Option<Coming>,
}

impl std::fmt::Debug for Lasting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lasting")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

impl Lasting {
    /// Opens a command, which must only read and take no bytes, such that it can be resumed; nothing
    /// where the session does not do that.
    ///
    /// # Errors
    /// When it cannot be opened at all; nothing was sent then.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        session: &Arc<Connected>,
        command: &CommandEnvelope,
        class: Class,
    ) -> Result<Option<Self>, OpenError> {
        let handle = session.session().ok_or(OpenError::Lost)?;
        let mut bits = [0; 16];
        if handle.resume_for().is_none() || aws_lc_rs::rand::fill(&mut bits).is_err() {
            return Ok(None);
        }
        let stream = stream(command, class);
        let reader = LastingReader::open(handle, stream, ResumeKey::new(bits))?;
        Ok(Some(Self {
            shared: Arc::clone(shared),
            session: Arc::clone(session),
            load: None,
            command: command.clone(),
            class,
            reader,
            coming: None,
        }))
    }

    /// The next item; where the session was lost, of the next one of the same process.
    ///
    /// # Errors
    /// As [`StreamReader::recv`]; `Lost` once the agent does not come back.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, StreamError>> {
        loop {
            if let Some(coming) = &mut self.coming {
                let next = ready!(coming.as_mut().poll(cx));
                self.coming = None;
                let resumed = next.is_some_and(|next| self.resume(next));
                self.shared.metrics.resumed(resumed);
                if !resumed {
                    return Poll::Ready(Err(StreamError::Lost));
                }
            }
            let item = ready!(self.reader.poll_recv(cx));
            match (item, self.resume_for()) {
                (Err(StreamError::Lost), Some(within)) => {
                    let (stop, session) = (self.shared.stop.clone(), Arc::clone(&self.session));
                    self.coming = Some(Box::pin(async move {
                        let next = tokio::time::timeout(within, session.next());
                        stop.run_until_cancelled(next).await?.ok()?
                    }));
                }
                (item, _) => return Poll::Ready(item),
            }
        }
    }

    /// Goes on in this session. One that was lost meanwhile counts: the next is waited for.
    fn resume(&mut self, next: Arc<Connected>) -> bool {
        let Some(handle) = next.session() else {
            return false;
        };
        let stream = stream(&self.command, self.class);
        match self.reader.resume(handle, stream) {
            Ok(()) => tracing::debug!(
                request = self.command.id,
                session = next.id,
                offset = self.reader.taken(),
                "Request resumed"
            ),
            Err(OpenError::GoingAway | OpenError::Lost) => {}
            Err(OpenError::Busy) => return false,
        }
        self.load = Some(next.load());
        self.session = next;
        true
    }

    fn resume_for(&self) -> Option<Duration> {
        self.session.session().and_then(Session::resume_for)
    }
}

fn stream(command: &CommandEnvelope, class: Class) -> NewStream {
    NewStream {
        command: command.clone(),
        class,
        compression: None,
        upload: false,
    }
}
