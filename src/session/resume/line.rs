//! One command over one session after the other.
//!
//! Owns which stream carries it, what is to be sent again there, and how long it waits for one. Its
//! writer and its ender are the handles of the command; the ender drives it: what is owed to a new
//! stream is sent from there, at the pace of its credit. Invariants: a byte goes to a stream once and
//! in order; the lock is held for one step and never across an await; wakers touch no lock of a line.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep};

use super::replay::{Piece, Replay};
use super::{Id, Place, Table};
use crate::limits;
use crate::protocol::Resume;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::session::error::StreamError;
use crate::session::stream::{DirectEnder, DirectWriter, Ender, StreamWriter};

type Outcome = Result<Option<Box<RawValue>>, ErrorBody>;

/// See the module.
#[derive(Debug)]
pub(in crate::session) struct Line {
    id: Id,
    table: Arc<Table>,
    state: Mutex<State>,
    writer: AtomicWaker,
    driver: AtomicWaker,
}

#[derive(Debug)]
struct State {
    carried: Option<Carried>,
    /// Set while nothing carries it, or its end has been written.
    waiting: Option<Waiting>,
    replay: Replay,
    /// What the table has counted of the replay.
    counted: usize,
    /// The last resuming.
    count: u32,
    /// No more bytes follow.
    fin: bool,
    outcome: Option<Outcome>,
    over: Option<StreamError>,
    resume_for: Duration,
}

/// The stream that carries it.
#[derive(Debug)]
struct Carried {
    writer: DirectWriter,
    ender: DirectEnder,
    /// Where the stream began.
    base: u64,
    /// What of the command has been given to it.
    sent: u64,
    fin: bool,
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    _place: Place,
}

/// Nothing is sent by a waker but wake-ups: it may run under another line's lock.
impl Wake for Line {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.writer.wake();
        self.driver.wake();
    }
}

