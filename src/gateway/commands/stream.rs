//! A command's steps as the pieces of an HTTP body that has no end of its own.
//!
//! ```text
//!  id: <where the caller stands>        only where the event has a cursor, or drops one
//!  event: <name of the event>
//!  data: <its value, one line>
//! ```
//!
//! Owns the form of server-sent events, their heartbeat, and when pieces are made: one is made when
//! the caller's connection takes more, so that a caller who stops reading stops its own stream.
//! Invariants: an event is whole or not there; after a failure SSE ends with an `error` event and
//! text with a line and a body that broke off, so that no cut stream looks complete.

use std::fmt::Write as _;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep};

use super::cursors::Stamp;
use super::event::{self, Event};
use super::failed::Failed;
use super::lines::{Lines, Style};
use super::run::{FORGET, Run, Step};
use crate::gateway::access::Outcome;
use crate::gateway::body::Piece;
use crate::limits;
use crate::protocol::error::ErrorCode;

/// What a client waits before it connects again, unless it knows better.
const RETRY: &str = "retry: 1000\n\n";

/// An answer under way.
struct Answer {
    run: Run,
    stamp: Stamp,
    /// Where the answer is text.
    lines: Option<Lines>,
    /// The first step was waited for to know the answer's status.
    first: Option<Step>,
    /// What to say before it.
    greeting: String,
    quiet: Pin<Box<Sleep>>,
    ended: Option<(Outcome, bool)>,
}

/// The pieces of a command's answer.
pub(crate) fn pieces(
    mut run: Run,
    stamp: Stamp,
    style: Option<Style>,
    first: Option<Step>,
) -> impl Stream<Item = Piece> + Send + 'static {
    run.answered();
    let answer = Answer {
        run,
        stamp,
        lines: style.map(Lines::new),
        first,
        greeting: if style.is_some() {
            String::new()
        } else {
            RETRY.to_owned()
        },
        quiet: Box::pin(sleep(limits::EVENTS_HEARTBEAT)),
        ended: None,
    };
    stream::unfold(answer, |mut answer| async move {
        if answer.ended.is_some() {
            return None;
        }
        let piece = answer.piece().await;
        Some((piece, answer))
    })
}

impl Answer {
    /// The next piece: all that is there, up to a batch.
    async fn piece(&mut self) -> Piece {
        let mut out = std::mem::take(&mut self.greeting);
        self.left_out(&mut out);
        while self.ended.is_none() && out.len() < limits::EVENTS_BATCH {
            let step = match self.first.take() {
                Some(step) => Ok(step),
                // `next` is safe to give up: what is there is taken, nothing is waited for.
                None if !out.is_empty() => match self.run.next().now_or_never() {
                    Some(step) => step,
                    None => break,
                },
                None => tokio::select! {
                    biased;
                    step = self.run.next() => step,
                    () = self.quiet.as_mut() => {
                        self.quiet.as_mut().reset(Instant::now() + limits::EVENTS_HEARTBEAT);
                        self.alive(&mut out);
                        continue;
                    }
                },
            };
            self.write(step, &mut out);
        }
        self.quiet
            .as_mut()
            .reset(Instant::now() + limits::EVENTS_HEARTBEAT);
        Piece {
            bytes: Bytes::from(out),
            last: self.ended,
        }
    }

    fn write(&mut self, step: Result<Step, Failed>, out: &mut String) {
        match step {
            Ok(Step::Event(event)) => {
                if let Err(failed) = self.event(&event, out) {
                    self.failed(&failed, out);
                }
            }
            Ok(Step::Waiting) => self.alive(out),
            Ok(Step::End(result)) => {
                match &mut self.lines {
                    Some(lines) => lines.end(out),
                    None => {
                        let result = result.as_deref().map_or("null", RawValue::get);
                        say(out, event::END, result);
                    }
                }
                self.ended = Some((Outcome::Complete, true));
            }
            Err(failed) => self.failed(&failed, out),
        }
    }

    fn event(&mut self, raw: &RawValue, out: &mut String) -> Result<(), Failed> {
        let event = match Event::read(raw) {
            Ok(event) => event,
            Err(error) => {
                return Err(self.run.over(ErrorCode::ProtocolError, &error.to_string()));
            }
        };
        self.run.passed_on(&event);
        if let Some(lines) = &mut self.lines {
            lines
                .write(&event, out)
                .map_err(|error| self.run.over(ErrorCode::ProtocolError, &error.to_string()))?;
        } else {
            if event.cursor.is_some() || event.name == FORGET {
                let id = self.run.cursors().id(self.stamp);
                let _ = writeln!(out, "id: {id}");
            }
            say(out, event.name, event.value.get());
        }
        // What there was no room for is told at once, not only when the stream goes on.
        self.left_out(out);
        Ok(())
    }

    /// Tells of sources whose cursors were left out: after a loss they cannot be gone on with.
    fn left_out(&mut self, out: &mut String) {
        let left_out = self.run.cursors().left_out();
        if left_out == 0 {
            return;
        }
        self.run.cursors().told();
        if let Some(lines) = &mut self.lines {
            return lines.left_out(left_out, out);
        }
        let gap = json!({"reason": "cursors_left_out", "sources": left_out});
        say(out, "gap", &gap.to_string());
    }

    /// A sign of life, and of what is waited for.
    fn alive(&mut self, out: &mut String) {
        if self.lines.is_some() {
            return;
        }
        match self.run.waiting() {
            None => out.push_str(": \n\n"),
            Some((time, why)) => {
                let waiting = json!({
                    "for_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                    "code": why.code,
                    "message": why.message,
                });
                say(out, event::RECONNECTING, &waiting.to_string());
            }
        }
    }

    fn failed(&mut self, failed: &Failed, out: &mut String) {
        match &mut self.lines {
            Some(lines) => lines.failed(failed.code, &failed.message, out),
            None => {
                let error = json!({"code": failed.code, "message": failed.message});
                say(out, event::ERROR, &error.to_string());
            }
        }
        self.ended = Some((Outcome::Broken(failed.code), self.lines.is_none()));
    }
}

fn say(out: &mut String, name: &str, json: &str) {
    let _ = write!(out, "event: {name}\ndata: {}\n\n", event::one_line(json));
}
