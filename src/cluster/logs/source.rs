//! One container's log, from run to run, through any fault.
//!
//! Owns the course of it: look at the pod, open or resume, read, look again. Owns not: which
//! containers (`follower`), nor how a place is found (`place`).
//!
//! ```text
//!           ┌─────────────── the answer ended or broke off ◀─────────┐
//!           ▼                                                        │
//!  start ─▶ Look ─ there is something to read ─▶ open or resume ─▶ Read
//!           │ ▲                                    │
//!           │ └─ Wait ◀── not yet, or a fault ─────┘
//!           └─ nothing will follow, or the pod is gone ─▶ Over
//! ```
//!
//! Invariants: what it tells is a prefix of each run's lines with gaps told; that a run has no more
//! lines is only believed of an answer that was asked for when the container had stopped, was read
//! to its end and brought nothing; that its last line has no end, only of two answers alike.

mod opening;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::cursor::{Cursor, Mark};
use super::event::{Batch, Ended, Event, Lost, Told};
use super::options::{Budget, Options};
use super::pod::Run;
use super::request::{File, Name, Requests, Stream};
use super::track::Track;
use crate::backoff::{Backoff, Pace, Window};
use crate::chance;
use crate::cluster::objects::{ObjectError, Objects};
use crate::limits;

/// How far it has come.
#[derive(Debug)]
enum Position {
    /// Not begun.
    Fresh,
    /// As a cursor says.
    Marked(Mark),
    /// As this process has seen it.
    Tracked(Track),
}

impl Position {
    fn mark(&self) -> Option<Mark> {
        match self {
            Self::Fresh => None,
            Self::Marked(mark) => Some(mark.clone()),
            Self::Tracked(track) => Some(track.mark()),
        }
    }
}

#[derive(Debug)]
enum Phase {
    Look,
    Wait(Instant),
    Read(Box<Reading>),
    Over,
}

#[derive(Debug)]
struct Reading {
    stream: Stream,
    file: File,
    /// The container had stopped when this was asked for.
    stopped: bool,
    lines: u64,
}

/// One container's log.
#[derive(Debug)]
pub(super) struct Source {
    requests: Requests,
    source: String,
    options: Options,
    position: Position,
    phase: Phase,
    /// All lines of the position's run were delivered, and it has stopped.
    drained: bool,
    /// Which file had the position last.
    file: File,
    /// The run that was said to have started last.
    begun: Option<u32>,
    /// The last answer was read to its end.
    clean: bool,
    /// The next line may not be the next one.
    uncertain: bool,
    /// What the last answer of a stopped run had behind its last line end, by a key.
    unended: Option<u32>,
    /// Answers that ended, where nothing is followed.
    answers: u32,
    retry: Backoff,
    looks: Backoff,
    troubled: bool,
    waiting: Option<String>,
    told: VecDeque<Told>,
}

impl Source {
    /// The log of `name`, from its begin or from where `cursor` says.
    pub(super) fn new(
        objects: Objects,
        name: Arc<Name>,
        options: Options,
        cursor: Option<Cursor>,
    ) -> Self {
        let drained = matches!(cursor, Some(Cursor::Done(_)));
        let window = |(first, cap)| Backoff::new(Window::new(first, cap));
        Self {
            source: name.source(),
            requests: Requests { objects, name },
            options,
            position: match cursor {
                None | Some(Cursor::Start) => Position::Fresh,
                Some(Cursor::At(mark) | Cursor::Done(mark)) => Position::Marked(mark),
            },
            phase: Phase::Look,
            drained,
            file: File::Current,
            begun: None,
            clean: false,
            uncertain: false,
            unended: None,
            answers: 0,
            retry: window(limits::logs::RETRY),
            looks: window(limits::logs::LOOK),
            troubled: false,
            waiting: None,
            told: VecDeque::new(),
        }
    }

    pub(super) const fn name(&self) -> &Arc<Name> {
        &self.requests.name
    }

