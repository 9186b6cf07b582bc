//! One accepted connection's bytes, under the deadlines that hyper does not have.
//!
//! Owns the three times of an HTTP/1.1 connection (to the first byte, from there to the end of a
//! request's head, and idle between requests) and the count of answer bytes that hyper holds. hyper
//! has one timer for the first two and the third together, which would close the idle connections
//! of every kubectl and client-go after ten seconds.
//! Invariant: no connection that does not make a request outlives its deadline, and a caller that
//! stops reading holds no more than [`limits::ANSWER_HELD`] and one frame in hyper.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::metrics::Metrics;
use super::wire::{self, Wire};
use crate::limits;

/// What a connection and the requests on it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// A request is being answered, so that the connection's own deadlines rest.
    in_request: AtomicBool,
    /// How many requests have been answered: another one begins another idle time.
    answered: AtomicU64,
    /// Bytes that the socket took, of answers and all else.
    written: AtomicU64,
    /// Bytes that answers gave to hyper.
    given: AtomicU64,
    waiting: AtomicWaker,
}

impl Flow {
    /// A request's head has been read.
    pub(crate) fn begin(&self) {
        self.in_request.store(true, Ordering::Relaxed);
        self.given
            .store(self.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The answer has been given to hyper to the last byte, or broke off.
    pub(crate) fn end(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.in_request.store(false, Ordering::Relaxed);
    }

    /// An answer gives hyper so many bytes.
    pub(crate) fn give(&self, bytes: usize) {
        self.given.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the socket has taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Ready when hyper has written what it was given at this count and before: what is in its
    /// buffer when a body breaks off would be lost. For a caller who reads slowly it may be a little
    /// early.
    pub(crate) fn poll_written(&self, cx: &mut Context<'_>, count: u64) -> Poll<()> {
        let all = || {
            let written = self.written.load(Ordering::Relaxed);
            written > count && written >= self.given.load(Ordering::Relaxed)
        };
        if all() {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        if all() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Ready when hyper may be given more. The bytes of heads count as written too, which only
    /// makes the figure smaller, by less than a kilobyte.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let held = || {
            let given = self.given.load(Ordering::Relaxed);
            given.saturating_sub(self.written.load(Ordering::Relaxed))
        };
        if held() < limits::ANSWER_HELD as u64 {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        if held() < limits::ANSWER_HELD as u64 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// An accepted connection, TLS ended.
#[derive(Debug)]
pub(crate) struct Caller {
    io: Wire,
    flow: Arc<Flow>,
    /// The head of a request has begun, or the connection has, and must be whole by then.
    head_due: Option<Instant>,
    idle_due: Instant,
    /// The requests answered when the idle time began.
    answered: u64,
    timer: Pin<Box<Sleep>>,
    upgraded: bool,
    _counted: Counted,
}

/// An accepted connection's place among all, whatever it is upgraded to.
#[derive(Debug)]
pub(crate) struct Counted {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Counted {
    pub(crate) fn new(permit: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self {
            _permit: permit,
            metrics,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Caller {
    pub(crate) fn new(io: Wire, counted: Counted) -> (Self, Arc<Flow>) {
        let flow = Arc::new(Flow::default());
        let first = Instant::now() + limits::HEADER_DEADLINE;
        let caller = Self {
            io,
            flow: Arc::clone(&flow),
            head_due: Some(first),
            idle_due: first,
            answered: 0,
            timer: Box::pin(tokio::time::sleep_until(first)),
            upgraded: false,
            _counted: counted,
        };
        (caller, flow)
    }

    /// The connection is HTTP no more: its deadlines are its new protocol's.
    pub(crate) fn upgrade(&mut self, buffer: usize) {
        self.upgraded = true;
        wire::hold(&mut self.io, buffer);
    }

    /// What carries its bytes.
    pub(crate) const fn wire(&self) -> &Wire {
        &self.io
    }

    /// Whether the connection, silent now, is out of time.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.head_due.unwrap_or(self.idle_due);
            // A timer that fires too early is set again then; that is rarer than requests are.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }
}

impl AsyncRead for Caller {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.upgraded || this.flow.in_request.load(Ordering::Relaxed) {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let answered = this.flow.answered.load(Ordering::Relaxed);
        if answered != this.answered {
            this.answered = answered;
            this.head_due = None;
            this.idle_due = Instant::now() + limits::IDLE_CONNECTION;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(read) => {
                if buf.filled().len() > before && this.head_due.is_none() {
                    this.head_due = Some(Instant::now() + limits::HEADER_DEADLINE);
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                ready!(this.poll_due(cx));
                tracing::debug!("Connection out of time");
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl Caller {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.flow
                .written
                .fetch_add(*bytes as u64, Ordering::Relaxed);
            self.flow.waiting.wake();
        }
        written
    }
}

impl AsyncWrite for Caller {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