impl Line {
    /// A line that begins on these handles; they come back where they cannot last.
    pub(super) fn new(
        id: Id,
        table: &Arc<Table>,
        writer: StreamWriter,
        ender: Ender,
    ) -> Result<Arc<Self>, (StreamWriter, Ender)> {
        let Some(resume_for) = ender.resume_for() else {
            return Err((writer, ender));
        };
        let carried = Carried::new(writer, ender, 0)?;
        Ok(Arc::new(Self {
            id,
            table: Arc::clone(table),
            state: Mutex::new(State {
                carried: Some(carried),
                waiting: None,
                replay: Replay::default(),
                counted: 0,
                count: 0,
                fin: false,
                outcome: None,
                over: None,
                resume_for,
            }),
            writer: AtomicWaker::new(),
            driver: AtomicWaker::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === For the writer ===

    pub(in crate::session) fn poll_ready(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        self.writer.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        let mut own = Context::from_waker(&waker);
        let mut state = self.lock();
        if let Some(over) = state.over {
            return Poll::Ready(Err(over));
        }
        let end = state.replay.end();
        let Some(carried) = state.carried.as_mut().filter(|on| on.sent == end) else {
            return Poll::Pending;
        };
        match carried.writer.poll_ready(&mut own) {
            Poll::Ready(Ok(room)) => {
                self.acknowledge(&mut state, &own);
                let left = limits::RESUME_KEPT.saturating_sub(state.replay.held());
                if left == 0 {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(room.min(left)))
            }
            // The driver parks it.
            Poll::Ready(Err(StreamError::Lost)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    pub(in crate::session) fn push(&self, bytes: Bytes) -> Result<(), StreamError> {
        self.write(&Piece::Data(bytes))
    }

    pub(in crate::session) fn push_event(&self, event: Box<RawValue>) -> Result<(), StreamError> {
        self.write(&Piece::Event(event))
    }

    /// Keeps a piece, and sends it where nothing is owed before it. A session that was lost since
    /// there was room for it changes nothing: it is owed then.
    fn write(&self, piece: &Piece) -> Result<(), StreamError> {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(over) = state.over {
            return Err(over);
        }
        let before = state.replay.end();
        match piece {
            Piece::Data(bytes) => state.replay.data(bytes),
            Piece::Event(event) => state.replay.event(event),
        }
        if let Some(carried) = &mut state.carried
            && carried.sent == before
        {
            match carried.send(piece) {
                Ok(()) | Err(StreamError::Lost) => {}
                Err(error) => return Err(error),
            }
        }
        self.count(state);
        Ok(())
    }

    pub(in crate::session) fn fin(&self) {
        let mut state = self.lock();
        state.fin = true;
        let end = state.replay.end();
        if let Some(carried) = state.carried.as_mut().filter(|on| on.sent == end) {
            carried.fin();
        }
    }

    // === For the ender ===

    pub(in crate::session) fn cancelled(
        self: &Arc<Self>,
    ) -> impl Future<Output = StreamError> + Send + 'static {
        let line = Arc::clone(self);
        let mut timer = None;
        std::future::poll_fn(move |cx| line.poll(cx, &mut timer))
    }

    /// Takes the command's outcome; the future resolves once nobody can ask for it any more.
    pub(in crate::session) fn told(
        self: &Arc<Self>,
        outcome: Outcome,
    ) -> impl Future<Output = StreamError> + Send + 'static {
        self.lock().outcome = Some(outcome);
        self.cancelled()
    }

    /// Ends the command on the stream that it has, for good.
    pub(in crate::session) fn close(&self, outcome: Outcome) {
        let mut state = self.lock();
        if let Some(carried) = &state.carried {
            carried.ender.end(outcome);
        }
        self.leave(&mut state, StreamError::Ended);
    }

    /// The ender is gone.
    pub(in crate::session) fn abandon(&self) {
        self.leave(&mut self.lock(), StreamError::Ended);
    }

    /// Carries on: resolves when there is no more to do, with the reason.
    fn poll(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        timer: &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<StreamError> {
        self.driver.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        let mut own = Context::from_waker(&waker);
        let mut state = self.lock();
        loop {
            if let Some(over) = state.over {
                return Poll::Ready(over);
            }
            match self.carry(&mut state, &mut own) {
                Ok(()) => {}
                Err(StreamError::Lost) => {
                    self.park(&mut state);
                    continue;
                }
                Err(error) => {
                    self.leave(&mut state, error);
                    continue;
                }
            }
            let Some(until) = state.waiting.as_ref().map(|waiting| waiting.until) else {
                *timer = None;
                return Poll::Pending;
            };
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.leave(&mut state, StreamError::Lost);
        }
    }

    /// Sends what is owed to the stream, as far as it has credit, and then the end, if it has come.
    fn carry(&self, state: &mut State, own: &mut Context<'_>) -> Result<(), StreamError> {
        let Some(carried) = &mut state.carried else {
            return Ok(());
        };
        if let Poll::Ready(error) = carried.ender.poll_cancelled(own) {
            return Err(error);
        }
        if let Some(Err(body)) = &state.outcome {
            carried.ender.end(Err(body.clone()));
            return Err(StreamError::Ended);
        }
        let owed = carried.sent < state.replay.end();
        while carried.sent < state.replay.end() {
            let Poll::Ready(room) = carried.writer.poll_ready(own) else {
                break;
            };
            let piece = state.replay.at(carried.sent, room?);
            let piece = piece.ok_or(StreamError::Reset(ErrorCode::Internal))?;
            carried.send(&piece)?;
        }
        let caught_up = carried.sent == state.replay.end();
        if caught_up && state.fin {
            carried.fin();
        }
        if let Some(Ok(result)) = &state.outcome
            && caught_up
            && !carried.ended
        {
            carried.ended = true;
            carried.ender.end(Ok(result.clone()));
        }
        let written = carried.ended && carried.ender.is_written();
        let liveness = carried.ender.liveness();
        if owed && caught_up {
            self.writer.wake();
        }
        self.acknowledge(state, own);
        if written && state.waiting.is_none() {
            // A session that lives so much longer has carried the end (P-41).
            let place = self.table.linger().ok_or(StreamError::Ended)?;
            state.waiting = Some(Waiting {
                until: Instant::now() + liveness,
                _place: place,
            });
        }
        Ok(())
    }

    fn park(&self, state: &mut State) {
        state.carried = None;
        state.waiting = None;
        match self.table.park() {
            Some(place) => {
                state.waiting = Some(Waiting {
                    until: Instant::now() + state.resume_for,
                    _place: place,
                });
            }
            None => self.leave(state, StreamError::Lost),
        }
    }

    /// It is over: nothing finds it any more, and nothing is kept.
    fn leave(&self, state: &mut State, why: StreamError) {
        if state.over.is_some() {
            return;
        }
        state.over = Some(why);
        state.carried = None;
        state.waiting = None;
        state.outcome = None;
        state.replay = Replay::default();
        self.count(state);
        self.table.lines().remove(&self.id);
        self.writer.wake();
        self.driver.wake();
    }

    // === For the table ===

    /// Another stream carries it from now on; one that still does is ended.
    pub(super) fn attach(
        &self,
        resume: &Resume,
        writer: StreamWriter,
        ender: Ender,
    ) -> Result<(), Ender> {
        let mut state = self.lock();
        if state.over.is_some() || resume.count <= state.count {
            return Err(ender);
        }
        if !state.replay.allows(resume.offset) {
            // What is gone does not come back.
            self.leave(&mut state, StreamError::Lost);
            return Err(ender);
        }
        let Some(resume_for) = ender.resume_for() else {
            return Err(ender);
        };
        let carried = match Carried::new(writer, ender, resume.offset) {
            Ok(carried) => carried,
            Err((_, ender)) => return Err(ender),
        };
        if let Some(old) = state.carried.replace(carried) {
            let body = ErrorBody::new(ErrorCode::Cancelled, "another stream carries the command");
            old.ender.end(Err(body));
        }
        state.waiting = None;
        state.resume_for = resume_for;
        state.count = resume.count;
        state.replay.acknowledge(resume.offset);
        self.count(&mut state);
        drop(state);
        self.writer.wake();
        self.driver.wake();
        Ok(())
    }

    // === What is kept ===

    /// Lets go of what the reader has taken. Its caller is woken when it takes more.
    fn acknowledge(&self, state: &mut State, own: &Context<'_>) {
        if let Some(carried) = &state.carried {
            let taken = carried.base.saturating_add(carried.writer.returned(own));
            state.replay.acknowledge(taken.min(carried.sent));
        }
        self.count(state);
    }

    /// Tells the table what is kept. Where that is too much, nothing is: the command runs on, and
    /// cannot be resumed until its reader has taken what was sent so far. What is still owed to a
    /// stream is never let go.
    fn count(&self, state: &mut State) {
        let held = state.replay.held();
        let owed = state
            .carried
            .as_ref()
            .is_some_and(|carried| carried.sent < state.replay.end());
        let too_much = held > limits::RESUME_KEPT || !self.table.keep(state.counted, held);
        if too_much && !owed {
            state.replay.forget();
            self.table.keep(state.counted, 0);
            state.counted = 0;
        } else if !too_much {
            state.counted = held;
        }
    }
}

impl Carried {
    fn new(writer: StreamWriter, ender: Ender, base: u64) -> Result<Self, (StreamWriter, Ender)> {
        match (writer.into_direct(), ender.into_direct()) {
            (Ok(writer), Ok(ender)) => Ok(Self {
                writer,
                ender,
                base,
                sent: base,
                fin: false,
                ended: false,
            }),
            (writer, ender) => Err((
                writer.map_or_else(|writer| writer, StreamWriter::from_direct),
                ender.map_or_else(|ender| ender, Ender::from_direct),
            )),
        }
    }

    fn send(&mut self, piece: &Piece) -> Result<(), StreamError> {
        match piece {
            Piece::Data(bytes) => self.writer.push(bytes.clone())?,
            Piece::Event(event) => self.writer.push_event(event.clone())?,
        }
        self.sent += piece.len();
        Ok(())
    }

    fn fin(&mut self) {
        if !std::mem::replace(&mut self.fin, true) {
            self.writer.fin();
        }
    }
}