    /// What comes next; nothing after the end.
    ///
    /// # Errors
    /// What no waiting mends; the source is over then.
    ///
    /// # Cancel safety
    /// Not safe: lines may be lost with the future. Keep it, or drop the source with it.
    pub(super) async fn next(&mut self) -> Result<Option<Told>, ObjectError> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Some(told));
            }
            let step = match &mut self.phase {
                Phase::Over => return Ok(None),
                Phase::Wait(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.phase = Phase::Look;
                    Ok(())
                }
                Phase::Look => self.look().await,
                Phase::Read(_) => self.read().await,
            };
            if let Err(error) = step {
                self.failed(error)?;
            }
        }
    }

    async fn look(&mut self) -> Result<(), ObjectError> {
        if self.options.budget.as_deref().is_some_and(Budget::spent) {
            self.over(Ended::Limited);
            return Ok(());
        }
        let pod = match self.requests.pod().await {
            Ok(pod) if pod.metadata.uid == self.name().uid => pod,
            Ok(_) | Err(ObjectError::NotFound(_)) => {
                self.gone();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match pod.run(&self.name().container) {
            Run::Unknown => self.over(Ended::Unknown),
            Run::Pending(_) if pod.over() => self.over(Ended::Completed),
            Run::Pending(_) if !self.options.follow => self.over(Ended::NotStarted),
            Run::Pending(reason) => self.wait_for(reason),
            Run::Running { restart } if self.options.previous => {
                self.read_previous(restart).await?;
            }
            Run::Stopped { restart, .. } if self.options.previous => {
                self.read_previous(restart).await?;
            }
            Run::Running { restart } => self.proceed(restart, false).await?,
            Run::Stopped {
                restart,
                for_good,
                reason,
            } => {
                let last = matches!(self.position.mark(), Some(mark) if mark.restart >= restart);
                if !(self.drained && last) {
                    self.proceed(restart, true).await?;
                } else if for_good || !self.options.follow {
                    self.over(Ended::Completed);
                } else {
                    self.wait_for(reason);
                }
            }
        }
        Ok(())
    }

    /// Reads a batch, or what the end of the answer means.
    async fn read(&mut self) -> Result<(), ObjectError> {
        let (Phase::Read(reading), Position::Tracked(track)) =
            (&mut self.phase, &mut self.position)
        else {
            self.phase = Phase::Look;
            return Ok(());
        };
        let mut batch = Batch::default();
        let budget = self.options.budget.as_deref();
        let spent = || budget.is_some_and(Budget::spent);
        let ended = loop {
            while !batch.full() && !spent() {
                let Some(line) = reading.stream.arrived() else {
                    break;
                };
                track.deliver(&line);
                batch.push(&line);
                if let Some(budget) = budget {
                    budget.spend(line.content.len());
                }
            }
            if batch.full() || spent() {
                break Ok(false);
            }
            let more = if batch.is_empty() {
                reading.stream.more().await
            } else {
                match reading.stream.more().now_or_never() {
                    Some(more) => more,
                    None => break Ok(false),
                }
            };
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        let mut unproven = false;
        if let Ok(true) = ended
            && reading.stopped
            && reading.stream.ended()
        {
            let left = reading.stream.unended();
            unproven = left.is_some() && self.unended != left;
            self.unended = left;
            if !unproven && let Some(line) = reading.stream.rest() {
                track.deliver(&line);
                batch.push(&line);
            }
        }
        reading.lines += batch.len() as u64;
        let (file, stopped, lines) = (reading.file, reading.stopped, reading.lines);
        let opened = reading.stream.opened();
        let spent = spent();
        if !batch.is_empty() {
            let cursor = track.cursor();
            let uncertain = std::mem::take(&mut self.uncertain);
            self.proven();
            self.tell(Some(&cursor), Event::Lines { batch, uncertain });
        }
        match ended {
            _ if spent => self.over(Ended::Limited),
            Ok(false) => {}
            Ok(true) if unproven => self.doubted(lines),
            Ok(true) => self.answered(file, stopped, lines),
            // What had begun is opened again before anybody is told.
            Err(_) if lines > 0 => self.phase = Phase::Look,
            Err(_) if opened => self.pause(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// An answer ended in the middle of a line, and was not seen to before: so ends a run whose
    /// last words had no line end, and so does an answer that broke off without a sign.
    fn doubted(&mut self, lines: u64) {
        self.phase = Phase::Look;
        if lines > 0 {
            return;
        }
        if self.patient() {
            self.pause();
        } else {
            self.over(Ended::Read);
        }
    }

    /// An answer was read to its end.
    fn answered(&mut self, file: File, stopped: bool, lines: u64) {
        self.phase = Phase::Look;
        self.clean = true;
        self.answers += 1;
        let untouched = matches!(&self.position, Position::Tracked(track) if track.untouched());
        if stopped && lines == 0 {
            self.drained = true;
            self.file = File::Current;
            if untouched && let Position::Tracked(track) = &self.position {
                self.position = Position::Tracked(Track::new(track.restart(), None));
            }
            return;
        }
        if untouched {
            self.position = Position::Fresh;
        }
        if !self.options.follow && file == File::Current && (lines == 0 || self.answers > 1) {
            self.over(Ended::Read);
        } else if lines == 0 {
            self.pause();
        }
    }

    fn gap(&mut self, reason: Lost, mark: &Mark, run: u32) {
        let after = mark.stamp;
        self.position = Position::Tracked(Track::new(run, None));
        self.drained = false;
        self.uncertain = false;
        let cursor = self.position.mark().map(Cursor::At);
        self.tell(cursor.as_ref(), Event::Gap { reason, after });
    }

    /// The pod is no more.
    fn gone(&mut self) {
        if let Some(mark) = self.position.mark()
            && !self.drained
            && !self.clean
        {
            self.gap(Lost::Gone, &mark, mark.restart);
        }
        self.over(Ended::Gone);
    }

    fn over(&mut self, reason: Ended) {
        self.phase = Phase::Over;
        let mark = self.position.mark();
        let cursor = mark.map(|mark| {
            if self.drained {
                Cursor::Done(mark)
            } else {
                Cursor::At(mark)
            }
        });
        self.tell(cursor.as_ref(), Event::Ended { reason });
    }

    /// Nothing can be had yet, and nothing is wrong.
    fn wait_for(&mut self, reason: String) {
        self.recovered();
        self.retry.reset();
        let wait = self.looks.next(Pace::Usual, &mut chance::rng());
        self.phase = Phase::Wait(Instant::now() + wait);
        if !reason.is_empty() && self.waiting.as_ref() != Some(&reason) {
            self.waiting = Some(reason.clone());
            self.tell(None, Event::Waiting { reason });
        }
    }

    fn pause(&mut self) {
        let wait = self.retry.next(Pace::Usual, &mut chance::rng());
        self.phase = Phase::Wait(Instant::now() + wait);
    }

    fn failed(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        match error {
            // No log yet; the API server's own words say why.
            ObjectError::Refused(refusal) if refusal.status == 400 => {
                if self.options.follow {
                    self.wait_for(refusal.message);
                } else {
                    self.over(Ended::NotStarted);
                }
            }
            // The pod, or its node: a look tells.
            ObjectError::NotFound(_) => self.pause(),
            error if error.may_pass() && self.patient() => {
                let hint = error.refusal().and_then(|refusal| refusal.retry_after);
                match hint {
                    None => self.pause(),
                    Some(hint) => {
                        let wait = self.retry.after(hint, &mut chance::rng());
                        self.phase = Phase::Wait(Instant::now() + wait);
                    }
                }
                if !std::mem::replace(&mut self.troubled, true) {
                    let message = error.to_string();
                    self.tell(None, Event::Trouble { message });
                }
            }
            error => {
                self.phase = Phase::Over;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether it is worth waiting: what is not followed has to end.
    const fn patient(&self) -> bool {
        self.options.follow || self.retry.attempts() < limits::logs::GET_TRIES
    }

    /// Lines came: all is well.
    fn proven(&mut self) {
        self.retry.reset();
        self.looks.reset();
        self.waiting = None;
        self.recovered();
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.tell(None, Event::Recovered);
        }
    }

    fn tell(&mut self, cursor: Option<&Cursor>, event: Event) {
        self.told.push_back(Told {
            name: Arc::clone(&self.requests.name),
            source: self.source.clone(),
            cursor: cursor.map(|cursor| cursor.encode(&self.source)),
            event,
        });
    }
}
